"""The page of the server, in a browser: it answers, shows every view, keeps its state in its address, can be read."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pages import SERVED, serving
from PIL import Image
from traces import CASES, made

from antiphon.inspection.views.drawing import spelled
from antiphon.inspection.views.table import VIEWS
from antiphon.server.app import STATIC
from antiphon.server.settings import Settings
from antiphon.use.predictor import Predictor

Open = Callable[..., Any]


def fast(*names: str) -> list[Any]:
    """All cases; those not named are slow."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in SERVED]


LARGEST = 36 * 1024  # bytes of all that is vendored, compressed


def model(name: str) -> Predictor:
    return made(SERVED[name])


def png(pixels: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def shown(value: Any) -> str:
    """A value as the fields of the page hold it."""
    if isinstance(value, np.ndarray):
        return base64.b64encode(png(value)).decode()
    return value if isinstance(value, str) else json.dumps(value)


def parts(name: str) -> list[Any]:
    """The values of a case's sources."""
    given = CASES[SERVED[name]].content
    return list(given) if isinstance(given, tuple) else [given]


def state(name: str, **more: Any) -> dict[str, Any]:
    """The page's state with the case's input and reference."""
    case = CASES[SERVED[name]]
    base = {
        "model": name,
        "input": json.dumps([shown(item) for item in parts(name)]),
        "reference": shown(case.reference),
    }
    return {**base, **more}


def arguments(page: Any) -> Any:
    """The page, once its answer and its views are there."""
    page.wait_for_selector("nav.views button")
    page.wait_for_selector('.found[aria-busy="false"]')
    return page


def views(page: Any) -> list[str]:
    return [button.get_attribute("data-view") for button in page.query_selector_all("nav.views button")]


def opened(page: Any, view: str) -> None:
    """Open a view, unless it is open."""
    button = page.locator(f'nav.views [data-view="{view}"]')
    if button.get_attribute("aria-pressed") == "false":
        button.click()


def shown_tokens(page: Any) -> list[str]:
    texts: list[str] = page.locator('[data-token^="step-"] bdi').all_inner_texts()
    return texts


def tabled(page: Any, view: str) -> list[list[str]]:
    """The table behind a view."""
    page.click(f"#view-{view} details:last-of-type > summary")
    rows = page.locator(f"#view-{view} details:last-of-type tr")
    rows.first.wait_for()  # the page draws it after it has taken the click
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


# --- what is shipped ----------------------------------------------------------------------------------


def test_what_is_vendored_is_what_its_list_says() -> None:
    folder = STATIC / "vendor"
    rows = re.findall(r"^\| `(\S+)` .* \| `([0-9a-f]{64})` \|$", (folder / "VENDORED.md").read_text(), re.MULTILINE)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".js", ".css")}
    assert dict(rows) == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert sum(len(zlib.compress(content, 9)) for content in files.values()) < LARGEST


def test_the_languages_have_the_same_words_and_every_word_is_used() -> None:
    text = (STATIC / "words.js").read_text(encoding="utf-8")
    english, chinese = (
        dict(re.findall(r'^  "([^"]+)": "(.*)",$', half, re.MULTILINE)) for half in text.split("const zh")
    )
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", chinese[key])), key
    code = "".join(
        path.read_text(encoding="utf-8") for path in STATIC.rglob("*.js") if path.parent.name not in ("vendor", "watch")
    )
    code = code.replace(text, "")
    assert set(re.findall(r'\bt\(\s*"([^"]+)"', code)) <= english.keys()
    begun = tuple(
        filter(None, re.findall(r"\bt\(`([^`$]*)\$\{", code))
    )  # words that are looked up by a part of their key
    named = set(re.findall(r'"([^"\n]+)"', code))
    assert {key for key in english if not key.startswith(begun) and not key.endswith((".title", ".about"))} <= named


# --- answers ------------------------------------------------------------------------------------------


def give(page: Any, name: str) -> None:
    """Type a case's input, or choose its file, and ask."""
    for place, value in enumerate(parts(name)):
        field = page.locator(f"#input-{place}")
        if isinstance(value, np.ndarray):
            field.set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": png(value)})
            page.wait_for_selector("img.thumb")
        else:
            field.fill(shown(value))
    page.click("form.ask button.main")


