"""Training gives the same weights however the work is split, stopped or repeated."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tasks import tiny_config
from torch import Tensor

from antiphon.errors import DataError, TrainingError
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.loop import train
from antiphon.training.optimizer import OPTIMIZERS


def trained(
    folder: Path, name: str, threads: int | None = None, resume: bool = False, **settings: Any
) -> dict[str, Any]:
    """The training state after a run: last weights, history."""
    train(tiny_config(folder, **settings), folder / name, resume=resume, threads=threads)
    state, _ = checkpoint.load(folder / name)
    return {**state["learner"], **state["progress"]}


# Adam's first steps are g / (|g| + eps): with a tiny eps the rounding of a gradient near zero becomes a whole step
WELL_CONDITIONED: dict[str, Any] = {"train__optimizer": {"kind": "adamw", "eps": 1e-3}}


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].equal(right[name]), name


def naming(name: str) -> Callable[[str], str]:
    """What a message begins with."""
    return lambda text: f"{name}: {text}"


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-5, rtol=1e-5, msg=naming(name))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    options: dict[str, Any] = {"model__dropout": 0.3, "train__unknown": 0.1}
    first = trained(tmp_path, "a", **options)["weights"]
    assert_equal(first, trained(tmp_path, "b", **options)["weights"])
    other = trained(tmp_path, "c", **options, train__seed=2)["weights"]
    assert not first["head.weight"].equal(other["head.weight"])


DRAWS = {
    "model__cell": {"kind": "lstm", "zoneout": 0.1, "weight_drop": 0.3, "layer_norm": True},
    "model__locked_dropout": True,
    "model__attention__query": "previous",
}


OPTIMIZED: list[dict[str, Any]] = [
    *({"train__optimizer": kind} for kind in OPTIMIZERS),
    {"train__optimizer": {"kind": "asgd", "start": 5, "decay": 0.01}},
    {"train__optimizer": {"kind": "sgd", "nesterov": True}, "train__learning_rate": "auto"},
]


@pytest.mark.parametrize(
    "extra", [{"train__ema": 0.9}, {"train__average": 3}, {"train__feeding": "scheduled"}, DRAWS, *OPTIMIZED]
)
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, extra: dict[str, Any]) -> None:
    options: dict[str, Any] = {"model__dropout": 0.3, "train__unknown": 0.1, **extra}
    whole = trained(tmp_path, "whole", train__max_steps=12, **options)
    trained(tmp_path, "parts", train__max_steps=8, **options)
    parts = trained(tmp_path, "parts", train__max_steps=12, resume=True, **options)
    assert_equal(whole["weights"], parts["weights"])
    assert whole["step"] == parts["step"] == 12
    timings = ("minutes", "tokens_per_second")
    for left, right in zip(whole["history"], parts["history"], strict=True):
        assert {k: v for k, v in left.items() if k not in timings} == {
            k: v for k, v in right.items() if k not in timings
        }
    assert_equal(load_file(tmp_path / "whole" / bundle.WEIGHTS), load_file(tmp_path / "parts" / bundle.WEIGHTS))


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, "m")
    with pytest.raises(TrainingError, match=r"train\.learning_rate: was"):
        train(tiny_config(tmp_path, train__learning_rate=0.1), tmp_path / "m", resume=True)
    with pytest.raises(TrainingError, match="has no training"):
        train(tiny_config(tmp_path), tmp_path / "none", resume=True)


def test_an_existing_folder_is_refused_and_only_a_model_is_overwritten(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    with pytest.raises(TrainingError, match="--overwrite"):
        train(config, tmp_path / "other")
    with pytest.raises(TrainingError, match="not a model folder"):
        train(config, tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "precious").read_text() == "x"
    train(config, tmp_path / "m")
    train(config, tmp_path / "m", overwrite=True)


@pytest.mark.parametrize("normalize", ["tokens", "rows"])
def test_accumulation_equals_one_large_batch(tmp_path: Path, normalize: str) -> None:
    """The batches of an epoch are the same rows when two halves make one: one batch per epoch shows it."""
    options: dict[str, Any] = {
        "train__normalize": normalize,
        "train__max_steps": 4,
        "train__validate_every": 1,
        **WELL_CONDITIONED,
    }
    whole = trained(tmp_path, "whole", **options, train__batch_size=100)
    parts = trained(tmp_path, "parts", **options, train__batch_size=25, train__accumulate=4)
    assert_close(whole["weights"], parts["weights"])


def _port() -> int:
    """A port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("normalize", ["tokens", "rows"])
