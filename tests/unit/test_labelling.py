"""Doubt and next: wrong rows come first, judged by models that did not learn them; inputs worth a label are chosen."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structures import STRUCTURES
from typer.testing import CliRunner
from untrained import KINDS, forecaster, picture_files, rows_of
from untrained import untrained as model_of

import antiphon
from antiphon.cli.main import app
from antiphon.data.load import load_rows, untrained
from antiphon.errors import AntiphonError, DataError, ModelFolderError, TrainingError, UsageError
from antiphon.tools.doubt import divided
from antiphon.use.choosing import UNCERTAINTIES, diverse

Write = Callable[[str, str | bytes], Path]
TINY = {"train.max_steps": 2, "train.validate_every": 2, "model.encoder.hidden": 6, "model.embedding": 6}


def model_of_kind(folder: Path, case: str) -> antiphon.Predictor[Any]:
    """A model of a kind with random weights, which writes something for each row of its table."""
    tree, columns = KINDS[case]
    if not {"kind", "ctc"} & tree["target"].keys():
        tree = {**tree, "decode": {"beam": 1, "max_length": 6, "min_length": 2}}
    names = picture_files(folder)
    columns = {
        name: names if values == ["pictures"] * 6 else [names[:2]] * 6 if values == [["pictures"]] * 6 else values
        for name, values in columns.items()
    }
    return model_of(folder, tree, rows_of(**columns))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


# --- doubt --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_model_doubts_rows_by_its_own_scores(tmp_path: Path, case: str) -> None:
    model = model_of_kind(tmp_path, case)
    items = model.doubt(model.config.data.train)
    scores = model.score(model.config.data.train)
    assert sorted(item.line for item in items) == list(range(1, len(scores) + 1))
    assert [item.doubt for item in items] == sorted((item.doubt for item in items), reverse=True)
    for item in items:
        assert item.score == pytest.approx(scores[item.line - 1], abs=1e-4)
        assert item.doubt >= 0
        if not case.startswith("the next symbol"):
            assert item.best is not None
            assert item.score is not None
            assert (item.doubt == 0) == (item.best <= item.score)
            if {"kind", "ctc"} & KINDS[case][0]["target"].keys() == {"kind"} and not model.codecs.target.steps:
                assert item.doubt == pytest.approx(max(item.best - item.score, 0), abs=1e-4), "one step"


@pytest.mark.parametrize("case", ["text to label", "spelled words to labels of a CRF", "vector to text"])
def test_a_row_whose_target_is_the_prediction_has_no_doubt(tmp_path: Path, case: str) -> None:
    model = model_of_kind(tmp_path, case)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    items = sorted(model.doubt(model.config.data.train), key=lambda item: item.line)
    ended = [place for place, item in enumerate(items) if len(item.prediction.split()) in range(1, 6)]
    assert ended
    rows = [rows[place] | {"y": items[place].prediction} for place in ended]
    table = tmp_path / "predicted.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [item.doubt for item in model.doubt(str(table))] == pytest.approx([0] * len(rows), abs=1e-4)


@pytest.mark.parametrize("case", ["frames to a series by positions", "frames to bits"])
def test_numbers_with_a_density_are_compared_with_what_is_predicted(tmp_path: Path, case: str) -> None:
    model = model_of_kind(tmp_path, case)
    items = sorted(model.doubt(model.config.data.train), key=lambda item: item.line)
    predicted = [prediction.values for prediction in model.predict(KINDS[case][1]["x"])]
    if case.endswith("bits"):
        predicted = [(values > 0.5).astype(int) for values in predicted]
    table = tmp_path / "predicted.jsonl"
    pairs = zip(KINDS[case][1]["x"], predicted, strict=True)
    table.write_text(
        "".join(json.dumps({"x": x, "y": values.tolist()}) + "\n" for x, values in pairs), encoding="utf-8"
    )
    assert [item.best for item in items] == pytest.approx(model.score(str(table)), abs=1e-3)
    assert all(item.best != 0 and item.prediction for item in items)
    assert [item.doubt for item in model.doubt(str(table))] == pytest.approx([0] * len(items), abs=1e-3)


def test_windows_that_share_rows_are_not_divided(tmp_path: Path) -> None:
    model = forecaster(tmp_path, source={"kind": "frames", "columns": ["y"]})
    with pytest.raises(TrainingError, match=r"neighbouring windows share rows.*--no-cross"):
        antiphon.doubt(model.folder)
    assert len(antiphon.doubt(model.folder, cross=False)) == len(model.rows(model.config.data.train))


def test_planted_errors_come_first_when_others_judge(tmp_path: Path) -> None:
    chance = random.Random(2)
    wrong = set(chance.sample(range(1, 161), 8))
    rows = []
    for line in range(1, 161):
        good = chance.random() < 0.5
        words = [*chance.choices("abcdefgh", k=3), "fine" if good else "poor"]
        label = "good" if good != (line in wrong) else "bad"
        rows.append(f"{' '.join(chance.sample(words, 4))}\t{label}\n")
    (tmp_path / "t.tsv").write_text("".join(rows))
    settings = {
        "source.tokens": "words", "target.kind": "label", "train.max_steps": 40,
        "train.epochs": 60, "train.validate_every": 30,
        "train.learning_rate": 0.02, "train.batch_size": 16, "model.encoder.hidden": 8, "model.embedding": 8,
        "train.schedule": "constant", "model.dropout": 0.0, "model.pooling": "mean", "data.valid": 0.1,
    }  # fmt: skip
    antiphon.train(tmp_path / "t.tsv", tmp_path / "m", {**settings, "train.max_steps": 2}, quiet=True)
    lines: list[str] = []
    items = antiphon.doubt(tmp_path / "m", folds=2, settings={"train.max_steps": 40}, tell=lines.append)
    assert sorted(item.line for item in items) == list(range(1, 161))
    assert wrong <= {item.line for item in items[:16]}
    assert [line[:11] for line in lines] == ["part 1 of 2", "part 2 of 2"]


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name not in ("long text", "category to a series")])
def test_every_structure_is_judged_by_models_that_did_not_learn_its_rows(tmp_path: Path, name: str) -> None:
    rows, sides, _ = STRUCTURES[name]
    table = tmp_path / "rows.tsv"
    table.write_text("".join(f"{line}\n" for line in rows(tmp_path)), encoding="utf-8")
    dotted = {f"{side}.{key}": value for side, keys in sides.items() for key, value in keys.items()}
    antiphon.train(table, tmp_path / "m", {**dotted, **TINY}, quiet=True)
    items = antiphon.doubt(tmp_path / "m", folds=2)
    assert sorted(item.line for item in items) == list(
        range(1, len(table.read_text(encoding="utf-8").splitlines()) + 1)
    )
    assert not {"nan", "inf"} & {str(item.doubt) for item in items}


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=12, max_size=40), st.integers(2, 4))
def test_parts_have_every_row_once_and_rows_of_an_input_together(
    configure: Callable[..., Any], words: list[str], folds: int
) -> None:
    from antiphon.data.rows import Row

    codecs = untrained(configure())
    rows = [Row((word,), "x", "t.tsv", line) for line, word in enumerate(words, 1)]
    if len(set(words)) < 2 * folds:
        with pytest.raises(DataError, match="distinct inputs are too few"):
            divided(rows, codecs, folds)
        return
    parts = divided(rows, codecs, folds)
    assert sorted(row.line for part in parts for row in part) == list(range(1, len(words) + 1))
    assert len(parts) == folds
    homes: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for row in part:
            homes.setdefault(row.sources[0], set()).add(number)
    assert all(len(home) == 1 for home in homes.values())
    sizes = [len({row.sources[0] for row in part}) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_label_that_no_other_row_has_comes_first(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("".join(f"w{n} is {'ab'[n % 2]}\t{'ab'[n % 2]}\n" for n in range(30)) + "odd\tc\n")
    antiphon.train(table, tmp_path / "m", {"target.kind": "label", **TINY}, quiet=True)
    first, second, *_ = antiphon.doubt(tmp_path / "m", folds=2)
    assert (first.line, first.doubt) == (31, math.inf)
    assert first.reason == "the target has a label that no training row has: 'c'"
    assert second.doubt < math.inf
    done = run("doubt", tmp_path / "m", "--no-cross", "--out", tmp_path / "d.jsonl")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 31


def test_the_command_lists_rows_with_what_is_predicted(model_folder: Path, pairs: Path, tmp_path: Path) -> None:
    done = run("doubt", model_folder, pairs, "--no-cross", "--top", 3)
    assert done.exit_code == 0, done.output
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["row", "doubt", "source", "target", "prediction", "score", "best_score", "reason"]
    assert len(lines) == 3
    expected = antiphon.load(model_folder).doubt(pairs)[0]
    assert lines[0][0] == f"pairs.tsv:{expected.line}"
    assert float(lines[0][1]) == pytest.approx(expected.doubt, abs=1e-4)
    assert "judged by the model itself" in done.stderr
    before = torch.get_num_threads()
    antiphon.doubt(model_folder, pairs, cross=False, threads=before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    done = run("doubt", model_folder, pairs, "--folds", 2, "--set", "train.max_steps=2", "--out", tmp_path / "d.csv")
    assert done.exit_code == 0, done.output
    assert "part 2 of 2: a model of 30 rows judges 30 others" in done.stderr
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 61


def test_what_cannot_be_doubted_is_one_message(model_folder: Path, tmp_path: Path, write: Write) -> None:
    assert run("doubt", model_folder, "--no-cross", "--set", "train.epochs=1").exit_code == 2
    done = run("doubt", model_folder, "--no-cross", "--folds", 3)
    assert (done.exit_code, "with --no-cross there are none" in done.output) == (2, True)
    assert run("doubt", model_folder, "--out", "d.txt").exit_code == 2
    assert run("doubt", model_folder, "--folds", 1).exit_code == 2
    few = write("few.tsv", "a\tA\nb\tB\nc\tC\n")
    done = run("doubt", model_folder, few)
    assert (done.exit_code, done.stderr) == (
        1,
        "3 distinct inputs are too few for 5 parts; give more rows or fewer parts\n",
    )
    done = run("doubt", model_folder, few, "--set", "train.epoch=1")
    assert "train.epoch: unknown key" in done.stderr
    assert run("doubt", tmp_path / "none").stderr == f"{tmp_path / 'none'}: no such model folder\n"
    rows, sides, _ = STRUCTURES["long text"]
    book = write("book.txt", "".join(f"{line}\n" for line in rows(tmp_path)))
    dotted = {f"{side}.{key}": value for side, keys in sides.items() for key, value in keys.items()}
    antiphon.train(book, tmp_path / "m", {**dotted, **TINY, "train.batch_size": 4}, quiet=True)
    with pytest.raises(TrainingError, match="learns one long text, which has no rows to doubt"):
        antiphon.doubt(tmp_path / "m")
    with pytest.raises(ModelFolderError, match="learns one long text, which has no rows to doubt"):
        antiphon.doubt(tmp_path / "m", cross=False)


# --- next ---------------------------------------------------------------------------------------------

UNLABELLED = (
    "vector to number", "frames to bits", "words to numbers, live", "the next symbol", "the next symbol, with a cache",
    "nothing to text", "category to a series", "frames to a series", "frames to a series by positions",
)  # fmt: skip


@pytest.mark.parametrize("case", [case for case in KINDS if case not in UNLABELLED])
def test_inputs_of_every_kind_are_chosen_and_equal_ones_once(tmp_path: Path, case: str) -> None:
    model = model_of_kind(tmp_path, case)
    names = [side.column for side in model.config.sources]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    table = tmp_path / "inputs.jsonl"
    table.write_text("".join(json.dumps({name: row[name] for name in names}) + "\n" for row in [*rows, *rows]))
    chosen = model.next_rows(table, 50)
    distinct = 1 if case == "images to label" else len(rows)
    assert sorted(item.line for item in chosen) == list(range(1, distinct + 1))
    assert all(0 <= item.uncertainty <= 1 for item in chosen)
    if not any("image" in codec.kind for codec in model.codecs.sources):
        first = model.next_rows([tuple(row[name] for name in names) if names[1:] else row[names[0]] for row in rows], 2)
        assert [item.line for item in first] == [item.line for item in chosen[:2]]


@pytest.mark.parametrize("case", UNLABELLED)
def test_where_nothing_is_known_of_uncertainty_it_is_refused(tmp_path: Path, case: str) -> None:
    model = model_of_kind(tmp_path, case)
    with pytest.raises(ModelFolderError, match=r"no inputs that could be labelled|does not know what is uncertain"):
        model.next_rows(["a"], 1)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.lists(st.integers(0, 5), max_size=4)), max_size=30),
    st.integers(1, 40),
)
def test_the_heap_chooses_what_comparing_all_would(items: list[tuple[float, list[int]]], count: int) -> None:
    uncertainties, features = [value for value, _ in items], [alike for _, alike in items]
    chosen = list(diverse(uncertainties, features, count))
    assert len(chosen) == len(set(chosen)) == min(count, len(items))
    counts: Counter[int] = Counter()
    remaining = set(range(len(items)))
    for place in chosen:
        values = {}
        for other in remaining:
            worth = [0.5 ** counts[feature] for feature in features[other]]
            values[other] = uncertainties[other] * (sum(worth) / len(worth) if worth else 1)
        assert values[place] == pytest.approx(max(values.values()), abs=1e-9)
        remaining.remove(place)
        counts.update(set(features[place]))


def test_near_duplicates_are_not_all_taken() -> None:
    features = [[1, 2, 3], [1, 2, 4], [1, 2, 5], [7, 8, 9]]
    assert list(diverse([0.9, 0.9, 0.9, 0.5], features, 2)) == [0, 1]
    assert list(diverse([0.9, 0.9, 0.9, 0.7], features, 2)) == [0, 3]


@pytest.mark.parametrize("by", UNCERTAINTIES)
def test_uncertainties_are_largest_where_candidates_are_equal(by: str) -> None:
    def label(*values: float) -> antiphon.LabelPrediction:
        return antiphon.LabelPrediction("a", dict(zip("abcd", values, strict=False)))

    uncertainty = UNCERTAINTIES[by]
    assert uncertainty(label(1.0, 0.0)) == 0
    values = [uncertainty(label(p, 1 - p)) for p in (0.5, 0.6, 0.8, 0.99)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4
    texts = [antiphon.Candidate(text, [text], math.log(p)) for text, p in (("a", 0.4), ("b", 0.4))]
    assert uncertainty(antiphon.TextPrediction("a", ["a"], texts[0].score, texts, [])) >= 0.6


@pytest.mark.parametrize("by", ["margin", "entropy"])
def test_texts_of_ctc_have_several_candidates(tmp_path: Path, by: str) -> None:
    model = model_of_kind(tmp_path, "frames to text with CTC")
    inputs = KINDS["frames to text with CTC"][1]["x"]
    assert all(item.uncertainty > 0 for item in model.next_rows(inputs, len(inputs), by))


def test_the_command_lists_inputs_with_what_is_predicted(model_folder: Path, tmp_path: Path, write: Write) -> None:
    words = write("words.txt", "abc\nabd\n\nabc\ndd\n")
    done = run("next", model_folder, words, "--count", 9)
    assert done.exit_code == 0, done.output
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["line", "source", "prediction", "uncertainty"]
    assert {(line[0], line[1]) for line in lines} == {("1", "abc"), ("2", "abd"), ("5", "dd")}
    assert done.stderr == f"{words}: has only 3 distinct inputs without a known answer\n"
    done = run("next", model_folder, words, "--count", 1, "--by", "entropy", "--out", tmp_path / "n.csv")
    assert len((tmp_path / "n.csv").read_text().splitlines()) == 2
    done = run("next", model_folder, words, "--count", 1, "--by", "luck")
    assert done.exit_code == 2
    assert "by: unknown uncertainty 'luck'; known: confidence, entropy, margin" in done.stderr
    assert run("next", model_folder, words).exit_code == 2
    with pytest.raises(UsageError, match="count: must be at least 1"):
        antiphon.next_rows(model_folder, ["a"], 0)
    bad = write("bad.txt", "a\nb\tc\n")
    with pytest.raises(AntiphonError, match=r"bad\.txt:\d: "):
        antiphon.next_rows(str(model_folder), bad, 1)


def test_rows_are_read_once_for_a_training_on_a_part(tmp_path: Path) -> None:
    from antiphon.api import read_config
    from antiphon.config.files import InMemory

    (tmp_path / "t.tsv").write_text("a\tA\nb\tB\n")
    config = read_config(tmp_path / "t.tsv").config
    rows = load_rows(config, config.data.train)
    again = load_rows(config, InMemory.read(rows[:1]))
    assert again == rows[:1]
