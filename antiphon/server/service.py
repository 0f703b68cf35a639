"""What all requests share: the models with their threads, the bounds, and whether the server is ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fastapi import Request

from antiphon.errors import ModelFolderError
from antiphon.server.batching import Work, Worker
from antiphon.server.guard import LOG, Metrics
from antiphon.server.models import Served
from antiphon.server.problems import Problem
from antiphon.server.settings import Settings


class Running(NamedTuple):
    """A model and its thread."""

    served: Served
    worker: Worker


class Service:
    """The state of a server."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.models: dict[str, Running] = {}
        self.ready = False
        self.draining = asyncio.Event()
        self.streams = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def load(self, models: Iterable[Served], failed: Callable[[Exception], None] | None) -> None:
        """Take models one by one, in a thread; `failed` is called with an error."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._take, models)
        except Exception as error:
            if failed is None:
                raise
            failed(error)
        else:
            self.ready = True
            LOG.info(json.dumps({"event": "ready", "models": list(self.models)}))

    def _take(self, models: Iterable[Served]) -> None:
        for served in models:
            if served.name in self.models:
                raise ModelFolderError(f"{served.name}: two models have this name; rename one of the folders")
            self.models[served.name] = Running(served, self._worker(served.name))

    def _worker(self, name: str) -> Worker:
        def watch(works: Sequence[Work]) -> None:
            self.metrics.batches.labels(name).observe(len(works))

        settings = self.settings
        worker = Worker(name, settings.batch_window, settings.batch_steps, settings.queue, watch)
        self.metrics.waiting.labels(name).set_function(lambda: worker.waiting)
        return worker

    def drain(self) -> None:
        """The server is about to stop: it is not ready any more, and lasting streams end. A signal may call it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.draining.set)

    async def close(self) -> None:
        """Wait until all that was admitted is done."""
        for _, worker in self.models.values():
            await asyncio.to_thread(worker.close)

    def check_ready(self) -> None:
        """Refuse what comes while models are loaded, or once the server is to stop."""
        if self.draining.is_set():
            raise Problem("draining")
        if not self.ready:
            raise Problem("loading", headers={"retry-after": "1"})

    def check_count(self, inputs: int) -> None:
        """Refuse more inputs than a request may have."""
        most = min(self.settings.max_inputs, self.settings.queue)
        if inputs > most:
            raise Problem("too_many_inputs", f"at most {most}")

    def chosen(self, request: Request, name: str | None) -> Running:
        """The named model, or the only one."""
        if not self.ready:
            raise Problem("loading", headers={"retry-after": "1"})
        if name is None and len(self.models) == 1:
            (name,) = self.models
        if name is None:
            raise Problem("invalid_request", "model: several are served; name one")
        if name not in self.models:
            raise Problem("unknown_model")
        request.state.log["model"] = name
        return self.models[name]
