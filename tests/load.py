"""Clients that keep asking a server over connections that stay open, and count what became of every request."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What work returns, run in a thread of its own: in this one a browser's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Client:
    """One connection of HTTP/1.1 at a time, kept open as long as the server allows it."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.port = port
        self.token = "" if token is None else f"authorization: Bearer {token}\r\n"
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Open a connection, unless there is one."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        await self.connect()
        assert self.reader is not None
        assert self.writer is not None
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{self.token}content-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"content-length: (\d+)", lines)
        assert length is not None
        answer = json.loads(await self.reader.readexactly(int(length[1])))
        if "connection: close" in lines:
            self.close()
        return int(lines.split()[1]), answer

    def close(self) -> None:
        """Close the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def under_load(
    port: int,
    inputs: list[str],
    right: Callable[[str, Any], str | None],
    meanwhile: Callable[[], Awaitable[None]],
    clients: int = 32,
) -> Counter[str]:
    """What became of the requests of clients that ask until `meanwhile` is done, or the server takes no connection.

    `right` names a result, or is None for a wrong one. The outcomes: these names, `wrong`, `status N`, and `lost`, for
    a request without an answer, a reset connection too.
    """
    outcomes: Counter[str] = Counter()
    done = asyncio.Event()

    async def ask(number: int) -> None:
        client = Client(port)
        while not done.is_set():
            number += 1
            word = inputs[number % len(inputs)]
            try:
                await client.connect()
            except ConnectionRefusedError:
                outcomes["refused"] += 1
                return
            except OSError:
                outcomes["lost"] += 1
                return
            try:
                status, answer = await client.post("/v1/predict", {"inputs": [word]})
            except (OSError, asyncio.IncompleteReadError):
                outcomes["lost"] += 1
                client.close()
                return
            outcomes[right(word, answer["results"][0]) or "wrong" if status == 200 else f"status {status}"] += 1
        client.close()

    tasks = [asyncio.ensure_future(ask(number)) for number in range(clients)]
    await meanwhile()
    done.set()
    await asyncio.gather(*tasks)
    return outcomes
