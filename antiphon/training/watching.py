"""A training seen in a browser while it runs: a callback hands values to a thread, which serves a page and its events.

The training never waits for the page: the thread has its own event loop, holds all that the page shows, and sends it
to whoever looks, as fast as each of them reads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import shlex
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from antiphon.errors import AntiphonError
from antiphon.model.build import structure_of
from antiphon.server.files import STATIC
from antiphon.server.guard import Guard
from antiphon.server.logs import LOG
from antiphon.server.problems import Problem, known
from antiphon.server.service import Service
from antiphon.server.settings import Settings
from antiphon.training.callbacks import Callback, Run

HOST = "127.0.0.1"
HIGHEST = 65_535  # port
OUTPUT = logging.getLogger("antiphon")
ROWS = 5  # validation rows whose outputs are shown
POINTS = 2000  # of a curve, at most
LOOKS = 100  # validations whose outputs are kept, at most
BEHIND = 256  # events that a slow page may be behind; then it gets everything anew
STREAMS = 64  # pages at once
ALIVE = 15.0  # seconds without an event until a comment is sent, so that a closed connection is noticed
FAREWELL = 2  # seconds that pages have to take the last events when the training has ended

Event = tuple[str, dict[str, Any]]


class Feed:
    """All that the page shows, and what changes it. Only the event loop's thread uses it."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] | None = None
        self.progress: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.looks: list[dict[str, Any]] = []
        self.ended: dict[str, Any] | None = None
        self.recent: deque[str] = deque(maxlen=BEHIND)
        self.count = 0  # of all events
        self.streams = 0
        self.changed = asyncio.Event()

    def take(self, name: str, data: dict[str, Any]) -> None:
        """An event: `begin`, `progress`, `validation` or `end`."""
        data = finite(data)
        if name == "begin":
            self.facts, self.history = data["facts"], thinned(data["history"], POINTS)
        elif name == "progress":
            self.progress = thinned([*self.progress, data], POINTS)
        elif name == "validation":
            self.history = thinned([*self.history, data["entry"]], POINTS)
            self.looks = thinned([*self.looks, data["look"]], LOOKS)
        else:
            self.ended = data
        self.recent.append(written(name, data))
        self.count += 1
        self.changed.set()
        self.changed = asyncio.Event()

    def all(self) -> str:
        """The event of everything so far, with which every stream begins."""
        names = ("facts", "progress", "history", "looks", "ended")
        return written("all", {name: getattr(self, name) for name in names})

    async def events(self) -> AsyncIterator[str]:
        """Everything so far, and every event from now on, until the training has ended."""
        seen, text = self.count, self.all()
        self.streams += 1
        try:
            yield text
            while seen < self.count or not self.ended:
                behind = self.count - seen
                if behind > len(self.recent):
                    seen, text = self.count, self.all()
                elif behind:
                    seen, text = seen + 1, self.recent[-behind]
                else:
                    changed, text = self.changed, ": alive\n\n"
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), ALIVE)
                        continue
                yield text
        finally:
            self.streams -= 1


def written(name: str, data: Any) -> str:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"


def thinned(points: list[Any], most: int) -> list[Any]:
    """The points, or if they are more than `most` every second of them and the last."""
    return points if len(points) <= most else [*points[:-1:2], points[-1]]


