"""The page of a training, in a browser: it follows the training live, shows all to who comes late, and can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pages import Open, visiting
from structures import STRUCTURES
from tasks import tiny_config

import antiphon
from antiphon.inspection.views.drawing import spelled
from antiphon.server.files import STATIC
from antiphon.training import loop
from antiphon.training.loop import train
from antiphon.training.watching import Watch, watching

Event = tuple[str, dict[str, Any]]


class Recorder(Watch):
    """Keeps what it would hand over."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.began = 0.0
        self.read = (0.0, 0)

    def hand(self, name: str, data: dict[str, Any]) -> None:
        self.events.append((name, data))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events of a training of pairs with attention."""
    folder = tmp_path_factory.mktemp("training")
    recorder = Recorder()
    config = tiny_config(folder, train__max_steps=240, train__validate_every=40, train__learning_rate=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS", 0.0)  # after every update
        train(config, folder / "m", threads=1, callbacks=[recorder])
    return recorder.events


@contextmanager
def shown(browser: Any, events: list[Event]) -> Iterator[tuple[Watch, Open]]:
    """A page that has got these events, and what opens it."""
    with watching(0, Path("models/pairs")) as watch:
        for event in events:
            watch.hand(*event)
        with visiting(browser, watch.address) as opened:
            yield watch, opened


def until_validation(events: list[Event], count: int) -> list[Event]:
    """The events up to a validation."""
    places = [place for place, (name, _) in enumerate(events) if name == "validation"]
    return events[: places[count - 1] + 1]


def rows(page: Any) -> list[str]:
    """The symbols of each row's output."""
    outputs = page.locator("[data-row] dl.parts > div:last-child .symbols").all()
    return [" ".join(output.locator("bdi").all_inner_texts()) for output in outputs]


def outputs(events: list[Event]) -> list[str]:
    look = [data["look"] for name, data in events if name == "validation"][-1]
    return [" ".join(map(spelled, row["written"])) for row in look["rows"]]


def ready(page: Any, count: int) -> Any:
    """The page, once it has this validation."""
    page.wait_for_selector(f'.rows[data-step="{40 * count}"]')
    page.wait_for_selector("canvas")
    return page


def test_the_languages_have_the_same_words_and_every_word_is_used() -> None:
    text = (STATIC / "watch" / "words.js").read_text(encoding="utf-8")
    english, chinese = (
        dict(re.findall(r'^  "([^"]+)": "(.*)",$', half, re.MULTILINE)) for half in text.split("const zh")
    )
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", chinese[key])), key
        assert not re.search(r"[\u4e00-\u9fff] ?[,:;!?()]", chinese[key]), key  # full-width punctuation
    shared = set(re.findall(r'^  "([^"]+)": ', (STATIC / "words.js").read_text(encoding="utf-8"), re.MULTILINE))
    code = "".join(
        path.read_text(encoding="utf-8") for path in (STATIC / "watch").glob("*.js") if path.name != "words.js"
    )
    used = set(re.findall(r'\bt\(\s*"([^"]+)"', code))
    assert used <= english.keys() | shared
    begun = tuple(filter(None, re.findall(r"\bt\(`([^`$]*)\$\{", code)))
    named = set(re.findall(r'"([^"\n]+)"', code))
    assert {key for key in english if not key.startswith(begun) and key != "about"} <= named


def test_the_page_follows_the_training_and_a_late_one_shows_the_same(browser: Any, events: list[Event]) -> None:
    with shown(browser, []) as (watch, opened):
        page = opened()
        page.wait_for_selector('[data-state="waiting"]')
        for event in until_validation(events, 2):
            watch.hand(*event)
        ready(page, 2)
        assert rows(page) == outputs(until_validation(events, 2))
        assert page.locator('[data-state="running"] progress').get_attribute("max") == "240"
        for event in events[len(until_validation(events, 2)) :]:
            watch.hand(*event)
        ready(page, 6)
        assert rows(page) == outputs(events) != outputs(until_validation(events, 2))
        late = ready(opened(), 6)
        assert late.locator("main").inner_text() == page.locator("main").inner_text()
        page.reload()
        ready(page, 6)
        assert late.locator("main").inner_text() == page.locator("main").inner_text()


def test_the_curves_end_at_the_figures_of_the_log(browser: Any, events: list[Event]) -> None:
    validations = [data["entry"] for name, data in events if name == "validation"]
    losses = [data["loss"] for name, data in events if name == "progress"]
    with shown(browser, events) as (_, opened):
        page = ready(opened(), 6)

        def legend(curve: str) -> list[float]:
            return [float(text) for text in page.locator(f'[data-curve="{curve}"] .legend b').all_inner_texts()]

        last = validations[-1]
        assert legend("loss") == pytest.approx([losses[-1], last["loss"]], rel=1e-3)
        names = ("token_error_rate_teacher", "token_error_rate", "exposure_gap")
        assert legend("exposure") == pytest.approx([last[name] for name in names], rel=1e-3, abs=1e-9)
        assert legend("shares") == pytest.approx([last["exact_match"]], rel=1e-3)
        page.click("summary:has-text('table')")
        page.wait_for_selector(".scroll tr")
        head, *table = [row.locator("th, td").all_inner_texts() for row in page.locator(".scroll tr").all()]
        assert [int(row[0]) for row in table] == [entry["step"] for entry in reversed(validations)]
        assert all(len(row) == len(head) for row in table)


