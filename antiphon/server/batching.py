"""Work for a model: inputs wait a moment for others, and one thread a model does them in batches.

Work with the same `key` may be done in one call; the model's answers do not depend on the others in it. Work
whose future was cancelled, because its client left or its time is over, is dropped before it is begun.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[list[Any]], Sequence[Any]]
"""The items of a batch -> a result for each."""


class FullError(Exception):
    """More is waiting than may wait."""


@dataclass(eq=False)
class Work:
    """An item, what does it, and how much it is; without a key it is done alone and at once."""

    call: Call
    key: Hashable | None
    item: Any
    steps: int
    future: asyncio.Future[Any]
    since: float = field(default_factory=monotonic)


class Worker:
    """The thread of one model, and what waits for it."""

    def __init__(
        self, name: str, window: float, steps: int, capacity: int, watch: Callable[[Sequence[Work]], None]
    ) -> None:
        self.name = name
        self._window, self._steps, self._capacity, self._watch = window, steps, capacity, watch
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closing = self._ended = False
        self._thread = self._start()

    @property
    def waiting(self) -> int:
        """How many inputs wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def submit(
        self, call: Call, items: Sequence[tuple[Any, int]], key: Hashable | None = None, admitted: bool = False
    ) -> list[asyncio.Future[Any]]:
        """The futures of items, each with its steps; all are taken or, if too many wait, none (`FullError`).

        `admitted` items belong to work that was taken before. To be called in the event loop.
        """
        loop = asyncio.get_running_loop()
        works = [Work(call, key, item, steps, loop.create_future()) for item, steps in items]
        with self._changed:
            self._forget()
            if not admitted and len(self._waiting) + len(works) > self._capacity:
                raise FullError
            self._waiting.extend(works)
            self._changed.notify()
            if self._ended:  # a stream that began with this model goes on with it
                self._ended, self._thread = False, self._start()
        return [work.future for work in works]

    def retire(self) -> None:
        """End the thread whenever no work is left; what comes all the same is still done."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self) -> None:
        """Wait until all work is done, and end the thread."""
        self.retire()
        self._thread.join()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"model {self.name}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while works := self._next():
            self._watch(works)
            loop = works[0].future.get_loop()
            try:
                results = works[0].call([work.item for work in works])
            except Exception as error:  # each of them gets it
                loop.call_soon_threadsafe(_fail, works, error)
            else:
                loop.call_soon_threadsafe(_settle, works, results)

    def _next(self) -> list[Work]:
        """The next batch; an empty one at the end."""
        with self._changed:
            while True:
                self._forget()
                works, full = self._fitting()
                left = works[0].since + self._window - monotonic() if works else None
                if works and (full or self._closing or left is None or left <= 0):
                    taken = set(map(id, works))
                    self._waiting = deque(work for work in self._waiting if id(work) not in taken)
                    return works
                if self._closing and not works:
                    self._ended = True
                    return []
                self._changed.wait(left)

    def _fitting(self) -> tuple[list[Work], bool]:
        """What can be done with the first that waits, and whether no more fits."""
        works: list[Work] = []
        steps = 0
        for work in self._waiting:
            if works and (work.key is None or work.key != works[0].key):
                continue
            if works and steps + work.steps > self._steps:
                return works, True
            works.append(work)
            steps += work.steps
            if work.key is None:
                return works, True
        return works, steps >= self._steps

    def _forget(self) -> None:
        if any(work.future.cancelled() for work in self._waiting):
            self._waiting = deque(work for work in self._waiting if not work.future.cancelled())


def _settle(works: Sequence[Work], results: Sequence[Any]) -> None:
    for work, result in zip(works, results, strict=True):
        if not work.future.done():  # cancelled meanwhile
            work.future.set_result(result)


def _fail(works: Sequence[Work], error: Exception) -> None:
    for work in works:
        if not work.future.done():
            work.future.set_exception(error)
