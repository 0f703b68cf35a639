"""Marian through its Python package: an LSTM encoder-decoder with its own (additive) attention and input feeding of a
kind: the attention stands between two cells of a step. It has no least length of outputs, so its decoding is not
compared."""

from __future__ import annotations

from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0", "numpy", "pymarian==1.12.42")
PRECISIONS = ("float32",)
WIDTHS = {"sentences": 400, "letters": 256}  # on both sides, for as many parameters


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    given = {
        "type": "s2s",
        "train-sets": f"{data}/train.source {data}/train.target",
        "vocabs": f"{out}/source.yml {out}/target.yml",
        "model": out / "model.npz",
        "enc-type": "bidirectional",
        "enc-cell": "lstm",
        "dec-cell": "lstm",
        "dec-cell-base-depth": 2,
        "dim-emb": task.embedding,
        "dim-rnn": WIDTHS[task.name],
        "dropout-rnn": task.DROPOUT,
        "optimizer": "adam",
        "learn-rate": 0.001,
        "clip-norm": 1.0,
        "mini-batch": task.BATCH,
        "after-batches": updates,
        "disp-freq": 50,
        "save-freq": 1_000_000,
        "cpu-threads": 2,
        "seed": 1,
    }
    line = " ".join(f"--{key} {value}" for key, value in given.items()) + " --overwrite"
    return ["python", "-c", f"import _pymarian; _pymarian.Trainer({line!r}).train()"]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> None:
    return None