def test_two_processes_equal_one(tmp_path: Path, normalize: str) -> None:
    """torchrun with two processes on the CPU: the weights after one and after four updates."""
    options: dict[str, Any] = {
        "train__normalize": normalize,
        "train__validate_every": 1,
        "train__batch_size": 15,
        "train__unknown": 0.1,
        **WELL_CONDITIONED,
    }
    port = _port()
    for steps in (1, 4):
        item = trained(tmp_path, f"one{steps}", **options, train__max_steps=steps)
        config = tiny_config(tmp_path, **options, train__max_steps=steps)
        (tmp_path / "c.yaml").write_text(config.to_yaml())
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
        command += ["-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / f"two{steps}")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        assert_close(item["weights"], checkpoint.load(tmp_path / f"two{steps}")[0]["learner"]["weights"])


def test_a_saved_model_predicts_the_same_in_a_fresh_process_without_its_data(tmp_path: Path) -> None:
    from antiphon import load

    trained(tmp_path, "m", train__max_steps=40, train__validate_every=20)
    texts = ["shoe", "cheet", "moon", "", "zzz<unk></s>"]
    expected = [item.text for item in load(tmp_path / "m").predict(texts)]
    for file in ("train.tsv", "valid.tsv"):
        (tmp_path / file).unlink()
    (tmp_path / "m").rename(tmp_path / "moved")
    command = [sys.executable, "-m", "antiphon", "predict", str(tmp_path / "moved")]
    done = subprocess.run(
        command, input="".join(f"{text}\n" for text in texts), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == expected
    assert expected[3] == ""
    assert len(set(expected)) > 2


def test_bfloat16_trains_and_the_saved_model_is_float32(tmp_path: Path) -> None:
    """Lower precision moves the loss as float32 does, within what rounding explains."""
    options: dict[str, Any] = {"train__max_steps": 40, "train__validate_every": 20}
    half = trained(tmp_path, "half", **options, train__precision="bfloat16")
    full = trained(tmp_path, "full", **options)
    assert half["history"][-1]["loss"] == pytest.approx(full["history"][-1]["loss"], rel=0.01)
    assert half["history"][-1]["loss"] < half["history"][0]["loss"] - 0.1, "it must learn, or equality means nothing"
    assert {value.dtype for value in load_file(tmp_path / "half" / bundle.WEIGHTS).values()} == {torch.float32}
    assert not half["weights"]["head.weight"].equal(full["weights"]["head.weight"])


def test_batches_by_tokens_train_every_update_of_the_ceiling(tmp_path: Path) -> None:
    """Epochs cut by tokens differ in their number of updates; the ceiling holds all the same."""
    state = trained(
        tmp_path, "m", train__batch_tokens=150, train__max_steps=None, train__epochs=2, train__validate_every=3
    )
    assert state["step"] == state["history"][-1]["step"]
    assert state["step"] >= 8


def test_tensorboard_events_are_written_where_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(tmp_path, "m", train__tensorboard=True)
    assert list((tmp_path / "m" / "training" / "tensorboard").glob("events*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_asked_to_stop_goes_on_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    """Between validations: saved, status 130, one line; resumed, it ends with the same weights and losses."""
    options: dict[str, Any] = {
        "model__dropout": 0.3,
        "train__unknown": 0.1,
        "train__max_steps": 600,
        "train__validate_every": 300,
    }
    whole = trained(tmp_path, "whole", threads=1, **options)
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path, **options).to_yaml())
    command = [sys.executable, "-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m")]
    command += ["--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("update 1/")):
            lines.append(process.stderr.readline())
            assert lines[-1], "it ended before it began"
        process.send_signal(number)
        last = process.stderr.read().strip().splitlines()[-1]
    assert process.returncode == 130
    assert last.startswith("stopped at update ")
    assert last.endswith("--resume (resume=True) goes on")
    stopped = checkpoint.load(tmp_path / "m")[0]["progress"]["step"]
    assert 0 < stopped < 600
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    state, _ = checkpoint.load(tmp_path / "m")
    assert_equal(whole["weights"], state["learner"]["weights"])
    for left, right in zip(whole["history"], state["progress"]["history"], strict=True):
        assert left["loss"] == right["loss"]
        assert left["train_loss"] == right["train_loss"]


def test_a_rate_no_rollback_can_mend_ends_the_training_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"tried 3 times, does not help; set a lower train\.learning_rate"):
        trained(tmp_path, "m", train__learning_rate=1e30, train__clip=None, train__max_steps=40)
    assert not (tmp_path / "m" / bundle.WEIGHTS).exists()
    state, _ = checkpoint.load(tmp_path / "m")
    assert all(value.isfinite().all() for value in state["learner"]["weights"].values()), "no failed update is kept"
    assert state["progress"]["rate"] == 0.125


def test_a_bad_row_leaves_the_model_that_was_to_be_overwritten(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    train(config, tmp_path / "m")
    (tmp_path / "train.tsv").write_text("only\n")
    with pytest.raises(DataError, match=r"train\.tsv:1: "):
        train(config, tmp_path / "m", overwrite=True)
    assert load_file(tmp_path / "m" / bundle.WEIGHTS)


def test_several_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train__max_steps": 4000, "train__validate_every": 2000, **WELL_CONDITIONED}
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path, **options).to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(_port())]
    command += ["-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("update 1/"):
            assert line, "it ended before it began"
        process.send_signal(signal.SIGTERM)  # torchrun passes it on
        messages = process.stderr.read()
    assert "stopped at update " in messages
    stopped = checkpoint.load(tmp_path / "m")[0]["progress"]["step"]
    assert 0 < stopped < 2000
    tiny = {**options, "train__max_steps": stopped + 2}
    state = trained(tmp_path, "m", resume=True, threads=1, **tiny)
    assert len(state["history"]) == 1


def test_a_training_cut_short_before_its_first_validation_is_validated(tmp_path: Path) -> None:
    """Stopped after update 5, and gone on with a ceiling of 5."""
    options: dict[str, Any] = {"train__validate_every": 100, "train__max_steps": 5, "train__save_every": 5}
    whole = trained(tmp_path, "whole", **options)
    state, _ = checkpoint.load(tmp_path / "whole")
    state["progress"] |= {"history": [], "validated": -1, "tokens": 100, "loss": 300.0}
    for path in checkpoint.states(tmp_path / "whole"):
        path.unlink()
    checkpoint.save(tmp_path / "whole", 5, state, keep=1)
    again = trained(tmp_path, "whole", resume=True, **options)
    assert [entry["loss"] for entry in again["history"]] == [entry["loss"] for entry in whole["history"]]
