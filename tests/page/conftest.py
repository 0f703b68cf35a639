"""A server with a small model of every structure, and a browser that looks at its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pages import SERVED, serving
from traces import made

CHROMIUM = shutil.which("chromium")
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each case."""
    root = tmp_path_factory.mktemp("models")
    for name, case in SERVED.items():
        made(case).save(root / name)
    return {name: root / name for name in SERVED}


@pytest.fixture(scope="session")
def address(folders: dict[str, Path]) -> Iterator[str]:
    """The address of a server of all cases."""
    with serving(list(folders.values())) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser, where there is one and what drives it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Open]:
    """Open the page at a state; nothing may go wrong in it, and nothing may be asked of another server."""
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
