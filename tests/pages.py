"""What tests of the server's page share: which models are served, and a server as long as it is needed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from antiphon.server.app import create_app
from antiphon.server.settings import Settings
from antiphon.use.serving import load

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
