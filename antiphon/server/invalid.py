"""What is wrong with a request as a whole, as problems that say what to send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .problems import Problem, known, wrong_value
from .schema import ExplainRequest, PredictRequest, ScoreRequest, Sent


async def answer_problem(_: Request, error: Exception) -> Response:
    """The answer to an error of HTTP."""
    assert isinstance(error, HTTPException)
    return known(error).response()


async def answer_invalid(request: Request, error: Exception) -> Response:
    """The answer to a body that is not as its schema says."""
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
