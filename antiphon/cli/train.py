"""The commands that train: train, distill."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.cli.common import settings_of
from antiphon.cli.options import ConfigOrTable, Device, Out, Overwrite, Settings, or_ready

Minutes = Annotated[
    float | None,
    typer.Option(min=0.01, help="end within so many minutes: size, schedule and updates are chosen for them"),
]
Resume = Annotated[bool, typer.Option("--resume", help="resume the training in DIR")]
ThreadsToo = Annotated[
    int | None, typer.Option(min=0, max=1024, help="CPU threads; 0: the number that is fastest; by default all cores")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="show the training in a browser while it runs, at 127.0.0.1 (extra: serve)")
]
WatchPort = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="with --watch: the port (8001); 0: any free port, which is printed"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="show warnings alone")]


def train(
    what: ConfigOrTable,
    out: Out,
    settings: Settings = None,
    minutes: Minutes = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    init_from: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="start from the weights of a trained model, where they fit", callback=or_ready
        ),
    ] = None,
    device: Device = None,
    threads: ThreadsToo = None,
    watch: Watch = False,
    watch_port: WatchPort = None,
    quiet: Quiet = False,
) -> None:
    """Train a model from a configuration, or from a table with settings chosen from its data."""
    began = time.monotonic()
    from antiphon.api import naming, read_config, watched
    from antiphon.training.autotune import use_threads
    from antiphon.training.log import output
    from antiphon.training.loop import train as run
    from antiphon.training.resume import resumed_folder

    _refuse_both(resume, overwrite)
    if watch_port is not None and not watch:
        raise typer.BadParameter("is the port of --watch; give that too", param_hint="--watch-port")
    use_threads(threads)
    page = watch if watch_port is None else watch_port
    with output(quiet, always=True), naming(what), watched(page, out) as callbacks:
        completed = read_config(what, _wishes(settings, minutes), init_from, resumed_folder(out, resume))
        run(
            completed.config, out, resume, overwrite, device, threads, _command(), init_from, completed.about,
            callbacks, began=began,
        )  # fmt: skip


def distill(
    teachers: Annotated[list[Path], typer.Argument(metavar="TEACHER...", help="folders of trained models")],
    out: Out,
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="rows with answers; by default those of the first teacher's training"),
    ] = None,
    inputs: Annotated[Path | None, typer.Option(metavar="FILE", help="inputs without answers, instead of rows")] = None,
    settings: Settings = None,
    minutes: Minutes = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    threads: ThreadsToo = None,
    quiet: Quiet = False,
) -> None:
    """Train one small model on what trained models predict."""
    began = time.monotonic()
    from antiphon.api import read_config
    from antiphon.tools.distill import student
    from antiphon.training.autotune import use_threads
    from antiphon.training.log import output
    from antiphon.training.loop import train as run
    from antiphon.training.resume import resumed_folder

    _refuse_both(resume, overwrite)
    use_threads(threads)
    with output(quiet, always=True):
        config = student(teachers, _text(rows), _text(inputs), _wishes(settings, minutes))
        completed = read_config(config, resumed=resumed_folder(out, resume))
        run(completed.config, out, resume, overwrite, device, threads, _command(), None, completed.about, began=began)


def _refuse_both(resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise typer.BadParameter("goes on with a model or replaces it, not both", param_hint="--resume --overwrite")


def _wishes(settings: list[str] | None, minutes: float | None) -> dict[str, Any]:
    return settings_of(settings) | ({} if minutes is None else {"train.minutes": minutes})


def _command() -> str:
    return shlex.join(["antiphon", *sys.argv[1:]])


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
