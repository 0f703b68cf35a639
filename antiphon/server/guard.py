"""What every request and every answer passes: host name, token, size of the body, headers, metrics, one line of log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import re
import secrets
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import ClientLimit
from .logs import LOG, log_failure
from .problems import Problem
from .service import Service
from .tracing import begin_span, end_span

CLOSED = ("/v1/", "/metrics")
ENDLESS = "/v1/predict/live"  # a body that comes step by step
PROBES = ("/healthz", "/readyz", "/metrics")  # asked again and again by machines
METHODS = ("GET", "HEAD", "POST", "OPTIONS")  # by their names; others are counted together
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """The outermost layer of the server, in ASGI itself: streams pass through it unbuffered."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service
        self.settings, self.metrics = service.settings, service.metrics
        rate = self.settings.client_rate
        self.limit = None if rate is None else ClientLimit(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, headers, status = perf_counter(), Headers(scope=scope), 0
        sent_id = headers.get("x-request-id", "")
        number = sent_id if REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["log"] = {}
        method = scope["method"] if scope["method"] in METHODS else "other"
        span = None if scope["path"] in PROBES else begin_span(self.service.tracer, method, headers)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = number
                if self.service.draining.is_set():  # the client asks next over a connection that will be there
                    out["connection"] = "close"
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            self._admit(scope, headers)
            await self.app(scope, self._limited(scope, receive), sending)
        except Problem as problem:
            await problem.response()(scope, receive, sending)
        except Exception as error:
            log_failure(error, number)
            if not status:
                await Problem("internal_error").response()(scope, receive, sending)
        finally:
            seconds = perf_counter() - begun
            route = getattr(scope.get("route"), "path", "") or "unmatched"
            end_span(span, method, route, status, state["log"])
            self.metrics.requests.labels(route, method, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            line = {"event": "request", "request": number, "method": method, "route": route, "status": status}
            level = logging.DEBUG if route in PROBES else logging.INFO
            LOG.log(level, {**line, "ms": round(1000 * seconds, 2), **state["log"]})

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Refuse a request by what stands before its body."""
        hosts, path = self.settings.hosts, scope["path"]
        if hosts and _name(headers.get("host", "")) not in hosts:
            raise Problem("invalid_host")  # a page elsewhere may give its own name this address
        if self.limit is not None and path.startswith("/v1/") and scope["method"] != "OPTIONS":
            client, _ = scope.get("client") or ("", 0)
            if (wait := self.limit.wait(client, perf_counter())) > 0:
                allowed = f"at most {self.limit.rate:g} per second"
                raise Problem("too_many_requests", allowed, {"retry-after": str(math.ceil(wait))})
        if self.settings.token is not None and scope["method"] != "OPTIONS" and path.startswith(CLOSED):
            kind, _, token = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(token.strip().encode(), self.settings.token.encode())
            if kind.lower() != "bearer" or not right:
                raise Problem("unauthorized", headers={"www-authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if path != ENDLESS and length.isdecimal() and int(length) > self.settings.max_body:
            raise self._too_large()

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The body, up to its limit, and within its time."""
        if scope["path"] == ENDLESS:
            return receive
        read, whole, ends = 0, False, perf_counter() + self.settings.deadline

        async def receiving() -> Message:
            nonlocal read, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), ends - perf_counter())
            except TimeoutError:
                raise Problem("body_timeout", headers={"connection": "close"}) from None
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if read > self.settings.max_body:
                raise self._too_large()
            return message

        return receiving

    def _too_large(self) -> Problem:
        return Problem("body_too_large", f"at most {self.settings.max_body} bytes are read", {"connection": "close"})


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    return host.rpartition(":")[0].lower() if re.search(r":\d*$", host) else host.lower()
