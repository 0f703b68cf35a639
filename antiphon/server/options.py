"""The options of a server on the command line and in environment variables, where the command line wins.

This module needs typer and nothing else of the extra `serve`, so that the help of a command is there at once.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .errors import StartError
from .settings import Settings

PREFIX = "ANTIPHON_"
TOKEN = f"--token-file (env var: {PREFIX}TOKEN_FILE)"
HERE = ("localhost", "127.0.0.1", "[::1]")  # names of this machine


class LogLevel(StrEnum):
    """What is logged: lines of this level and those above it."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Wanted(NamedTuple):
    """What is to be served, where, and how."""

    folders: list[Path]
    host: str
    port: int
    allow_open: bool
    settings: Settings


def option(name: str, *names: str, **about: Any) -> Any:
    """An option that an environment variable can give, too: `--max-rate` and ANTIPHON_MAX_RATE."""
    return typer.Option(*names, envvar=PREFIX + name.upper(), **about)


def _wanted(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", envvar=f"{PREFIX}FOLDERS", help="model folders"),
    ],
    host: Annotated[str, option("host", help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, option("port", min=0, max=65_535, help="0: any free port, which is printed")] = 8000,
    token_file: Annotated[
        Path | None,
        option("token_file", metavar="FILE", help="clients must show the token in it (Authorization: Bearer ...)"),
    ] = None,
    allow_open: Annotated[
        bool, option("allow_open", "--allow-open", help="let other machines ask without a token")
    ] = False,
    origin: Annotated[
        list[str] | None, option("origin", metavar="URL", help="pages of this origin may ask (CORS)")
    ] = None,
    deadline: Annotated[
        float, option("deadline", min=0.001, help="seconds until a request gets status 504")
    ] = Settings.deadline,
    queue: Annotated[
        int, option("queue", min=1, help="how many inputs may wait for a model before new ones get status 429")
    ] = Settings.queue,
    batch_steps: Annotated[
        int, option("batch_steps", min=1, help="characters or frames in a batch; 1: every input alone")
    ] = Settings.batch_steps,
    grace: Annotated[
        float,
        option(
            "grace", min=0.0, help="seconds after SIGTERM in which requests are still taken, while /readyz says 503"
        ),
    ] = Settings.grace,
    drain: Annotated[
        float, option("drain", min=0.0, help="seconds that requests may take after that")
    ] = Settings.drain,
    client_rate: Annotated[
        float | None,
        option("client_rate", min=0.001, help="requests per second of one client address before it gets status 429"),
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        option("trust_proxy", metavar="ADDRESS", help="believe X-Forwarded-For of this proxy or network (10.0.0.0/8)"),
    ] = None,
    log_level: Annotated[
        LogLevel, option("log_level", help="of the lines on standard error; debug: also requests of probes")
    ] = LogLevel.INFO,
    otel: Annotated[
        bool, option("otel", "--otel", help="send spans to OpenTelemetry, as its variables OTEL_... say (extra: otel)")
    ] = False,
) -> Wanted:
    """The options of every server, read."""
    hosts = () if allow_open or token_file else (host, *HERE)
    settings = Settings(
        token=None if token_file is None else _token(token_file.expanduser()),
        origins=tuple(origin or ()),
        hosts=hosts,
        deadline=deadline,
        queue=queue,
        batch_steps=batch_steps,
        grace=grace,
        drain=drain,
        log_level=log_level.value,
        client_rate=client_rate,
        proxies=tuple(map(_address, trust_proxy or ())),
        otel=otel,
    )
    return Wanted([folder.expanduser() for folder in folders], host, port, allow_open, settings)


def command(start: Callable[..., None]) -> Callable[..., None]:
    """A command for typer with the options of every server, which `start` gets read, beside its own options."""
    shared = inspect.signature(_wanted, eval_str=True).parameters.values()
    _, *extra = inspect.signature(start, eval_str=True).parameters.values()

    @functools.wraps(start)
    def run(**values: Any) -> None:
        if hasattr(signal, "SIGHUP"):  # it would end the process, and until the models are there nothing is to reload
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        further = {parameter.name: values.pop(parameter.name) for parameter in extra}
        start(_wanted(**values), **further)

    run.__signature__ = inspect.Signature([*shared, *extra])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *extra)}
    return run


def _address(text: str) -> str:
    """An address or a network, as it is written."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"--trust-proxy (env var: {PREFIX}TRUST_PROXY)") from None
    return text


def _token(path: Path) -> str:
    """The token in a file."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise StartError(f"{TOKEN} {path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise StartError(f"{TOKEN} {path}: must hold a token of 16 or more ASCII characters without spaces")
    return token
