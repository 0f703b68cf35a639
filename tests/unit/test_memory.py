"""Rows in memory: every container gives the model that the file gives, and its pitfalls are messages or right rows."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

import antiphon
from antiphon.cli.main import app
from antiphon.data.memory import in_memory
from antiphon.errors import AntiphonError, DataError

QUICK = {
    "train.max_steps": 3, "train.epochs": 3, "train.validate_every": 3, "decode.max_length": 8,
    "model.embedding": 6, "model.encoder.hidden": 5, "model.decoder.hidden": 6, "model.image.channels": [4, 6],
}  # fmt: skip
READER = {key: value for key, value in QUICK.items() if key != "model.decoder.hidden"}
Pair = namedtuple("Pair", ["word", "sound"])


def rows_in(path: Path) -> list[tuple[str, str]]:
    return [(line.split("\t")[0], line.split("\t")[1]) for line in path.read_text(encoding="utf-8").splitlines()]


def columns_in(path: Path) -> dict[str, list[str]]:
    words, sounds = zip(*rows_in(path), strict=True)
    return {"word": list(words), "sound": list(sounds)}


class Dataset:
    """What of a `Dataset` of HuggingFace is used: rows by iteration, and its Arrow table."""

    def __init__(self, table: pa.Table, form: str = "python") -> None:
        self.table, self.form = table, form

    def with_format(self, form: str) -> Dataset:
        return Dataset(self.table, form)

    def __getitem__(self, key: slice) -> pa.Table:
        assert self.form == "arrow"
        return self.table

    def __iter__(self) -> Any:
        raise AssertionError("read row by row")


class Stream:
    """A table that offers the Arrow stream alone."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


CONTAINERS: dict[str, Callable[[Path], Any]] = {
    "tuples": rows_in,
    "lists": lambda path: list(map(list, rows_in(path))),
    "a generator, read once": lambda path: (row for row in rows_in(path)),
    "named tuples": lambda path: [Pair(*row) for row in rows_in(path)],
    "dicts": lambda path: [{"word": word, "sound": sound} for word, sound in rows_in(path)],
    "a dict of columns": columns_in,
    "a dict of arrays": lambda path: {name: np.array(cells) for name, cells in columns_in(path).items()},
    "an array": lambda path: np.array(rows_in(path)),
    "pandas": lambda path: pd.DataFrame(columns_in(path)),
    "pandas, categories": lambda path: pd.DataFrame(columns_in(path), dtype="category"),
    "pandas, numbered columns": lambda path: pd.DataFrame(rows_in(path)),
    "polars": lambda path: pl.DataFrame(columns_in(path)),
    "polars, lazy": lambda path: pl.LazyFrame(columns_in(path)),
    "pyarrow": lambda path: pa.table(columns_in(path)),
    "datasets": lambda path: Dataset(pa.table(columns_in(path))),
    "an Arrow stream": lambda path: Stream(pa.table(columns_in(path))),
}


