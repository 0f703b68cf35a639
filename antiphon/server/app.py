"""The application: each path, from the body that was read to the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from antiphon import __version__
from antiphon.server import docs
from antiphon.server.batching import FullError, Worker
from antiphon.server.guard import Guard
from antiphon.server.inputs import check_options, read_input, read_pair, read_reference, steps_of
from antiphon.server.models import Served
from antiphon.server.openapi import complete, problems
from antiphon.server.problems import Problem, known, wrong_value
from antiphon.server.schema import (
    ExplainRequest,
    ModelCard,
    ModelList,
    PredictAnswer,
    PredictRequest,
    ScoreAnswer,
    ScoreRequest,
    Sent,
    answer_json,
    card,
)
from antiphon.server.service import Service
from antiphon.server.settings import Settings
from antiphon.server.streaming import EventStream, sent_lines, sent_steps, stepped, written

STATIC = Path(__file__).with_name("static")
ABOUT = "Recurrent sequence models. Answers never depend on what else is asked at the same time."


def create_app(
    models: Iterable[Served], settings: Settings | None = None, failed: Callable[[Exception], None] | None = None
) -> FastAPI:
    """The server of some models.

    They are taken one by one after the start, in a thread, and so may be loaded by an iterator; until all are there
    `/readyz` answers 503. If that fails, `failed` gets the error. `app.state.service.drain()` announces the end.
    """
    service = Service(settings or Settings())

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(app.openapi)  # it takes a moment, which no request should
        loading = asyncio.create_task(service.load(models, failed))
        if isinstance(models, Sequence):  # there is nothing to wait for
            await loading
        yield
        service.drain()
        await service.close()

    app = FastAPI(
        title="Antiphon", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=running
    )
    app.state.service = service
    app.openapi = partial(complete, app, service.settings)  # type: ignore[method-assign]
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    app.add_exception_handler(HTTPException, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    _add_models(app, service)
    _add_operations(app, service)
    _refuse_get(app)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _refuse_get(app: FastAPI) -> None:
    """Answer GET with 'use POST' on a path that takes POST; the page's files would answer that it does not exist."""

    async def refuse() -> None:
        raise Problem("method_not_allowed", "POST is what it takes", {"allow": "POST"})

    taken = {route.path: route.methods or set() for route in app.routes if isinstance(route, APIRoute)}
    for path, methods in taken.items():
        if "GET" not in methods:
            app.add_api_route(path, refuse, methods=["GET", "HEAD"], include_in_schema=False)


EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}  # each of them
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `token`, `step`, `result` and `error`; the last is `end`",
        "content": {EventStream.media_type: {"schema": EVENT}},
    }
}