@pytest.mark.parametrize("name", fast("pairs", "picture"))
def test_a_model_is_asked_looked_into_branched_and_found_again(visit: Open, name: str) -> None:
    page = visit(model=name)
    give(page, name)
    answer = page.locator("[data-answer]").inner_text()
    (wanted,) = model(name).predict([CASES[SERVED[name]].content])
    if name == "signal":
        np.testing.assert_allclose(json.loads(answer), json.loads(wanted.text))
    else:
        assert answer == wanted.text
    arguments(page)
    for view in views(page):
        opened(page, view)
    for token in page.locator('[data-token$="-0"]').all():
        token.click()
    if "steps" in views(page):
        before = shown_tokens(page)
        page.locator("#view-steps .picture").first.focus()
        step = model(name).explain(CASES[SERVED[name]].content).output.steps[0]
        place = next(place for place, item in enumerate(step.top) if place and item.token not in (None, step.token))
        for _ in range(place):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("nav.branches")
        arguments(page)
        assert shown_tokens(page)[0] == spelled(step.top[place].token) != before[0]
    page.wait_for_timeout(400)  # addresses follow a moment later
    texts = page.locator("main").inner_text()
    page.reload()
    arguments(page)
    page.wait_for_function("text => document.querySelector('main').innerText === text", arg=texts)


def test_the_most_probable_labels_stand_beside_the_answer(visit: Open) -> None:
    page = arguments(visit(**state("digit")))
    (wanted,) = model("digit").predict([CASES["image label"].content])
    names = page.locator(".answer .facts dt").all_inner_texts()
    best = sorted(wanted.probabilities, key=lambda label: -wanted.probabilities[label])
    assert names[-len(best) :] == best


def test_an_address_of_another_server_says_so(visit: Open) -> None:
    page = visit(model="elsewhere")
    assert page.locator("[role=alert]").inner_text().startswith("The model elsewhere of this address")


def test_scores_and_other_outputs_stand_beside_the_answer(visit: Open) -> None:
    page = arguments(visit(**state("pairs")))
    (wanted,) = model("pairs").predict(["acb"], n_best=3)
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".n-best tbody tr").all()]
    assert [(text, score) for _, text, score, _ in rows] == [(item.text, f"{item.score:.3f}") for item in wanted.n_best]
    (score,) = model("pairs").scores([("acb", "A B")])
    assert f"{score:.3f}" in page.locator(".answer .facts").inner_text()


def test_an_output_is_streamed(visit: Open) -> None:
    page = visit(model="pairs")
    page.fill("#input-0", "acb")
    page.click("form.ask button:not(.main)")
    (wanted,) = model("pairs").predict(["acb"], beam=1)
    page.wait_for_selector(".live small")  # at the end
    assert page.locator(".live").inner_text() == f"▸ {wanted.text} log p = {wanted.score:.3f}"


def test_what_is_wrong_is_told(visit: Open) -> None:
    page = visit(model="signal")
    page.fill("#input-0", "[[1, 2")
    page.click("form.ask button.main")
    assert page.locator("[role=alert]").inner_text() == "This is not JSON."
    page.fill("#input-0", "[[1, 2]]")
    page.click("form.ask button.main")
    arguments(page)
    assert page.locator("[role=alert]").count() == 0


def test_a_closed_server_asks_for_its_token(visit: Open, browser: Any, folders: dict[str, Path]) -> None:
    with serving([folders["pairs"]], Settings(token="open sesame")) as at:
        page = browser.new_page()  # which may see the server's 401
        page.goto(at)
        page.fill("#token", "open sesame")
        page.click("button.main")
        page.fill("#input-0", "acb")
        page.click("form.ask button.main")
        arguments(page)
        page.close()


# --- views --------------------------------------------------------------------------------------------

ALSO = {  # a view of `antiphon inspect`, and how the page shows the same
    "summary": {"diagram"},
    "steps": {"steps", "compare"},
    "answers": {"answers", "strips"},
    "beliefs": {"beliefs", "strips"},
    "attention": {"attention", "overlay"},
    "attribution": {"attribution", "overlay", "distance"},
    "states": {"states", "play"},
}


