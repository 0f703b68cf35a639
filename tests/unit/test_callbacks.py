"""Callbacks of a training: what they see, how they stop it, and what services get from it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tasks import tiny_config

import antiphon
from antiphon import Callback, Run, track
from antiphon.errors import TrainingError
from antiphon.training import checkpoint
from antiphon.training.loop import train

STEADY: dict[str, Any] = {"train__schedule": "constant", "model__dropout": 0.2, "train__unknown": 0.1}


class Recorder(Callback):
    """Notes every call; stops at an update or a validation."""

    def __init__(self, stop_at: int | None = None, stop_in: str = "update") -> None:
        self.calls: list[tuple[str, Run]] = []
        self.stop_at, self.stop_in = stop_at, stop_in

    def _noted(self, name: str, run: Run) -> bool:
        self.calls.append((name, run))
        return run.updates == self.stop_at and name == self.stop_in

    def begin(self, run: Run) -> None:
        self._noted("begin", run)

    def update(self, run: Run) -> bool:
        return self._noted("update", run)

    def validation(self, run: Run) -> bool:
        return self._noted("validation", run)

    def end(self, run: Run) -> None:
        self._noted("end", run)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(folder)[0]["learner"]["weights"])


def same_weights(one: Path, other: Path) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(value.equal(right[name]) for name, value in left.items())


def test_callbacks_see_every_update_and_validation_and_change_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, **STEADY)
    recorder = Recorder()
    out = train(config, tmp_path / "watched", threads=1, callbacks=[recorder])
    train(config, tmp_path / "alone", threads=1)
    assert same_weights(out, tmp_path / "alone")
    updates = [("update", step) for step in range(1, 9)]
    expected = [("begin", 0), *updates[:4], ("validation", 4), *updates[4:], ("validation", 8), ("end", 8)]
    assert [(name, run.updates) for name, run in recorder.calls] == expected
    by_name = dict(recorder.calls)
    assert by_name["end"].history == tuple(checkpoint.load(out)[0]["progress"]["history"])
    assert by_name["validation"].validation == by_name["end"].history[-1]
    assert by_name["validation"].loss == by_name["end"].history[-1]["train_loss"]
    assert {run.total for _, run in recorder.calls} == {8}
    assert {run.folder for _, run in recorder.calls} == {out}
    assert by_name["update"].learning_rate == pytest.approx(0.005)
    assert recorder.calls[0][1].loss is None
    losses = [run.loss for name, run in recorder.calls if name == "update"]
    assert all(isinstance(loss, float) for loss in losses)


@pytest.mark.parametrize(("stop_at", "stop_in"), [(3, "update"), (4, "update"), (4, "validation")])
def test_a_training_that_a_callback_stops_is_one_with_fewer_updates(tmp_path: Path, stop_at: int, stop_in: str) -> None:
    recorder = Recorder(stop_at, stop_in)
    stopped = train(tiny_config(tmp_path, **STEADY), tmp_path / "stopped", threads=1, callbacks=[recorder])
    shorter = train(tiny_config(tmp_path, **STEADY, train__max_steps=stop_at), tmp_path / "shorter", threads=1)
    assert same_weights(stopped, shorter)
    left, right = (load_file(folder / "weights.safetensors") for folder in (stopped, shorter))
    assert all(value.equal(right[name]) for name, value in left.items())
    assert (stopped / "README.md").is_file()
    assert recorder.calls[-1][0] == "end"
    assert recorder.calls[-1][1].updates == stop_at


def test_any_object_with_a_method_is_a_callback_and_all_are_called(tmp_path: Path) -> None:
    class Stops:
        def validation(self, run: Run) -> bool:
            return True

    recorder = Recorder()
    train(tiny_config(tmp_path), tmp_path / "m", callbacks=[Stops(), recorder])
    assert [name for name, _ in recorder.calls].count("validation") == 1
    for wrong, reason in ((object(), "has none of begin, update, progress, validation, end"), (Stops, "is a class")):
        with pytest.raises(TrainingError, match=f"callbacks: .* {reason}"):
            train(tiny_config(tmp_path), tmp_path / "n", callbacks=[wrong])
    assert not (tmp_path / "n").exists()


class Fails(Callback):
    def __init__(self, name: str, at: int) -> None:
        self.name, self.at = name, at

    def update(self, run: Run) -> None:
        self._fail("update", run)

    def validation(self, run: Run) -> None:
        self._fail("validation", run)

    def _fail(self, name: str, run: Run) -> None:
        if name == self.name and run.updates == self.at:
            raise ValueError("no room on the shelf")


@pytest.mark.parametrize(("name", "at"), [("update", 3), ("update", 4), ("validation", 4)])
def test_an_exception_is_raised_after_the_state_is_saved(tmp_path: Path, name: str, at: int) -> None:
    """Resumed, the training ends as one that was not stopped."""
    config = tiny_config(tmp_path, **STEADY)
    with pytest.raises(ValueError, match="no room on the shelf"):
        train(config, tmp_path / "failed", threads=1, callbacks=[Fails(name, at)])
    assert checkpoint.load(tmp_path / "failed")[0]["progress"]["step"] == at
    train(config, tmp_path / "failed", resume=True, threads=1)
    whole = train(config, tmp_path / "whole", threads=1)
    assert same_weights(tmp_path / "failed", whole)
    losses = [[entry["loss"] for entry in checkpoint.load(tmp_path / name)[0]["progress"]["history"]]
              for name in ("failed", "whole")]  # fmt: skip
    assert losses[0] == losses[1]


def test_without_callbacks_no_loss_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback whose class has no `update` of its own costs nothing at an update either."""
    reads: list[str] = []

    class Validated(Callback):
        def validation(self, run: Run) -> None:
            reads.append("validation")

    from antiphon.training import loop

    def counted(*arguments: Any) -> Run:
        reads.append("run")
        return Run(*arguments)

    monkeypatch.setattr(loop, "Run", counted)
    train(tiny_config(tmp_path), tmp_path / "m")
    assert reads == []
    train(tiny_config(tmp_path), tmp_path / "n", callbacks=[Validated()])
    assert reads == ["run", "validation"] * 2