def finite(value: Any) -> Any:
    """The value with None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


class Watch(Callback):
    """Hands what a training shows to the event loop of `feed`; it neither waits nor stops the training.

    `address` is where the page is.
    """

    samples = ROWS

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop, address: str) -> None:
        self.feed, self.loop, self.address = feed, loop, address
        self.began = time.monotonic()
        self.read = (0.0, 0)  # summed loss and tokens at the last progress

    def hand(self, name: str, data: dict[str, Any]) -> None:
        """Hand over an event; where nobody serves any more, nothing happens."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.feed.take, name, data)

    def begin(self, run: Run) -> None:
        self.began = time.monotonic()
        facts = {
            "folder": str(run.folder),
            "structure": structure_of(run.config),
            "sources": [source.kind for source in run.config.sources],
            "target": run.config.target.kind,
            "total": run.total,
            "first": run.updates,
        }
        self.hand("begin", {"facts": facts, "history": [*map(figures, run.history)]})

    def progress(self, run: Run) -> None:
        if not run.tokens or run.loss is None:  # a validation has just shown it
            self.read = (0.0, 0)
            return
        now = (run.loss * run.tokens, run.tokens)
        before = self.read if run.tokens > self.read[1] else (0.0, 0)
        self.read = now
        self.hand(
            "progress",
            {
                "step": run.updates,
                "total": run.total,
                "loss": (now[0] - before[0]) / (now[1] - before[1]),
                "learning_rate": run.learning_rate,
                "gradient": run.gradient_norm,
                "seconds": time.monotonic() - self.began,
            },
        )

    def validation(self, run: Run) -> None:
        self.read = (0.0, 0)
        assert run.validation is not None
        look = {"step": run.updates, "rows": [asdict(sample) for sample in run.samples]}
        self.hand("validation", {"entry": figures(run.validation), "look": look})


def figures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a validation that the page shows."""
    plain = {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return plain | {"gradient": entry.get("gradients", {}).get("all")}


def create_app(feed: Feed) -> Starlette:
    """The page at `/`, its files, and its events at `/events`."""

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "watch" / "index.html")

    async def events(_: Request) -> Response:
        if feed.streams >= STREAMS:
            raise Problem("queue_full", headers={"retry-after": "1"})
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(feed.events(), media_type="text/event-stream", headers=headers)

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return known(error).response()

    return Starlette(
        routes=[Route("/", page), Route("/events", events), Mount("/", StaticFiles(directory=STATIC))],
        middleware=[Middleware(Guard, service=Service(Settings(hosts=(HOST, "localhost"))))],
        exception_handlers={HTTPException: problem},
    )


@contextmanager
def watching(port: int, folder: Path | None) -> Iterator[Watch]:
    """Serve the page at `port` (0: any free one) of this machine alone, for the training that has the callback.

    A port that cannot be bound is an `AntiphonError`, before anything begins. `folder` is that of the model, if the
    user has named one. At the end pages are told how the training ended.
    """
    advice = "name another (watch=PORT in Python), or 0 for a free one"
    if not 0 <= port <= HIGHEST:
        raise AntiphonError(f"--watch-port {port}: is not between 0 and {HIGHEST}; {advice}")
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        reason = error.strerror or error
        raise AntiphonError(f"--watch-port {port}: cannot be bound: {reason}; {advice}") from None
    loop = asyncio.new_event_loop()
    feed = Feed()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(feed),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            http="h11",
            timeout_graceful_shutdown=FAREWELL,
        )
    )
    thread = threading.Thread(target=_serve, args=(loop, server, listening), name="watch", daemon=True)
    watch = Watch(feed, loop, f"http://{HOST}:{listening.getsockname()[1]}/")
    level = LOG.level
    LOG.setLevel(logging.WARNING)  # no line for each request among those of the training
    thread.start()
    OUTPUT.warning("the training can be watched at %s", watch.address)  # also when only warnings are shown
    reason = "failed"
    try:
        yield watch
        reason = "done"
    except KeyboardInterrupt:
        reason = "stopped"
        raise
    finally:
        command = None if folder is None else f"antiphon serve {shlex.quote(str(folder))}"
        watch.hand("end", {"reason": reason, "command": command})
        server.should_exit = True
        thread.join(FAREWELL + 3)
        LOG.setLevel(level)


def _serve(loop: asyncio.AbstractEventLoop, server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve in this thread until the server is to exit."""
    try:
        loop.run_until_complete(server.serve(sockets=[listening]))
        loop.run_until_complete(loop.shutdown_asyncgens())
    except Exception as error:  # the training goes on
        OUTPUT.warning("the page of the training is not served any more: %s", error)
    finally:
        listening.close()
        loop.close()
