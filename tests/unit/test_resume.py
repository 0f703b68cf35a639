"""A job that torchrun starts again goes on with its own training, and with nobody else's."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import KILLED, in_ranks
from tasks import tiny_config
from torch import Tensor

from antiphon.config.load import read_config_file
from antiphon.errors import TrainingError
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint, loop
from antiphon.training.loop import train
from antiphon.training.resume import JOB

OPTIONS: dict[str, Any] = {"model__dropout": 0.3, "train__unknown": 0.1, "train__ema": 0.9}


class StopAt:
    """A callback that ends the training with an error after an update, as a lost process would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, run: Any) -> None:
        if run.updates == self.step:
            raise ConnectionError("lost")


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint.load(folder)[0]["learner"]["weights"]
    return state


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_job_goes_on_with_its_own_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, overwrite: bool
) -> None:
    config, out = tiny_config(tmp_path, **OPTIONS), tmp_path / "m"
    train(config, tmp_path / "whole", threads=1)
    if overwrite:  # the same command after the restart must not remove what the job has trained
        train(tiny_config(tmp_path, **OPTIONS, train__max_steps=2), out, threads=1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job 7")
    with pytest.raises(ConnectionError):
        train(config, out, overwrite=overwrite, threads=1, callbacks=[StopAt(5)])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    caplog.clear()
    train(config, out, overwrite=overwrite, threads=1)
    assert "this job was interrupted (restart 1): it goes on from update 5 with one process" in caplog.text
    first, second = weights(tmp_path / "whole"), weights(out)
    assert all(first[name].equal(second[name]) for name in first)


def test_the_training_of_another_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    train(config, tmp_path / "m", threads=1)
    for job, restarted in (("other", "1"), ("", "0")):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarted)
        with pytest.raises(TrainingError, match="exists"):
            train(config, tmp_path / "m", threads=1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    with pytest.raises(TrainingError, match=r"train\.learning_rate: was"):
        train(tiny_config(tmp_path, train__learning_rate=0.1), tmp_path / "m", threads=1)


def test_a_job_without_a_name_is_known_by_its_torchrun_and_only_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Static rendezvous names every job "none"."""
    config = tiny_config(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "m", threads=1, callbacks=[StopAt(5)])
    with pytest.raises(TrainingError, match="exists"):
        train(config, tmp_path / "m", threads=1)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(config, tmp_path / "m", threads=1)
    (tmp_path / "m" / bundle.TRAINING / JOB).write_text("another machine 12345")
    with pytest.raises(TrainingError, match="exists"):
        train(config, tmp_path / "m", threads=1)


def test_a_training_resumed_by_hand_is_no_longer_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    with pytest.raises(ConnectionError):
        train(config, tmp_path / "m", threads=1, callbacks=[StopAt(5)])
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    train(config, tmp_path / "m", resume=True, threads=1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    with pytest.raises(TrainingError, match="exists"):
        train(config, tmp_path / "m", threads=1)


def test_a_job_that_ended_before_its_first_state_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    train(config, tmp_path / "m", threads=1)
    expected = weights(tmp_path / "m")
    for path in checkpoint.states(tmp_path / "m"):
        path.unlink()
    for name in (bundle.WEIGHTS, bundle.CONFIG):
        (tmp_path / "m" / name).unlink()
        train(config, tmp_path / "m", threads=1)
        again = weights(tmp_path / "m")
        assert all(expected[name].equal(again[name]) for name in expected)
        for path in checkpoint.states(tmp_path / "m"):
            path.unlink()


def train_on_a_machine(config: Path, out: Path, restarts: int, stop: int | None, kill: int | None) -> str:
    """Train, each process in a folder of its own, as on machines that share no disk; how it ends."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": str(restarts)}
    machine = out / f"machine {os.environ['RANK']}"
    machine.mkdir(exist_ok=True, parents=True)
    os.chdir(machine)
    changed: Any = loop
    honest = changed.apply

    def apply(learner: Any, update: Any, *rest: Any) -> Any:
        if update.step == kill and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(learner, update, *rest)

    changed.apply = apply
    try:
        train(read_config_file(config), Path("m"), device="cpu", threads=1, callbacks=[StopAt(stop)] if stop else [])
    except (TrainingError, ConnectionError) as error:
        return str(error)
    except SystemExit:
        return "ended"
    return "done"


def test_machines_without_a_common_disk_go_on_with_more_or_fewer(tmp_path: Path) -> None:
    """Two processes are stopped, three go on, and one ends the training: as if one had trained alone."""
    config = tiny_config(tmp_path, train__optimizer={"kind": "adamw", "eps": 1e-3}, train__max_steps=12)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    train(config, tmp_path / "whole", threads=1)
    for number, (world, stop) in enumerate([(2, 5), (3, 9), (1, None)]):
        ends = in_ranks(world, train_on_a_machine, tmp_path / "c.yaml", tmp_path, number, stop, None)
        assert ends[0] == ("done" if stop is None else "lost")
    assert not (tmp_path / "machine 1" / "m").exists(), "the first process alone writes"
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "machine 0" / "m")
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-5, rtol=1e-5)


def test_processes_of_which_one_is_killed_go_on_bit_for_bit(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, **OPTIONS, train__save_every=2)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    in_ranks(2, train_on_a_machine, tmp_path / "c.yaml", tmp_path / "whole", 0, None, None)
    ends = in_ranks(2, train_on_a_machine, tmp_path / "c.yaml", tmp_path / "killed", 0, None, 7)
    assert ends[0].startswith("the connection to another process is lost (")
    assert "goes on by itself" in ends[0]
    assert ends[1] == KILLED
    assert in_ranks(2, train_on_a_machine, tmp_path / "c.yaml", tmp_path / "killed", 1, None, None) == ["done"] * 2
    whole, again = (tmp_path / name / "machine 0" / "m" / bundle.WEIGHTS for name in ("whole", "killed"))
    assert whole.read_bytes() == again.read_bytes()


def test_machines_with_other_rows_or_another_command_are_refused(tmp_path: Path) -> None:
    """Each machine has its own copy of the table, and one of them is older."""
    config = tiny_config(tmp_path)
    for rank in range(2):
        machine = tmp_path / f"machine {rank}"
        machine.mkdir()
        text = (tmp_path / "train.tsv").read_text()
        (machine / "train.tsv").write_text(text if rank == 0 else text[text.index("\n") + 1 :])
        (machine / "valid.tsv").write_text((tmp_path / "valid.tsv").read_text())
        (machine / "c.yaml").write_text(config.to_yaml().replace(f"{tmp_path}/", ""))
    ends = in_ranks(2, train_on_a_machine, Path("c.yaml"), tmp_path, 0, None, None)
    assert ends[0] == "ended"
    assert "process 1 of 2 has other settings or rows than the first: the training rows: was 100 with" in ends[1]
    assert "give all machines the same files" in ends[1]
