"""A training that is watched: the same training, its events complete and in order, to this machine alone."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from structures import STRUCTURES
from tasks import tiny_config
from typer.testing import CliRunner

import antiphon
from antiphon import Callback, Run, api
from antiphon.cli.main import app
from antiphon.config.schema import Config
from antiphon.errors import AntiphonError, TrainingError
from antiphon.saved import folder as bundle
from antiphon.server.guard import HEADERS
from antiphon.training import checkpoint, loop
from antiphon.training import watching as module
from antiphon.training.loop import train
from antiphon.training.watching import BEHIND, HOST, Feed, finite, thinned, watching

Event = tuple[str, dict[str, Any]]
TIMES = {"minutes", "tokens_per_second"}


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is shown after every update."""
    monkeypatch.setattr(loop, "PROGRESS", 0.0)


# --- clients ------------------------------------------------------------------------------------------


def port_of(address: str) -> int:
    return int(address.rstrip("/").rpartition(":")[2])


def connected(address: str) -> socket.socket:
    """A client that has asked for the events."""
    client = socket.create_connection((HOST, port_of(address)))
    client.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return client


def killed(address: str) -> None:
    """A client that reads a little and is gone without a word."""
    client = connected(address)
    client.recv(100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def events_of(address: str) -> Iterator[Event]:
    """All events until the end."""
    connection = http.client.HTTPConnection(HOST, port_of(address), timeout=60)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    for text in answer.read().decode().split("\n\n"):
        lines = text.split("\n")
        if text and not text.startswith(":"):
            yield lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
    connection.close()


class Reader(threading.Thread):
    """A client that reads all events, in a thread."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self.events = address, list[Event]()
        self.start()

    def run(self) -> None:
        self.events.extend(events_of(self.address))


class Bother(Callback):
    """Kills a client after every second update."""

    def __init__(self, address: str) -> None:
        self.address = address

    def update(self, run: Run) -> None:
        if run.updates % 2:
            killed(self.address)


class Fails(Callback):
    def update(self, run: Run) -> None:
        if run.updates == 3:
            raise KeyboardInterrupt


# --- the training -------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Whether two saved values are equal bit for bit; times may differ."""
    if isinstance(left, torch.Tensor):
        return left.equal(right)
    if isinstance(left, dict):
        names = left.keys() - TIMES
        return names == right.keys() - TIMES and all(same(left[name], right[name]) for name in names)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def assert_same(one: Path, other: Path) -> None:
    """The same model, the same state of the training, the same measures."""
    assert (one / bundle.WEIGHTS).read_bytes() == (other / bundle.WEIGHTS).read_bytes()
    left, right = (checkpoint.load(folder)[0] for folder in (one, other))
    assert same(left["learner"], right["learner"])
    assert same(left["progress"]["history"], right["progress"]["history"])
    assert same(left["progress"]["best"], right["progress"]["best"])


@contextmanager
def bothered(out: Path) -> Iterator[list[Callback]]:
    """The callbacks of a training that is watched by a client that reads, some that are killed and one that is idle."""
    with watching(0, out) as watch:
        reader = Reader(watch.address)
        with connected(watch.address):
            yield [watch, Bother(watch.address)]
    reader.join()
    assert reader.events[-1][0] == "end"


def configured(name: str, folder: Path) -> Config:
    """A training of a structure with dropout, in twelve updates."""
    rows, sides, _ = STRUCTURES[name]
    (folder / "rows.tsv").write_text("".join(f"{line}\n" for line in rows(folder)), encoding="utf-8")
    tree = {"data": {"train": "rows.tsv", "valid": "rows.tsv"}, **sides}
    (folder / "c.yaml").write_text(json.dumps(tree))
    short = {"train.max_steps": 6, "train.validate_every": 2, "model.dropout": 0.3, "train.batch_size": 16}
    return api.read_config(folder / "c.yaml", short).config


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_watched_training_is_the_same_training(name: str, tmp_path: Path) -> None:
    config = configured(name, tmp_path)
    with bothered(tmp_path / "watched") as callbacks:
        train(config, tmp_path / "watched", threads=1, callbacks=callbacks)
    train(config, tmp_path / "alone", threads=1)
    assert_same(tmp_path / "watched", tmp_path / "alone")


VARIED: dict[str, dict[str, Any]] = {
    "moving average": {"train__ema": 0.9, "train__unknown": 0.1},
    "mean of validations": {"train__average": 2, "model__cell": {"kind": "lstm", "zoneout": 0.2}},
    "scheduled sampling": {"train__feeding": {"kind": "scheduled", "decay": "linear", "end": 0.3, "steps": 8}},
    "copying, feeding": {
        "model__copy": True,
        "target__tokens": "chars",
        "model__locked_dropout": True,
    },
    "sampled outputs": {"decode__beam": 1, "decode__sample": {"temperature": 1.5}},
}


@pytest.mark.parametrize("name", VARIED)
def test_a_watched_training_that_is_resumed_is_the_same_training(name: str, tmp_path: Path) -> None:
    """Stopped after the third update, once while it is watched, and resumed."""
    config = tiny_config(tmp_path, **{"model__dropout": 0.3, "train__validate_every": 2, **VARIED[name]})
    for resume in (False, True):
        stops = [] if resume else [Fails()]
        with suppress(KeyboardInterrupt), bothered(tmp_path / "watched") as callbacks:
            train(config, tmp_path / "watched", resume, threads=1, callbacks=[*callbacks, *stops])
    train(config, tmp_path / "alone", threads=1)
    assert_same(tmp_path / "watched", tmp_path / "alone")


# --- events -------------------------------------------------------------------------------------------


def followed(events: list[Event]) -> dict[str, Any]:
    """What a page has after these events."""
    seen: dict[str, Any] = {}
    for name, data in events:
        if name == "all":
            seen = json.loads(json.dumps(data))
        elif name == "begin":
            seen |= data
        elif name == "progress":
            seen["progress"].append(data)
        elif name == "validation":
            seen["history"].append(data["entry"])
            seen["looks"].append(data["look"])
        else:
            seen["ended"] = data
    return seen


def test_events_are_complete_and_in_order_and_a_late_page_has_all(tmp_path: Path) -> None:
    late: list[Reader] = []

    class Opens(Callback):
        def update(self, run: Run) -> None:
            if run.updates == 5:
                late.append(Reader(watch.address))

    with watching(0, tmp_path / "m") as watch:
        early = Reader(watch.address)
        train(tiny_config(tmp_path), tmp_path / "m", threads=1, callbacks=[watch, Opens()])
    for reader in (early, *late):
        reader.join()
    assert late[0].events[0][0] == "all"
    assert [name for name, _ in late[0].events].count("end") == 1
    seen = followed(early.events)
    assert followed(late[0].events) == seen
    assert [point["step"] for point in seen["progress"]] == [1, 2, 3, 5, 6, 7]  # a validation shows its own update
    assert [look["step"] for look in seen["looks"]] == [entry["step"] for entry in seen["history"]] == [4, 8]
    assert seen["ended"] == {"reason": "done", "command": f"antiphon serve {tmp_path / 'm'}"}
    assert seen["facts"]["total"] == 8
    saved = [json.loads(line) for line in (tmp_path / "m/training/log.jsonl").read_text().splitlines()]
    for entry, line in zip(seen["history"], saved, strict=True):
        shown = {name for name, value in line.items() if isinstance(value, int | float)}
        assert {name: entry[name] for name in shown} == {name: line[name] for name in shown}
        assert entry["gradient"] == line["gradients"]["all"]


def test_the_losses_of_progress_have_the_mean_of_the_validation(tmp_path: Path) -> None:
    """Weighted by tokens; here all updates but the last one before a validation have been shown."""
    losses: list[tuple[float, int]] = []

    class Sees(Callback):
        def update(self, run: Run) -> None:
            losses.append((run.loss or 0.0, run.tokens))

    with watching(0, None) as watch:
        train(tiny_config(tmp_path, train__validate_every=9), tmp_path / "m", threads=1, callbacks=[watch, Sees()])
    shown = [point["loss"] for point in watch.feed.progress]
    ends = [(0.0, 0), *losses]
    means = [
        (loss * tokens - before * earlier) / (tokens - earlier)
        for (before, earlier), (loss, tokens) in zip(ends, losses, strict=False)
    ]
    assert shown == pytest.approx(means[: len(shown)])
    assert len(shown) >= 7


def test_a_resumed_training_shows_what_its_log_has(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, train__validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "m", threads=1, callbacks=[Fails()])
    with watching(0, tmp_path / "m") as watch:
        train(config, tmp_path / "m", resume=True, threads=1, callbacks=[watch])
    assert watch.feed.facts is not None
    assert watch.feed.facts["first"] == 3
    assert [entry["step"] for entry in watch.feed.history] == [2, 4, 6, 8]
    assert [look["step"] for look in watch.feed.looks] == [4, 6, 8]


@pytest.mark.parametrize(("error", "reason"), [(KeyboardInterrupt, "stopped"), (ValueError, "failed")])
def test_a_page_is_told_how_a_training_ended(error: type[BaseException], reason: str) -> None:
    with pytest.raises(error), watching(0, None) as watch:
        raise error
    assert watch.feed.ended == {"reason": reason, "command": None}


def test_a_page_that_is_far_behind_gets_everything_anew() -> None:
    async def read() -> list[str]:
        feed = Feed()
        stream = feed.events()
        names = [await anext(stream)]
        for step in range(BEHIND + 5):
            feed.take("progress", {"step": step})
        names += [await anext(stream)]
        feed.take("progress", {"step": -1})
        feed.take("end", {"reason": "done"})
        return [*names, *[text async for text in stream]]

    first, anew, *rest = asyncio.run(read())
    assert first.startswith("event: all")
    assert anew.startswith("event: all")
    assert len(json.loads(anew.split("data: ")[1])["progress"]) == BEHIND + 5
    assert [text.split("\n")[0] for text in rest] == ["event: progress", "event: end"]


def test_what_is_held_is_bounded_and_keeps_first_and_last() -> None:
    points: list[int] = []
    for number in range(10_000):
        points = thinned([*points, number], 100)
        assert len(points) <= 100
    assert points[0] == 0
    assert points[-1] == 9_999
    assert points == sorted(set(points))


def test_numbers_that_json_does_not_have_are_none() -> None:
    assert finite({"a": [1.0, float("nan")], "b": (float("inf"), 2), "c": "nan"}) == {
        "a": [1.0, None],
        "b": [None, 2],
        "c": "nan",
    }


# --- the server ---------------------------------------------------------------------------------------


def asked(address: str, path: str, host: str = HOST) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, port_of(address), timeout=20)
    connection.request("GET", path, headers={"host": host})
    answer = connection.getresponse()
    connection.close()
    return answer


