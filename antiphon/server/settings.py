"""What a server allows: every bound in one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Times are in seconds, sizes in bytes; a step is a character of a text or a step of an array."""

    token: str | None = None  # what clients must send; None: nothing
    origins: tuple[str, ...] = ()  # pages elsewhere that may ask (CORS)
    hosts: tuple[str, ...] = ()  # names that this server answers to; none: any
    batch_window: float = 0.005  # how long an input waits for others
    batch_steps: int = 16_384  # the most steps of all inputs of a batch, times the width of their beams
    queue: int = 1024  # inputs that may wait, for each model
    streams: int = 64  # the most that may be open at once
    deadline: float = 30.0  # for each request
    grace: float = 0.0  # how long the server still takes requests once SIGTERM has come
    drain: float = 30.0  # how long requests may take after that
    log_level: str = "info"
    client_rate: float | None = None  # requests per second of one client; None: any
    proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-For names the client
    otel: bool = False  # whether spans are sent to OpenTelemetry; its environment variables can ask for it, too
    max_body: int = 8 << 20
    max_inputs: int = 256  # in a request
    max_steps: int = 20_000  # in an input
    max_pixels: int = 1 << 24  # in a picture
    max_beam: int = 64  # and outputs drawn for one input
    max_output: int = 2_000  # symbols
