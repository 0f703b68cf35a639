"""What is measured, and what measuring gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from antiphon.common.intervals import Intervals
from antiphon.config.schema import Config
from antiphon.data.batches import Examples
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs, group_references
from antiphon.data.rows import Row
from antiphon.decoding.batches import ALONE, Sharing
from antiphon.evaluation.scores import RowScores
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Model


@dataclass(frozen=True)
class Task:
    """All that measuring takes: a model, its configuration and codecs, rows and their arrays; and how several processes
    that have all of these divide the work. Each then gets the whole result."""

    model: Model | Ensemble
    config: Config
    codecs: Codecs
    rows: Sequence[Row]
    examples: Examples
    device: torch.device
    sharing: Sharing = ALONE
    intervals: Intervals | None = None  # of a calibrated forecast


@dataclass(frozen=True)
class Measured:
    """Scores, sacreBLEU's signatures, outputs and references as symbols, where the target has symbols; and how probable
    each row's target was. `computed` is what the model gave for each group of rows: the ids of a text, or an `Answer`.
    """

    scores: dict[str, float]
    signatures: dict[str, str]
    outputs: list[list[str]]
    references: list[list[list[str]]]
    rows: RowScores
    computed: Sequence[Any] = ()


def grouped_rows(task: Task) -> list[list[int]]:
    """Rows that are measured together: references of one input, of a text; else each alone."""
    if isinstance(task.codecs.target, TextCodec):
        return group_references(task.config, task.codecs, task.rows)
    return [[row] for row in range(len(task.examples))]
