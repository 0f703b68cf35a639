"""Stepping through time on the page: the state, the gates, and the equations with their numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.inspection.trace import Layer, Trace
from antiphon.use.loading import load

Open = Callable[..., Any]
LETTERS = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update", "h": "state", "c": "cell"}
PLACES = [  # model, number of the layer, step, unit
    ("writer", 0, 1, 2), ("writer", 1, 0, 0), ("writer", 2, 2, 4), ("rewriter", 0, 0, 3), ("rewriter", 3, 1, 6),
    ("tagger", 2, 2, 1), ("varied", 0, 1, 2),
]  # fmt: skip


def layers(trace: Trace) -> list[Layer]:
    return [*(trace.encoder or []), *(trace.output.layers or [])]


def playing(look: Open, name: str, **state: Any) -> Any:
    page = look(model=name, input=json.dumps([state.pop("text", "abca")]), views="play", **state)
    page.wait_for_selector("#view-play .equations")
    return page


def shown_equations(page: Any) -> dict[str, list[str]]:
    """The lines of each equation, by the name of what it computes."""
    rows = page.locator("#view-play [data-equation]").all()
    return {row.get_attribute("data-equation"): row.locator("dd").all_inner_texts() for row in rows}


def evaluated(text: str) -> float:
    """What the numbers of an equation make, by arithmetic alone."""
    expression = text.removeprefix("= ").replace("−", "-").replace("·", "*").replace("σ", "logistic")
    names = {"tanh": math.tanh, "max": max, "logistic": lambda value: 1 / (1 + math.exp(-value)), "__builtins__": {}}
    return float(eval(expression, names))


def numbers(text: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize(("name", "number", "step", "unit"), PLACES)
def test_the_equations_have_the_numbers_of_the_trace(
    look: Open, examined: dict[str, Path], name: str, number: int, step: int, unit: int
) -> None:
    layer = layers(load(examined[name], "cpu").explain("abca"))[number]
    axis = "step" if layer.part == "decoder" else "token"
    shown = shown_equations(playing(look, name, layer=number, unit=unit, **{axis: step}))
    assert len(shown) == {"lstm": 6, "gru": 4, "rnn_tanh": 1}[layer.cell] + (2 if layer.zoneout else 0)
    for key, (formula, filled, value) in shown.items():
        assert evaluated(filled) == pytest.approx(numbers(value)[0], abs=5e-3)
        assert ("LN" in formula) <= layer.layer_norm
        if "′" in key:  # before zoneout
            continue
        block = LETTERS.get(key[0], "candidate")
        assert numbers(value) == pytest.approx([layer.series[block][step][unit]], abs=6e-4)
        if "W x" in formula:
            sums = [part[block][step][unit] for part in (layer.from_input, layer.from_state)]
            filled_in = numbers(filled)
            assert [filled_in[0], filled_in[-1]] == pytest.approx(sums, abs=6e-4)


def test_the_state_before_is_that_of_the_step_before(look: Open, examined: dict[str, Path]) -> None:
    all_layers = layers(load(examined["writer"], "cpu").explain("abca"))
    for number, before in ((0, 1), (1, 3)):  # forward and backward, at step 2
        layer = all_layers[number]
        shown = shown_equations(playing(look, "writer", layer=number, unit=1, token=2))
        assert numbers(shown["cₜ"][1])[1] == pytest.approx(layer.series["cell"][before][1], abs=6e-4)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_stepped_played_and_paused(look: Open, language: str) -> None:
    page = playing(look, "writer", text="abc", lang=language)
    here = page.locator('#view-play [data-moment][aria-pressed="true"]')
    page.click('[data-play="on"]')
    assert here.get_attribute("data-moment") == "1"
    page.click('[data-play="back"]')
    assert here.get_attribute("data-moment") == "0"
    assert page.locator('[data-play="back"]').is_disabled()
    page.focus("#view-play input[type=range]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert here.get_attribute("data-moment") == "2"
    assert page.locator('.tokens [data-token="token-2"]').get_attribute("aria-pressed") == "true"
    page.click('[data-play="first"]')
    page.click('[data-play="play"]')
    page.wait_for_selector('#view-play [data-moment="1"][aria-pressed="true"]')
    page.click('[data-play="pause"]')
    page.wait_for_timeout(1200)
    assert here.get_attribute("data-moment") == "1"
    page.click('[data-play="play"]')
    page.wait_for_selector('#view-play [data-moment="3"][aria-pressed="true"]')
    page.wait_for_selector('[data-play="play"]')  # at the end it stops


def test_a_backward_layer_begins_at_the_end(look: Open) -> None:
    page = playing(look, "writer", text="abc", layer=1)
    chips = page.locator("#view-play [data-moment] bdi").all_inner_texts()
    assert chips == ["⏎", "c", "b", "a"]


def test_arrow_keys_choose_the_unit(look: Open) -> None:
    page = playing(look, "tagger", unit=0)
    page.focus("#view-play .picture")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#view-play input[type=number]').value === '2'")
