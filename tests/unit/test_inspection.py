"""Pictures and pages of traces: every view of every structure, in every format, with the texts that they are about."""

from __future__ import annotations

import html.parser
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from traces import CASES, made, trace
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.errors import AntiphonError
from antiphon.inspection import fonts
from antiphon.inspection.files import FORMATS, write
from antiphon.inspection.trace import Run, Source, Step, Trace
from antiphon.inspection.views.drawing import END, View, spelled
from antiphon.inspection.views.table import VIEWS

SOME = ["two sources", "image", "label", "tags, crf", "bits", "next"]
WRITER = {"summary", "steps", "ablation", "beam", "states"}
SHOWN = {
    "lstm, general": WRITER | {"attention", "attribution"},
    "gru, every step": WRITER | {"attribution", "pooling", "attention"},
    "category": {"summary", "steps", "ablation", "beam", "states"},
    "image": WRITER | {"attention", "attribution"},
    "label": {"summary", "answers", "beliefs", "attribution", "pooling", "states"},
    "number": {"summary", "answers", "beliefs", "attribution", "states"},
    "one to one": {"summary", "answers"},
    "tags": {"summary", "answers", "attribution", "states"},
    "numbers": {"summary", "answers", "attribution", "states"},
    "next": {"summary", "prompt", "steps", "attribution", "beam", "states"},
}


def view(name: str, of: str) -> View:
    drawing = VIEWS[of](trace(name))
    assert drawing is not None
    return drawing


def drawn(drawing: View) -> Figure:
    figure = Figure(figsize=drawing.size, layout="constrained")
    drawing.draw(figure)
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def values_of(image: AxesImage) -> NDArray[Any]:
    """The numbers that a picture shows."""
    values = image.get_array()
    assert values is not None
    return values


# --- views --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SHOWN))
def test_a_trace_has_the_views_of_its_structure(name: str) -> None:
    assert {key for key, make in VIEWS.items() if make(trace(name)) is not None} == SHOWN[name]


@pytest.mark.parametrize("name", ["lstm, general", "two sources", "tanh, previous", "spelled words"])
def test_the_attention_grid_is_the_attention_with_tokens_on_both_axes(name: str) -> None:
    explanation = trace(name)
    (axes,) = drawn(view(name, "attention")).axes
    assert explanation.output.attention is not None
    np.testing.assert_allclose(values_of(axes.images[0]), explanation.output.attention)
    columns = [spelled(token) for source in explanation.sources for token in source.tokens]
    assert [label.get_text() for label in axes.get_xticklabels()] == columns
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        spelled(token) for token in explanation.output.tokens
    ]


def test_attention_to_a_picture_lies_over_it_once_for_each_symbol() -> None:
    explanation = trace("image")
    figure = drawn(view("image", "attention"))
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in titled] == [spelled(token) for token in explanation.output.tokens]
    rows, columns = explanation.sources[0].grid or (0, 0)
    weights = np.asarray(explanation.output.attention)
    for axes, looked in zip(titled, weights, strict=True):
        picture, light = (np.asarray(values_of(image)) for image in axes.images)
        assert picture.shape[:2] == (12, 9)
        np.testing.assert_allclose(light[..., 3], 0.75 * looked.reshape(rows, columns) / weights.max())


def test_both_runs_stand_beside_each_other_and_the_first_difference_is_marked() -> None:
    explanation = trace("lstm, general")
    assert explanation.reference is not None
    assert explanation.divergence is not None
    left, right = drawn(view("lstm, general", "steps")).axes
    assert f"{explanation.output.score:.4f}" in left.get_title("left")
    assert f"{explanation.reference.score:.4f}" in right.get_title("left")
    for axes in (left, right):
        boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        marked = next((box for box in boxes if box.get_width() == pytest.approx(1, abs=1e-9)), None)
        assert marked is not None
        assert marked.get_y() == explanation.divergence - 0.5
    for step in explanation.output.steps:
        assert any(text.startswith(spelled(step.top[0].token)) for text in texts(left.figure))  # type: ignore[arg-type]
    assert f"Step {explanation.divergence + 1}, in red" in view("lstm, general", "steps").about


def test_the_tree_shows_every_output_with_its_place() -> None:
    beam = trace("lstm, general").beam
    assert beam is not None
    shown = texts(drawn(view("lstm, general", "beam")))
    for node in beam.nodes:
        if node.rank is not None:
            assert f"{END}  {node.rank + 1}.  {node.log_prob:.2f}" in shown
    assert len(shown) == len(beam.nodes) - 1


def test_the_ablation_table_has_all_its_numbers() -> None:
    explanation = trace("lstm, general")
    assert explanation.ablation is not None
    shown = texts(drawn(view("lstm, general", "ablation")))
    for item in explanation.ablation:
        assert f"{item.output_score:.4f}" in shown
        assert f"{item.reference_score:.4f}" in shown


