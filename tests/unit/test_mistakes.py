"""Every line of docs/errors.md: status 1, that message and nothing else, nothing half-written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mistakes import SECTIONS, Mistake, cell, make_model, meet

from antiphon.files import PARTIAL

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
MISTAKES = [mistake for section in SECTIONS.values() for mistake in section]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder)
    return folder


def documented() -> dict[str, str]:
    """The messages of the page, by what is wrong."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines]
    return {what: message for what, _, message in rows if what != "what is wrong"}


def test_the_page_and_the_mistakes_are_the_same_sixty_and_more() -> None:
    assert sorted(documented()) == sorted(mistake.what for mistake in MISTAKES)
    assert len(documented()) == len(MISTAKES) >= 60


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_answered_as_documented(mistake: Mistake, tmp_path: Path, model: Path) -> None:
    status, message = meet(mistake, tmp_path, model)
    assert (status, cell(message)) == (mistake.status, documented()[mistake.what])
    assert "Traceback" not in message
    assert not (tmp_path / "m" / "weights.safetensors").exists()
    assert not list(tmp_path.rglob(f".*{PARTIAL}"))
    if "f/precious" in mistake.files:
        assert (tmp_path / "f" / "precious").read_text() == "x"
