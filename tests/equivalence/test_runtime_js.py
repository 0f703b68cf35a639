"""The JavaScript runtime predicts what the Python runtime predicts, for every kind of source and target."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node import PACKAGE, answers, package
from PIL import Image
from untrained import KINDS, picture_files, rows_of, untrained

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import antiphon_runtime

from antiphon.common.pictures import from_array, resized
from antiphon.export.folder import export

GOLDEN = Path(__file__).parents[1] / "golden" / "v0.1.0"
STRANGE = [
    "zé a",
    "",
    "c",
    "ab  ba xx\N{LOWER ONE EIGHTH BLOCK}a",
    "qŽq \N{GRINNING FACE}b",
    "e\N{COMBINING ACUTE ACCENT}",
]
OFTEN = ("text to label",)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with what it needs."""
    return package(tmp_path_factory)


def plain(answer: Any) -> Any:
    """An answer of the Python runtime as the JavaScript runtime gives it."""
    if type(answer).__name__ == "LiveEnd":
        return None
    value = answer.to_json()
    if hasattr(answer, "n_best"):
        value |= {"n_best": [item.to_json() for item in answer.n_best], "source_tokens": list(answer.source_tokens)}
    if hasattr(answer, "values"):
        value["values"] = np.asarray(answer.values).tolist()
    if hasattr(answer, "value"):
        value["value"] = answer.value
    return json.loads(json.dumps(value))