@pytest.mark.parametrize(("name", "of"), [("label", "beliefs"), ("tags", "answers"), ("tags, crf", "answers")])
def test_labels_over_steps_are_the_probabilities(name: str, of: str) -> None:
    explanation = trace(name)
    steps = explanation.beliefs if of == "beliefs" else explanation.output.steps
    assert steps is not None
    (axes,) = drawn(view(name, of)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    expected = [{choice.token: np.exp(choice.log_prob) for choice in step.top} for step in steps]
    np.testing.assert_allclose(values_of(axes.images[0]), [[step[label] for step in expected] for label in labels])
    read = [label.get_text() for label in axes.get_xticklabels()]
    assert read == [spelled(token) for token in explanation.sources[0].tokens[: len(steps)]]


def test_every_layer_and_gate_is_drawn() -> None:
    explanation = trace("gru, every step")
    layers = [*(explanation.encoder or []), *(explanation.output.layers or [])]
    pictures = [image for axes in drawn(view("gru, every step", "states")).axes for image in axes.images]
    series = [values for layer in layers for values in layer.series.values()]
    assert len(pictures) == len(series) == 4 * len(layers)
    for image, values in zip(pictures, series, strict=True):
        np.testing.assert_allclose(values_of(image), np.transpose(values))


def tagged(tokens: list[str]) -> Trace:
    """A tag for each of these tokens."""
    steps = [Step(token="X", log_prob=0.0, top=[{"token": "X", "log_prob": 0.0}]) for _ in tokens]
    run = Run(text="X", tokens=["X"] * len(tokens), score=0.0, steps=steps)
    source = Source(name="source", kind="text", text="".join(tokens), tokens=[*tokens, None])
    return Trace(structure="synchronous", sources=[source], output=run)


@pytest.mark.parametrize(("word", "turned"), [("שלום", True), ("سلام", True), ("salom", False), ("东西", False)])
def test_what_is_read_from_the_right_stands_so(word: str, turned: bool) -> None:
    drawing = VIEWS["answers"](tagged(list(word)))
    assert drawing is not None
    (axes,) = drawn(drawing).axes
    assert axes.xaxis_inverted() == turned
    assert [label.get_text() for label in axes.get_xticklabels()] == list(word)


@pytest.mark.parametrize(("token", "shown"), [(None, END), (" ", "␣"), ("\n", "↵"), ("ा", "◌ा"), ("$", "$")])
def test_tokens_that_cannot_be_seen_are_spelled(token: str | None, shown: str) -> None:
    assert spelled(token) == shown


def test_a_text_without_spaces_is_shown_in_lines() -> None:
    drawing = VIEWS["summary"](tagged(["东"] * 300))
    assert drawing is not None
    (source,) = [text for text in texts(drawn(drawing)) if "东" in text]
    lines = source.split("\n")
    assert "".join(lines) == "东" * 300
    assert max(map(len, lines)) <= 48


# --- fonts --------------------------------------------------------------------------------------------


def test_a_font_is_looked_for_only_where_the_first_lacks_a_character() -> None:
    assert fonts.families(["plain", "Ärger ש ω", "a\u200db \ufe0f"]) == ([fonts.FIRST], "")


def test_fonts_that_have_what_is_missing_are_found() -> None:
    lacked = {char for char in map(chr, range(0x2100, 0x2C00)) if char not in fonts._characters_of(fonts.FIRST)}
    there = sorted(lacked & fonts._characters_of("STIXGeneral"))
    assert there, "a font of Matplotlib's own has characters that its first has not"
    families, missing = fonts.families([there[0]])
    assert families[0] == fonts.FIRST
    assert len(families) == 2
    assert not missing


def test_what_no_font_has_is_told_in_one_line_and_pages_need_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = [entry for entry in fontManager.ttflist if entry.name == fonts.FIRST]
    monkeypatch.setattr(fonts, "_entries", lambda: only)
    explanation = tagged(["东", "西"])
    with caplog.at_level(logging.WARNING):
        write(explanation, tmp_path / "t.svg")
        write(explanation, tmp_path / "t.html")
        assert not caplog.records
        write(explanation, tmp_path / "t.png")
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("no font on this machine has 东西 (cjk)")
    assert "\n" not in message
    for name in ("t.svg", "t.html"):
        assert ">东<" in (tmp_path / name).read_text(encoding="utf-8")


# --- files --------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """What stands in a page: its tags' attributes, and its texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        self.open += [] if tag == "meta" else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("name", SOME)
def test_a_page_holds_all_views_and_needs_nothing_else(name: str, tmp_path: Path) -> None:
    explanation = trace(name)
    write(explanation, tmp_path / "t.html")
    content = (tmp_path / "t.html").read_text(encoding="utf-8")
    page = Page(content)
    assert not page.open
    titles = [view.title for make in VIEWS.values() if (view := make(explanation)) is not None]
    assert [text for text in page.texts if text in titles] == titles
    used = [value or "" for key, value in page.attributes if key in ("src", "href", "xlink:href", "data")]
    assert all(value.startswith(("#", "data:")) for value in used)
    assert "<script" not in content
    names = [value for key, value in page.attributes if key == "id"]
    assert len(names) == len(set(names))
    referred = re.findall(r"url\(#([^)]+)\)", content) + [value[1:] for value in used if value.startswith("#")]
    assert set(referred) <= set(names)
    for element in re.findall(r"<svg.*?</svg>", content, re.DOTALL):
        ElementTree.fromstring(element)
    for source in explanation.sources:
        assert all(
            spelled(token) in page.texts for token in source.tokens if len(source.tokens) > 1 and not source.grid
        )


@pytest.mark.parametrize("name", ["image", "number", "next"])
def test_pictures_can_be_opened(name: str, tmp_path: Path) -> None:
    explanation = trace(name)
    for ending in (".png", ".svg"):
        write(explanation, tmp_path / f"a{ending}")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[0] > 300
    assert pixels.std() > 5
    ElementTree.parse(tmp_path / "a.svg")


def test_text_of_the_users_is_no_markup(tmp_path: Path) -> None:
    explanation = tagged(["<script>alert(1)</script>", "&", '"'])
    write(explanation, tmp_path / "t.html")
    content = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert "<script" not in content
    assert "&lt;script" in content
    assert not Page(content).open


@pytest.mark.parametrize("name", list(CASES))
def test_json_is_the_trace(name: str, tmp_path: Path) -> None:
    write(trace(name), tmp_path / "t.json")
    assert Trace.model_validate_json((tmp_path / "t.json").read_text(encoding="utf-8")) == trace(name)


def test_a_long_run_can_be_drawn(tmp_path: Path) -> None:
    write(tagged(list("abcdefghij" * 60)), tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.width < 5000


def test_the_views_that_are_asked_for_are_drawn(tmp_path: Path) -> None:
    write(trace("lstm, general"), tmp_path / "t.html", ["attention", "beam"])
    page = Page((tmp_path / "t.html").read_text(encoding="utf-8"))
    assert [text for text in page.texts if text.startswith(("Prefixes", "Where", "Probabilities"))][:2] == [
        view("lstm, general", "attention").title,
        view("lstm, general", "beam").title,
    ]
    with pytest.raises(AntiphonError, match=r"^no view 'attenton'; did you mean 'attention'\?"):
        write(trace("lstm, general"), tmp_path / "t.png", ["attenton"])
    with pytest.raises(AntiphonError, match=r"has no data for the view beliefs; it has summary, attention, "):
        write(trace("lstm, general"), tmp_path / "t.png", ["beliefs"])


# --- the command --------------------------------------------------------------------------------------


def inspect(*arguments: object, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], input=stdin)


def files(folder: Path) -> Iterator[str]:
    return (path.name for path in sorted(folder.iterdir()))


def test_the_command_writes_what_explain_says(model_folder: Path, tmp_path: Path) -> None:
    from antiphon.use.loading import load

    out = tmp_path / "t.json"
    ran = inspect(
        model_folder, "abc", "--out", out, "--reference", "C B", "--other", "dd", "--force", "1=B", "--top", 2,
        "--beam", 2,
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    expected = load(model_folder, "cpu").explain("abc", "C B", "dd", [(0, "B")], 2, 2)
    assert json.loads(out.read_text(encoding="utf-8")) == expected.to_json()


def test_each_of_several_inputs_has_its_file(model_folder: Path, tmp_path: Path) -> None:
    assert inspect(model_folder, "ab", "cd", "--out", tmp_path / "t.json").exit_code == 0
    assert inspect(model_folder, "--out", tmp_path / "u.json", stdin="ab\ncd\n").exit_code == 0
    assert list(files(tmp_path)) == ["t-1.json", "t-2.json", "u-1.json", "u-2.json"]
    for number in (1, 2):
        assert (tmp_path / f"t-{number}.json").read_bytes() == (tmp_path / f"u-{number}.json").read_bytes()


@pytest.mark.parametrize("ending", list(FORMATS))
def test_every_format_can_be_asked_for(model_folder: Path, tmp_path: Path, ending: str) -> None:
    assert inspect(model_folder, "ab", "--out", tmp_path / f"t{ending}").exit_code == 0
    assert (tmp_path / f"t{ending}").stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "--out", "t.txt"],
        ["a", "--out", "t.png", "--force", "B"],
        ["a", "--out", "t.png", "--force", "0=B"],
        ["a", "b", "--out", "t.png", "--reference", "A"],
        ["a", "--out", "t.json", "--view", "beam"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    ran = inspect(tmp_path / "none", *arguments)
    assert ran.exit_code == 2
    assert "Invalid value for --" in ran.output


def test_the_demo_shows_where_it_looked(tmp_path: Path) -> None:
    write(made("lstm, general").explain("abc"), tmp_path / "attention.png", ["attention"])
    content = io.BytesIO((tmp_path / "attention.png").read_bytes())
    with Image.open(content) as picture:
        assert picture.width > picture.height / 2
