"""The command that trains."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import settings_of
from antiphon.cli.options import ConfigOrTable, Device, Out, Overwrite, Settings


def train(
    what: ConfigOrTable,
    out: Out,
    settings: Settings = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="end within so many minutes: size, schedule and updates are chosen for them"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="resume the training in DIR")] = False,
    overwrite: Overwrite = False,
    init_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="start from the weights of a trained model, where they fit")
    ] = None,
    device: Device = None,
    threads: Annotated[
        int | None,
        typer.Option(min=0, max=1024, help="CPU threads; 0: the number that is fastest; by default all cores"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="show warnings alone")] = False,
) -> None:
    """Train a model from a configuration, or from a table with settings chosen from its data."""
    began = time.monotonic()
    from antiphon.api import naming, read_config
    from antiphon.training.log import output
    from antiphon.training.loop import train as run

    if resume and overwrite:
        raise typer.BadParameter("goes on with a model or replaces it, not both", param_hint="--resume --overwrite")
    wishes = settings_of(settings) | ({} if minutes is None else {"train.minutes": minutes})
    command = shlex.join(["antiphon", *sys.argv[1:]])
    with output(quiet, always=True), naming(what):
        completed = read_config(what, wishes, init_from, out if resume else None)
        run(completed.config, out, resume, overwrite, device, threads, command, init_from, completed.about, began=began)
