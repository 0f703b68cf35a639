"""A model measured on data: its metrics, and its calibration."""

from __future__ import annotations

from pathlib import Path

from antiphon.common.calibration import Calibration
from antiphon.config.files import MEMORY
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import encode_rows
from antiphon.errors import ModelFolderError
from antiphon.evaluation.calibrate import judged, surest
from antiphon.evaluation.measure import evaluate
from antiphon.evaluation.task import Task
from antiphon.model.ensemble import Ensemble
from antiphon.saved.calibration import Report
from antiphon.training.streamed import rows_of_parts
from antiphon.use.loaded import Loaded
from antiphon.use.options import Settings, decode_of
from antiphon.use.scores import Data, rows_of


def task_of(loaded: Loaded, data: Data, beam: int | None = None, settings: Settings = None) -> Task:
    """All that measuring a model on `data` takes."""
    config = loaded.config.model_copy(update={"decode": decode_of(loaded, beam, None, settings)})
    rows, examples = encode_rows(config, loaded.codecs, rows_of(loaded, data))
    return Task(loaded.model, config, loaded.codecs, rows, examples, loaded.device)


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
    if loaded.calibration is None:
        raise ModelFolderError(
            f"{loaded.folder}: has no confidence, since it is not calibrated; run: antiphon calibrate {loaded.folder}"
        )
    return loaded.calibration


def calibrate(loaded: Loaded, data: Data) -> Report:
    """The calibration of the confidence, fitted to the rows of `data`, by default the validation rows."""
    if isinstance(loaded.model, Ensemble):
        raise ModelFolderError("an ensemble is several models; calibrate each of them")
    target = loaded.codecs.target
    if not isinstance(target, TextCodec | LabelCodec):
        reason = f"says {target.kind}, and a confidence is for a text, a label or labels"
        raise ModelFolderError(f"{loaded.folder}: {reason}")
    rows = rows_of_parts(loaded.config, loaded.codecs)[1] if data is None else rows_of(loaded, data)
    files = ", ".join(sorted({Path(row.file).name for row in rows}))
    about = f"{len(rows):,} {'validation ' if data is None else ''}rows of {files}".replace(f"rows of {MEMORY}", MEMORY)
    return Report.of(judged(task_of(loaded, rows)), isinstance(target, TextCodec), about)
