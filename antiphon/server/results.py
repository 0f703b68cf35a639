"""From the inputs of a request to their results, through the thread of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request

from .batching import FullError, Worker
from .inputs import steps_of
from .models import Served
from .problems import Problem
from .service import Service


def answers(served: Served, arguments: dict[str, Any], prefix: str | None, items: list[Any]) -> Sequence[Any]:
    """A batch of inputs, each with its number among those of its request."""
    values, numbers = zip(*items, strict=True)
    prefixes = {} if prefix is None else {"prefixes": [prefix] * len(values)}
    return served.predictor.answers(values, numbers=numbers, **prefixes, **arguments)


async def each(
    request: Request,
    service: Service,
    served: Served,
    worker: Worker,
    read: Sequence[Callable[[], Any]],
    call: Callable[[list[Any]], Sequence[Any]],
    key: str,
    width: int,
    tell: Callable[[Any], dict[str, Any]],
) -> list[dict[str, Any]]:
    """A result for each input, or what is wrong with it."""
    results: list[dict[str, Any]] = []
    items: list[tuple[Any, int]] = []
    for number, read_value in enumerate(read):
        try:
            value = read_value()
        except Problem as problem:
            results.append({"error": problem.to_json()})
        else:
            results.append({})
            items.append(((value, number), steps_of(value) * width))
    answers = await settled(request, service, served, worker, call, items, key)
    for ((_, number), _), answer in zip(items, answers, strict=True):
        wrong = isinstance(answer, served.wrong)
        results[number] = {"error": Problem(served.code(answer)).to_json()} if wrong else tell(answer)
    service.metrics.inputs.labels(served.name).inc(len(results))
    request.state.log["inputs"] = len(results)
    return results


async def settled(
    request: Request,
    service: Service,
    served: Served,
    worker: Worker,
    call: Callable[[list[Any]], Sequence[Any]],
    items: Sequence[tuple[Any, int]],
    key: str | None = None,
) -> list[Any]:
    """The results of items in a model's thread; past the deadline, or when the client has left, those that wait are
    dropped."""
    try:
        futures = worker.submit(call, items, key)
    except FullError:
        raise Problem("queue_full", headers={"retry-after": "1"}) from None
    waiting: asyncio.Future[Any] = asyncio.gather(*futures)
    leaving: asyncio.Future[Any] = asyncio.ensure_future(_left(request))
    try:
        done, _ = await asyncio.wait(
            {waiting, leaving}, timeout=service.settings.deadline, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting in done:
            return list(waiting.result())
        raise Problem("client_left" if leaving in done else "deadline_exceeded")
    except served.wrong as error:  # an error of all of them
        raise Problem(served.code(error)) from None
    finally:
        waiting.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
