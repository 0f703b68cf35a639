"""Prediction over Ray Data: every row once and in order, also after workers were killed. Starting Ray takes a while."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from untrained import rows_of, untrained

pytest.importorskip("ray.data", reason="needs the extra: pip install 'antiphon[ray]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import ray.cloudpickle

from antiphon.errors import AntiphonError
from antiphon.shards import cluster, run
from antiphon.shards.finished import MANIFEST
from antiphon.shards.run import Wish
from antiphon.use.serving import blocks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROWS = 4096 * 3 + 100
Worker: Any = blocks().Worker


class Mortal(Worker):  # type: ignore[misc]
    """A worker that dies three times: while it predicts the first, third and fourth block of a file."""

    def __init__(self, files: Any, form: Any, folder: str) -> None:
        super().__init__(files, form)
        self.folder = folder

    def written(self, block: Any) -> Any:
        written = super().written(block)
        mark = Path(self.folder) / f"killed-{block.first}"
        if block.file.endswith("a.txt") and block.first != 4096 and not mark.exists():
            mark.write_text(" ".join({"torch", "antiphon"} & sys.modules.keys()))
            os._exit(1)
        return written


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speller")
    tree = {"source": {"column": "x"}, "target": {"column": "y"}, "decode": {"beam": 1, "max_length": 6}}
    untrained(folder, tree, rows_of(x=["ab ba", "a", "bab", "b  c"], y=["x y", "y", "x", "z y x"]), scale=1.5)
    return folder / "model"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, chance = tmp_path_factory.mktemp("inputs"), random.Random(3)
    for name, rows in (("a", ROWS), ("b", 50), ("c", 0), ("d", 4096)):
        lines = ("".join(chance.choices("abc ?", k=chance.randint(0, 6))) + "\n" for _ in range(rows))
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def plain(model: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `predict` writes for each file without Ray."""
    folder = tmp_path_factory.mktemp("plain")
    for file in inputs.iterdir():
        done = antiphon("predict", model, file, "--device", "cpu", "--out", folder / f"{file.stem}.tsv")
        assert done.returncode == 0, done.stderr
    return folder


def antiphon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "antiphon", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def same(plain: Path, out: Path) -> None:
    """Byte for byte, and nothing else in the folder."""
    assert sorted(path.name for path in out.iterdir()) == sorted([MANIFEST, *(p.name for p in plain.iterdir())])
    for path in plain.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_rows_are_neither_lost_nor_doubled_when_workers_die(
    model: Path, inputs: Path, plain: Path, tmp_path: Path
) -> None:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    mortal: Any = type(
        "MortalHere", (Mortal,), {"__init__": functools.partialmethod(Mortal.__init__, folder=str(tmp_path))}
    )
    summary = run.predict(model, [inputs], tmp_path / "out", "local", Wish(), 2, mortal)
    killed = {path.name: path.read_text() for path in tmp_path.glob("killed-*")}
    assert killed == dict.fromkeys(["killed-0", "killed-8192", "killed-12288"], "")  # neither torch nor antiphon there
    assert (summary.files, summary.rows, summary.errors) == (4, ROWS + 50 + 4096, [])
    same(plain, tmp_path / "out")


def test_a_killed_driver_leaves_no_half_file_and_its_finished_files_stay(
    model: Path, inputs: Path, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "antiphon",
        "predict",
        model,
        inputs,
        "--ray",
        "local",
        "--workers",
        "1",
        "--out",
        out,
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 900  # on a busy machine Ray takes minutes to start
    while not (out / "a.tsv").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert (out / "a.tsv").read_bytes() == (plain / "a.tsv").read_bytes()
    for path in out.glob("*.tsv"):
        assert path.read_bytes() == (plain / path.name).read_bytes()
    before = (out / "a.tsv").stat().st_mtime_ns
    done = antiphon(*map(str, command[3:]))
    assert done.returncode == 0, done.stderr
    same(plain, out)
    entries = (out / MANIFEST).read_text().count('"name": "a.tsv"')
    assert entries == 1 or (out / "a.tsv").stat().st_mtime_ns > before  # killed before it was noted


def test_rows_that_kill_every_worker_come_to_an_end(
    model: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poisoned(Worker):  # type: ignore[misc]
        def written(self, block: Any) -> Any:
            os._exit(1)

    monkeypatch.setattr(cluster, "RETRIES", 1)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.raises(AntiphonError, match=r"Ray has given up: .*start the same command again to go on"):
        run.predict(model, [inputs / "b.txt"], tmp_path / "out", "local", Wish(), 1, Poisoned)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MANIFEST]
