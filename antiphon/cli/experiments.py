"""Commands of many trainings: sweep, table, tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.cli.common import settings_of
from antiphon.cli.options import ConfigOrTable, Device, Settings

Jobs = Annotated[
    int | None, typer.Option(min=1, help="trainings at a time; by default the cores divided by the threads")
]
RunThreads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, max=1024, help="CPU threads of a training; by default 1, or all cores with --jobs 1"
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="where the runs go; those that are there already go on")]


def _grid_of(pairs: list[str] | None) -> dict[str, list[Any]]:
    """The keys of `--grid KEY=VALUE,VALUE`, each with its values, which are read as a YAML list."""
    from antiphon.config.load import parse_value

    grid: dict[str, list[Any]] = {}
    for pair in pairs or []:
        key, equals, values = pair.partition("=")
        if not equals or not key or not values.strip():
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE,VALUE", param_hint="--grid")
        if key in grid:
            raise typer.BadParameter(f"{key} is given twice; put all its values into one", param_hint="--grid")
        grid[key] = parse_value(f"[{values}]", key)
    return grid


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _imports(context: typer.Context) -> list[str]:
    """The modules of `--import`, which the processes of the runs import too."""
    return list(context.parent.params.get("imports") or []) if context.parent else []


def sweep(
    context: typer.Context,
    what: ConfigOrTable,
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="each setting is trained with the seeds 1 to this number")] = 3,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE,VALUE", help="a key and its values; several make a grid")
    ] = None,
    settings: Settings = None,
    jobs: Jobs = None,
    threads: RunThreads = None,
    device: Device = None,
) -> None:
    """Train every combination of a grid with several seeds, and show the table of the results."""
    from antiphon.api import naming
    from antiphon.experiments.runs import command
    from antiphon.experiments.sweep import refuse_failed
    from antiphon.experiments.sweep import sweep as run
    from antiphon.experiments.table import make_table
    from antiphon.experiments.writing import markdown

    combinations, wishes = _grid_of(grid), settings_of(settings)
    with naming(what):
        shared = command(what, jobs, threads, device, _imports(context))
        failed = run(shared, out, combinations, seeds, wishes, _say)
    if any(out.rglob("metrics.json")):
        print(markdown(make_table([out], device=device)), end="")
    refuse_failed(failed)


def table(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="folders of a sweep, or of models")],
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="the setting that the others are compared with; the first")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="M", help="a metric of evaluate; by default the watched one and the loss"),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="markdown|csv|latex", help="how it is written")] = "markdown",
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="by default the configured test set")] = None,
    device: Device = None,
) -> None:
    """Compare settings by the means of their seeds: intervals, minutes, parameters, significance."""
    from antiphon.experiments.table import make_table
    from antiphon.experiments.writing import FORMATS

    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    made = make_table(folders, baseline, metric or (), None if data is None else str(data), device)
    print(FORMATS[form](made), end="")


def tune(
    context: typer.Context,
    what: ConfigOrTable,
    out: Out,
    minutes: Annotated[float, typer.Option(min=0.01, help="how long it may take; called again, it goes on")],
    settings: Settings = None,
    jobs: Jobs = None,
    threads: RunThreads = None,
    device: Device = None,
) -> None:
    """Search better settings for the keys that are left open, judged on validation rows alone."""
    from antiphon.api import naming
    from antiphon.experiments.runs import command
    from antiphon.experiments.tune import tune as run
    from antiphon.experiments.writing import outcome

    wishes = settings_of(settings)
    with naming(what):
        shared = command(what, jobs, threads, device, _imports(context))
        print(outcome(run(shared, out, minutes, wishes, _say), out), end="")
