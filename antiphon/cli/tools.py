"""Commands that try a machine: demo, bench."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import show
from antiphon.cli.options import Json, Out, Overwrite, Threads


def demo(
    structure: Annotated[str, typer.Argument(help="the structure to show")] = "many_to_many",
    out: Out = Path("demo-model"),
    overwrite: Overwrite = False,
    steps: Annotated[int | None, typer.Option(min=1, help="train only this many updates, to try it faster")] = None,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="write the data and the configuration, and train nothing")
    ] = False,
    threads: Threads = None,
) -> None:
    """Train, evaluate and use a small real model, offline, on the CPU."""
    from antiphon.tools.demo import run
    from antiphon.training.log import output

    with output(always=True):
        run(structure, out, lambda line: print(line, flush=True), overwrite, threads, steps, data_only)


def bench(
    seconds: Annotated[float, typer.Option(min=0.01, max=600, help="seconds for each measurement")] = 3.0,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="predict the rates of 2 to 64 such machines"),
    ] = False,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Measure how fast this machine multiplies, and how fast models learn and write on it."""
    if scale:
        from antiphon.tools.scale import run
    else:
        from antiphon.tools.bench import run

    rates = run((lambda line: print(line, file=sys.stderr, flush=True)) if as_json else show, threads, seconds)
    if as_json:
        print(json.dumps(rates, indent=2))
