"""The site: every page in both languages, its commands and snippets run, it builds, and its links lead somewhere."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from forked import forked

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs/site"
sys.path.insert(0, str(SITE))

pytest.importorskip("sphinx")

import outputs  # noqa: E402
import tables  # noqa: E402

PAGES = outputs.pages("en")
RUN = [page for page in PAGES if outputs.blocks(page)]
SLOW = ("reference/experiments",)
FENCE = re.compile(
    r"^```.*?^```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$|\]\([^)]*\)|^\{.*?$|<[^>\n]+>", re.DOTALL | re.MULTILINE
)
HAN = r"[\u4e00-\u9fff]"


def test_every_page_has_its_twin() -> None:
    assert outputs.pages("zh") == PAGES
    assert len(PAGES) > 3


@pytest.mark.parametrize("page", RUN)
def test_both_languages_have_the_same_code(page: str) -> None:
    english, chinese = ([(block.language, block.code) for block in outputs.blocks(page, code)] for code in ("en", "zh"))
    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_configurations_have_known_keys_and_are_the_same_in_both_languages(page: str, tmp_path: Path) -> None:
    """Blocks of YAML, which are not run."""
    from antiphon.config.load import read_config_file

    configurations = []
    for code in ("en", "zh"):
        text = (SITE / code / f"{page}.md").read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)):
            path = tmp_path / f"{number}.yaml"
            path.write_text(block, encoding="utf-8")
            configurations.append((code, read_config_file(path)))
    english, chinese = ([config for code, config in configurations if code == name] for name in ("en", "zh"))
    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_show_the_same_outputs_and_figures(page: str) -> None:
    shown = r"^```\{output\} (\d+)|!\[[^\]]*\]\(([^)]*)\)"
    texts = [(SITE / code / f"{page}.md").read_text(encoding="utf-8") for code in ("en", "zh")]
    english, chinese = (re.findall(shown, text, re.MULTILINE) for text in texts)
    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_chinese_has_full_width_punctuation(page: str) -> None:
    text = FENCE.sub(" ` ", (SITE / "zh" / f"{page}.md").read_text(encoding="utf-8"))
    wrong = re.findall(rf".{{0,12}}{HAN}\s?[,;:?!](?!\S*\w:).{{0,8}}|.{{0,8}}[,;?!]\s?{HAN}.{{0,12}}", text)
    assert not wrong


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with forked(tmp_path_factory.mktemp("forked")) as folder:
        yield folder


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page for page in RUN])
def test_the_commands_and_snippets_of_a_page_run(
    page: str, tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From top to bottom in one folder, with small tables and trainings of a few updates."""
    import antiphon

    tables.write(page, tmp_path, few=True)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(antiphon, "train", _train_briefly, raising=False)
    short = [block._replace(text=re.sub(r"UPDATES = \d+", "UPDATES = 3", block.text)) for block in outputs.blocks(page)]
    level = logging.getLogger("antiphon").level
    try:
        for _ in outputs.run(short, tmp_path, {"__name__": "page"}, outputs.bash):
            pass
    finally:
        logging.getLogger("antiphon").setLevel(level)


def _train_briefly(what: Any, out: str | None = None, settings: Any = None, **options: Any) -> object:
    from antiphon.api import train

    return train(what, out, {**(settings or {}), "train.max_steps": 6, "train.validate_every": 3}, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    for code in ("en", "zh"):
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", str(SITE)]
        done = subprocess.run(
            [*command, str(SITE / code), str(folder / code)],
            env={**os.environ, "SITE_LANGUAGE": code}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def test_no_link_is_dead_and_nothing_comes_from_elsewhere(built: Path) -> None:
    from bs4 import BeautifulSoup

    pages = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in built.rglob("*.html")}
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    assert len(pages) > 10
    for path, page in pages.items():
        for tag in page.find_all(src=True) + page.find_all("link", href=True):
            address = str(tag.get("src") or tag.get("href"))
            assert not re.match(r"(https?:)?//", address), f"{path}: {address} comes from elsewhere"
        for tag in page.find_all("a", href=True):
            address, anchor = urldefrag(str(tag["href"]))
            if re.match(r"https?://|mailto:", address):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target.exists(), f"{path}: {address}"
            if anchor and target in anchors:
                assert unquote(anchor) in anchors[target], f"{path}: {address}#{anchor}"


@pytest.mark.parametrize("code", ["en", "zh"])
def test_the_search_knows_the_words_of_the_pages(built: Path, code: str) -> None:
    index = (built / code / "searchindex.js").read_text(encoding="utf-8")
    word = {"en": "attent", "zh": "注意力".encode("unicode_escape").decode()}[code]  # stems in English
    assert word in index
