"""yoyodyne: an attentive LSTM over characters. Outputs have a greatest length, but no least one: what ends earlier
is in its favour."""

from __future__ import annotations

from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0", "yoyodyne==0.5.27")
PRECISIONS = ("float32",)

CONFIG = """\
seed_everything: 1
trainer:
  accelerator: cpu
  max_steps: {updates}
  limit_val_batches: 0
  num_sanity_val_steps: 0
  logger: false
  enable_checkpointing: true
  gradient_clip_val: 1.0
data:
  model_dir: {out}/model
  train: {data}/train.tsv
  predict: {inputs}
  source_col: 1
  target_col: 2
  features_col: 0
  source_sep: " "
  target_sep: " "
  tie_embeddings: false
  batch_size: {task.BATCH}
model:
  class_path: yoyodyne.models.SoftAttentionLSTMModel
  init_args:
    beam_width: {beam}
    max_target_length: {task.outputs}
    source_encoder:
      class_path: yoyodyne.models.modules.LSTMEncoder
      init_args: {{embedding_size: {task.embedding}, hidden_size: {task.encoder}, dropout: {task.DROPOUT}}}
    embedding_size: {task.embedding}
    decoder_hidden_size: {task.decoder}
    decoder_dropout: {task.DROPOUT}
    optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 0.001}}}}
checkpoint: {{dirpath: {out}/model, filename: last, save_top_k: 1, every_n_train_steps: {updates}}}
prediction: {{path: {out}/outputs}}
"""


def _config(task: Task, data: Path, out: Path, **own: object) -> str:
    values = {"updates": 1, "inputs": data / "test.tsv", "beam": 1, **own}
    path = out / "config.yaml"
    path.write_text(CONFIG.format(task=task, data=data, out=out, **values))
    return str(path)


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    return ["yoyodyne", "fit", "--config", _config(task, data, out, updates=updates)]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    given = ["--config", _config(task, data, out, inputs=inputs.with_suffix(".tsv"), beam=beam)]
    return ["yoyodyne", "predict", *given, "--ckpt_path", str(out / "model/last.ckpt")]
