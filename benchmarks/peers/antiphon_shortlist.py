"""Antiphon, searching among the symbols that a source is likely to be answered with."""

from __future__ import annotations

from pathlib import Path

from task import Task

from peers import antiphon

REQUIRES: tuple[str, ...] = ()
PRECISIONS = antiphon.PRECISIONS
decode = antiphon.decode


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    """The shortlist is learned in training."""
    return [
        *antiphon.train(task, data, out, updates, precision, feeding),
        "--set",
        "decode.shortlist={likely: 20, common: 500}",
    ]
