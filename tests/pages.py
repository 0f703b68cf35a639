"""What tests of the server's page share: which models are served, and a server as long as it is needed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from antiphon.server.app import create_app
from antiphon.server.settings import Settings
from antiphon.use.serving import load

Open = Callable[..., Any]
SERVED = {  # the name of a served model: the case of traces.CASES that it is made of
    "pairs": "lstm, general",
    "picture": "image",
    "digit": "image label",
    "label": "label",
    "vector": "one to one",
    "tags": "tags",
    "signal": "numbers",
    "next": "next",
    "sources": "two sources",
}


@contextmanager
def serving(folders: Sequence[Path], settings: Settings | None = None) -> Iterator[str]:
    """The address of a server of models in folders."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app([load(folder, "cpu") for folder in folders], settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def visiting(browser: Any, address: str) -> Iterator[Open]:
    """What opens pages of a server at a state; nothing may go wrong in them, and they may ask no other server."""
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(20_000)
    wrong: list[str] = []
    arguments: list[str] = []
    context.on("request", lambda request: arguments.append(request.url))
    context.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))

    def opened(width: int = 1280, **state: Any) -> Any:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{address}#{urlencode(state)}")
        page.wait_for_selector("main > *")
        return page

    yield opened
    context.close()
    assert not wrong
    assert not [url for url in arguments if not url.startswith((address, "data:", "blob:"))]