def weights(model: antiphon.Predictor) -> bytes:
    return (model.folder / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def from_file(pairs: Path) -> antiphon.Predictor:
    return antiphon.train(pairs, settings=QUICK, device="cpu")


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_model_of_the_file(name: str, pairs: Path, from_file: antiphon.Predictor) -> None:
    model = antiphon.train(CONTAINERS[name](pairs), settings=QUICK, device="cpu")
    assert weights(model) == weights(from_file)
    mine, other = (json.loads(made.config.model_dump_json(by_alias=True)) for made in (model, from_file))
    assert "were in memory and cannot be read again" in mine["data"].pop("train")["in_memory"]
    del other["data"]["train"]
    assert mine == other
    assert model.score(CONTAINERS[name](pairs)) == model.score(pairs)
    assert model.evaluate(CONTAINERS[name](pairs), beam=1) == model.evaluate(pairs, beam=1)


def test_columns_by_name_are_those_of_a_table_with_a_header(pairs: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(columns_in(pairs)).assign(more=1)[["more", "sound", "word"]]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    sides: dict[str, Any] = {"source": "word", "target": {"column": "sound", "tokens": "words"}}
    models = [
        antiphon.train(rows, settings=QUICK, device="cpu", valid=valid, **sides)
        for rows, valid in ((tmp_path / "rows.csv", tmp_path / "rows.csv"), (frame, frame))
    ]
    assert weights(models[0]) == weights(models[1])
    texts = [answer.text for answer in models[0].predict(list(frame["word"])[:5])]
    for inputs in (frame[:5], frame[["word"]][:5], frame["word"][:5], frame[:5].to_dict("records")):
        assert [answer.text for answer in models[1].predict(inputs)] == texts
    with pytest.raises(DataError, match=r"^rows in memory: no column 'word' in these rows; known: sound"):
        models[1].predict(frame[["sound"]])
    with pytest.raises(DataError, match=r"^input 2: no column 'word' in it; known: w"):
        models[1].predict([{"word": "ab"}, {"w": "ab"}])


def test_several_sources_are_a_list(tmp_path: Path) -> None:
    rows = [("ab", "x", "ba"), ("ba", "y", "ab"), ("aab", "x", "baa"), ("abb", "y", "bba")] * 3
    (tmp_path / "rows.tsv").write_text("a\tb\tc\n" + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    sides: dict[str, Any] = {"source": ["a", {"column": "b", "kind": "category"}], "target": "c"}
    model, other = (
        antiphon.train(what, settings=QUICK, device="cpu", **sides)
        for what in (tmp_path / "rows.tsv", pd.DataFrame(rows, columns=["a", "b", "c"]))
    )
    assert weights(model) == weights(other)
    plain = [answer.text for answer in model.predict([("ab", "x"), ("ba", "y")])]
    assert [answer.text for answer in other.predict(pd.DataFrame({"b": ["x", "y"], "a": ["ab", "ba"]}))] == plain
    assert [answer.text for answer in other.predict([{"b": "x", "a": "ab"}, ("ba", "y")])] == plain


def test_arrays_are_cells_of_vectors_frames_and_images(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(12, 3)).round(3)
    frames = [chance.normal(size=(steps, 2)).round(3) for steps in (1, 2, 3, 4) * 3]
    images = chance.integers(0, 256, (12, 9, 8, 3), dtype=np.uint8)
    labels = ["u", "v"] * 6
    cases: list[tuple[str, Any, Any]] = [
        ("vector", vectors, vectors.tolist()),
        ("frames", frames, [f.tolist() for f in frames]),
    ]
    for kind, cells, plain in cases:
        file = tmp_path / f"{kind}.jsonl"
        file.write_text(
            "".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(plain, labels, strict=True)), "utf-8"
        )
        sides: dict[str, Any] = {"source": {"kind": kind, "column": "x"}, "target": {"kind": "label", "column": "y"}}
        tables = [file, {"x": cells, "y": labels}, pd.DataFrame({"x": list(cells), "y": labels}),
                  pl.DataFrame({"x": plain, "y": labels}), pa.table({"x": plain, "y": labels})]  # fmt: skip
        models = [antiphon.train(table, settings=READER, device="cpu", **sides) for table in tables]
        assert len(set(map(weights, models))) == 1
        assert models[0].score(tables[2]) == models[0].score(file)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "images.tsv").write_text("".join(f"{n}.png\t{label}\n" for n, label in enumerate(labels)), "utf-8")
    sides = {"source": {"kind": "image", "column": 0, "size": 12}, "target": {"kind": "label", "column": 1}}
    pictures = [Image.fromarray(image) for image in images]
    contents = [{"bytes": (tmp_path / f"{number}.png").read_bytes(), "path": None} for number in range(12)]
    paths = [str(tmp_path / f"{number}.png") for number in range(12)]
    containers = [tmp_path / "images.tsv"] + [
        list(zip(x, labels, strict=True)) for x in (images, pictures, contents, paths)
    ]
    assert len({weights(antiphon.train(rows, settings=READER, device="cpu", **sides)) for rows in containers}) == 1


def test_rows_of_a_group_are_one(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [1, 1, 2, 3, 3, 3] * 2, "x": range(12), "y": ["u", "u", "v"] * 4})
    table["id"] += [0] * 6 + [3] * 6
    table.to_csv(tmp_path / "rows.csv", index=False)
    sides: dict[str, Any] = {"source": {"kind": "frames", "column": "x"}, "target": {"kind": "labels", "column": "y"}}
    settings = READER | {"data.group": "id"}
    models = [antiphon.train(rows, settings=settings, device="cpu", **sides) for rows in (tmp_path / "rows.csv", table)]
    assert weights(models[0]) == weights(models[1])
    answers = [[answer.text for answer in models[1].predict(table)], []]
    answers[1] = [
        answer.text for answer in models[0].predict([value for _, value in models[0].file(str(tmp_path / "rows.csv"))])
    ]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 6


