"""Two models side by side on the page."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import told

from antiphon.use.loading import load

Open = Callable[..., Any]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_models_answer_what_is_typed_and_differences_are_marked(
    look: Open, examined: dict[str, Path], language: str
) -> None:
    models = [load(examined[name], "cpu") for name in ("writer", "rewriter")]
    page = look(model="writer", lang=language)
    page.locator("header select").nth(1).select_option("rewriter")
    for text in ("abca", "bbc"):
        page.fill("#input-0", text)
        answers = [model.predict([text])[0] for model in models]
        page.wait_for_function(
            "score => document.querySelector('.answer .facts')?.innerText.includes(score)",
            arg=f"{answers[0].score:.3f}",
        )
        told(page, answers[0].text)
        page.wait_for_selector('.versus[aria-busy="false"] .side')
        sides = page.locator(".side")
        assert [side.locator("h3").inner_text().split()[0] for side in sides.all()] == ["writer", "rewriter"]
        for side, answer in zip(sides.all(), answers, strict=True):
            assert side.locator(".part").all_inner_texts() == list(answer.tokens)
            assert f"{answer.score:.3f}" in side.locator(".facts").inner_text()
        # what is not marked is common to both, in order, and as much as can be
        plain = [side.locator("span.part").all_inner_texts() for side in sides.all()]
        assert plain[0] == plain[1]
        left, right = (list(answer.tokens) for answer in answers)
        blocks = difflib.SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
        assert len(plain[0]) >= sum(block.size for block in blocks)


def test_only_models_that_read_the_same_stand_side_by_side(look: Open) -> None:
    page = look(model="writer")
    names = page.locator("header select").nth(1).locator("option").all_inner_texts()
    assert [name.split()[0] for name in names[1:]] == ["tagger", "varied", "rewriter"]
    page = look(model="chat")  # nothing else reads turns
    assert page.locator("header select").count() == 3


def test_a_second_model_that_refuses_says_so(look: Open) -> None:
    page = look(model="writer", **{"with": "rewriter"})
    page.route(
        "**/v1/predict",
        lambda route: (
            route.fulfill(status=429, json={"title": "", "code": "queue_full"})
            if route.request.post_data_json["model"] == "rewriter"
            else route.continue_()
        ),
    )
    page.fill("#input-0", "ab")
    page.wait_for_selector(".versus .problem")
    assert page.locator("[data-answer]").count() == 1
    assert page.locator(".versus .side").count() == 0
