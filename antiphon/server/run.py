"""From model folders to a server that has stopped cleanly."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from .app import create_app
from .errors import StartError
from .logs import LOG, log_to_standard_error
from .models import Loader, Served, name_of, warm
from .service import tidy
from .settings import Settings
from .stopping import CANCELLED, Connection, Server
from .tracing import tracer_of

SWITCH = 5e-5  # seconds after which a thread that waits for the interpreter gets it
# seconds until an unused connection is closed: later than proxies close theirs, so that none is surprised
KEEP_ALIVE = 75


def serve(folders: Sequence[Path], loader: Loader, host: str, port: int, settings: Settings, allow_open: bool) -> None:
    """Serve model folders until SIGTERM or SIGINT, and then answer what was admitted; SIGHUP loads them again.

    An address that cannot be bound, an open server beyond this machine, and two models of one name are a `StartError`,
    a folder that cannot be loaded is an error of the loader's.
    """
    log_to_standard_error(settings.log_level)
    tracer = tracer_of(settings.otel)
    for folder in folders:
        loader.check(folder)
    places = _by_name(folders)
    listening = _bound(host, port, settings.token is None and not allow_open)
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    def load(name: str) -> Served:
        served = replace(loader.load(places[name]), name=name)
        warm(served)
        return served

    def models() -> Iterator[Served]:
        yield from map(load, places)
        tidy()

    app = create_app(models(), settings, failed, loader.trace, load, tracer)
    service = app.state.service
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="on", http=Connection,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=CANCELLED,
        proxy_headers=bool(settings.proxies), forwarded_allow_ips=list(settings.proxies),
    )  # fmt: skip
    # a model's thread takes the interpreter at every operation; refusing a flood of requests would starve it otherwise
    sys.setswitchinterval(SWITCH)
    server = Server(config, service)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, lambda *_: service.soon(service.begin_reload))
    address, bound = listening.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{bound}"
    LOG.info({"event": "listening", "url": url})
    server.run(sockets=[listening])
    if failures:
        raise failures[0]


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by the names of their models."""
    places: dict[str, Path] = {}
    for folder in folders:
        if places.setdefault(name_of(folder), folder) is not folder:
            raise StartError(f"{name_of(folder)}: two models have this name; rename one of the folders")
    return places


def _bound(host: str, port: int, only_here: bool) -> socket.socket:
    """A listening socket; with `only_here` an address that other machines reach is refused."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        if only_here and not ipaddress.ip_address(address[0]).is_loopback:
            reason = "other machines reach this address; give --token-file, or --allow-open to serve anybody"
            raise StartError(f"--host {host}: {reason}")
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise StartError(f"--host {host} --port {port}: cannot be bound: {error.strerror or error}") from None