def test_it_answers_this_machine_alone_with_the_headers_of_the_server() -> None:
    with watching(0, None) as watch:
        assert watch.address.startswith(f"http://{HOST}:")
        for path in ("/", "/events", "/style.css", "/watch/app.js", "/nothing"):
            answer = asked(watch.address, path)
            assert answer.status == (404 if path == "/nothing" else 200), path
            assert {name: answer.getheader(name) for name in HEADERS} == HEADERS
            assert answer.getheader("access-control-allow-origin") is None
        assert asked(watch.address, "/", "example.org").status == 400
        assert asked(watch.address, "/", "localhost").status == 200


def test_only_so_many_pages_are_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS", 1)
    with watching(0, None) as watch:
        client = connected(watch.address)
        assert client.recv(10)
        assert asked(watch.address, "/events").status == 429
        client.close()


def test_a_port_that_is_taken_is_refused_before_anything_begins(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AntiphonError, match=f"--watch-port {port}: cannot be bound: .*; name another"):
            antiphon.train([("a", "b")] * 20, tmp_path / "m", watch=port)
    assert not (tmp_path / "m").exists()
    with pytest.raises(AntiphonError, match="--watch-port 70000: is not between 0 and 65535"):
        antiphon.train([("a", "b")] * 20, tmp_path / "m", watch=70_000)
    with pytest.raises(TrainingError, match="watch: must be True or the number of a port, but is 'yes'"):
        antiphon.train([("a", "b")] * 20, tmp_path / "m", watch="yes")  # type: ignore[call-overload]
    assert not (tmp_path / "m").exists()


