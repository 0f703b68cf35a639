"""What tests of the server's page share: which models are served, and a server as long as it is needed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
import uvicorn
from PIL import Image
from untrained import rows_of, untrained

from antiphon.data.load import load_rows
from antiphon.saved import examples
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


class Structure(NamedTuple):
    """A model with examples: the kind that it reads, its sides, and the columns of its rows."""

    kind: str
    tree: dict[str, Any]
    columns: dict[str, list[Any]]
    turns: bool = False


CHANCE = np.random.default_rng(7)
TEXTS = ["abca", "bb", "cab", "acb", "bca", "ab"]
LABELS = ["u", "v", "w", "u", "v", "w"]
LABEL = {"kind": "label", "column": "y"}
PICTURES = (CHANCE.random((6, 12, 12)) > 0.7).astype(np.uint8) * 255
DIGITS = (CHANCE.integers(1, 17, (6, 8, 8)) * (CHANCE.random((6, 8, 8)) > 0.6)).clip(0, 16)
DIGITS[:, 0, 7] = 16
DIGITS[:, 7, 0] = 0
STRUCTURES = {  # one of each structure, and more inputs
    "vector": Structure(
        "vector", {"source": {"kind": "vector", "column": "x"}, "target": LABEL},
        {"x": (DIGITS * 255 // 16).reshape(6, 64).tolist(), "y": LABELS},
    ),
    "captioner": Structure(
        "image", {"source": {"kind": "image", "column": "x", "size": 12}, "target": {"column": "y"}},
        {"x": [f"{place}.png" for place in range(6)], "y": ["A B", "B", "C A", "B C", "A", "C"]},
    ),
    "reader": Structure(
        "frames", {"source": {"kind": "frames", "column": "x"}, "target": LABEL, "model": {"cell": "gru"}},
        {"x": DIGITS.tolist(), "y": LABELS},
    ),
    "writer": Structure(
        "text", {"source": {"column": "x"}, "target": {"column": "y"}, "decode": {"beam": 3, "max_length": 8}},
        {"x": TEXTS, "y": [" ".join(text[::-1].upper()) for text in TEXTS]},
    ),
    "tagger": Structure(
        "text",
        {"source": {"column": "x"}, "target": {"kind": "labels", "column": "y"},
         "model": {"cell": "rnn_tanh", "encoder": {"hidden": 5, "layers": 2}}},
        {"x": TEXTS, "y": [" ".join("U" if letter == "a" else "V" for letter in text) for text in TEXTS]},
    ),
    "varied": Structure(
        "text",
        {"source": {"column": "x"}, "target": LABEL,
         "model": {"cell": {"kind": "lstm", "layer_norm": True, "zoneout": 0.2}}},
        {"x": TEXTS, "y": LABELS},
    ),
    "chat": Structure(
        "text", {"source": {"column": "x", "turns": 2}, "target": {"column": "y"}},
        {"x": [["a b", "b"], ["a"], ["b a", "c"], ["c"], ["a", "c c"], ["b"]], "y": TEXTS}, True,
    ),
    "rewriter": Structure(
        "text",
        {"source": {"column": "x"}, "target": {"column": "y"}, "decode": {"beam": 1, "max_length": 8},
         "model": {"cell": "gru", "decoder": {"hidden": 7, "layers": 2}}},
        {"x": TEXTS, "y": [" ".join(text.upper()) for text in TEXTS]},
    ),
}  # fmt: skip
WIDER = {"model": {"encoder": {"hidden": 7}}}
STRUCTURES |= {  # further models that read the same as another, to stand beside it
    f"second-{name}": STRUCTURES[name]._replace(tree={**STRUCTURES[name].tree, **WIDER})
    for name in ("vector", "captioner", "reader")
}


def examined_models(root: Path) -> dict[str, Path]:
    """A folder of a small untrained model of each of `STRUCTURES`, with examples, as a training writes it."""
    folders = {}
    for name, structure in STRUCTURES.items():
        folder = root / f"of-{name}"
        folder.mkdir()
        for place, picture in enumerate(PICTURES):
            Image.fromarray(picture).save(folder / f"{place}.png")
        model = untrained(folder, structure.tree, rows_of(**structure.columns))
        folders[name] = folder / name
        model.folder.rename(folders[name])
        rows = load_rows(model.config, model.config.data.train, codecs=model.codecs)
        examples.keep(folders[name], examples.chosen(model.codecs, rows, 6))
    return folders


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
def visiting(browser: Any, address: str, expected: Sequence[str] = ()) -> Iterator[Open]:
    """What opens pages of a server at a state; nothing may go wrong in them but what is expected, and they may ask no
    other server."""
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
    assert not [text for text in wrong if not any(part in text for part in expected)]
    assert not [url for url in arguments if not url.startswith((address, "data:", "blob:"))]


def told(page: Any, text: str) -> None:
    """Wait for an answer."""
    page.wait_for_function("text => document.querySelector('[data-answer]')?.innerText === text", arg=text)
