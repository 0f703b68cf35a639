"""Rows whose given target is improbable: those that are probably wrong come first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.data.encode import encode_row, encode_rows
from antiphon.data.rows import Row
from antiphon.errors import ModelFolderError
from antiphon.evaluation.doubts import Compared, compared
from antiphon.evaluation.task import Task
from antiphon.use.loaded import Loaded
from antiphon.use.scores import Data, rows_of


@dataclass(frozen=True)
class Doubt:
    """A row and how doubtful its target is.

    `doubt` is log p of the model's prediction less log p of the target, in nats, divided by the steps of the target
    (its symbols and the end): 0 where the model predicts the target. It is infinite where the model cannot write the
    target, such as a label that no other row has; `reason` says why.
    """

    file: str
    line: int
    sides: dict[str, str]  # the row's sources and its target, by name, as one line each
    prediction: str
    doubt: float
    score: float | None = None
    best: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `antiphon doubt` writes it."""
        shown = {"row": f"{Path(self.file).name}:{self.line}", "doubt": round(self.doubt, 4), **self.sides}
        scores = {"score": self.score, "best_score": self.best}
        rounded = {name: None if value is None else round(value, 4) for name, value in scores.items()}
        return {**shown, "prediction": self.prediction, **rounded, "reason": self.reason}


def doubts(loaded: Loaded, data: Data) -> list[Doubt]:
    """The doubt about each row of `data`, the largest first."""
    if loaded.codecs.sources[0].whole:
        raise ModelFolderError(f"{loaded.folder}: learns one long text, which has no rows to doubt")
    rows, refused = [], []
    for row in rows_of(loaded, data):
        try:
            encode_row(loaded.config, loaded.codecs, row, loaded.copying)
        except ValueError as error:
            refused.append(_doubt(loaded, row, str(error)))
        else:
            rows.append(row)
    if not rows:
        return refused
    kept, examples = encode_rows(loaded.config, loaded.codecs, rows)
    task = Task(loaded.model, loaded.config, loaded.codecs, kept, examples, loaded.device)
    return ranked([*refused, *(_doubt(loaded, row, item) for row, item in zip(kept, compared(task), strict=True))])


def ranked(items: Iterable[Doubt]) -> list[Doubt]:
    """The most doubtful first; of those that are equal, the one with the lower score."""
    return sorted(items, key=lambda item: (-item.doubt, item.score or 0.0))


def _doubt(loaded: Loaded, row: Row, item: Compared | str) -> Doubt:
    sides = loaded.codecs.shown(row)
    if isinstance(item, str):
        return Doubt(row.file, row.line, sides, "", math.inf, reason=item)
    return Doubt(row.file, row.line, sides, item.prediction or "", item.doubt, item.score, item.best)