def test_keys_move_over_a_curve(browser: Any, events: list[Event]) -> None:
    validations = [data["entry"] for name, data in events if name == "validation"]
    with shown(browser, events) as (_, opened):
        page = ready(opened(), 6)
        curve = page.locator('[data-curve="exposure"]')
        curve.locator(".chart").focus()
        page.keyboard.press("Home")
        page.wait_for_function(
            "() => document.querySelector('[data-curve=exposure] header .hint').textContent.endsWith(' 40')"
        )
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "() => document.querySelector('[data-curve=exposure] header .hint').textContent.endsWith(' 80')"
        )
        figures = [float(text) for text in curve.locator(".legend b").all_inner_texts()]
        assert figures[1] == pytest.approx(validations[1]["token_error_rate"], rel=1e-3)


def test_earlier_outputs_are_seen_again_and_new_ones_wait(browser: Any, events: list[Event]) -> None:
    with shown(browser, until_validation(events, 3)) as (watch, opened):
        page = ready(opened(), 3)
        page.focus("#look")
        page.keyboard.press("Home")
        ready(page, 1)
        assert rows(page) == outputs(until_validation(events, 1))
        for event in events[len(until_validation(events, 3)) :]:
            watch.hand(*event)
        page.wait_for_function("() => document.querySelector('#look').max === '5'")
        assert rows(page) == outputs(until_validation(events, 1))
        page.click("button:has-text('Latest')")
        ready(page, 6)
        assert rows(page) == outputs(events)


def test_keys_move_in_the_attention(browser: Any, events: list[Event]) -> None:
    look = [data["look"] for name, data in events if name == "validation"][-1]
    row = look["rows"][0]
    with shown(browser, events) as (_, opened):
        page = ready(opened(), 6)
        page.locator('[data-row="1"] .picture').focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        told = page.locator('[data-row="1"] .told').inner_text()
        assert f"Attention of {spelled(row['written'][1])} to {spelled(row['read'][-1])}" in told


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("done", "antiphon serve models/pairs"),
        ("stopped", "--resume goes on"),
        ("failed", "the terminal says why"),
    ],
)
def test_the_end_is_told(browser: Any, events: list[Event], reason: str, words: str) -> None:
    with shown(browser, events) as (watch, opened):
        page = ready(opened(), 6)
        watch.hand("end", {"reason": reason, "command": "antiphon serve models/pairs"})
        page.wait_for_selector(f'[data-state="{reason}"]')
        assert words in page.locator(".status").inner_text()
        assert page.locator("progress").count() == 0


def test_a_page_outlives_the_server(browser: Any, events: list[Event]) -> None:
    with watching(0, Path("m")) as watch:
        for event in events:
            watch.hand(*event)
        page = browser.new_page()
        page.goto(watch.address)
        ready(page, 6)
    page.wait_for_selector('[data-state="done"]')
    assert rows(page) == outputs(events)
    page.close()


@pytest.mark.parametrize("name", ["text to label", "words to tags", "image to text", "next symbol", "frames to labels"])
def test_rows_of_every_kind_are_shown(browser: Any, name: str, tmp_path: Path) -> None:
    make, sides, _ = STRUCTURES[name]
    (tmp_path / "rows.tsv").write_text("".join(f"{line}\n" for line in make(tmp_path)), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(json.dumps({"data": {"train": "rows.tsv", "valid": "rows.tsv"}, **sides}))
    recorder, settings = Recorder(), {"train.max_steps": 4, "train.validate_every": 2}
    antiphon.train(tmp_path / "c.yaml", tmp_path / "m", settings, threads=1, callbacks=[recorder])
    look = [data["look"] for kind, data in recorder.events if kind == "validation"][-1]
    with shown(browser, recorder.events) as (_, opened):
        page = opened(width=320)
        page.wait_for_selector("[data-row]")
        page.wait_for_selector("canvas")
        assert page.locator("[data-row]").count() == len(look["rows"])
        text = page.locator("main").inner_text()
        for row in look["rows"]:
            assert all(value in text for value in row["references"]) or row["written"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


WAYS: dict[str, dict[str, Any]] = {
    "light": {"theme": "light"},
    "dark": {"theme": "dark"},
    "Chinese": {"lang": "zh"},
    "narrow": {"width": 320},
    "narrow, dark, Chinese": {"width": 320, "theme": "dark", "lang": "zh"},
}


@pytest.mark.parametrize("way", list(WAYS))
def test_no_rule_of_accessibility_is_broken(browser: Any, events: list[Event], way: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    with shown(browser, []) as (watch, opened):
        page = opened(**WAYS[way])
        for part, wait in ((until_validation(events, 1), 1), (events[len(until_validation(events, 1)) :], 6)):
            for event in part:
                watch.hand(*event)
            ready(page, wait)
            assert axe.Axe().run(page).violations_count == 0, axe.Axe().run(page).generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        watch.hand("end", {"reason": "done", "command": "antiphon serve models/pairs"})
        page.wait_for_selector('[data-state="done"]')
        page.click("summary:has-text('table'), summary:has-text('表格')")
        page.wait_for_selector(".scroll table")
        page.wait_for_timeout(300)
        results = axe.Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
