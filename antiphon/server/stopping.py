"""How the server stops: after a first signal without losing a request, after a second one at once.

First it only says that it will: `/readyz` answers 503, and every answer ends its connection, so that a client's next
request comes over a new one. After the grace period it lets no new connection begin, takes those that wait to be
accepted, closes the listening socket, and answers what they ask. A connection is closed after its answer, or when it
has been quiet: a client that has just been answered may be sending its next request.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from time import monotonic
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .logs import LOG
from .service import Service

QUIET = 1.0  # seconds without a request after which a connection is closed, once the server stops
BEGUN = 0.1  # seconds in which connections that have begun are finished, before the listening socket is closed
SO_ATTACH_FILTER = 26  # of Linux; it is in no module of Python
NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A filter of packets (classic BPF): of TCP's flags, the 13th byte, is SYN set? Then drop the packet, else take it."""
CANCELLED = 1  # seconds for what is cancelled, once the time of requests is over


class Connection(H11Protocol):
    """A connection that knows since when it is quiet.

    httptools, which uvicorn takes where it is there, reads a head of any length into memory; h11 does not.
    """

    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        self.since = monotonic()

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol.data_received`."""
        self.since = monotonic()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Called when an answer is written."""
        super().on_response_complete()
        self.since = monotonic()

    def close_if_quiet(self) -> None:
        """Close a connection that is not used."""
        asking = self.cycle is not None and not self.cycle.response_complete
        if not asking and monotonic() - self.since >= QUIET:
            self.shutdown()


class Server(uvicorn.Server):
    """A server that stops in two steps."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self._ends = 0.0  # when the grace period is over

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. A person at a terminal, who sends SIGINT, need not wait for the grace period."""
        if self.should_exit:
            os._exit(128 + sig)
        self._ends = monotonic() + (self.service.settings.grace if sig == signal.SIGTERM else 0.0)
        self.service.soon(self.service.drain)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Whether the main loop is over."""
        return await super().on_tick(counter) and monotonic() >= self._ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and wait for what was accepted."""
        self.service.stop()
        await self._close(sockets or [])
        ends = monotonic() + self.service.settings.drain
        state = self.server_state
        while (state.connections or state.tasks) and monotonic() < ends:
            for connection in list(state.connections):
                connection.close_if_quiet()  # type: ignore[union-attr]
            await asyncio.sleep(0.02)
        await super().shutdown([])
        LOG.info({"event": "stopped"})

    async def _close(self, sockets: list[socket.socket]) -> None:
        """Close the listening sockets, but first take the connections that wait in them: the clients count on it."""
        for listening in sockets:
            begin_none(listening)
        await asyncio.sleep(BEGUN)
        copies = [listening.dup() for listening in sockets]
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        accepted: list[socket.socket] = []
        for listening in copies:
            listening.setblocking(False)
            with listening:
                while (connection := _waiting(listening)) is not None:
                    accepted.append(connection)
        loop = asyncio.get_running_loop()
        for connection in accepted:
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return Connection(self.config, self.server_state, self.lifespan.state)


def begin_none(listening: socket.socket) -> None:
    """Let no new connection begin at a listening socket, so that none is reset when it is closed.

    The first packet of each is dropped; its client sends it again a second later, and is refused then. Only Linux does
    that; elsewhere a connection that begins in the very moment of closing may be reset.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_SYN)
    buffer = ctypes.create_string_buffer(code, len(code))
    with suppress(OSError):
        filtering = struct.pack("HP", len(NO_SYN), ctypes.addressof(buffer))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtering)


def _waiting(listening: socket.socket) -> socket.socket | None:
    """A connection that waits to be accepted; None: there is none."""
    try:
        connection, _ = listening.accept()
    except BlockingIOError:
        return None
    connection.setblocking(False)
    return connection
