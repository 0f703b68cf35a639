"""`antiphon serve`: from the command line to a server that has stopped cleanly."""

from __future__ import annotations

import gc
import ipaddress
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from antiphon.errors import AntiphonError
from antiphon.server.app import create_app
from antiphon.server.guard import LOG
from antiphon.server.models import Served, check, load
from antiphon.server.settings import Settings

SWITCH = 5e-5  # seconds after which a thread that waits for the interpreter gets it


class _Server(uvicorn.Server):
    """Tells the application at once when it is to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.service.drain()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def serve(
    folders: Sequence[Path], host: str, port: int, settings: Settings, allow_open: bool, device: str | None
) -> None:
    """Serve model folders until SIGTERM or SIGINT, and then answer what was admitted.

    A folder that cannot be loaded, an address that cannot be bound, and an open server beyond this machine are an
    `AntiphonError`.
    """
    for folder in folders:
        check(folder)
    listening = _bound(host, port, settings.token is None and not allow_open)
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    def models() -> Iterator[Served]:
        for folder in folders:
            yield load(folder, device)
        # what stays for good need not be searched for garbage again and again: 80 ms with PyTorch
        gc.collect()
        gc.freeze()

    _log_lines()
    config = uvicorn.Config(
        create_app(models(), settings, failed), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=int(settings.drain), lifespan="on",
        http="h11",  # httptools, which uvicorn takes where it is there, reads a head of any length into memory
    )  # fmt: skip
    # a model's thread takes the interpreter at every operation; refusing a flood of requests would starve it otherwise
    sys.setswitchinterval(SWITCH)
    server = _Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):  # what uvicorn raises again when it is done
        signal.signal(number, lambda *_: None)
    address, bound = listening.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{bound}"
    LOG.info(json.dumps({"event": "listening", "url": url}))
    server.run(sockets=[listening])
    if failures:
        raise failures[0]


class _Line(logging.Formatter):
    """A message of uvicorn, such as about bytes that are not a request, as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"event": "uvicorn", "level": record.levelname.lower(), "message": record.getMessage()})


def _log_lines() -> None:
    """Let all that is logged be lines of JSON on standard error."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Line())
    for logger, level, handler in (
        (LOG, logging.INFO, logging.StreamHandler(sys.stderr)),
        (logging.getLogger("uvicorn"), logging.WARNING, lines),
    ):
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False


def _bound(host: str, port: int, only_here: bool) -> socket.socket:
    """A listening socket; with `only_here` an address that other machines reach is refused."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        if only_here and not ipaddress.ip_address(address[0]).is_loopback:
            reason = "other machines reach this address; give --token-file, or --allow-open to serve anybody"
            raise AntiphonError(f"--host {host}: {reason}")
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise AntiphonError(f"--host {host} --port {port}: cannot be bound: {error.strerror or error}") from None
