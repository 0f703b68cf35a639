"""The paths of models."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from .inputs import check_options, read_input, read_pair, read_reference
from .openapi import problems
from .problems import Problem
from .results import answers, each, settled
from .schema import (
    ExplainRequest,
    ModelCard,
    ModelList,
    PredictAnswer,
    PredictRequest,
    ReloadAnswer,
    ScoreAnswer,
    ScoreRequest,
    answer_json,
    card,
)
from .service import Service
from .streaming import EventStream, sent_lines, sent_steps, stepped, written

EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}  # each of them
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `token`, `step`, `result` and `error`; the last is `end`",
        "content": {EventStream.media_type: {"schema": EVENT}},
    }
}


def add_models(app: FastAPI, service: Service) -> None:
    """Add the paths of models: each from the body that was read to the answer."""
    settings = service.settings

    @app.post("/v1/predict", response_model=PredictAnswer, responses=problems(400, 404, 413, 415, 422, 429, 503, 504))
    async def predict(request: Request, body: PredictRequest) -> Response:
        """The answers to `inputs`, in order. A wrong input has an error in its place, and the others are answered."""
        served, worker = service.chosen(request, body.model)
        service.check_count(len(body.inputs))
        check_options(served, body.options, settings)
        arguments, prefix = body.options.arguments(), body.options.prefix
        results = await each(
            request, service, served, worker,
            read=[partial(read_input, served, value, settings) for value in body.inputs],
            call=partial(answers, served, arguments, prefix),
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
        results = await each(
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
        return await EventStream.begun(service, request, events)

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
        service.check_loaded()
        cards: list[ModelCard] = [card(served) for served, _ in service.models.values()]
        names = ("max_body", "max_inputs", "max_steps", "max_pixels", "max_beam", "max_output")
        return ModelList(models=cards, limits={name: getattr(settings, name) for name in names})

    @app.post("/v1/models/reload", responses=problems(403, 500, 503))
    async def reload() -> ReloadAnswer:
        """Load all folders again. Each new model takes the place of the old one between two requests; where a folder
        cannot be loaded, the old model stays. Only a server with a token does this over HTTP."""
        if settings.token is None:
            raise Problem("token_needed")
        service.check_ready()
        failed = await service.reload()
        if failed:
            raise Problem("reload_failed", f"not loaded again: {', '.join(failed)}")
        return ReloadAnswer(models=list(service.models))
