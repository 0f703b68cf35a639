"""A server with a small model of every structure, and a browser that looks at its page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import SERVED, Open, examined_models, serving, visiting
from traces import made

CHROMIUM = shutil.which("chromium")


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


@pytest.fixture(scope="session")
def examined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders with examples."""
    return examined_models(tmp_path_factory.mktemp("examined"))


@pytest.fixture(scope="session")
def place(examined: dict[str, Path]) -> Iterator[str]:
    """The address of a server of the models with examples."""
    with serving(list(examined.values())) as url:
        yield url


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Open]:
    """Open the page at a state; nothing may go wrong in it, and nothing may be asked of another server."""
    with visiting(browser, address) as opened:
        yield opened


@pytest.fixture
def look(browser: Any, place: str) -> Iterator[Open]:
    """As `visit`, at models with examples; an input that is refused there is no fault."""
    with visiting(browser, place, ("status of 422", "status of 429", "net::ERR_ABORTED")) as opened:
        yield opened