SCRIPT = """
import sys
import antiphon

class Stops:
    def update(self, run):
        if run.updates == 3 and sys.argv[1] == "fail":
            raise ValueError("no room on the shelf")
        return run.updates == 3

antiphon.train(sys.argv[2], out=sys.argv[3], device="cpu", callbacks=[Stops()])
"""


@pytest.mark.parametrize("way", ["stop", "fail"])
def test_all_processes_stop_with_the_callback_of_the_first(tmp_path: Path, way: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path, train__max_steps=2000).to_yaml(), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    command += [str(tmp_path / name) for name in ("script.py",)] + [way, str(tmp_path / "c.yaml"), str(tmp_path / "m")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert checkpoint.load(tmp_path / "m")[0]["progress"]["step"] == 3, done.stderr
    if way == "stop":
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "m" / "README.md").is_file()
    else:
        assert done.returncode != 0
        assert "no room on the shelf" in done.stderr


# --- services ------------------------------------------------------------------------------------------


class Service(ModuleType):
    """A module that records the calls of its functions, and of what they return."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Service:
            self.calls.append((name, arguments, named))
            return self

        return call


def test_weights_and_biases_gets_configuration_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Service("wandb")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    recorder = Recorder()
    train(tiny_config(tmp_path), tmp_path / "m", callbacks=[track.WandB(project="sounds"), recorder])
    assert [name for name, _, _ in wandb.calls] == ["init", "log", "log", "finish"]
    assert wandb.calls[0][2]["project"] == "sounds"
    assert wandb.calls[0][2]["config"]["train"]["batch_size"] == 16
    for (_, (figures,), named), entry in zip(wandb.calls[1:3], recorder.calls[-1][1].history, strict=True):
        assert named == {"step": entry["step"]}
        assert figures["loss"] == entry["loss"]
        assert "cells" not in figures


def test_mlflow_gets_configuration_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Service("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    train(tiny_config(tmp_path), tmp_path / "m", callbacks=[antiphon.track.MLflow(run_name="sounds")])
    assert [name for name, _, _ in mlflow.calls] == ["start_run", "log_params", "log_metrics", "log_metrics", "end_run"]
    assert mlflow.calls[0][2] == {"run_name": "sounds"}
    assert mlflow.calls[1][1][0]["train.batch_size"] == 16
    assert [named["step"] for name, _, named in mlflow.calls if name == "log_metrics"] == [4, 8]


@pytest.mark.parametrize(("callback", "name"), [(track.WandB, "wandb"), (track.MLflow, "mlflow")])
def test_a_missing_service_is_a_plain_error(monkeypatch: pytest.MonkeyPatch, callback: Any, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=f"antiphon.track needs {name}: pip install {name}"):
        callback()