@pytest.mark.parametrize("name", fast("pairs", "tags", "signal"))
def test_every_view_of_inspect_is_there_and_opens(visit: Open, name: str) -> None:
    page = arguments(visit(**state(name), step=0, token=0))
    case = CASES[SERVED[name]]
    trace = model(name).explain(case.content, case.reference)
    present = {key for key, make in VIEWS.items() if make(trace) is not None}
    names = set(views(page))
    assert all(names & ALSO.get(key, {key}) for key in present)
    assert names <= set().union(*(ALSO.get(key, {key}) for key in present))
    for view in names:
        opened(page, view)
        card = page.locator(f"#view-{view}")
        assert card.locator(".picture svg > *, canvas").count() > 0
        head, *rows = tabled(page, view)
        assert rows
        assert all(len(row) == len(head) for row in rows)


def test_the_grid_of_attention_is_the_attention(visit: Open) -> None:
    page = arguments(visit(**state("pairs"), views="attention"))
    trace = model("pairs").explain("acb", "A B")
    assert trace.output.attention is not None
    head, *rows = tabled(page, "attention")
    assert head[1:] == [spelled(token) for token in trace.sources[0].tokens]
    assert [row[0] for row in rows] == [spelled(token) for token in trace.output.tokens]
    np.testing.assert_allclose(np.asarray([row[1:] for row in rows], float), trace.output.attention, atol=5e-5)


def test_both_runs_have_their_log_p_and_the_first_difference_is_marked(visit: Open) -> None:
    page = arguments(visit(**state("pairs"), views="compare"))
    trace = model("pairs").explain("acb", "A B")
    assert trace.reference is not None
    assert trace.divergence is not None
    facts = page.locator("#view-compare .facts").inner_text()
    for expected in (f"{trace.output.score:.3f}", f"{trace.reference.score:.3f}", f"step {trace.divergence + 1}"):
        assert expected in facts
    assert page.locator("#view-compare .label.apart").inner_html() == str(trace.divergence + 1)


def test_another_context_changes_what_is_said(visit: Open) -> None:
    page = arguments(visit(**state("pairs", other='["bb"]'), views="ablation"))
    trace = model("pairs").explain("acb", "A B", "bb")
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#view-ablation > .scroll tbody tr").all()]
    assert trace.ablation is not None
    assert trace.reference is not None
    wanted = [(trace.output.score, trace.reference.score)]
    wanted += [(item.output_score, item.reference_score) for item in trace.ablation]
    assert rows == [[f"{output:.3f}", f"{reference:.3f}"] for output, reference in wanted]


def test_keys_move_through_a_grid_and_the_tokens_follow(visit: Open) -> None:
    page = arguments(visit(**state("pairs"), views="attention", step=0, token=0))
    page.focus("#view-attention .picture")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    trace = model("pairs").explain("acb", "A B")
    last = len(trace.sources[0].tokens) - 1
    assert page.locator(f'[data-token="token-{last}"]').get_attribute("aria-pressed") == "true"
    assert page.locator('[data-token="step-1"]').get_attribute("aria-pressed") == "true"
    attention = trace.output.attention or []
    text = page.locator("#view-attention .told").inner_text()
    assert text.endswith(f"{attention[1][last]:.0%}") or f"{100 * attention[1][last]:.1f}%" in text


def test_from_another_symbol_a_branch_goes_on_and_is_undone(visit: Open) -> None:
    page = arguments(visit(**state("pairs"), views="steps", step=1))
    trace = model("pairs").explain("acb", "A B")
    before = shown_tokens(page)
    assert before == [spelled(token) for token in trace.output.tokens]
    page.locator("#view-steps .picture").first.focus()
    page.keyboard.press("ArrowRight")
    other = trace.output.steps[1].top[1].token
    page.keyboard.press("Enter")
    page.wait_for_selector("nav.branches")
    arguments(page)
    branch = model("pairs").explain("acb", begin=[trace.output.tokens[0], other]).output.tokens
    assert shown_tokens(page) == [spelled(token) for token in branch] != before
    page.fill("form.branch input", "C")
    page.click("form.branch button")
    page.wait_for_selector('[data-branch="2"]')
    arguments(page)
    second = model("pairs").explain("acb", begin=[branch[0], "C"]).output.tokens
    assert shown_tokens(page) == [spelled(token) for token in second]
    page.click("nav.branches .quiet")
    page.wait_for_selector('[data-branch="2"]', state="detached")
    arguments(page)
    assert shown_tokens(page) == [spelled(token) for token in branch]
    page.click('[data-branch="0"]')
    arguments(page)
    assert shown_tokens(page) == before


