"""Whole trainings under torchrun: workers and machines are lost, links are slow, and the model is the same.

Each takes a minute or more, most of it for starting processes. `benchmarks/elastic.py` kills more often.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from nodes import available, kill, lossy, torchrun, workers
from ranks import free_port
from tasks import tiny_config
from torch import Tensor

from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.loop import train

OPTIONS: dict[str, Any] = {"train__max_steps": 3000, "train__validate_every": 1000, "train__epochs": 10_000}
SECONDS = 300

pytestmark = pytest.mark.slow


def progress(out: Path) -> int:
    """The update of the newest saved state; -1 if there is none."""
    return max((int(path.stem.partition("-")[2]) for path in checkpoint.states(out)), default=-1)


def wait_beyond(out: Path, step: int, launcher: Any) -> None:
    """Wait until a training has saved a state later than `step`, or has ended."""
    ends = time.monotonic() + SECONDS
    while progress(out) <= step and launcher.poll() is None:
        assert time.monotonic() < ends, "it does not go on"
        time.sleep(0.02)


def weights(out: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint.load(out)[0]["learner"]["weights"]
    return state


def test_killed_workers_are_replaced_and_the_model_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    options = {**OPTIONS, "model__dropout": 0.3, "train__save_every": 20, "train__max_steps": 600}
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path, **options).to_yaml())
    command = ["train", str(tmp_path / "c.yaml"), "--threads", "1", "--out"]
    chance = random.Random(time.time_ns())
    for name, kills in (("whole", 0), ("killed", 2)):
        out, log = tmp_path / name, tmp_path / f"{name}.log"
        arguments = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "5"]
        launcher = torchrun(arguments, [*command, str(out)], log)
        for _ in range(kills):
            wait_beyond(out, progress(out), launcher)
            time.sleep(chance.uniform(0, 0.3))
            kill(chance.choice(workers(launcher)))
        assert launcher.wait(SECONDS) == 0, log.read_text()[-3000:]
        assert log.read_text().count("this job was interrupted") == kills
    whole, killed = (tmp_path / name / bundle.WEIGHTS for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_a_lost_machine_is_left_out(tmp_path: Path) -> None:
    options = {**OPTIONS, "train__save_every": 50, "train__optimizer": {"kind": "adamw", "eps": 1e-3}}
    options |= {"train__max_steps": 400, "train__validate_every": 200}
    config = tiny_config(tmp_path, **options)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    out, port = tmp_path / "m", free_port()
    arguments = ["--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"]
    arguments += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "a-job", "--rdzv-conf", "last_call_timeout=3"]
    command = ["train", str(tmp_path / "c.yaml"), "--out", str(out), "--threads", "1"]
    logs = [tmp_path / f"{n}.log" for n in range(2)]
    launchers = [torchrun(arguments, command, logs[0])]
    time.sleep(2)
    launchers.append(torchrun(arguments, command, logs[1]))
    wait_beyond(out, 0, launchers[0])
    lost = workers(launchers[1])
    kill(launchers[1].pid)  # the machine: torchrun and its worker
    for number in lost:
        kill(number)
    launchers[1].wait()
    assert launchers[0].wait(SECONDS) == 0, logs[0].read_text()[-3000:]
    text = logs[0].read_text()
    assert "the connection to another process is lost" in text
    (went_on,) = re.findall("it goes on from update ([0-9]+) with one process", text)
    assert int(went_on) < 200
    train(config, tmp_path / "alone", threads=1)
    alone, elastic = (checkpoint.load(tmp_path / name)[0]["progress"]["history"] for name in ("alone", "m"))
    # rounding differs with the number of processes: by 1e-7 of the loss at update 200, which grows to 0.1 at 400
    assert elastic[0]["loss"] == pytest.approx(alone[0]["loss"], rel=1e-5)


@pytest.mark.skipif(not available(), reason="needs root and network namespaces")
def test_a_link_with_delay_and_loss_gives_the_same_model(tmp_path: Path) -> None:
    """20 ms in each direction, and one packet of a hundred is lost."""
    options: dict[str, Any] = {"train__max_steps": 20, "train__validate_every": 10}
    config = tiny_config(tmp_path, **options, train__optimizer={"kind": "adamw", "eps": 1e-3})
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    train(config, tmp_path / "alone", threads=1)
    with lossy(0.02, 0.01) as nodes:
        command = ["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m"), "--threads", "1"]
        arguments = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
        arguments += ["--rdzv-endpoint", f"{nodes[0].address}:29400", "--rdzv-id", "lossy"]
        logs = [tmp_path / f"{n}.log" for n in range(2)]
        launchers = [
            torchrun([*arguments, "--rdzv-conf", f"is_host={number == 0}"], command, logs[number], node)
            for number, node in enumerate(nodes)
        ]
        for launcher, log in zip(launchers, logs, strict=True):
            assert launcher.wait(SECONDS) == 0, log.read_text()[-3000:]
    alone, linked = (weights(tmp_path / name) for name in ("alone", "m"))
    for name in alone:
        torch.testing.assert_close(alone[name], linked[name], atol=1e-5, rtol=1e-5)