def test_long_texts_and_names() -> None:
    names = [(name,) for name in ("Anna", "Berta", "Cora", "Dora", "Emil", "Fritz")]
    model = antiphon.train(names, settings={**READER, "target.kind": "next"}, device="cpu")
    assert model.predict(["A"])[0].text.startswith("A")
    text = "the cat sat on the mat. " * 40
    settings = {**READER, "source.kind": "long_text", "target.kind": "next"}
    assert antiphon.train([(text,)], settings=settings, device="cpu").predict(["the"])[0].text.startswith("the")


# --- cells --------------------------------------------------------------------------------------------


def cells(frame: Any, column: str = "x") -> list[object]:
    rows = in_memory(frame)
    assert rows is not None
    assert rows.records is not None
    assert rows.names is not None
    return [record[list(rows.names).index(column)] for record in rows.records]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame({"x": pd.array([1, None, 3], dtype="Int64")}), [1, None, 3]),
        (pd.DataFrame({"x": [1, None, 3]}), [1, None, 3]),  # which pandas makes 1.0, NaN, 3.0
        (pd.DataFrame({"x": [1.0, 3.0]}), [1.0, 3.0]),
        (pd.DataFrame({"x": [1.5, None]}), [1.5, None]),
        (pd.DataFrame({"x": ["a", 1, 2.5, None]}, dtype=object), ["a", 1, 2.5, None]),
        (pd.DataFrame({"x": pd.Categorical(["b", None, "a"])}), ["b", None, "a"]),
        (pd.DataFrame({"x": [True, False]}), [True, False]),
        (pd.DataFrame({"x": pd.array([True, None], dtype="boolean")}), [True, None]),
        (pl.DataFrame({"x": [float("nan"), 1.5]}), [None, 1.5]),
        (pl.DataFrame({"x": [[1, 2], None]}), [[1, 2], None]),
        (pa.table({"x": pa.array(["a", None]).dictionary_encode()}), ["a", None]),
        ([{"x": "a"}, {"y": "b"}], ["a", None]),
        ({"x": np.array([1, 2])}, [1, 2]),
        ([{"x": np.array(["a", "b"])}], [["a", "b"]]),
    ],
)  # fmt: skip
def test_cells_are_plain_values(frame: Any, expected: list[object]) -> None:
    assert cells(frame) == expected
    assert list(map(type, cells(frame))) == list(map(type, expected))


def test_numbers_and_booleans_are_the_labels_of_a_file(tmp_path: Path) -> None:
    words = ["ab", "ba", "aab", "abb", "bba", "bab"] * 8
    for values, dtype in (([3, 10] * 24, "Int64"), ([True, False] * 24, "boolean")):
        frame = pd.DataFrame({"x": words, "y": pd.array(values, dtype=dtype)})
        frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
        sides: dict[str, Any] = {"source": "x", "target": {"column": "y", "kind": "label"}}
        models = [
            antiphon.train(rows, settings=READER, device="cpu", **sides) for rows in (tmp_path / "rows.jsonl", frame)
        ]
        assert weights(models[0]) == weights(models[1])
        assert {answer.label for answer in models[1].predict(frame)} <= {str(value).lower() for value in values}