def close(expected: Any, actual: Any, where: str = "") -> None:
    """The same values, numbers nearly."""
    if isinstance(expected, float) and actual is not None:
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-4), where
    elif isinstance(expected, dict):
        assert expected.keys() == actual.keys(), where
        for name, value in expected.items():
            close(value, actual[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(expected) == len(actual), where
        for place, (left, right) in enumerate(zip(expected, actual, strict=True)):
            close(left, right, f"{where}[{place}]")
    else:
        assert expected == actual, where


def pixels(name: str, size: int) -> Any:
    """A picture of the model's size: how others are brought to it depends on the version of Pillow."""
    with Image.open(name) as picture:
        return np.asarray(picture.convert("RGBA").resize((size, size)))


def inputs_of(case: str, columns: dict[str, list[Any]]) -> list[Any]:
    several = [key for key in columns if key != "y"]
    if not several:
        return ["", ""]
    inputs = list(zip(*(columns[key] for key in several), strict=True)) if len(several) > 1 else columns[several[0]]
    texts = len(several) == 1 and isinstance(inputs[0], str) and "image" not in case
    return [*inputs, *STRANGE] if texts else list(inputs)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in OFTEN else pytest.mark.slow) for case in KINDS]
)
def test_it_answers_as_the_python_runtime(
    case: str, node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree, columns = KINDS[case]
    pictures = "pictures" in str(columns)
    if pictures:
        files = picture_files(tmp_path)
        nested = isinstance(columns["x"][0], list)
        columns = {**columns, "x": [files[: n + 1] if nested else file for n, file in enumerate(files)]}
    model = untrained(tmp_path, tree, rows_of(**columns))
    export(model.folder, tmp_path / "out")
    runtime = antiphon_runtime.load(tmp_path / "out")
    inputs = inputs_of(case, columns)
    sent: list[Any] = inputs
    if pictures:
        inputs = [[pixels(f, 12) for f in item] if isinstance(item, list) else pixels(item, 12) for item in inputs]
        sent = [[p.tolist() for p in item] if isinstance(item, list) else item.tolist() for item in inputs]
    options: list[dict[str, Any]] = [{}]
    if runtime.structure in ("one_to_many", "many_to_many") or case in ("the next symbol", "frames to text with CTC"):
        options += [{"beam": 3, "n_best": 2, "token_scores": True}, {"beam": 7, "n_best": 7}]
    calls: list[dict[str, Any]] = [{"inputs": sent, "options": each} for each in options]
    expected = [[plain(answer) for answer in runtime.predict(inputs, **each)] for each in options]
    if case.endswith("live"):
        steps = [*(inputs[0].split() if isinstance(inputs[0], str) else inputs[0]), ""]
        steps += inputs[2].split() if isinstance(inputs[2], str) else inputs[2]
        calls.append({"steps": steps})
        expected.append([plain(answer) for answer in runtime.live(steps)])
    if runtime.structure == "many_to_many":
        calls.append({"write": sent[0]})
        expected.append([plain(answer) for answer in runtime.write(inputs[0])])
    close(expected, answers(node, tmp_path / "out", calls), case)


@pytest.mark.slow
def test_copied_symbols_are_written(node: Path, tmp_path: Path) -> None:
    tree = {
        "source": {"column": "x"}, "target": {"column": "y", "tokens": "chars"},
        "model": {"copy": True, "attention": "general"},
    }  # fmt: skip
    model = untrained(tmp_path, tree, rows_of(x=["ab ba", "a", "bab", "cab"], y=["ab", "a", "b", "c"]))
    export(model.folder, tmp_path / "out")
    runtime = antiphon_runtime.load(tmp_path / "out")
    inputs = ["ŽŽ", "q ab Q", "qQ", "QŽQŽ", "c"]
    expected = [plain(answer) for answer in runtime.predict(inputs, beam=3, n_best=3)]
    (actual,) = answers(node, tmp_path / "out", [{"inputs": inputs, "options": {"beam": 3, "n_best": 3}}])
    close(expected, actual)
    assert any(symbol in "ŽqQ" for answer in actual for item in answer["n_best"] for symbol in item["tokens"])


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept model of a release with known answers and confidence, exported."""
    from antiphon.use.loading import load

    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(GOLDEN, folder / "model")
    (folder / "rows.tsv").write_text("shoe\tSH OW\nmoon\tM UW N\nchat\tCH AA T\nbath\tB\n", encoding="utf-8")
    (folder / "model" / "exceptions.tsv").write_text("\N{BYTE ORDER MARK}moose\tM UW S\r\n", encoding="utf-8")
    load(folder / "model", "cpu").calibrate(folder / "rows.tsv")
    export(folder / "model", folder / "out")
    return folder / "out"


def test_known_answers_confidence_and_thousands_of_words(node: Path, golden: Path) -> None:
    noise = np.random.default_rng(3)
    words = ["".join(noise.choice(list("shcteoamn"), noise.integers(1, 9))) for _ in range(1500)]
    inputs = ["moose", "", *words]
    runtime = antiphon_runtime.load(golden)
    options: list[dict[str, Any]] = [{}, {"beam": 1}, {"beam": 4, "n_best": 3, "length_penalty": 1.0}]
    calls = [{"inputs": inputs, "options": each} for each in options]
    without, greedy, beam = answers(node, golden, [*calls])
    close([plain(answer) for answer in runtime.predict(inputs)], without)
    close([plain(answer) for answer in runtime.predict(inputs, beam=1)], greedy)
    close([plain(answer) for answer in runtime.predict(inputs, beam=4, n_best=3)], beam)
    assert without[0]["confidence"] == 1
    assert without[1]["score"] is None


def test_a_trace_adds_up(node: Path, golden: Path) -> None:
    """Steps add up to the score of the prediction, attention to 1; a prefix is kept, and a reference compared."""
    calls: list[dict[str, Any]] = [
        {"inputs": ["shoe"], "options": {"beam": 4}},
        {"explain": "shoe", "options": {"beam": 4}, "asked": {"reference": "SH OW"}},
        {"explain": "shoe", "options": {"beam": 4}, "asked": {"begin": ["M", "N"]}},
        {"explain": "shoe", "asked": {"begin": ["nothing such"]}},
        {"explain": ""},
    ]
    (predicted,), trace, forced, refused, empty = answers(node, golden, calls)
    output = trace["output"]
    assert output["tokens"] == [*predicted["tokens"], None]
    assert output["score"] == pytest.approx(predicted["score"], abs=1e-4)
    assert sum(step["log_prob"] for step in output["steps"]) == pytest.approx(output["score"], abs=1e-4)
    assert [source["tokens"] for source in trace["sources"]] == [[*"shoe", None]]
    assert len(output["attention"]) == len(output["tokens"])
    assert [sum(row) for row in output["attention"]] == pytest.approx([1.0] * len(output["tokens"]), abs=1e-5)
    assert trace["reference"]["tokens"] == ["SH", "OW", None]
    assert forced["output"]["tokens"][:2] == ["M", "N"]
    assert refused["code"] == "invalid_options"
    assert empty["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"inputs": ["a" * 501]}, "input 1: has 501 tokens; the most that this model reads is 500"),
        ({"inputs": ["a", None]}, "input 2: the input is not text but null"),
        ({"inputs": ["a"], "options": {"beam": 0}}, "beam: must be a number from 1 (is 0)"),
        ({"inputs": ["a"], "options": {"n_best": 9}}, "n_best: must lie between 1 and the beam's width"),
        ({"inputs": ["a"], "options": {"width": 2}}, "width: unknown; known: beam, n_best"),
    ],
)
def test_what_is_wrong_is_said(node: Path, golden: Path, call: dict[str, Any], message: str) -> None:
    (answer,) = answers(node, golden, [call])
    assert answer["error"].startswith(message)


def test_a_damaged_folder_is_told(node: Path, golden: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden, tmp_path / "out"))
    (folder / "step.onnx").unlink()
    (answer,) = answers(node, folder, [])
    assert answer["error"].endswith("step.onnx: is missing")
    (folder / "antiphon.json").write_text('{"format": 2}')
    (answer,) = answers(node, folder, [])
    assert answer["error"].endswith("has the format 2; this version reads format 1")


def test_pictures_are_resized_as_by_pillow(node: Path) -> None:
    """To 1 of 255: versions of Pillow round at different places."""
    noise = np.random.default_rng(4)
    jobs, expected = [], []
    for _ in range(40):
        height, width, channels = noise.integers(1, 120), noise.integers(1, 120), noise.choice([1, 3, 4])
        array = noise.integers(0, 256, (height, width, channels), dtype=np.uint8)
        shape, color = (int(noise.integers(1, 30)), int(noise.integers(1, 30))), bool(noise.integers(2))
        jobs.append({"pixels": array.tolist(), "height": shape[0], "width": shape[1], "color": color})
        expected.append(resized(from_array(array), shape, color).ravel().astype(int))
    done = subprocess.run(
        ["node", "test/pictures.js"], cwd=node, input=json.dumps(jobs), capture_output=True, text=True, check=True
    )
    apart = [
        np.abs(np.array(actual) - each).max() for actual, each in zip(json.loads(done.stdout), expected, strict=True)
    ]
    assert max(apart) <= 1
    assert sum(value == 0 for value in apart) > len(apart) / 3


@pytest.mark.slow
def test_its_types_hold(node: Path) -> None:
    done = subprocess.run(
        ["npx", "--no-install", "tsc", "-p", "."], cwd=node, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_its_version_is_that_of_the_python_runtime() -> None:
    assert json.loads((PACKAGE / "package.json").read_text())["version"] == antiphon_runtime.__version__
