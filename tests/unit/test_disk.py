"""Disks that are full, that cannot be written, that lie: the message, and the last good state as it was."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tasks import tiny_config

from antiphon import load
from antiphon.errors import ModelFolderError, TrainingError
from antiphon.files import PARTIAL, write_text
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.loop import train


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system in memory, mounted at a folder."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=1m"):
        yield disk


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fill(path: Path) -> None:
    """Write to `path` until nothing more fits."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_ends_the_training_and_leaves_the_last_state(small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "m"
    train(tiny_config(tmp_path), out, threads=1)
    weights, states = (out / bundle.WEIGHTS).read_bytes(), checkpoint.states(out)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(ModelFolderError, match="cannot be written: No space left on device"):
        train(tiny_config(tmp_path, train__max_steps=16), out, resume=True, threads=1)
    assert checkpoint.states(out) == states
    assert (out / bundle.WEIGHTS).read_bytes() == weights
    assert not list(out.rglob(f".*{PARTIAL}"))
    assert load(out).predict(["shoe"])
    filler.unlink()
    train(tiny_config(tmp_path, train__max_steps=16), out, resume=True, threads=1)
    assert checkpoint.load(out)[0]["progress"]["step"] == 16


def test_a_file_that_cannot_grow_is_an_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    """The same by a limit on the size of files, which needs no mounting."""
    path = tmp_path / "file"
    write_text(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ModelFolderError, match=r"file: cannot be written: File too large"):
            write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_does_not_read_back_as_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    class Lying:
        def digest(self) -> bytes:
            return b"other"

    monkeypatch.setattr("antiphon.files.hashlib.file_digest", lambda *arguments: Lying())
    with pytest.raises(ModelFolderError, match="does not read back as it was written"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    with read_only(locked) as reason, pytest.raises(ModelFolderError) as caught:
        train(tiny_config(tmp_path), locked / "m", threads=1)
    assert str(caught.value) == f"{locked / 'm'}: cannot be made: {reason}"


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """A folder in which nothing can be made, and why; an administrator may write in all but a mounted one."""
    if os.getuid():
        folder.chmod(0o500)
        yield "Permission denied"
        return
    with mounted(folder, "ro"):
        yield "Read-only file system"


def damaged(folder: Path, change: Any) -> None:
    newest = checkpoint.states(folder)[0]
    newest.write_bytes(change(newest.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [lambda b: b[:-500] + bytes([b[-500] ^ 1]) + b[-499:], lambda b: b[: len(b) // 2], lambda b: b""],
    ids=["a flipped bit", "a torn file", "an empty file"],
)
def test_a_damaged_state_is_named_and_the_one_before_is_taken(
    tmp_path: Path, change: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(tiny_config(tmp_path, train__max_steps=16), tmp_path / "whole", threads=1)
    out = train(tiny_config(tmp_path), tmp_path / "m", threads=1)
    newest = checkpoint.states(out)[0]
    damaged(out, change)
    train(tiny_config(tmp_path, train__max_steps=16), out, resume=True, threads=1)
    assert f"{newest}: is damaged" in caplog.text
    assert "going on from update 4" in caplog.text
    assert (out / bundle.WEIGHTS).read_bytes() == (whole / bundle.WEIGHTS).read_bytes()


def test_when_all_states_are_damaged_each_is_named(tmp_path: Path) -> None:
    out = train(tiny_config(tmp_path), tmp_path / "m", threads=1)
    before = contents(out)
    for state in checkpoint.states(out):
        state.write_bytes(b"x")
    with pytest.raises(TrainingError) as caught:
        train(tiny_config(tmp_path), out, resume=True, threads=1)
    assert str(caught.value).count("is damaged") == 2
    assert {name for name, content in contents(out).items() if before[name] != content} == {
        str(state.relative_to(out)) for state in checkpoint.states(out)
    }


def test_the_last_states_are_kept_and_no_more(tmp_path: Path) -> None:
    out = train(
        tiny_config(tmp_path, train__keep=3, train__max_steps=12, train__save_every=1), tmp_path / "m", threads=1
    )
    assert [state.stem for state in checkpoint.states(out)] == [f"step-{step:09}" for step in (12, 11, 10)]


def test_states_are_saved_by_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[int, bool]] = []
    honest = checkpoint.save

    def save(folder: Path, step: int, state: Any, keep: int, planned: bool) -> None:
        honest(folder, step, state, keep, planned)
        saved.append((step, planned))

    monkeypatch.setattr(checkpoint, "save", save)
    options = {"train__save_minutes": 1e-9, "train__max_steps": 6, "train__validate_every": 3}
    out = train(tiny_config(tmp_path, **options), tmp_path / "m", threads=1)
    assert saved == [(0, True), (1, False), (2, False), (3, True), (4, False), (5, False), (6, True)]
    assert [state.stem for state in checkpoint.states(out)] == ["step-000000006", "step-000000003"]


def test_a_pause_is_gone_on_from_and_not_gone_back_to(tmp_path: Path) -> None:
    for step, planned in ((4, True), (8, True), (9, False), (10, False)):
        checkpoint.save(tmp_path, step, {"step": step}, keep=2, planned=planned)
    assert [state.stem for state in checkpoint.states(tmp_path)] == [
        "pause-000000010",
        "step-000000008",
        "step-000000004",
    ]
    assert [checkpoint.load(tmp_path, back)[0]["step"] for back in (None, 0, 1, 2)] == [10, 8, 4, 4]


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    out = train(tiny_config(tmp_path), tmp_path / "m", threads=1)
    shutil.rmtree(out / bundle.TRAINING)
    (out / bundle.CONFIG).unlink()
    with pytest.raises(TrainingError, match="has no training to resume"):
        train(tiny_config(tmp_path), out, resume=True, threads=1)


def test_replacing_a_model_leaves_a_folder_alone_that_holds_more(tmp_path: Path) -> None:
    out = train(tiny_config(tmp_path), tmp_path / "m", threads=1)
    (out / "notes.txt").write_text("precious")
    before = contents(out)
    with pytest.raises(ModelFolderError, match=r"m: holds 'notes\.txt', which is not part of a model"):
        train(tiny_config(tmp_path), out, overwrite=True, threads=1)
    assert contents(out) == before
    (out / "notes.txt").unlink()
    train(tiny_config(tmp_path), out, overwrite=True, threads=1)


def test_a_foreign_folder_with_a_config_is_neither_replaced_nor_gone_on_with(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "config.yaml").write_text("server: {port: 80}\n")
    before = contents(app)
    ways: list[dict[str, Any]] = [{"overwrite": True}, {"resume": True}]
    for how in ways:
        with pytest.raises(ModelFolderError, match=r"config\.yaml"):
            train(tiny_config(tmp_path), app, threads=1, **how)
        assert contents(app) == before


def test_a_finished_model_without_its_states_is_not_trained_anew(tmp_path: Path) -> None:
    out = train(tiny_config(tmp_path), tmp_path / "m", threads=1)
    shutil.rmtree(out / bundle.TRAINING)
    before = contents(out)
    with pytest.raises(TrainingError, match="has no training to resume"):
        train(tiny_config(tmp_path), out, resume=True, threads=1)
    assert contents(out) == before


def test_what_a_killed_beginning_leaves_is_no_obstacle(tmp_path: Path) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / f".config.yaml.12345678{PARTIAL}").write_text("for")
    train(tiny_config(tmp_path), out, threads=1)
    assert load(out).predict(["shoe"])
    assert not list(out.glob(f".*{PARTIAL}"))


def test_files_are_as_open_as_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