WORDS = ["ab", "ba", "aab", "abb"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"x": ["ab", None, "a", "b"], "y": WORDS}), "row 2, column 'x': has no value (None or NaN)"),
        (pl.DataFrame({"x": WORDS, "y": ["a", "b", None, "c"]}), "row 3, column 'y': has no value (None or NaN)"),
        (pd.DataFrame({"x": WORDS, "y": [True] * 4}), "row 1, column 'y': the target is not text but bool"),
        (pd.DataFrame({"x": WORDS, "y": pd.to_datetime(["2026-01-02"] * 4)}),
         "row 1, column 'y': is of the type Timestamp; make it a text first"),
        ([("ab", date(2026, 1, 2))], "row 1, column 1: is of the type date; make it a text first"),
        (pd.DataFrame([["a", "b", "c"]], columns=["x", "y", "x"]),
         "the table has several columns of the same name: 'x'; rename them"),
        (pd.DataFrame({"x": WORDS, "y": WORDS, "z": WORDS}),
         ("row 1: has 3 columns, but 2 are needed; name them, as in source='x', target='z'; the columns are "
          "'x', 'y', 'z'")),
        (pd.DataFrame({"x": WORDS}), "row 1, column 1: column 1 is missing: the row has only column 0"),
        ([("a", "b"), ("a",)], "row 2, column 1: column 1 is missing: the row has only column 0"),
        ([("a", "b"), "ab"], "row 2: is 'ab'; a row is a tuple of cells or a dict"),
        ([("a", "b"), {"x": "a"}], "row 2: is {'x': 'a'}; all rows must be dicts, or none"),
        ({"x": ["a"], "y": ["a", "b"]}, "the columns must have the same number of rows, but have: x 1, y 2"),
        ({"x": "ab", "y": ["a", "b"]}, "the column 'x' must be a list of cells, but is 'ab'"),
        ({"train": pd.DataFrame({"x": WORDS})}, "'train' is a table in a dict of tables; give one of them"),
        ([("a", " ")], "row 1, column 1: the target is empty"),
        (pd.DataFrame({"x": [0.5, 1.25, 2.0, 3.0], "y": WORDS}),
         "row 1, column 'x': is the number 0.5, but text is read; name the kind: vector for a source"),
        (pd.DataFrame([["a", "b"]], columns=[1, 0]), "rows in memory: 0 is a position, and also the name of column 1"),
        ([(np.zeros(4), "a")], "row 1, column 0: the source is not text but an array [4]; arrays are read"),
        ([], "rows in memory: has no rows"),
        (iter(()), "rows in memory: has no rows"),
        (3, "trains from tuples, dicts"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(rows: Any, message: str) -> None:
    with pytest.raises(AntiphonError) as error:
        antiphon.train(rows, settings=QUICK)
    assert str(error.value).startswith(message)


def test_missing_numbers_are_filled_as_in_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, None, 3.0, 4.0] * 10, "b": [0, 1, None, 1] * 10, "y": ["up", "down"] * 20})
    frame["b"] = frame["b"].astype("Int64")
    frame.to_csv(tmp_path / "t.csv", index=False)
    sides: dict[str, Any] = {"source": {"kind": "vector", "columns": ["a", "b"], "missing": "mean"}, "target": "y"}
    models = [
        antiphon.train(rows, settings={**READER, "target.kind": "label"}, device="cpu", **sides)
        for rows in (tmp_path / "t.csv", frame, pl.from_pandas(frame))
    ]
    assert weights(models[0]) == weights(models[1]) == weights(models[2])
    assert len(models[0].predict(frame)) == 40
    with pytest.raises(DataError, match=r"row 2, column 'a': has no value"):
        antiphon.train(frame, settings=READER, source={"kind": "vector", "columns": ["a", "b"]}, target="y")


WRONG: Any = "a=1"  # where a dict, a list, a class or a pair belongs


def test_mistakes_in_arguments_are_named(pairs: Path, from_file: antiphon.Predictor) -> None:
    rows = rows_in(pairs)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: antiphon.train(rows, settings=WRONG), "settings: must be a dict of keys"),
        (lambda: antiphon.train(rows, settings=QUICK, callbacks=antiphon.Callback()), "callbacks: must be a list"),  # type: ignore[call-overload]
        (lambda: antiphon.train(rows, settings={"source.column": 1}, source=0),
         "settings: source: is also given as source=; give it once"),
        (lambda: antiphon.load(from_file.folder, predicts=WRONG), "predicts: must be a class such as "),
        (lambda: antiphon.compare("model", rows), "compare needs a list of two models or more"),
        (lambda: from_file.confusion(rows), "confusion needs a target of the kind label or labels"),
        (lambda: from_file.scores([WRONG]), "pair 1: must be an input and a target"),
        (lambda: from_file.evaluate([]), "rows in memory: has no rows"),
    ]  # fmt: skip
    for call, message in calls:
        with pytest.raises(AntiphonError) as error:
            call()
        assert str(error.value).startswith(message)