def test_without_its_extra_it_says_so_before_anything_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "antiphon.training.watching")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(AntiphonError, match=r"watching a training needs uvicorn: pip install 'antiphon\[serve\]'"):
        antiphon.train([("a", "b")] * 20, tmp_path / "m", watch=True)
    assert not (tmp_path / "m").exists()


def test_of_several_processes_the_first_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, count in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        with api.watched(0, None) as callbacks:
            assert len(callbacks) == count


def test_the_command_names_the_address_and_ends_with_the_training(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path).to_yaml())
    command = [sys.executable, "-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m")]
    done = subprocess.run(
        [*command, "--watch", "--watch-port", "0"], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"the training can be watched at http://{HOST}:" in done.stderr
    assert '{"time"' not in done.stderr  # no line for each request
    assert (tmp_path / "m" / bundle.WEIGHTS).is_file()


def test_a_port_without_watch_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["train", str(tmp_path / "t.tsv"), "--out", str(tmp_path / "m"), "--watch-port", "1"]
    )
    assert done.exit_code == 2
    assert "is the port of --watch; give that too" in done.output


def test_from_python_a_model_without_a_folder_can_be_watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "antiphon")
    rows = [(word, word.upper()) for word in ("ab", "ba", "aab", "bba", "abab", "b")] * 3
    model = antiphon.train(rows, settings={"train.max_steps": 2}, watch=0, threads=1)
    assert model.predict(["ab"])
    assert any("can be watched at" in record.getMessage() for record in caplog.records)
