"""Commands that measure: evaluate, compare, report, calibrate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import files_of, load, settings_of, show
from antiphon.cli.options import (
    Beam,
    Combine,
    Data,
    DecodeSettings,
    Device,
    Folder,
    Json,
    Members,
    Source,
    Target,
    Threads,
)


def evaluate(
    folder: Folder,
    data: Data = None,
    source: Source = None,
    target: Target = None,
    as_json: Json = False,
    beam: Beam = None,
    settings: DecodeSettings = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="P",
            help="measure only rows whose confidence is at least P; `coverage` is their share (see calibrate)",
        ),
    ] = None,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure a model on data."""
    files = files_of(data, source, target)
    model = load(folder, device, threads, ensemble, combine)
    scores, signatures = model.evaluate_signed(files, beam, settings_of(settings), abstain_below)
    if as_json:
        print(json.dumps({**scores, "signatures": signatures}))
        return
    for name, value in scores.items():
        shown = f"{value:,.0f}" if name == "rows" else f"{value:.4f}"
        print(f"{name:26} {shown:>10}")
    for name, signature in signatures.items():
        print(f"{name}: {signature}")


def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="the model that the others are compared with")],
    others: Annotated[list[Path], typer.Argument(metavar="DIR... TABLE", help="other models, and the data")],
    samples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="how many bootstrap samples of the rows are drawn")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="the seed of the bootstrap samples")] = 1,
    as_json: Json = False,
    beam: Beam = None,
    settings: DecodeSettings = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure models on the same rows, and how sure their differences are (paired bootstrap)."""
    *folders, data = others
    if not folders:
        raise typer.BadParameter("give two models or more, and the data behind them", param_hint="DIR... TABLE")
    from antiphon.use.comparison import compare as run

    models = [load(folder, device, threads) for folder in (first, *folders)]
    differences = run(models, str(data), samples, seed, beam, settings_of(settings))
    if as_json:
        print(json.dumps([vars(difference) for difference in differences]))
        return
    for difference in differences:
        show(difference.line())


def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="the page to write")],
    data: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="rows whose worst predictions are shown")
    ] = None,
    source: Source = None,
    target: Target = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Show a training on one page: curves, data, configuration, and the examples that it is worst at."""
    if out.suffix.lower() != ".html":
        raise typer.BadParameter("must end in .html", param_hint="--out")
    from antiphon.tools.report import report as run

    files = files_of(data, source, target)
    run(load(folder, device, threads), files, out)


def calibrate(
    folder: Folder,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="rows that the model was not trained on; by default the validation rows"),
    ] = None,
    source: Source = None,
    target: Target = None,
    rolling: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="forecasts of a long table: make the intervals anew from the last N windows before each forecast",
        ),
    ] = 0,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Fit a confidence on validation data, the probability that a prediction is right, or of a forecast the intervals;
    kept in the model's folder."""
    files = files_of(data, source, target)
    model = load(folder, device, threads)
    if rolling and model.codecs.target.kind != "series":
        raise typer.BadParameter("is for models that predict a series", param_hint="--rolling")
    series = model.codecs.target.kind == "series"
    fitted = model.calibrate_intervals(files, rolling) if series else model.calibrate(files)
    show(f"{fitted.rows}: {fitted.summary()}\n\n{fitted.table()}")
    for message in fitted.warnings():
        print(f"warning: {message}", file=sys.stderr)
