"""The form of the page: examples of the model's own data, answers while typing, drawing what the model reads."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import STRUCTURES, told
from PIL import Image

from antiphon.server.app import STATIC
from antiphon.server.problems import CODES
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

Open = Callable[..., Any]
WORDS = (STATIC / "words.js").read_text(encoding="utf-8")
LANGUAGES = dict(zip(("en", "zh"), WORDS.split("const zh"), strict=True))


def word(language: str, key: str) -> str:
    """A word of the page."""
    match = re.search(rf'^  "{re.escape(key)}": "(.*)",$', LANGUAGES[language], re.MULTILINE)
    assert match is not None, key
    return match[1]


@pytest.fixture
def models(examined: dict[str, Path]) -> dict[str, Predictor]:
    return {name: load(folder, "cpu") for name, folder in examined.items()}


def answer_of(page: Any) -> str:
    text: str = page.locator("[data-answer]").inner_text()
    return text


# --- examples -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", list(STRUCTURES))
def test_an_example_of_the_models_own_data_is_answered(look: Open, models: Any, name: str, language: str) -> None:
    page = look(model=name, lang=language)
    examples = json.loads((models[name].folder / "examples.json").read_text())["inputs"]
    buttons = page.locator("[data-example]")
    assert buttons.count() == len(examples) >= 3
    for place in (0, len(examples) - 1):
        buttons.nth(place).click()
        page.wait_for_selector('.found[aria-busy="false"] [data-answer]')
        content = examples[place]
        if STRUCTURES[name].kind == "image":
            content = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        told(page, models[name].predict([content])[0].text)
    side = "turns" if STRUCTURES[name].turns else STRUCTURES[name].kind
    assert word(language, f"kind.{side}").partition("{")[0] in page.locator(".reads").inner_text()


def test_without_examples_the_page_says_what_is_read(visit: Open) -> None:
    page = visit(model="signal")
    assert page.locator("[data-example]").count() == 0
    assert "a sequence of steps of 2 numbers" in page.locator(".reads").inner_text()


# --- typing -------------------------------------------------------------------------------------------


def asked(page: Any) -> list[Any]:
    """The inputs of the predictions that the page asks for, from now on."""
    inputs: list[Any] = []
    page.on(
        "request",
        lambda request: inputs.extend(request.post_data_json["inputs"]) if request.url.endswith("/predict") else None,
    )
    return inputs


def test_what_is_typed_is_answered_without_a_button(look: Open, models: Any) -> None:
    page = look(model="writer")
    inputs = asked(page)
    page.locator("#input-0").press_sequentially("abcab", delay=20)
    told(page, models["writer"].predict(["abcab"])[0].text)
    assert inputs == ["abcab"]  # one pause, one request


def test_the_newest_input_wins(look: Open, models: Any) -> None:
    page = look(model="writer")
    held: list[Any] = []

    def late(route: Any) -> None:
        if route.request.post_data_json["inputs"] == ["ab"]:
            held.append(route)  # never answered
        else:
            route.continue_()

    page.route("**/v1/predict", late)
    aborted: list[str] = []
    page.on("requestfailed", lambda request: aborted.append(request.post_data_json["inputs"][0]))
    page.fill("#input-0", "ab")
    page.wait_for_timeout(500)
    page.fill("#input-0", "abc")
    told(page, models["writer"].predict(["abc"])[0].text)
    assert len(held) == 1
    assert aborted == ["ab"]


def test_enter_asks_at_once_and_no_line_end_is_read(look: Open, models: Any) -> None:
    page = look(model="writer")
    inputs = asked(page)
    page.fill("#input-0", "cab")
    page.locator("#input-0").press("Enter")
    page.wait_for_selector("[data-answer]")
    assert page.locator("#input-0").input_value() == "cab"
    page.fill("#input-0", "cab\n\n")
    page.wait_for_timeout(500)
    assert set(inputs) == {"cab"}
    told(page, models["writer"].predict(["cab"])[0].text)


def test_while_an_input_method_composes_nothing_is_asked(look: Open) -> None:
    page = look(model="writer")
    inputs = asked(page)
    field = page.locator("#input-0")
    field.dispatch_event("compositionstart")
    field.fill("ab")
    page.wait_for_timeout(500)
    assert inputs == []
    field.dispatch_event("compositionend")
    page.wait_for_selector("[data-answer]")
    assert inputs == ["ab"]


def test_all_that_is_typed_is_one_step_back(look: Open) -> None:
    page = look(model="writer")
    page.locator('[data-example="0"]').click()
    page.wait_for_selector("[data-answer]")
    before = page.locator("#input-0").input_value()
    for text in ("a", "ab", "abb"):
        page.fill("#input-0", text)
        page.wait_for_function('text => decodeURIComponent(location.hash).includes(`["${text}"]`)', arg=text)
    page.go_back()
    page.wait_for_function("text => document.querySelector('#input-0').value === text", arg=before)


# --- drawing ------------------------------------------------------------------------------------------


def strokes(page: Any) -> None:
    """Draw a line down the middle, and one across."""
    pad = page.locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for begin, end in (((0.5, 0.1), (0.5, 0.9)), ((0.35, 0.5), (0.65, 0.5))):
        page.mouse.move(box["x"] + begin[0] * box["width"], box["y"] + begin[1] * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=6)
        page.mouse.up()


@pytest.mark.parametrize(("name", "most"), [("reader", 16), ("vector", 255)])
def test_numbers_that_are_a_picture_are_drawn_in_their_range(look: Open, models: Any, name: str, most: int) -> None:
    page = look(model=name)
    strokes(page)
    page.wait_for_selector("[data-answer]")
    numbers = np.asarray(json.loads(page.locator("#input-0").input_value())).reshape(8, 8)
    assert numbers.dtype.kind == "i"
    assert numbers.min() == 0
    assert numbers.max() == most
    assert numbers[:, :1].max() == 0  # nothing was drawn there
    assert (numbers[1:7, 3:5].max(1) > 0).all()
    told(page, models[name].predict([json.loads(page.locator("#input-0").input_value())])[0].text)


def test_a_picture_is_drawn_in_the_models_size_with_keys_too(look: Open) -> None:
    page = look(model="captioner")
    page.locator("canvas.pad").first.focus()
    inputs = asked(page)
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", " "):
        page.keyboard.press(key)
    page.wait_for_selector("[data-answer]")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(inputs[-1]))).convert("L"))
    expected = np.zeros((12, 12), np.uint8)
    expected[1, 1] = 255
    np.testing.assert_array_equal(drawn, expected)


def test_an_example_is_on_the_drawing_area_to_be_drawn_upon(look: Open) -> None:
    page = look(model="reader")
    page.locator('[data-example="1"]').click()
    page.wait_for_selector("[data-answer]")
    before = np.asarray(json.loads(page.locator("#input-0").input_value()))
    page.wait_for_timeout(100)
    page.locator("canvas.pad").focus()
    for key in ("ArrowRight", " "):
        page.keyboard.press(key)
    page.wait_for_function("n => JSON.parse(document.querySelector('#input-0').value)[0][0] === n", arg=16)
    after = np.asarray(json.loads(page.locator("#input-0").input_value()))
    after[0, 0] = before[0, 0]
    np.testing.assert_array_equal(after, before)


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_problem_has_its_words(language: str) -> None:
    for code in CODES:
        assert word(language, f"problem.{code}")


def test_a_problem_is_told_in_the_pages_language(look: Open) -> None:
    page = look(model="vector", lang="zh")
    page.fill("#input-0", "[1, 2]")
    alert = page.locator("[role=alert]")
    alert.wait_for()
    assert word("zh", "problem.invalid_input") in alert.inner_text()


def test_chinese_has_the_marks_of_chinese() -> None:
    half = re.findall(r"[\u4e00-\u9fff][,;:()?!]|[,;:()?!][\u4e00-\u9fff]", LANGUAGES["zh"].replace('":', ""))
    assert half == []
