"""The command that shows how a model predicts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import STDIN, load, settings_of
from antiphon.cli.options import Beam, DecodeSettings, Device, Folder, Threads


def inspect(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="what is written: .json, .html, .png or .svg")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT]...", help="by default the lines of standard input")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="the expected output; one for each input")
    ] = None,
    other: Annotated[
        str | None, typer.Option(metavar="INPUT", help="also decode with the context of this input")
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP=SYMBOL",
            help="force this symbol at this step (the first is 1; in Python and over HTTP 0) and decode from there; "
            "no symbol: the end",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="the number of most probable symbols shown for each step")] = 5,
    view: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="draw this view alone: attention, steps, beam, ...")
    ] = None,
    beam: Beam = None,
    settings: DecodeSettings = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Show what a model did with an input: as a page, a picture, or JSON.

    Of several inputs each has a file of its own, with its number before the ending.
    """
    if out.suffix.lower() not in (".json", ".html", ".png", ".svg"):
        raise typer.BadParameter("must end in .json, .html, .png or .svg", param_hint="--out")
    if view and out.suffix.lower() == ".json":
        raise typer.BadParameter("is for pictures; JSON holds all", param_hint="--view")
    if inputs and reference and len(reference) != len(inputs):
        raise typer.BadParameter(f"is given {len(reference)} times for {len(inputs)} inputs", param_hint="--reference")
    from antiphon.inspection.files import write

    forced = [_forced(pair) for pair in force or []]
    model = load(folder, device, threads)
    read = inputs or [line for _, line in model.lines(STDIN, sys.stdin.buffer)]
    if reference and len(reference) != len(read):
        raise typer.BadParameter(f"is given {len(reference)} times for {len(read)} inputs", param_hint="--reference")
    for number, value in enumerate(read):
        expected = reference[number] if reference else None
        trace = model.explain(value, expected, other, forced, top, beam, settings_of(settings))
        path = out if len(read) == 1 else out.with_stem(f"{out.stem}-{number + 1}")
        write(trace, path, view or [])
        typer.echo(str(path), err=True)


def _forced(pair: str) -> tuple[int, str | None]:
    """A step, from 0, and the symbol that is forced there."""
    step, equals, symbol = pair.partition("=")
    if not equals or not step.isascii() or not step.isdigit() or int(step) < 1:
        raise typer.BadParameter(f"{pair!r} is not STEP=SYMBOL, with a step from 1", param_hint="--force")
    return int(step) - 1, symbol or None