def _add_models(app: FastAPI, service: Service) -> None:
    """The paths of models."""
    settings = service.settings

    @app.post("/v1/predict", response_model=PredictAnswer, responses=problems(400, 404, 413, 415, 422, 429, 503, 504))
    async def predict(request: Request, body: PredictRequest) -> Response:
        """The answers to `inputs`, in order. A wrong input has an error in its place, and the others are answered."""
        served, worker = service.chosen(request, body.model)
        service.check_count(len(body.inputs))
        check_options(served, body.options, settings)
        arguments, prefix = body.options.arguments(), body.options.prefix
        results = await _each(
            request, service, served, worker,
            read=[partial(read_input, served, value, settings) for value in body.inputs],
            call=partial(_answers, served, arguments, prefix),
            key=json.dumps([arguments, prefix], sort_keys=True),
            width=body.options.width,
            tell=partial(answer_json, n_best=body.options.n_best),
        )  # fmt: skip
        return JSONResponse({"model": served.name, "results": results})

    @app.post("/v1/score", response_model=ScoreAnswer, responses=problems(400, 404, 413, 415, 422, 429, 503, 504))
    async def score(request: Request, body: ScoreRequest) -> Response:
        """log p(target | input) of each pair, in nats; a wrong pair has an error in its place."""
        served, worker = service.chosen(request, body.model)
        service.check_count(len(body.pairs))
        scores = served.scores
        if scores is None:
            raise Problem("not_supported")
        results = await _each(
            request, service, served, worker,
            read=[partial(read_pair, served, pair, settings) for pair in body.pairs],
            call=lambda items: scores([pair for pair, _ in items]),
            key="score",
            width=1,
            tell=lambda value: {"score": value},
        )  # fmt: skip
        return JSONResponse({"model": served.name, "results": results})

    @app.post("/v1/explain", responses=problems(400, 404, 413, 415, 422, 429, 503, 504))
    async def explain(request: Request, body: ExplainRequest) -> dict[str, Any]:
        """What the model did with one input: a trace, as docs/trace.md of the project explains it."""
        served, worker = service.chosen(request, body.model)
        look = served.explain
        if look is None:
            raise Problem("not_supported", served.refusal)
        check_options(served, body.options, settings)
        arguments = {key: value for key, value in body.options.arguments().items() if key in ("beam", "settings")}
        call = partial(
            look,
            read_input(served, body.input, settings),
            None if body.reference is None else read_reference(served, body.reference, settings),
            None if body.other is None else read_input(served, body.other, settings),
            [(forced.step, forced.token) for forced in body.force],
            body.top,
            begin=body.begin,
            **arguments,
        )
        (trace,) = await settled(request, service, served, worker, lambda _: [call()], [(None, 1)])
        result: dict[str, Any] = await asyncio.to_thread(trace.to_json)
        return result

    @app.post(
        "/v1/predict/stream",
        status_code=200,
        response_class=EventStream,
        responses=EVENTS | problems(400, 404, 413, 415, 422, 429, 503, 504),
    )
    async def stream(request: Request, body: PredictRequest) -> Response:
        """Server-sent events. A model that writes answers each input symbol by symbol, greedily or drawn: `token` has
        the output so far, `result` the whole. With a model that answers each step, `inputs` are the steps of one
        sequence (an empty string begins another), each answered by a `step`. The last event is `end`."""
        served, worker = service.chosen(request, body.model)
        service.check_count(len(body.inputs))
        check_options(served, body.options, settings)
        if served.streams == "tokens":
            return await EventStream.begun(service, request, written(served, worker, body, settings))
        events = stepped(served, worker, sent_steps(body.inputs), settings)
        return await EventStream.begun(service, request, events, lasting=True)

    @app.post(
        "/v1/predict/live",
        status_code=200,
        response_class=EventStream,
        responses=EVENTS | problems(400, 404, 415, 422, 429, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"application/x-ndjson": {"schema": {}}}}},
    )
    async def live(request: Request, model: str | None = None) -> Response:
        """Like the stream of a model that answers each step, while the body is still being sent: each line is a step as
        JSON, answered as soon as it comes."""
        served, worker = service.chosen(request, model)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-ndjson":
            raise Problem("unsupported_media_type", "application/x-ndjson")
        return await EventStream.begun(
            service,
            request,
            stepped(served, worker, sent_lines(request, settings), settings),
            lasting=True,
            waits=False,
        )

    @app.get("/v1/models", responses=problems(503))
    async def models() -> ModelList:
        """The models that are served, what each reads and predicts, and the options that it takes."""
        cards: list[ModelCard] = [card(served) for served, _ in service.models.values()]
        names = ("max_body", "max_inputs", "max_steps", "max_pixels", "max_beam", "max_output")
        return ModelList(models=cards, limits={name: getattr(settings, name) for name in names})


def _add_operations(app: FastAPI, service: Service) -> None:
    """The paths of the server itself."""

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "ok"}

    @app.get("/readyz", responses=problems(503))
    async def readyz() -> dict[str, str]:
        """Whether it takes requests: not while models are being loaded, nor once it is to stop."""
        service.check_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return docs.page(app.openapi())


# --- from inputs to results ---------------------------------------------------------------------------


def _answers(served: Served, arguments: dict[str, Any], prefix: str | None, items: list[Any]) -> Sequence[Any]:
    """A batch of inputs, each with its number among those of its request."""
    values, numbers = zip(*items, strict=True)
    prefixes = {} if prefix is None else {"prefixes": [prefix] * len(values)}
    return served.predictor.answers(values, numbers=numbers, **prefixes, **arguments)


async def _each(
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


# --- errors -------------------------------------------------------------------------------------------


async def _answer_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return known(error).response()


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    invalid = error.errors()[0]
    if invalid["type"] == "json_invalid":
        return Problem("invalid_json").response()
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if invalid["loc"] == ("body",) and kind != "application/json":
        return Problem("unsupported_media_type", "application/json").response()
    path = [str(part) for part in invalid["loc"][1:] if isinstance(part, int) or part in FIELDS]
    reason = wrong_value(invalid["type"], invalid.get("ctx", {}))
    if invalid["type"] == "extra_forbidden":
        reason = f"has a field that is not known; known: {', '.join(_known_fields(request.url.path, path))}"
    return Problem("invalid_request", f"{'.'.join(path) or 'the body'} {reason}").response()


def _known_fields(path: str, place: Sequence[str]) -> list[str]:
    """The fields of the object that stands at a place in a path's body."""
    here: Any = BODIES.get(path, Sent)
    for name in place:
        inner = [here.model_fields[name].annotation] if name in getattr(here, "model_fields", {}) else []
        while inner:
            kind = inner.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                here = kind
            inner += get_args(kind)
    return list(here.model_fields)


def _fields(kind: type[Sent]) -> set[str]:
    return set(kind.model_fields).union(*map(_fields, kind.__subclasses__()))


BODIES: dict[str, type[Sent]] = {
    "/v1/predict": PredictRequest,
    "/v1/predict/stream": PredictRequest,
    "/v1/score": ScoreRequest,
    "/v1/explain": ExplainRequest,
}
FIELDS = _fields(Sent) | {"temperature", "top_k", "top_p", "seed", "samples", "metric", "groups", "strength", "model"}
"""The names that a message about a request may repeat."""
