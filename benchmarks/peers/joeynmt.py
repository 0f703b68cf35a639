"""JoeyNMT: its recurrent encoder and decoder with Luong's attention."""

from __future__ import annotations

from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0", "joeynmt==2.3.0", "importlib-metadata")
PRECISIONS = ("float32",)

CONFIG = """\
name: benchmark
joeynmt_version: 2.3.0
model_dir: {out}/model
use_cuda: false
fp16: false
data:
  train: {data}/train
  dev: {dev}
  dataset_type: plain
  src: {{lang: source, level: word, lowercase: false, max_length: 1000, voc_min_freq: 1}}
  trg: {{lang: target, level: word, lowercase: false, max_length: 1000, voc_min_freq: 1}}
training:
  batch_size: {task.BATCH}
  batch_type: sentence
  optimizer: adam
  learning_rate: 0.001
  clip_grad_norm: 1.0
  normalization: tokens
  scheduling: exponential  # its others pass torch an argument that is gone; by epochs, so of no effect here
  updates: {updates}
  epochs: 1000
  validation_freq: 1000000
  logging_freq: 50
  overwrite: true
testing:
  beam_size: {beam}
  beam_alpha: 1.0
  batch_size: {task.BATCH}
  batch_type: sentence
  min_output_length: {task.outputs}
  max_output_length: {task.outputs}
  eval_metrics: []
model:
  initializer: xavier_uniform
  encoder:
    type: recurrent
    rnn_type: lstm
    embeddings: {{embedding_dim: {task.embedding}, dropout: {task.DROPOUT}}}
    hidden_size: {task.encoder}
    bidirectional: true
    dropout: {task.DROPOUT}
    num_layers: 1
  decoder:
    type: recurrent
    rnn_type: lstm
    embeddings: {{embedding_dim: {task.embedding}, dropout: {task.DROPOUT}}}
    hidden_size: {task.decoder}
    dropout: {task.DROPOUT}
    hidden_dropout: {task.DROPOUT}
    num_layers: 1
    input_feeding: {feeding}
    init_hidden: bridge
    attention: luong
"""


def _config(task: Task, data: Path, out: Path, **own: object) -> str:
    values = {"updates": 1, "beam": 1, "feeding": "false", "dev": data / "valid", **own}
    path = out / "config.yaml"
    path.write_text(CONFIG.format(task=task, data=data, out=out, **values))
    return str(path)


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    config = _config(task, data, out, updates=updates, feeding=str(feeding).lower())
    return ["python", "-m", "joeynmt", "train", config, "--skip-test"]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    config = _config(task, data, out, dev=inputs.with_suffix(""), beam=beam, feeding=str(feeding).lower())
    return ["python", "-m", "joeynmt", "test", config, "-o", str(out / "outputs")]