def test_rows_of_other_parts_are_named_by_their_part(pairs: Path) -> None:
    rows = rows_in(pairs)
    with pytest.raises(DataError, match=r"^row 2 of data.valid, column 1: the target is empty"):
        antiphon.train(rows, settings=QUICK, valid=[*rows[:1], ("ab", "")])


def test_bad_rows_can_be_skipped(pairs: Path, from_file: antiphon.Predictor) -> None:
    rows: list[Any] = [*rows_in(pairs), ("ab", None)]
    model = antiphon.train(rows, settings={**QUICK, "data.on_error": "skip"}, device="cpu")
    assert weights(model) == weights(from_file)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*arguments: object, **options: object) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    monkeypatch.setattr("narwhals.stable.v2.from_arrow", without)
    table = Stream(pa.table({"x": WORDS, "y": WORDS}))
    with pytest.raises(DataError, match=r"^reading this table needs pyarrow: pip install pyarrow$"):
        antiphon.train(table, settings=QUICK)


# --- after the training -------------------------------------------------------------------------------


def test_a_saved_model_says_that_its_rows_cannot_be_read_again(pairs: Path, tmp_path: Path) -> None:
    rows = rows_in(pairs)
    model = antiphon.train(rows, tmp_path / "m", QUICK, device="cpu", test=rows[:9])
    assert "9 rows; they were in memory and cannot be read again" in (tmp_path / "m/config.yaml").read_text("utf-8")
    for again in (model, antiphon.load(tmp_path / "m")):
        for call in (again.evaluate, again.calibrate):
            with pytest.raises(
                DataError, match=r"^the configured rows were in memory and cannot be read again \(\d+ rows"
            ):
                call()
        assert again.evaluate(rows[:9])["rows"] == 9
    ran = CliRunner().invoke(app, ["train", str(tmp_path / "m/config.yaml"), "--out", str(tmp_path / "m"), "--resume"])
    assert ran.exit_code == 1
    assert "the configured rows were in memory and cannot be read again (60 rows); give the data" in ran.output
    longer = {**QUICK, "train.max_steps": 6, "train.epochs": 6}
    resumed = antiphon.train(rows, tmp_path / "m", longer, resume=True, device="cpu", test=rows[:9])
    assert (model.metrics["updates"], resumed.metrics["updates"]) == (3, 6)
    model.calibrate(rows)
    assert "60 rows in memory" in (tmp_path / "m/README.md").read_text("utf-8")


def test_check_reports_as_the_command_does(pairs: Path) -> None:
    ran = CliRunner().invoke(app, ["check", str(pairs)])
    report = antiphon.check(pairs)
    assert f"{report}\n" == ran.output
    rows = antiphon.check(rows_in(pairs))
    assert [line.replace(f"{pairs}:", "row ") for line in report.lines] == rows.lines
    assert (rows.chosen, rows.warnings, rows.bad_rows) == (report.chosen, report.warnings, 0)
    bad = antiphon.check([*rows_in(pairs), ("ab", "")])
    assert bad.bad_rows == 1
    assert any("row 61, column 1: the target is empty" in warning for warning in bad.warnings)


def test_compare_takes_folders_and_rows(pairs: Path, model_folder: Path, from_file: antiphon.Predictor) -> None:
    files, rows = (antiphon.compare([model_folder, from_file], data, samples=50) for data in (pairs, rows_in(pairs)))
    assert files == rows
    assert files
    ran = CliRunner().invoke(
        app, ["compare", str(model_folder), str(from_file.folder), str(pairs), "--samples", "50", "--json"]
    )
    assert json.loads(ran.output) == [vars(difference) for difference in rows]
    with pytest.raises(DataError, match="two models or more"):
        antiphon.compare([model_folder], pairs)
