"""The application: how its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import __version__
from . import docs
from .files import STATIC, Files
from .guard import Guard
from .invalid import answer_invalid, answer_problem
from .models import Served
from .openapi import complete, problems
from .paths import add_models
from .service import Service
from .settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["STATIC", "create_app"]
ABOUT = "Recurrent sequence models. Answers never depend on what else is asked at the same time."


def create_app(
    models: Iterable[Served],
    settings: Settings | None = None,
    failed: Callable[[Exception], None] | None = None,
    trace: type[BaseModel] | None = None,
    again: Callable[[str], Served] | None = None,
    tracer: Tracer | None = None,
) -> FastAPI:
    """The server of some models.

    They are taken one by one after the start, in a thread, and so may be loaded by an iterator; until all are there
    `/readyz` answers 503. If that fails, `failed` gets the error. `again` loads the model of a name anew. `trace`
    describes the answers of `/v1/explain`, `tracer` makes spans of requests.
    `app.state.service.drain()` announces the end.
    """
    service = Service(settings or Settings(), again, tracer)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(app.openapi)  # it takes a moment, which no request should
        loading = asyncio.create_task(service.load(models, failed))
        if isinstance(models, Sequence):  # there is nothing to wait for
            await loading
        yield
        service.drain()
        service.stop()
        await service.close()

    app = FastAPI(
        title="Antiphon", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=running
    )
    app.state.service = service
    app.openapi = partial(complete, app, service.settings, trace)  # type: ignore[method-assign]
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["retry-after", "x-request-id"],
        )
    app.add_middleware(Guard, service=service)
    app.add_exception_handler(HTTPException, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    add_models(app, service)
    _add_operations(app, service)
    _answer_head(app)
    app.mount("/", Files(app.routes))
    return app


def _answer_head(app: FastAPI) -> None:
    """Let HEAD be answered where GET is: probes ask so. Whoever sends the answer leaves its body out."""
    for route in [route for route in app.routes if isinstance(route, APIRoute)]:
        if "GET" in (route.methods or ()):
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


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
