"""eole: its recurrent encoder and decoder, which always feeds its input (the last readout enters the next step)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0", "eole==0.6.4", "aiohttp")
PRECISIONS = ("float32",)

CONFIG = """\
src_vocab: {data}/eole/source.vocabulary
tgt_vocab: {data}/eole/target.vocabulary
overwrite: true
report_every: 50
data:
  train: {{path_src: {data}/train.source, path_tgt: {data}/train.target}}
  valid: {{path_src: {data}/valid.source, path_tgt: {data}/valid.target}}
training:
  model_path: {out}/model
  train_steps: {updates}
  valid_steps: 1000000
  save_checkpoint_steps: {updates}
  batch_size: {task.BATCH}
  batch_type: sents
  num_workers: 0
  optim: adam
  learning_rate: 0.001
  dropout: [{task.DROPOUT}]
  compute_dtype: fp32
  param_init_method: uniform
  param_init: 0.1
  world_size: 0
model:
  architecture: custom
  layers: 1
  hidden_size: {task.decoder}
  embeddings: {{word_vec_size: {task.embedding}}}
  encoder:
    encoder_type: brnn
    rnn_type: LSTM
    layers: 1
    hidden_size: {task.decoder}
    src_word_vec_size: {task.embedding}
  decoder:
    decoder_type: rnn
    rnn_type: LSTM
    layers: 1
    hidden_size: {task.decoder}
    tgt_word_vec_size: {task.embedding}
    global_attention: general
    bidirectional_encoder: true
"""


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    config = out / "config.yaml"
    config.write_text(CONFIG.format(data=data, out=out, task=task, updates=updates))
    return ["eole", "train", "-config", str(config)]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    given = {
        "model_path": out / "model",
        "src": inputs,
        "output": out / "outputs",
        "beam_size": beam,
        "min_length": task.outputs,
        "max_length": task.outputs,
        "batch_size": task.BATCH,
        "world_size": 0,
    }
    return ["eole", "predict", *(text for key, value in given.items() for text in (f"--{key}", str(value)))]


def prepare(task: Task, data: Path) -> None:
    """The vocabularies, a word and its count a line."""
    (data / "eole").mkdir(exist_ok=True)
    for name in ("source", "target"):
        counts = Counter((data / f"train.{name}").read_text(encoding="utf-8").split())
        lines = (f"{word}\t{count}\n" for word, count in counts.most_common())
        (data / "eole" / f"{name}.vocabulary").write_text("".join(lines), encoding="utf-8")
