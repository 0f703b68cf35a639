"""fairseq: its recurrent encoder and decoder, which always feeds its input (the last readout enters the next step)."""

from __future__ import annotations

from pathlib import Path

from task import Task

REQUIRES = ("torch==2.13.0", "fairseq-fixed==0.12.3.1")
PRECISIONS = ("float32",)
ENVIRONMENT = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # it was written for an older PyTorch; its files are our own


def prepare(task: Task, data: Path) -> list[str]:
    """Binary files of every part, those of the inputs to decode too."""
    given = {
        "source-lang": "source",
        "target-lang": "target",
        "trainpref": data / "train",
        "validpref": data / "valid",
        "testpref": ",".join(str(data / part) for part in ("few", "many")),
        "destdir": data / "fairseq",
    }
    return ["fairseq-preprocess", *(text for key, value in given.items() for text in (f"--{key}", str(value)))]


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    given = {
        "arch": "lstm",
        "encoder-embed-dim": task.embedding,
        "encoder-hidden-size": task.encoder,
        "encoder-layers": 1,
        "decoder-embed-dim": task.embedding,
        "decoder-hidden-size": task.decoder,
        "decoder-out-embed-dim": task.decoder,
        "decoder-layers": 1,
        "dropout": task.DROPOUT,
        "optimizer": "adam",
        "lr": 0.001,
        "clip-norm": 1.0,
        "batch-size": task.BATCH,
        "max-update": updates,
        "num-workers": 0,
        "seed": 1,
        "log-format": "simple",
        "save-dir": out / "model",
    }
    flags = ["--encoder-bidirectional", "--cpu", "--disable-validation", "--no-epoch-checkpoints", "--reset-optimizer"]
    named = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    return ["fairseq-train", str(data / "fairseq"), *named, *flags]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    given = {
        "path": out / "model/checkpoint_last.pt",
        "gen-subset": "test" if inputs.stem == "few" else "test1",
        "beam": beam,
        "min-len": task.outputs,
        "max-len-a": 0,
        "max-len-b": task.outputs,
        "batch-size": task.BATCH,
        "num-workers": 0,
    }
    named = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    return ["fairseq-generate", str(data / "fairseq"), *named, "--cpu"]
