"""A server in the test's own process, asked over ASGI, and one as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from antiphon.server.app import create_app
from antiphon.server.models import Served, Side
from antiphon.server.settings import Settings

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "v0.1.0"


@asynccontextmanager
async def asking(
    models: Sequence[Served], again: Callable[[str], Served] | None = None, tracer: Any = None, **settings: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a server of these models, which `again` loads anew and whose spans `tracer` makes."""
    app = create_app(models, Settings(**settings), again=again, tracer=tracer)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://server", timeout=60) as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


async def post(client: httpx2.AsyncClient, path: str, body: Any) -> Any:
    """The JSON of an answer that must be there."""
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(text: str) -> list[tuple[str, Any]]:
    """The server-sent events of an answer."""
    all_events = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        all_events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return all_events


def run(test: Callable[[], Any]) -> Any:
    """Run an asynchronous test."""
    return asyncio.run(test())


class Echo:
    """A model that answers with its input backwards; a test can make it wait, fail or refuse."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()
        self.begun = threading.Event()
        self.go.set()

    def answers(self, inputs: Sequence[Any], **asked: Any) -> list[Any]:
        self.batches.append(list(inputs))
        self.begun.set()
        assert self.go.wait(30)
        if "burst" in inputs:
            raise RuntimeError(", ".join(inputs))
        return [ValueError("a secret: no") if item == "no" else _Said(item[::-1], asked) for item in inputs]

    def write(self, given: Any, **asked: Any) -> Iterator[Any]:
        for end in range(1, len(given) + 1):
            assert self.go.wait(30)
            yield _Said(given[::-1][:end], asked)
        yield _Said(given[::-1], asked)

    def live(self, steps: Any) -> Iterator[Any]:
        for step in steps:
            if step == "no":
                raise ValueError("a secret: no")
            yield _Said(step[::-1], {})


class _Said:
    def __init__(self, text: str, asked: dict[str, Any]) -> None:
        self.text, self.tokens, self.score = text, list(text), -1.0
        self.source_tokens: list[str] = []
        self.n_best = [self]
        self.asked = asked

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "tokens": self.tokens, "score": self.score}


def echoing(echo: Echo, name: str = "echo", **changed: Any) -> Served:
    """Such a model, served."""
    text = Side(name="source", kind="text")
    about: dict[str, Any] = {
        "name": name, "format": "pytorch", "structure": "many_to_many", "sources": (text,), "size": 1,
        "target": Side(name="target", kind="text"), "max_length": 100, "options": None, "defaults": {},
        "streams": "tokens", "predictor": echo, "wrong": (ValueError,), "codes": {ValueError: "invalid_input"},
    }  # fmt: skip
    return Served(**{**about, **changed})


class Process:
    """A server as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def url(self) -> str:
        return str(next(line["url"] for line in self.lines if line.get("event") == "listening"))

    def until(self, *events: str, seconds: float = 120) -> None:
        """Wait for lines of its log."""
        ends = time.monotonic() + seconds
        while not set(events) <= {line.get("event") for line in self.lines}:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends
            time.sleep(0.05)


COMMAND = (sys.executable, "-m", "antiphon", "serve")
ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "antiphon"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from antiphon_runtime.cli import main
main()
"""
RUNTIME_ALONE = (sys.executable, "-c", ALONE, "serve")
"""The runtime's command as it is where neither torch nor antiphon is installed."""


@contextmanager
def process(
    folder: Path,
    *arguments: object,
    command: Sequence[str | Path] = COMMAND,
    alone: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """A server's command with these arguments, ready, its log in a folder; `alone`: with no path to this checkout."""
    whole = [*map(str, (*command, *arguments)), "--port", "0", "--threads", "1"]
    path = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "" if alone else os.pathsep.join(sys.path)}
    log = folder / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(whole, stderr=errors, env={**os.environ, **path, **(environment or {})}) as started,
    ):
        try:
            server = Process(started, log)
            server.until("listening", "ready")
            yield server
        finally:
            started.kill()


def connect(url: str) -> socket.socket:
    """A connection to a server, for what a client library would not do."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)
