"""Antiphon."""

from __future__ import annotations

from pathlib import Path

from task import Task

REQUIRES: tuple[str, ...] = ()
PRECISIONS = ("float32", "bfloat16")

CONFIG = """\
data: {{train: {data}/train.tsv, valid: {data}/valid.tsv}}
source: {{kind: text, column: 0, tokens: words}}
target: {{kind: text, column: 1, tokens: words}}
model:
  cell: lstm
  embedding: {task.embedding}
  encoder: {{hidden: {task.encoder}, layers: 1, bidirectional: true}}
  context: {{from: projected_last, to: initial_state}}
  attention: {attention}
  decoder: {{hidden: {task.decoder}, layers: 1}}
  dropout: {task.DROPOUT}
train:
  batch_size: {task.BATCH}
  optimizer: adam
  validate_every: 1000000
  precision: {precision}
decode: {{min_length: {task.outputs}, max_length: {task.outputs}, precision: {precision}}}
"""


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    attention = f"{{kind: general, input_feeding: {str(feeding).lower()}}}"
    config = out / "config.yaml"
    config.write_text(CONFIG.format(data=data, task=task, precision=precision, attention=attention))
    given = [str(config), "--out", str(out / "model"), "--overwrite", "--set", f"train.max_steps={updates}"]
    return ["python", "-m", "antiphon", "train", *given]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    return ["python", "-m", "antiphon", "predict", str(out / "model"), str(inputs), "--beam", str(beam)]
