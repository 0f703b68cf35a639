"""Spans of requests for OpenTelemetry. They hold what a line of the log holds, and nothing that a client sent.

The packages are those of the extra `otel`. Their own instrumentation of ASGI is not used: it puts whole addresses with
their queries into spans.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import StartError
from .logs import LOG

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
DISTRIBUTION = __name__.partition(".")[0].replace("_", "-")


def tracer_of(wanted: bool) -> Tracer | None:
    """What makes spans, if they are `wanted` or OpenTelemetry's own environment variables ask for them.

    Where they are sent, their sampling and the name of the service are set by these variables, too.
    """
    environment = os.environ.get
    if environment("OTEL_TRACES_EXPORTER") == "none" or environment("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if not wanted and not any(map(environment, VARIABLES)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        reason = f"OpenTelemetry is not installed: pip install '{DISTRIBUTION}[otel]'"
        if wanted:
            raise StartError(f"--otel: {reason}") from None
        LOG.warning({"event": "no spans", "reason": reason})  # the variables may be for all programs of a machine
        return None
    named = {} if environment("OTEL_SERVICE_NAME") else {"service.name": "antiphon"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("antiphon.server")


def begin_span(tracer: Tracer | None, method: str, headers: Mapping[str, str]) -> Span | None:
    """The span of a request, part of the client's trace if its headers name one; None without a tracer."""
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sent = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
    context = TraceContextTextMapPropagator().extract(sent)
    return tracer.start_span(method, context, SpanKind.SERVER, {"http.request.method": method})


def end_span(span: Span | None, method: str, route: str, status: int, about: Mapping[str, Any]) -> None:
    """End the span of a request that was answered; `about` names the model and counts the inputs."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    span.set_attributes({f"antiphon.{name}": value for name, value in about.items()})
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    span.end()
