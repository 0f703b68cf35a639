"""What all requests share: the models with their threads, the bounds, and whether the server is ready."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastapi import Request

from .batching import Work, Worker
from .errors import StartError
from .logs import LOG
from .metrics import Metrics
from .models import Served
from .problems import Problem
from .settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Running(NamedTuple):
    """A model and its thread."""

    served: Served
    worker: Worker


class Service:
    """The state of a server. `again` loads the model of a name anew; `tracer` makes spans of requests."""

    def __init__(
        self, settings: Settings, again: Callable[[str], Served] | None = None, tracer: Tracer | None = None
    ) -> None:
        self.settings, self.metrics, self.tracer = settings, Metrics(), tracer
        self.models: dict[str, Running] = {}
        self.ready = False
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self.streams = 0
        self._again = again
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[list[str]]] = set()
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
            LOG.info({"event": "ready", "models": list(self.models)})

    def _take(self, models: Iterable[Served]) -> None:
        for served in models:
            if served.name in self.models:
                raise StartError(f"{served.name}: two models have this name; rename one of the folders")
            self.models[served.name] = self._running(served)

    def _running(self, served: Served) -> Running:
        def watch(works: Sequence[Work]) -> None:
            self.metrics.batches.labels(served.name).observe(len(works))

        settings = self.settings
        worker = Worker(served.name, settings.batch_window, settings.batch_steps, settings.queue, watch)
        self.metrics.waiting.labels(served.name).set_function(lambda: worker.waiting)
        return Running(served, worker)

    async def reload(self) -> list[str]:
        """Load all models again; the names of those that could not be loaded, which stay as they are.

        A new model takes the place of the old one at once; what was asked before is answered by the old one.
        """
        if self._again is None:
            raise Problem("not_supported")
        failed = []
        async with self._reloading:
            for name, old in list(self.models.items()):
                try:
                    served = await asyncio.to_thread(self._again, name)
                except Exception as error:  # whatever it is, the old model is there
                    failed.append(name)
                    reason = f"{type(error).__name__}: {error}"
                    LOG.error({"event": "reload failed", "model": name, "reason": reason})
                else:
                    self.models[name] = self._running(served)
                    old.worker.retire()
                    LOG.info({"event": "reloaded", "model": name})
            await asyncio.to_thread(tidy)
        return failed

    def soon(self, call: Callable[[], None]) -> None:
        """Let the event loop call something. A signal may ask for it: it can come in the middle of anything, even of a
        line of log."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def begin_reload(self) -> None:
        """Begin to load all models again."""
        if not self.ready:
            LOG.warning({"event": "not reloaded", "reason": "the models are still being loaded"})
            return
        task = asyncio.ensure_future(self.reload())
        self._reloads.add(task)  # the loop itself would not keep it
        task.add_done_callback(self._reloads.discard)

    def drain(self) -> None:
        """The server is about to stop: it is not ready any more, and answers end their connections."""
        if not self.draining.is_set():
            LOG.info({"event": "draining"})
        self.draining.set()

    def stop(self) -> None:
        """No more requests come: streams without an end of their own end."""
        self.stopping.set()

    async def close(self) -> None:
        """Wait until all that was admitted is done."""
        for _, worker in list(self.models.values()):
            await asyncio.to_thread(worker.close)

    def check_ready(self) -> None:
        """Refuse what comes while models are loaded, or once the server is to stop."""
        if self.draining.is_set():
            raise Problem("draining")
        self.check_loaded()

    def check_loaded(self) -> None:
        """Refuse what comes while models are loaded."""
        if not self.ready:
            raise Problem("loading", headers={"retry-after": "1"})

    def check_count(self, inputs: int) -> None:
        """Refuse more inputs than a request may have."""
        most = min(self.settings.max_inputs, self.settings.queue)
        if inputs > most:
            raise Problem("too_many_inputs", f"at most {most}")

    def chosen(self, request: Request, name: str | None) -> Running:
        """The named model, or the only one."""
        self.check_loaded()
        if name is None and len(self.models) == 1:
            (name,) = self.models
        if name is None:
            raise Problem("invalid_request", "model: several are served; name one")
        if name not in self.models:
            raise Problem("unknown_model")
        request.state.log["model"] = name
        return self.models[name]


def tidy() -> None:
    """Free what nobody uses any more, and let what stays not be searched for garbage again and again: 80 ms with
    PyTorch."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
