"""The page at /docs: the content of the OpenAPI file, as HTML without scripts or anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from .problems import CODES

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code{font:14px ui-monospace,monospace;background:#f2f2f2;padding:0 .2rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;text-align:left;"
    "vertical-align:top}h2{margin-top:2.5rem}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code{background:#2a2a2a}a{color:#8bf}}"
)
DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page(api: Mapping[str, Any]) -> HTMLResponse:
    """The page of an OpenAPI description."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(api['info']['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(api['info']['title'])} {escape(api['info']['version'])}</h1>",
        f"<p>{_text(api['info'].get('description', ''))} <a href=/openapi.json>OpenAPI file</a></p>",
        *_operations(api),
        "<h2>Problems</h2><p>As <code>application/problem+json</code>, with a stable <code>code</code>:</p>",
        "<table><tr><th>code<th>status<th>what it means",
        *(f"<tr id={code}><td><code>{code}</code><td>{status}<td>{title}" for code, (status, title) in CODES.items()),
        "</table><h2>Schemas</h2>",
        *_schemas(api["components"]["schemas"]),
        "</html>",
    ]
    return HTMLResponse("\n".join(parts), headers={"content-security-policy": POLICY})


def _operations(api: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            about = _text(operation.get("description", ""))
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{about}</p>"
            sent = operation.get("requestBody", {}).get("content", {})
            yield "".join(
                f"<p>Body, <code>{kind}</code>: {_type(content['schema'])}</p>" for kind, content in sent.items()
            )
            yield "<table><tr><th>status<th>answer<th>"
            for status, response in operation["responses"].items():
                kinds = "; ".join(
                    f"<code>{kind}</code> {_type(content.get('schema', {}))}"
                    for kind, content in response.get("content", {}).items()
                )
                yield f"<tr><td>{status}<td>{kinds}<td>{_text(response['description'])}"
            yield "</table>"


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f"<h3 id=schema-{name}>{name}</h3><p>{_text(schema.get('description', ''))}</p>"
        if not schema.get("properties"):
            continue
        yield "<table><tr><th>field<th>type<th>what it is"
        needed = schema.get("required", [])
        for field, value in schema["properties"].items():
            note = "" if field in needed else " (optional)"
            about = _text(value.get("description", ""))
            yield f"<tr><td><code>{escape(field)}</code>{note}<td>{_type(value)}<td>{about}"
        yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#schema-{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "any value")))


def _text(text: str) -> str:
    """Text with `names` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
