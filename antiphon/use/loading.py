"""Model folders become a predictor: one of them, or several as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from antiphon.data.codecs.base import Codec
from antiphon.devices import pick_device
from antiphon.errors import ConfigError, ModelFolderError, nearest, shown
from antiphon.evaluation.answering import prediction_class
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import LanguageModel, Writer
from antiphon.model.parts.heads.combined import COMBINATIONS
from antiphon.saved import calibration, intervals
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.folder import Bundle
from antiphon.saved.ready import model_path
from antiphon.use.predictor import P, Predictor


@overload
def load(
    folder: str | Path | Sequence[str | Path],
    device: str | None = None,
    combine: str = "log_linear",
    *,
    predicts: None = None,
) -> Predictor[Any]: ...
@overload
def load(
    folder: str | Path | Sequence[str | Path],
    device: str | None = None,
    combine: str = "log_linear",
    *,
    predicts: type[P],
) -> Predictor[P]: ...
def load(
    folder: str | Path | Sequence[str | Path],
    device: str | None = None,
    combine: str = "log_linear",
    *,
    predicts: type[Any] | None = None,
) -> Predictor[Any]:
    """Load a model folder, or a ready model by its name, onto the GPU if there is one or onto the named device.

    Several folders are loaded as one model, an ensemble: with `log_linear` a symbol's log p is the mean of theirs,
    normalised again, with `mean` its p is the mean of theirs. Their vocabularies must be the same; the
    configuration is that of the first model.
    `predicts` is the class of its predictions, such as `TextPrediction`, for type checkers; a model that gives others
    is an error.
    """
    place = pick_device(device)
    folders = [model_path(path) for path in ([folder] if isinstance(folder, str | Path) else folder)]
    if not folders:
        raise ModelFolderError("an ensemble needs at least one model folder")
    if combine not in COMBINATIONS:
        raise ConfigError("combine", f"unknown method {combine!r}; {nearest(combine, COMBINATIONS)}")
    first, *others = (bundle.load(path, place) for path in folders)
    for other, name in zip(others, folders[1:], strict=True):
        _refuse_other_symbols(first, other, folders[0], name)
    refuse_other_class(first.codecs.target, predicts, str(folders[0]))
    members: Any = [member.model for member in (first, *others)]
    ensemble = Ensemble(members, COMBINATIONS[combine]).eval() if others else None
    path = folders[0] / exceptions.FILE
    known = exceptions.read(path, first.codecs) if path.is_file() else exceptions.NONE
    calibrated = None if others else calibration.read(folders[0] / calibration.FILE)  # for one model, not for several
    made: Predictor[Any] = Predictor(first, folders[0], place, ensemble, known, calibrated)
    made.intervals = None if others else intervals.read(folders[0] / calibration.FILE)
    return made


def refuse_other_class(target: Codec, predicts: type[Any] | None, where: str) -> None:
    """Refuse a model whose predictions are not of the class that the program expects."""
    actual = prediction_class(target)
    if predicts is not None and not isinstance(predicts, type):
        raise ModelFolderError(
            f"predicts: must be a class such as antiphon.{actual.__name__}, but is {shown(predicts)}"
        )
    if predicts is not None and actual is not predicts:
        reason = f"its target is of the kind {target.kind}, so it predicts {actual.__name__}, not {predicts.__name__}"
        raise ModelFolderError(f"{where}: {reason}; give predicts={actual.__name__}")


def _refuse_other_symbols(first: Bundle, other: Bundle, where: Path, name: Path) -> None:
    """Refuse a member of an ensemble that reads or writes other symbols than the first."""
    if not isinstance(first.model, Writer | LanguageModel):
        raise ModelFolderError(f"{where}: does not write a sequence; only models that do can be combined")
    codecs, others = first.codecs.named, other.codecs.named
    odd = codecs.keys() ^ others.keys() or {side for side in codecs if codecs[side].to_json() != others[side].to_json()}
    if odd:
        reason = "train both on the same rows (a fraction as data.valid depends on train.seed; give it a file)"
        raise ModelFolderError(f"{name}: vocabulary-{min(odd)}.json is not that of {where}; {reason}")
    depths = {len(member.config.model.image.channels) for member in (first, other)}
    if len(depths) > 1 and any(codec.kind == "image" for codec in first.codecs.sources):
        raise ModelFolderError(
            f"{name}: divides pictures into other places than {where}; give both equally long model.image.channels"
        )
