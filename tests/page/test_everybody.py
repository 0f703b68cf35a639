"""The whole page for everybody: both languages, from small phones to wide screens, light and dark, by keyboard too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pages import STRUCTURES

Open = Callable[..., Any]
WAYS = [  # language, width, colours
    ("en", 320, "light"), ("zh", 320, "dark"), ("zh", 390, "light"), ("en", 768, "dark"), ("zh", 1280, "light"),
    ("en", 1600, "dark"),
]  # fmt: skip
FIVE = ["vector", "captioner", "reader", "writer", "tagger"]  # one of each structure
SECOND = {  # a model that reads the same
    "vector": "second-vector", "captioner": "second-captioner", "reader": "second-reader", "writer": "rewriter",
    "tagger": "writer",
}  # fmt: skip


def answered(page: Any) -> None:
    page.wait_for_selector('.found[aria-busy="false"] [data-answer]')


def draw(page: Any) -> None:
    pad = page.locator("canvas.pad").first
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 3 * box["height"] / 4, steps=4)
    page.mouse.up()
    page.wait_for_timeout(350)
    answered(page)


def check(page: Any) -> None:
    """Nothing is wider than the page, and no rule of accessibility is broken."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page.wait_for_timeout(300)  # colours fade in
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize(("language", "width", "theme"), WAYS)
@pytest.mark.parametrize(
    "name", [name if name == "writer" else pytest.param(name, marks=pytest.mark.slow) for name in FIVE]
)
def test_a_model_of_each_structure_is_used(look: Open, name: str, language: str, width: int, theme: str) -> None:
    page = look(model=name, lang=language, width=width, theme=theme)
    assert page.locator("html").get_attribute("lang") == language
    check(page)
    page.locator("[data-example]").first.click()
    answered(page)
    page.locator("header select").nth(1).select_option(SECOND[name])
    if STRUCTURES[name].kind == "text":
        page.fill("#input-0", "bca")
        page.wait_for_timeout(350)
    else:
        draw(page)
    answered(page)
    assert page.locator(".side").count() == 2
    for button in page.locator("nav.views button").all():
        if button.get_attribute("aria-pressed") == "false":
            button.click()
    if page.locator("#view-play").count():
        page.click('[data-play="on"]')
        assert page.locator("#view-play [aria-pressed=true]").get_attribute("data-moment") == "1"
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    check(page)


def test_what_goes_on_beyond_an_edge_fades_there(look: Open) -> None:
    page = look(model="writer", input=json.dumps(["abcabcabcabcabcabcabc"]), views="attention", width=360)
    picture = page.locator("#view-attention .picture")
    picture.wait_for()
    page.wait_for_function("() => document.querySelector('#view-attention .picture').dataset.more === 'right'")
    mask = picture.evaluate("element => getComputedStyle(element).maskImage")
    assert "linear-gradient" in mask
    picture.evaluate("element => element.scrollTo(element.scrollWidth, 0)")
    page.wait_for_function("() => document.querySelector('#view-attention .picture').dataset.more === 'left'")
    page.set_viewport_size({"width": 1600, "height": 900})
    page.wait_for_function("() => document.querySelector('#view-attention .picture').dataset.more === ''")
    assert picture.evaluate("element => getComputedStyle(element).maskImage") == "none"


def test_all_is_reached_by_keys(look: Open) -> None:
    page = look(model="writer", views="play")
    page.locator("[data-example]").first.focus()
    page.keyboard.press("Enter")
    answered(page)
    page.wait_for_selector("#view-play")
    reached = set()
    page.locator("header select").first.focus()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached |= set(page.evaluate("Object.keys(document.activeElement.dataset)"))
        reached.add(page.evaluate("document.activeElement.className"))
    assert {"example", "play", "moment", "view", "token", "picture"} <= reached


@pytest.mark.parametrize("language", ["en", "zh"])
def test_ranks_that_are_not_in_the_order_of_log_p_are_explained(look: Open, language: str) -> None:
    page = look(model="writer", lang=language, input='["abca"]', views="beam", length_penalty=3, beam=4, n_best=4)
    page.wait_for_selector("#view-beam .picture")
    rows = page.locator(".n-best tbody tr")
    scores = [float(row.locator("td").nth(2).inner_text()) for row in rows.all()]
    assert (page.locator("[data-ranking]").count() == 1) == (scores != sorted(scores, reverse=True))
    page.click("#view-beam details:last-of-type > summary")
    table = page.locator("#view-beam details:last-of-type tbody tr")
    table.first.wait_for()
    ranked = [cells for cells in (row.locator("td").all_inner_texts() for row in table.all()) if cells[5]]
    ranked.sort(key=lambda cells: int(cells[5]))
    rank_scores = [float(cells[6]) for cells in ranked]
    assert rank_scores == sorted(rank_scores, reverse=True)
    assert "^3" in page.locator("#view-beam .hint").first.inner_text()
