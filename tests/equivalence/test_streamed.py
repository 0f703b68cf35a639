"""A streamed training that is stopped, killed or divided among processes ends as the one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tasks import TINY, spoken, train_quietly, words, write_table

from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.errors import AntiphonError, DataError
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.loop import train

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["antiphon.training.loop", "tasks"])
ROOT = Path(__file__).parents[2]


def streamed(folder: Path, **settings: Any) -> Config:
    """A small streamed table: several windows an epoch, and several epochs."""
    shards = folder / "shards"
    if not shards.exists():
        shards.mkdir()
        for number, rows in enumerate((700, 650, 300)):
            pairs = [(word, spoken(word)) for word in words(rows, number, "shcteoamn")]
            write_table(shards / f"{number}.tsv", pairs)
    data = {"train": str(shards), "valid": 0.05, "shuffle": 600, "sample": 300}
    tree = {**json.loads(json.dumps(TINY)), "data": data}
    tree["train"] |= {"batch_size": 64, "max_steps": 60, "validate_every": 20, "save_every": 4}
    tree["model"]["dropout"] = 0.2
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    return parse_config(tree, folder)


def weights(folder: Path) -> bytes:
    return (folder / bundle.WEIGHTS).read_bytes()


class StopAt:
    """A callback that ends the training as the user does, at some update."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, run: Any) -> None:
        if run.updates == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_training_goes_on_at_the_very_row(tmp_path: Path) -> None:
    whole = weights(train(streamed(tmp_path, data__workers=0), tmp_path / "whole", threads=1))
    out = tmp_path / "stopped"
    for number, (step, workers) in enumerate([(7, 2), (33, 0), (None, 1)]):
        config = streamed(tmp_path, data__workers=workers)
        callbacks = [] if step is None else [StopAt(step)]
        try:
            train(config, out, resume=number > 0, threads=1, callbacks=callbacks)
        except KeyboardInterrupt:
            assert step is not None
    state, _ = checkpoint.load(out)
    assert state["progress"]["place"]["epoch"] >= 1
    assert weights(out) == whole


def test_a_shard_that_disappears_or_is_damaged_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    whole = weights(train(streamed(tmp_path, data__workers=0), tmp_path / "whole", threads=1))
    out, shard, kept = tmp_path / "out", tmp_path / "shards/1.tsv", tmp_path / "kept.tsv"
    shutil.copy(shard, kept)

    class Damage:
        def update(self, run: Any) -> None:
            if run.updates == 3:
                shard.unlink()

    with pytest.raises(DataError) as caught:
        train(streamed(tmp_path, data__workers=0), out, threads=1, callbacks=[Damage()])
    assert str(caught.value).startswith(f"{shard}: cannot be read: No such file or directory\n(the training is saved")
    shutil.copy(kept, shard)
    content = shard.read_text()
    state, _ = checkpoint.load(out)
    assert state["progress"]["step"] >= 3
    shard.write_text(f"{content}tee\tT IY\n")
    with pytest.raises(AntiphonError, match=r"shard 1\.tsv: was"):
        train(streamed(tmp_path, data__workers=0), out, resume=True, threads=1)
    shard.write_text(content)
    assert weights(train(streamed(tmp_path, data__workers=0), out, resume=True, threads=1)) == whole


def test_a_bad_row_ends_the_training_and_may_be_skipped_then(tmp_path: Path) -> None:
    config = streamed(tmp_path, data__workers=0)
    shard = tmp_path / "shards/0.tsv"
    with shard.open("a") as file:
        file.write("no target\n")
    with pytest.raises(DataError, match=r"0.tsv:701: column 1 is missing[^(]*\(the training is saved"):
        train(config, tmp_path / "out", threads=1)
    skipping = streamed(tmp_path, data__workers=0, data__on_error="skip")
    resumed = train(skipping, tmp_path / "out", resume=True, threads=1)
    assert weights(resumed) == weights(train(skipping, tmp_path / "whole", threads=1))


PROCESSES = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_streamed import streamed
from antiphon.training.loop import train
train(streamed(Path({folder!r}), **{settings!r}), Path({out!r}), device="cpu", threads=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3, 4])
def test_one_process_and_several_see_the_same_updates(world: int, tmp_path: Path) -> None:
    settings = {"model__dropout": 0.0, "train__max_steps": 40, "data__workers": 1}
    alone = load_file(train(streamed(tmp_path, **settings), tmp_path / "alone", threads=1) / bundle.WEIGHTS)
    paths = [str(ROOT), str(ROOT / "runtime"), str(ROOT / "tests"), str(ROOT / "tests/equivalence")]
    script = tmp_path / "script.py"
    out = str(tmp_path / "together")
    script.write_text(PROCESSES.format(paths=paths, folder=str(tmp_path), settings=settings, out=out))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(world),
        str(script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together = load_file(Path(out) / bundle.WEIGHTS)
    assert max(float((alone[name] - together[name]).abs().max()) for name in alone) < 1e-5


def killed_and_resumed(folder: Path, kills: int, seed: int) -> int:
    """Kill streamed trainings at random moments, with the processes that read for them left alone, until so many were
    killed; each then ends as one that was not. How many trainings it took."""
    config = streamed(folder, data__workers=2)
    path = folder / "c.yaml"
    path.write_text(config.to_yaml())
    whole = weights(train(config, folder / "whole", threads=1))
    chance, killed, trainings = random.Random(seed), 0, 0
    while killed < kills:
        out, status = folder / f"killed-{trainings}", None
        while status != 0:
            process = FORKSERVER.Process(target=train_quietly, args=(path, out, (out / bundle.CONFIG).exists()))
            process.start()
            if killed < kills:
                before = checkpoint.states(out)
                while process.is_alive() and checkpoint.states(out) == before and chance.random() > 0.001:
                    time.sleep(0.005)
                process.join(chance.uniform(0.0, 0.4))
                if process.is_alive():
                    process.kill()
            process.join()
            status = process.exitcode
            assert status in (0, -signal.SIGKILL)
            killed += status != 0
        trainings += 1
        assert weights(out) == whole
    return trainings


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 6, seed=time.time_ns())


if __name__ == "__main__":  # PYTHONPATH=tests python tests/equivalence/test_streamed.py KILLS
    with tempfile.TemporaryDirectory() as name:
        print(killed_and_resumed(Path(name), int(sys.argv[1]), time.time_ns()), "trainings, all equal bit for bit")
