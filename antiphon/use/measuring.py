"""A model measured on data: its metrics, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.common.calibration import Calibration
from antiphon.config.files import MEMORY
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.encode import encode_rows
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.errors import ModelFolderError, UsageError
from antiphon.evaluation.calibrate import judged, surest
from antiphon.evaluation.conformal import calibrated_intervals
from antiphon.evaluation.measure import evaluate
from antiphon.evaluation.task import Task
from antiphon.evaluation.windows import FEWEST
from antiphon.model.ensemble import Ensemble
from antiphon.saved.calibration import Report
from antiphon.saved.intervals import IntervalReport
from antiphon.training.streamed import rows_of_parts
from antiphon.use.loaded import Loaded
from antiphon.use.options import Settings, decode_of
from antiphon.use.scores import Data, rows_of


def task_of(loaded: Loaded, data: Data, beam: int | None = None, settings: Settings = None) -> Task:
    """All that measuring a model on `data` takes."""
    config = loaded.config.model_copy(update={"decode": decode_of(loaded, beam, None, settings)})
    rows, examples = encode_rows(config, loaded.codecs, rows_of(loaded, data))
    return Task(loaded.model, config, loaded.codecs, rows, examples, loaded.device, intervals=loaded.intervals)


def evaluate_signed(
    loaded: Loaded, data: Data, beam: int | None, settings: Settings, abstain_below: float | None
) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics, and sacreBLEU's signatures; see `Predictor.evaluate_signed`."""
    task = task_of(loaded, data, beam, settings)
    if abstain_below is None:
        return evaluate(task)
    part, coverage = surest(task, refuse_unsure(loaded), abstain_below)
    scores, signatures = evaluate(part) if part.rows else ({"rows": 0}, {})
    return {"coverage": coverage, **scores}, signatures


def refuse_unsure(loaded: Loaded) -> Calibration:
    """The calibration of a model; one whose answers have no confidence is refused."""
    if isinstance(loaded.model, Ensemble):
        raise ModelFolderError("an ensemble has no confidence: a calibration is of one model; ask one alone")
    _refuse_without_confidence(loaded)
    if loaded.calibration is None:
        raise ModelFolderError(
            f"{loaded.folder}: has no confidence, since it is not calibrated; run: antiphon calibrate {loaded.folder}"
        )
    return loaded.calibration


def calibrate(loaded: Loaded, data: Data) -> Report:
    """The calibration of the confidence, fitted to the rows of `data`, by default the validation rows."""
    _refuse_ensemble(loaded)
    _refuse_without_confidence(loaded)
    target = loaded.codecs.target
    rows, about = _rows_about(loaded, data)
    return Report.of(judged(task_of(loaded, rows)), isinstance(target, TextCodec), about)


def calibrate_intervals(loaded: Loaded, data: Data, recent: int = 0) -> IntervalReport:
    """The intervals of a series, fitted to the rows of `data`, by default the validation rows. With `recent` they are
    made anew from so many last windows of a table."""
    if recent and recent < FEWEST:
        reason = "the intervals of fewer windows are not known"
        raise UsageError(f"--rolling: must be at least {FEWEST} (is {recent}); {reason}")
    _refuse_ensemble(loaded)
    target = loaded.codecs.target
    if not isinstance(target, SeriesCodec) or target.horizon is None:
        raise ModelFolderError(f"{loaded.folder}: intervals are calibrated for a series with target.horizon")
    if recent and loaded.config.data.window is None:
        raise ModelFolderError(f"{loaded.folder}: --rolling is for windows of a long table; train with data.window")
    rows, about = _rows_about(loaded, data)
    about = about.replace("rows of", "windows of") if isinstance(rows, Windows) else about
    return calibrated_intervals(replace(task_of(loaded, rows), intervals=None), about, recent)


def _refuse_without_confidence(loaded: Loaded) -> None:
    target = loaded.codecs.target
    if not isinstance(target, TextCodec | LabelCodec):
        reason = f"predicts {target.kind}, and a confidence is of a text, a label or labels"
        raise ModelFolderError(f"{loaded.folder}: {reason}")


def _refuse_ensemble(loaded: Loaded) -> None:
    if isinstance(loaded.model, Ensemble):
        raise ModelFolderError("an ensemble is several models; calibrate each of them")


def _rows_about(loaded: Loaded, data: Data) -> tuple[Sequence[Row], str]:
    """The rows to calibrate with, and what they are in a few words."""
    rows = rows_of_parts(loaded.config, loaded.codecs)[1] if data is None else rows_of(loaded, data)
    files = ", ".join(sorted({Path(file).name for file in _files(rows)}))
    about = f"{len(rows):,} {'validation ' if data is None else ''}rows of {files}".replace(f"rows of {MEMORY}", MEMORY)
    return rows, about


def _files(rows: Sequence[Row]) -> set[str]:
    return {track.file for track in rows.tracks} if isinstance(rows, Windows) else {row.file for row in rows}