def test_back_undoes_what_was_asked(visit: Open) -> None:
    page = arguments(visit(**state("pairs")))
    page.fill("#input-0", "ca")
    page.click("form.ask button.main")
    page.wait_for_function(
        "text => document.querySelector('[data-answer]').innerText === text", arg=model("pairs").predict(["ca"])[0].text
    )
    page.go_back()
    page.wait_for_function("() => document.querySelector('#input-0').value === 'acb'")


# --- files --------------------------------------------------------------------------------------------


def saved(page: Any, view: str, kind: str) -> bytes:
    with page.expect_download() as coming:
        page.click(f'#view-{view} .tools button:text-is("{kind}")')
    return Path(coming.value.path()).read_bytes()


def test_a_view_can_be_saved_in_every_form(visit: Open) -> None:
    page = arguments(visit(**state("pairs"), views="attention beam", step=0, token=1))
    trace = model("pairs").explain("acb", "A B")
    drawing = ElementTree.fromstring(saved(page, "attention", "SVG"))
    texts = {"".join(element.itertext()).strip() for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {spelled(token) for token in trace.sources[0].tokens} <= texts
    assert not any("class" in element.attrib for element in drawing.iter())
    picture = Image.open(io.BytesIO(saved(page, "attention", "PNG")))
    assert picture.width == 2 * round(float(drawing.get("width", 0)))
    assert json.loads(saved(page, "attention", "JSON"))["attention"] == trace.output.attention
    rows = list(csv.reader(io.StringIO(saved(page, "beam", "CSV").decode("utf-8-sig"))))
    assert trace.beam is not None
    assert len(rows) == len(trace.beam.nodes) + 1


def test_curves_are_saved_as_a_picture(visit: Open) -> None:
    page = arguments(visit(**state("signal"), views="strips"))
    assert Image.open(io.BytesIO(saved(page, "strips", "PNG"))).width > 100
    rows = list(csv.reader(io.StringIO(saved(page, "strips", "CSV").decode("utf-8-sig"))))
    given = np.asarray(CASES["numbers"].content)
    np.testing.assert_allclose(np.asarray([row[1:3] for row in rows[1:]], float), given)


# --- for everybody ------------------------------------------------------------------------------------


def test_what_is_read_from_right_to_left_runs_so(visit: Open) -> None:
    page = arguments(visit(model="pairs", input='["שלום"]', views="attention"))
    places = page.evaluate(
        "[...document.querySelectorAll('#view-attention .label')]"
        ".map(l => [l.textContent, l.getBoundingClientRect().x])"
    )
    first, second = (next(x for text, x in places if text == letter) for letter in "של")
    assert first > second


def test_wide_letters_do_not_run_over(visit: Open) -> None:
    page = arguments(visit(model="pairs", input='["春眠不覺曉"]', views="attention", lang="zh"))
    assert page.locator("html").get_attribute("lang") == "zh"
    boxes = page.evaluate(
        "[...document.querySelectorAll('#view-attention .label')].map(l => l.getBoundingClientRect())"
        ".filter(b => b.width).map(b => [b.top, b.left, b.right])"
    )
    top = min(box[0] for box in boxes)
    columns = sorted(box[1:] for box in boxes if box[0] - top < 3)
    assert len(columns) == 6
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(columns))


WAYS: dict[str, dict[str, Any]] = {
    "light": {"theme": "light"},
    "dark": {"theme": "dark"},
    "Chinese": {"lang": "zh"},
    "narrow": {"width": 320},
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("name", fast("pairs"))
def test_no_rule_of_accessibility_is_broken(visit: Open, name: str, way: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = arguments(visit(**WAYS[way], **state(name), step=0, token=0))
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for view in views(page):
        opened(page, view)
    page.wait_for_timeout(300)
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_follow_the_system_and_the_switch(visit: Open, browser: Any, address: str) -> None:
    page = visit()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => {ground} !== '{light}'")
    page.locator("header select").last.select_option("light")
    page.wait_for_function(f"() => {ground} === '{light}'")
