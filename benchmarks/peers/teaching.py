"""The loop of teaching code: packed encoder, and a decoder that steps through the target in Python, projecting to the
vocabulary at every step."""

from __future__ import annotations

import sys
from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0",)
PRECISIONS = ("float32",)
LOOP = Path(__file__).parents[1] / "teaching.py"


def _given(task: Task, data: Path, out: Path) -> list[str]:
    widths = [task.embedding, task.encoder, task.decoder]
    return [sys.executable, str(LOOP), str(data), str(out), *map(str, widths)]


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    return [*_given(task, data, out), "train", str(updates)]


def decode(
    task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool
) -> list[str] | None:
    return [*_given(task, data, out), "decode", str(inputs), str(task.outputs)] if beam == 1 else None
