"""The OpenAPI file: what the framework makes of the paths, with problems, the token and the bounds."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from .guard import CLOSED
from .problems import MEDIA, Details
from .settings import Settings

REF = "#/components/schemas/{model}"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a path may answer with."""
    content = {MEDIA: {"schema": {"$ref": REF.format(model="Details")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def complete(app: FastAPI, settings: Settings, trace: type[BaseModel] | None) -> dict[str, Any]:
    """The whole description, made once."""
    if app.openapi_schema is None:
        api = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = api["components"]["schemas"]
        for model in (Details,) if trace is None else (Details, trace):
            schema = model.model_json_schema(ref_template=REF)
            schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
        if trace is not None:
            explained = api["paths"]["/v1/explain"]["post"]["responses"]["200"]
            explained["content"]["application/json"]["schema"] = {"$ref": REF.format(model=trace.__name__)}
        if settings.token is not None:
            _secure(api)
        app.openapi_schema = api
    return app.openapi_schema


def _secure(api: dict[str, Any]) -> None:
    api["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in api["paths"].items():
        if path.startswith(CLOSED):
            for operation in operations.values():
                operation["security"] = [{"token": []}]
                operation["responses"] |= {str(status): response for status, response in problems(401).items()}
