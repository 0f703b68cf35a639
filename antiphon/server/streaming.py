"""Answers that come piece by piece, as server-sent events. Each piece is pulled in the model's thread, between batches.

The last event is always `end`, with its reason: `done`, `error` or, of a stream that lasts, `draining`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .batching import Worker
from .inputs import read_input, read_step
from .logs import log_failure
from .models import Served
from .problems import Problem
from .schema import PredictRequest, answer_json
from .settings import Settings

if TYPE_CHECKING:
    from .service import Service

Event: TypeAlias = tuple[str, dict[str, Any]]
Events: TypeAlias = AsyncIterator[Event]
END = object()


async def pulled(worker: Worker, answers: Iterator[Any]) -> AsyncIterator[Any]:
    """What an iterator gives, each pulled in the model's thread."""
    while True:
        (future,) = worker.submit(lambda _: [next(answers, END)], [(None, 1)], admitted=True)
        answer = await future
        if answer is END:
            return
        yield answer


async def written(served: Served, worker: Worker, body: PredictRequest, settings: Settings) -> Events:
    """The answers to inputs, symbol by symbol."""
    arguments = body.options.arguments()
    arguments |= {} if body.options.prefix is None else {"prefix": body.options.prefix}
    for name in ("beam", "n_best", "token_scores", "align", "attention"):
        if arguments.pop(name, 1) != 1:
            raise Problem("invalid_options", f"{name} is of whole outputs, not of a stream")
    for index, value in enumerate(body.inputs):
        try:
            answers = served.predictor.write(read_input(served, value, settings), **arguments)
            answer, length = None, 0
            async for answer in pulled(worker, answers):
                length = length or (len(answer.source_tokens) if served.target.kind == "next" else 0)
                token = answer.tokens[-1] if len(answer.tokens) > length else None
                length = len(answer.tokens)
                yield "token", {"index": index, "token": token, "text": answer.text, "score": answer.score}
            yield "result", {"index": index, **answer_json(answer)}
        except Problem as problem:
            yield "result", {"index": index, "error": problem.to_json()}
        except served.wrong as error:
            code = served.code(error)
            if code == "invalid_options":  # the same for all inputs
                raise Problem(code) from None
            yield "result", {"index": index, "error": Problem(code).to_json()}


async def stepped(served: Served, worker: Worker, steps: AsyncIterator[Any], settings: Settings) -> Events:
    """The answer to each step of a sequence, as soon as it comes."""
    if served.streams != "steps":
        raise Problem("not_supported")
    feed: deque[Any] = deque()
    fed = (feed.popleft() for _ in itertools.count())
    answers = pulled(worker, served.predictor.live(fed))
    index = 0
    try:
        async for value in steps:
            feed.append(read_step(served, value, settings))
            yield "step", {"index": index, **answer_json(await anext(answers))}
            index += 1
    except served.wrong as error:
        raise Problem(served.code(error), f"step {index}") from None


async def sent_steps(steps: Sequence[Any]) -> AsyncIterator[Any]:
    """Steps that have all come."""
    for step in steps:
        yield step


async def sent_lines(request: Request, settings: Settings) -> AsyncIterator[Any]:
    """The lines of a body, each as JSON, as they come."""
    held = b""
    async for chunk in request.stream():
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _parsed(line)
        if len(held) > settings.max_body:
            raise Problem("body_too_large", f"at most {settings.max_body} bytes per line are read")
    if held.strip():
        yield _parsed(held)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Problem("invalid_json") from None


class EventStream(Response):
    """An answer of server-sent events."""

    media_type = "text/event-stream"

    @classmethod
    async def begun(
        cls, service: Service, request: Request, events: Events, lasting: bool = False, waits: bool = True
    ) -> EventStream:
        """A stream whose first event is there, unless it `waits` for none: what is wrong from the start is an answer
        of its own. A `lasting` one is ended when the server stops."""
        if service.streams >= service.settings.streams:
            raise Problem("queue_full", headers={"retry-after": "1"})
        first = [await anext(events)] if waits else []
        return cls(service, request, first, events, lasting, waits)

    def __init__(
        self, service: Service, request: Request, first: list[Event], events: Events, lasting: bool, waits: bool
    ) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.service, self.request = service, request
        self.first, self.events, self.lasting, self.whole = first, events, lasting, waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, until there is none, the client leaves, or the server stops."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self.service.streams += 1
        self.service.metrics.streams.inc()
        try:
            async for name, data in self._marked():
                line = f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
                await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
                if self.whole and await self.request.is_disconnected():
                    return
        finally:
            self.service.streams -= 1
            self.service.metrics.streams.dec()
            await self.events.aclose()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _marked(self) -> Events:
        """The events, and the mark of their end."""
        try:
            for event in self.first:
                yield event
            while (coming := await self._next()) is not None:
                yield coming
        except Problem as problem:
            yield "error", problem.to_json()
            yield "end", {"reason": "error"}
        except Exception as error:
            log_failure(error)
            yield "error", Problem("internal_error").to_json()
            yield "end", {"reason": "error"}
        else:
            stopped = self.lasting and self.service.stopping.is_set()
            yield "end", {"reason": "draining" if stopped else "done"}

    async def _next(self) -> Event | None:
        """The next event; None if there is none, or if the stream is to end with the server."""
        coming = asyncio.ensure_future(anext(self.events, None))
        stopping = asyncio.ensure_future(self.service.stopping.wait())
        awaited = {coming, stopping} if self.lasting else {coming}
        try:
            done, _ = await asyncio.wait(
                awaited, timeout=self.service.settings.deadline, return_when=asyncio.FIRST_COMPLETED
            )
            if coming in done:
                return coming.result()
            if stopping in done:
                return None
            raise Problem("deadline_exceeded")
        finally:
            for task in (coming, stopping):
                task.cancel()
            await asyncio.wait({coming, stopping})
