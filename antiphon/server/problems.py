"""What can go wrong with a request: one table of stable codes, sent as problem details (RFC 9457).

A problem never repeats what a client sent, and has nothing about the machine: all its texts are in this table, beside
the numbers of a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ..common.messages import expected

MEDIA = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem."""

    status: int
    title: str


CODES: dict[str, Kind] = {
    "invalid_json": Kind(400, "The body is not JSON."),
    "invalid_host": Kind(400, "This server does not answer to this host name."),
    "unauthorized": Kind(401, "A bearer token is needed, and the right one."),
    "token_needed": Kind(403, "Only a server with a token does this; send its process the signal SIGHUP instead."),
    "not_found": Kind(404, "There is nothing at this path."),
    "unknown_model": Kind(404, "No model of this name is served; GET /v1/models lists them."),
    "method_not_allowed": Kind(405, "This path does not take this method."),
    "body_timeout": Kind(408, "The body did not arrive in time."),
    "body_too_large": Kind(413, "The body is too large."),
    "too_many_inputs": Kind(413, "The request has too many inputs."),
    "unsupported_media_type": Kind(415, "The body must be of the content type that this path takes."),
    "invalid_request": Kind(422, "The request is not as its schema says."),
    "invalid_input": Kind(422, "This model cannot read the input; GET /v1/models describes what it reads."),
    "invalid_target": Kind(422, "The target does not fit this model; GET /v1/models describes it."),
    "input_too_long": Kind(422, "The input has more steps than are read."),
    "image_too_large": Kind(422, "The picture has too many pixels."),
    "invalid_options": Kind(422, "These options, or their values, are not for this model."),
    "no_output": Kind(422, "The options leave no possible output for the input."),
    "not_supported": Kind(422, "This model does not support this; GET /v1/models describes what it supports."),
    "queue_full": Kind(429, "Too much is waiting; try again later."),
    "too_many_requests": Kind(429, "This client sends more requests than it may; try again later."),
    "client_left": Kind(499, "The client left before the answer."),
    "internal_error": Kind(500, "The server failed; its log says why, under the request's id."),
    "reload_failed": Kind(500, "A model could not be loaded again, and stays as it was; the log says why."),
    "loading": Kind(503, "The models are being loaded."),
    "draining": Kind(503, "The server is about to stop."),
    "deadline_exceeded": Kind(504, "There was no answer in time."),
}


class Details(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="where the code is explained")
    title: str = Field(description="what is wrong")
    status: int = Field(description="the HTTP status, for a single input too")
    code: str = Field(description="stable, for programs")
    detail: str | None = Field(None, description="about this case: a limit, a field")


class Problem(HTTPException):
    """A problem of a known code; as an exception it is the answer to its request."""

    def __init__(self, code: str, detail: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(CODES[code].status, CODES[code].title, headers)
        self.code, self.about = code, detail

    def to_json(self) -> dict[str, Any]:
        """As problem details."""
        status, title = CODES[self.code]
        details = {"type": f"/docs#{self.code}", "title": title, "status": status, "code": self.code}
        return details if self.about is None else {**details, "detail": self.about}

    def response(self) -> Response:
        """As the answer to a request."""
        return JSONResponse(self.to_json(), self.status_code, self.headers, MEDIA)


OBJECTS = ("model_attributes_type", "model_type", "dict_type")


def wrong_value(kind: str, limits: Mapping[str, Any]) -> str:
    """What is wrong with a value and what to send, without repeating it; `kind` is pydantic's name for it."""
    if kind in OBJECTS:
        return "must be a JSON object"
    return expected(kind, limits) or "is not as the schema in /openapi.json says"


BY_STATUS = {
    HTTPStatus.BAD_REQUEST: "invalid_json",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
}


def known(error: HTTPException) -> Problem:
    """The framework's own errors as problems."""
    if isinstance(error, Problem):
        return error
    return Problem(BY_STATUS.get(HTTPStatus(error.status_code), "internal_error"), headers=error.headers)
