"""Files to rows: every format gives the same rows, every bad row is `FILE:LINE: reason`."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks import text_sides

from antiphon.config.load import parse_value
from antiphon.config.schema import Config
from antiphon.data.formats import is_table, load_array, read_lines
from antiphon.data.load import load_rows
from antiphon.data.problems import Problems
from antiphon.data.rows import Row, read_rows
from antiphon.data.shards import _count, digests
from antiphon.errors import DataError
from antiphon.experiments.evaluations import paths_of
from antiphon.shards.files import shards_of
from antiphon.shards.finished import digest

Write = Callable[[str, str | bytes], Path]
Column = int | str


def read(
    *files: Path, columns: tuple[Column, Column] = (0, 1), header: bool = False, problems: Problems | None = None
) -> list[Row]:
    """The rows of tables; bad ones raise."""
    all_problems = problems or Problems()
    rows = list(read_rows([str(file) for file in files], [], text_sides(*columns), header, all_problems))
    if problems is None:
        all_problems.raise_any()
    return rows


def read_parallel(source: Path, target: Path, problems: Problems | None = None) -> list[Row]:
    all_problems = problems or Problems()
    rows = list(read_rows([], (str(source), str(target)), text_sides(0, 1), False, all_problems))
    if problems is None:
        all_problems.raise_any()
    return rows


def texts(rows: Iterable[Row]) -> list[tuple[str, str]]:
    return [(row.sources[0], row.target) for row in rows]


# --- right files --------------------------------------------------------------------------------------

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n\ufeff"), min_size=1).filter(
    lambda value: bool(value.strip())
)
tables = st.lists(st.tuples(cell, cell), min_size=1, max_size=6)


def as_tsv(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in rows)


def as_csv(rows: Sequence[tuple[str, str]]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    return out.getvalue()


def as_jsonl(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@given(tables)
def test_every_format_gives_the_same_rows(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    for name, write_as in (("t.tsv", as_tsv), ("t.txt", as_tsv), ("t.csv", as_csv), ("t.jsonl", as_jsonl)):
        plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
        content = write_as(rows).encode("utf-8")
        plain.write_bytes(content)
        packed.write_bytes(gzip.compress(content))
        for path in (plain, packed):
            rows_of_file = read(path)
            assert texts(rows_of_file) == rows
            assert {row.file for row in rows_of_file} == {str(path)}
    sides = [tmp_path / "s", tmp_path / "t"]
    for side, values in zip(sides, zip(*rows, strict=True), strict=True):
        side.write_bytes("".join(value + "\n" for value in values).encode("utf-8"))
    assert texts(read_parallel(sides[0], sides[1])) == rows


@given(tables)
def test_rows_know_their_lines(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(as_tsv(rows).encode("utf-8"))
    assert [row.line for row in read(path)] == list(range(1, len(rows) + 1))


@given(tables)
def test_columns_are_found_by_position_and_by_name(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(as_tsv([("left", "right"), *rows]).encode("utf-8"))
    swapped = [(target, source) for source, target in rows]
    assert texts(read(path, columns=("left", "right"))) == rows
    assert texts(read(path, columns=("right", "left"))) == swapped
    assert texts(read(path, columns=(0, 1), header=True)) == rows
    assert texts(read(path, columns=(1, "left"))) == swapped
    assert texts(read(path)) == [("left", "right"), *rows]
    assert [row.line for row in read(path, header=True)] == list(range(2, len(rows) + 2))


def test_only_a_newline_ends_a_line(write: Write) -> None:
    odd = "a\u2028b\x0bc\x0cd\x85e\x1cf"
    path = write("t.tsv", f"\ufeff{odd}\tx\r\ny\tz")
    assert texts(read(path)) == [(odd, "x"), ("y", "z")]
    assert list(read_lines(str(path))) == [(1, f"{odd}\tx", ""), (2, "y\tz", "")]


def test_a_carriage_return_inside_a_line_stays(write: Write) -> None:
    assert texts(read(write("t.tsv", b"a\rb\tc\r\r\n"))) == [("a\rb", "c\r")]


def test_a_byte_order_mark_is_stripped_from_every_format(write: Write) -> None:
    for name, content in (("t.tsv", "a\tb\n"), ("t.csv", "a,b\n"), ("t.jsonl", '["a", "b"]\n')):
        assert texts(read(write(name, "\ufeff" + content))) == [("a", "b")]


def test_quotes_mean_nothing_in_tsv_and_quote_in_csv(write: Write) -> None:
    assert texts(read(write("t.tsv", '"a\tb"\n'))) == [('"a', 'b"')]
    assert texts(read(write("t.csv", '"a, ""x""\ny",b\n'))) == [('a, "x"\ny', "b")]


def test_blank_lines_of_tables_are_no_rows(write: Write) -> None:
    assert texts(read(write("t.tsv", "a\tb\n\nc\td\n\n"))) == [("a", "b"), ("c", "d")]
    assert texts(read(write("t.csv", "a,b\n\nc,d\n"))) == [("a", "b"), ("c", "d")]
    assert texts(read(write("t.jsonl", '["a","b"]\n \n["c","d"]\n'))) == [("a", "b"), ("c", "d")]


def test_json_objects_have_named_fields(write: Write) -> None:
    path = write("t.jsonl", '{"s": "a", "t": "b"}\n{"t": 2.5, "s": 1}\n')
    assert texts(read(path, columns=("s", "t"))) == [("a", "b"), ("1", "2.5")]


def test_several_tables_follow_each_other(write: Write) -> None:
    first, second = write("1.tsv", "a\tb\n"), write("2.csv", "c,d\n")
    assert [(row.sources[0], Path(row.file).name, row.line) for row in read(first, second)] == [
        ("a", "1.tsv", 1),
        ("c", "2.csv", 1),
    ]


def test_each_table_has_its_own_header(write: Write) -> None:
    first, second = write("1.tsv", "s\tt\na\tb\n"), write("2.tsv", "t\ts\nd\tc\n")
    assert texts(read(first, second, columns=("s", "t"))) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("name", ["a.tsv", "a.CSV", "x/a.b.jsonl", "a.ndjson", "a.txt.gz"])
def test_tables_are_told_by_their_ending(name: str) -> None:
    assert is_table(name)


@pytest.mark.parametrize("name", ["a", "a.gz", "a.yaml", "tsv", "a.tsv.zip", "a.xlsx"])
def test_other_files_are_no_tables(name: str) -> None:
    assert not is_table(name)


# --- bad rows -----------------------------------------------------------------------------------------

BAD: list[tuple[str, str | bytes, int, str]] = [
    ("t.tsv", "a\tb\nonly\n", 2, "column 1 is missing: the row has only column 0"),
    ("t.tsv", b"a\tb\nc\xff\td\n", 2, "not UTF-8 text"),
    ("t.tsv", "a\tb\nc\0\td\n", 2, "the source contains a NUL character"),
    ("t.tsv", "a\tb\nc\td\0\n", 2, "the target contains a NUL character"),
    ("t.tsv", "a\tb\n\td\n", 2, "the source is empty"),
    ("t.tsv", "a\tb\n  \td\n", 2, "the source is empty"),
    ("t.tsv", "a\tb\nc\t\n", 2, "the target is empty"),
    ("t.tsv", "a\tb\nc\t \u3000\n", 2, "the target is empty"),
    ("t.csv", "a,b\nonly\n", 2, "column 1 is missing: the row has only column 0"),
    ("t.csv", b"a,b\nc\xff,d\n", 2, "not UTF-8 text"),
    ("t.csv", 'a,b\n"c"x,d\n', 2, "not CSV: "),
    ("t.csv", 'a,b\nc,"d\n', 2, "not CSV: "),
    ("t.csv", "a,b\nc,\n", 2, "the target is empty"),
    ("t.csv", "a,b\nc,d\0\n", 2, "the target contains a NUL character"),
    ("t.jsonl", '["a","b"]\n{"a": \n', 2, "not JSON: "),
    ("t.jsonl", '["a","b"]\n"text"\n', 2, "not a JSON object or list"),
    ("t.jsonl", '["a","b"]\n["c"]\n', 2, "column 1 is missing: the row has only column 0"),
    ("t.jsonl", '["a","b"]\n["c", null]\n', 2, "column 1 is null"),
    ("t.jsonl", '["a","b"]\n["c", true]\n', 2, "the target is not text but bool"),
    ("t.jsonl", '["a","b"]\n["c", ["d"]]\n', 2, "the target is not text but list"),
    ("t.jsonl", '["a","b"]\n["c", "\\u0000"]\n', 2, "the target contains a NUL character"),
    ("t.jsonl", '["a","b"]\n["c", "\\ud800"]\n', 2, "the target is not UTF-8 text"),
    ("t.jsonl", '["a","b"]\n' + "[" * 100_000 + "\n", 2, "not JSON: "),
    ("t.jsonl", '["a","b"]\n{"s": "c"}\n', 2, "name source.column and target.column: the object has the fields s"),
    ("t.jsonl", b'["a","b"]\n["\xff","d"]\n', 2, "not UTF-8 text"),
]


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"), BAD, ids=[f"{b[0]}-{b[3][:20]}-{b[1][-6:]!r}" for b in BAD]
)
def test_a_bad_row_is_told_with_file_and_line(
    write: Write, name: str, content: str | bytes, line: int, reason: str
) -> None:
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {reason}")
    assert "\n" not in message


@pytest.mark.parametrize(("name", "content"), [bad[:2] for bad in BAD])
def test_a_bad_row_does_not_hide_the_good_ones(write: Write, name: str, content: str | bytes) -> None:
    problems = Problems(skip=True)
    assert texts(read(write(name, content), problems=problems)) == [("a", "b")]
    assert problems.reasons.total() == 1
    problems.raise_any()


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.tsv", b"a\tb\nc\xff\td\ne\tf\n"), ("t.csv", b"a,b\nc\xff,d\ne,f\n"), ("t.csv", b'a,b\n"c"x,d\ne,f\n')],
)
def test_rows_behind_a_bad_one_are_read(write: Write, name: str, content: bytes) -> None:
    assert texts(read(write(name, content), problems=Problems(skip=True))) == [("a", "b"), ("e", "f")]


def test_a_json_object_without_the_field_lists_what_it_has(write: Write) -> None:
    path = write("t.jsonl", '{"s": "a", "t": "b"}\n{"s": "c", "u": "d"}\n["e", "f"]\n')
    with pytest.raises(DataError) as caught:
        read(path, columns=("s", "t"))
    lines = str(caught.value).split("\n")
    assert lines[0] == f"{path}:2: no field 't': the object has s, u"
    assert lines[1].startswith(f"{path}:3: no field 's': this row is a list")


def test_all_bad_rows_are_told_at_once(write: Write) -> None:
    path = write("t.tsv", "a\tb\n\tb\na\t\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).split("\n") == [
        f"{path}:2: the source is empty",
        f"{path}:3: the target is empty",
        "(data.on_error: skip leaves such rows out)",
    ]


@given(st.integers(1, 40))
def test_many_bad_rows_are_counted_by_reason(count: int) -> None:
    problems = Problems()
    for line in range(count):
        problems.add("f", line, f"not JSON: {line}" if line % 3 else "the source is empty")
    lines = problems.summary().split("\n")
    assert lines[: problems.SHOWN] == problems.first
    assert len(problems.first) == min(count, problems.SHOWN)
    if count <= problems.SHOWN:
        assert len(lines) == count
    else:
        empty = (count + 2) // 3
        assert lines[-1].startswith(f"... {count} bad rows in all: ")
        assert f"{empty} x the source is empty" in lines[-1]
        assert f"{count - empty} x not JSON" in lines[-1]


# --- bad headers --------------------------------------------------------------------------------------


def test_a_header_without_the_column_names_the_nearest(write: Write) -> None:
    path = write("t.tsv", "word\tphones\na\tb\n")
    with pytest.raises(DataError) as caught:
        read(path, columns=("word", "phonees"))
    assert str(caught.value) == (
        f"{path}:1: no column 'phonees' in the header; did you mean 'phones'? known: phones, word"
    )


def test_a_column_twice_in_the_header_is_refused(write: Write) -> None:
    path = write("t.csv", "word,word,phones\na,b,c\n")
    with pytest.raises(DataError) as caught:
        read(path, columns=("word", "phones"))
    assert str(caught.value) == f"{path}:1: the header names the column 'word' more than once"


def test_a_header_that_is_not_utf8_is_the_row_told(write: Write) -> None:
    path = write("t.tsv", b"w\xffrd\tphones\na\tb\n")
    with pytest.raises(DataError) as caught:
        read(path, columns=("word", "phones"))
    assert str(caught.value).startswith(f"{path}:1: ")


# --- parallel files -----------------------------------------------------------------------------------


def test_parallel_files_of_unequal_length_are_refused(write: Write) -> None:
    short, long = write("s.txt", "a\nb\n"), write("l.txt", "a\nb\nc\nd\n")
    for source, target in ((short, long), (long, short)):
        with pytest.raises(DataError) as caught:
            read_parallel(source, target)
        assert str(caught.value) == f"{long}:3: has more lines than {short}; parallel files need equal numbers"


@pytest.mark.parametrize(
    ("source", "target", "guilty", "reason"),
    [
        (b"a\n\xff\n", b"b\nd\n", 0, "not UTF-8 text"),
        (b"a\nc\n", b"b\n\xff\n", 1, "not UTF-8 text"),
        (b"a\n\n", b"b\nd\n", 0, "the source is empty"),
        (b"a\nc\n", b"b\n\n", 1, "the target is empty"),
        (b"a\n\0\n", b"b\nd\n", 0, "the source contains a NUL character"),
        (b"a\nc\n", b"b\n\0\n", 1, "the target contains a NUL character"),
    ],
)
def test_a_bad_row_of_parallel_files_names_the_file_it_stands_in(
    write: Write, source: bytes, target: bytes, guilty: int, reason: str
) -> None:
    files = write("s.txt", source), write("t.txt", target)
    with pytest.raises(DataError) as caught:
        read_parallel(*files)
    assert str(caught.value) == f"{files[guilty]}:2: {reason}"
    problems = Problems(skip=True)
    assert texts(read_parallel(*files, problems=problems)) == [("a", "b")]


def test_a_tab_is_text_in_parallel_files(write: Write) -> None:
    assert texts(read_parallel(write("s", "a\tb\n"), write("t", "c\td\n"))) == [("a\tb", "c\td")]


# --- bad files ----------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.tsv"
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_holds_tables(tmp_path: Path) -> None:
    path = tmp_path / "folder.tsv"
    path.mkdir()
    with pytest.raises(DataError) as caught:
        read(path)
    endings = ".tsv, .txt, .csv, .jsonl, .ndjson, .conllu, .conll, .dict, .parquet, .npz, .npy, text with .gz too"
    assert str(caught.value) == f"{path}: is a folder without tables ({endings})"


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.tsv.zip", "t.gz"])
def test_an_unknown_ending_lists_the_known_ones(write: Write, name: str) -> None:
    path = write(name, "a\tb\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: unknown kind of file ")
    assert ".tsv, .txt, .csv, .jsonl" in str(caught.value)


WHOLE = gzip.compress(b"a\tb\n" * 20_000)


@pytest.mark.parametrize("name", ["t.tsv.gz", "t.csv.gz", "t.jsonl.gz", "t.txt.gz"])
@pytest.mark.parametrize(
    "content",
    [WHOLE[:-30], WHOLE[:12] + b"\xff" * 50, b"a\tb\nnot gzip at all\n", WHOLE[:-8] + bytes(8), WHOLE + b"xxx"],
    ids=["cut", "garbled", "not-gzip", "wrong-sum", "rubbish-behind"],
)
def test_a_damaged_gz_is_told_without_a_traceback(write: Write, name: str, content: bytes) -> None:
    path = write(name, content)
    problems = Problems(skip=True)
    with pytest.raises(DataError) as caught:
        read(path, problems=problems)
    assert str(caught.value).startswith(f"{path}: is damaged: ")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=60), st.sampled_from(["t.tsv", "t.csv", "t.jsonl", "t.csv.gz", "t.tsv.gz"]))
def test_any_bytes_are_rows_or_a_message(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        wrong = [row for row in read(path) if not row.sources[0].strip() or not row.target.strip()]
    except DataError as error:
        wrong, message = [], str(error)
    else:
        message = str(path)
    assert wrong == []
    assert message.startswith(str(path))


# --- other containers ---------------------------------------------------------------------------------


def test_a_gigantic_line_is_a_bad_row_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.data.formats.LONGEST_LINE", 10)
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\tb\n" + b"x" * 11 + b"\nc\td\n" + b"y" * 10 + b"\n" + b"z" * 99)
    lines = list(read_lines(str(path)))
    assert [line for _, line, _ in lines] == ["a\tb", None, "c\td", None, None]
    assert [number for number, _, _ in lines] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("\ufeff".encode(encoding) * (encoding != "utf-16") + "a\tb\n".encode(encoding))
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: is UTF-16 text; convert it to UTF-8"


def test_a_folder_is_its_tables_in_the_order_of_their_names(write: Write, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    write("f/2.tsv", "c\td\n")
    first = write("f/1.csv", "a,b\n")
    write("f/notes.md", "no rows")
    assert texts(read(first.parent)) == [("a", "b"), ("c", "d")]


def test_an_array_of_texts_is_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pairs=np.array([["a", "b"], ["c", "d"]]), numbers=np.zeros(3))
    assert texts(read(Path(f"{tmp_path / 'a.npz'}#pairs"))) == [("a", "b"), ("c", "d")]


def test_parquet_has_named_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"word": ["a", "c", None], "sound": ["b", "d", "e"]}), path)
    problems = Problems()
    rows = list(read_rows([str(path)], [], text_sides("word", "sound"), False, problems))
    assert texts(rows) == [("a", "b"), ("c", "d")]
    assert problems.first == [f"{path}:3: column 'word' is null"]


def test_a_quote_that_is_never_closed_ends_the_reading(write: Write) -> None:
    """Skipped as one bad row, it would take all that follows with it."""
    path = write("t.csv", 'a,X\nc,X\n"b,Y\n' + "d,Z\n" * 2000)
    with pytest.raises(DataError, match=r"t\.csv:3: not CSV: a quote is opened and not closed"):
        read(path, problems=Problems(skip=True))


def test_a_record_of_several_lines_stands_where_it_begins(write: Write) -> None:
    rows = read(write("t.csv", 'a,X\n"b\nc",Y\nd,Z\n'))
    assert [(row.sources[0], row.line) for row in rows] == [("a", 1), ("b\nc", 2), ("d", 4)]


def test_utf16_csv_is_told(write: Write) -> None:
    with pytest.raises(DataError, match="is UTF-16 text; convert it to UTF-8"):
        read(write("t.csv", "a,X\n".encode("utf-16")))


def test_lines_that_end_in_carriage_returns_are_told(write: Write) -> None:
    with pytest.raises(DataError, match="its lines end in carriage returns"):
        read(write("t.tsv", b"a\tX\rb\tY\r"))


def test_another_separator_is_guessed_at(write: Write) -> None:
    with pytest.raises(DataError, match="are the columns separated by semicolons"):
        read(write("t.tsv", "a;X\nb;Y\n"))


@pytest.mark.parametrize(
    ("content", "expected", "mark"),
    [
        ("a;X\nb;Y\n", [("a", "X"), ("b", "Y")], ";"),
        ("a\tX\nb\tY\n", [("a", "X"), ("b", "Y")], "\t"),
        ("word;n\na;1,5\nb;2,5\n", [("word", "n"), ("a", "1,5"), ("b", "2,5")], ";"),
        ("1,5;X\n2,5;Y\n", [("1,5", "X"), ("2,5", "Y")], ";"),  # decimal commas in all rows
        ('"a;b";X\n"c;d";Y\n', [("a;b", "X"), ("c;d", "Y")], ";"),
        ("a;b,X\nc;d,Y\n", [("a;b", "X"), ("c;d", "Y")], None),  # both fit: a comma is what the ending says
        ('"a\nb",X\nc,Y\n', [("a\nb", "X"), ("c", "Y")], None),
    ],
)
def test_the_separator_of_csv_is_noticed_and_told(
    write: Write, content: str, expected: list[tuple[str, str]], mark: str | None
) -> None:
    path, problems = write("t.csv", content), Problems()
    assert texts(read_rows([str(path)], [], text_sides(0, 1), False, problems)) == expected
    note = f"{path}: read with {mark!r} between columns; --set data.separator=, reads it otherwise"
    assert problems.notes == ([note] if mark else [])


def test_a_separator_that_is_set_is_taken(write: Write) -> None:
    for name, separator in (("t.csv", ","), ("t.csv", "|"), ("t.tsv", "|"), ("t.txt", "\t")):
        path, problems = write(name, f"a;b{separator}X\nc;d{separator}Y\n"), Problems()
        rows = read_rows([str(path)], [], text_sides(0, 1), False, problems, None, separator)
        assert texts(rows) == [("a;b", "X"), ("c;d", "Y")]
        assert problems.notes == []


def test_decimal_commas_are_numbers_where_they_are_set(write: Write, configure: Callable[..., Config]) -> None:
    path = str(write("t.csv", "x;y;z\n1,5;-1.234,5;0,25\n2;3,0;1,0e1\n1.234;-12.345.678;0.125\n"))
    keys = {"source__kind": "vector", "source__columns": ["x", "y"], "target__kind": "number", "target__column": "z"}
    rows = load_rows(configure(data__train=path, data__decimal=",", **keys), path)
    assert [(row.sources[0].tolist(), row.target.tolist()) for row in rows] == [
        ([[1.5, -1234.5]], [[0.25]]),
        ([[2.0, 3.0]], [[10.0]]),
        ([[1234.0, -12345678.0]], [[0.125]]),
    ]
    with pytest.raises(DataError, match="the source must be numbers"):
        load_rows(configure(data__train=path, **keys), path)


CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

-DOCSTART- -X- -X- O

Peter NNP B-NP B-PER
"""


def test_sentences_of_column_files_are_rows(write: Write) -> None:
    expected = [("EU rejects", "B-ORG O"), ("Peter", "B-PER")]
    for text in (CONLL, CONLL.replace(" ", "\t"), CONLL.replace("\n", "\r\n"), CONLL.strip(), "\n\n" + CONLL + "\n\n"):
        rows = read(write("t.conll", text), columns=(0, -1))
        assert texts(rows) == expected
    assert [row.line for row in read(write("t.conll", CONLL), columns=(0, -1))] == [3, 8]
    named = "word pos chunk ner\n" + CONLL.partition("\n\n")[2]
    assert texts(read(write("t.conll", named), columns=("word", "ner"))) == expected
    assert texts(read(write("t.conll", named), columns=(0, 3), header=True)) == expected


def test_a_sentence_with_a_line_of_other_width_is_told(write: Write) -> None:
    path = write("t.conll", "a O\nb\n\nc O\n")
    with pytest.raises(DataError) as caught:
        read(path, columns=(0, -1))
    reason = "line 2 of the sentence has 1 columns, and line 1 has 2"
    assert str(caught.value) == f"{path}:1: {reason}"


def test_a_file_like_conll_of_another_name_gets_the_hint(write: Write) -> None:
    problems = Problems()
    list(read_rows([str(write("t.tsv", "a\tO\nb\tO\n\nc\tO\n"))], [], text_sides(0, 1), False, problems))
    assert "name it .conll" in problems.notes[0]


@pytest.mark.parametrize("text", list(",;.|:#&*-!%@`[{\"'?"))
def test_a_punctuation_mark_is_a_text_where_keys_are_set(text: str) -> None:
    assert parse_value(text, "data.separator") == text


@pytest.mark.parametrize("text", ['["a", NaN]', '["a", 1e999]'])
def test_what_is_no_number_is_no_text(write: Write, text: str) -> None:
    with pytest.raises(DataError, match="the target is not a number"):
        read(write("t.jsonl", text + "\n"))


def test_other_programs_files_in_a_folder_are_left_out(write: Write) -> None:
    path = write("a.tsv", "a\tX\n")
    for name in (".a.tsv", "~$a.csv"):
        (path.parent / name).write_text("b\tY\n")
    assert texts(read(path.parent)) == [("a", "X")]


def test_parquet_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    odd = pyarrow.array([1], pyarrow.timestamp("ns"))
    parquet.write_table(pyarrow.table([["a"], ["b"], odd, ["c"], ["d"]], names=["word", "sound", "t", "x", "x"]), path)
    assert texts(read(path, columns=("word", "sound"))) == [("a", "b")]
    with pytest.raises(DataError, match="names the column 'x' more than once"):
        read(path, columns=("word", "x"))
    with pytest.raises(DataError, match=r"name source\.column and target\.column; it has word, sound"):
        read(path)
    with pytest.raises(DataError, match="no column 'wrd' in the header; did you mean 'word'"):
        read(path, columns=("wrd", "sound"))


def test_arrays_that_are_none_are_told(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "a.npz"
    np.savez(path, empty=np.zeros((0, 2), dtype="U1"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "x")
    assert read(Path(f"{path}#empty")) == []
    with pytest.raises(DataError, match=r"#notes\.txt: is not an array"):
        read(Path(f"{path}#notes.txt"))


def test_a_number_sign_in_the_name_of_a_folder_names_no_array(tmp_path: Path) -> None:
    folder = tmp_path / "C#"
    folder.mkdir()
    np.savez(folder / "a.NPZ", x=np.array([["ab", "A B"]]))
    (folder / "a.NPZ.npz").rename(folder / "a.NPZ")
    np.save(folder / "v.npy", np.array([1.0, 2.0]))
    (folder / "a.tsv").write_text("ab\tA B\n")
    assert texts(read(folder / "a.NPZ#x")) == texts(read(folder / "a.tsv")) == [("ab", "A B")]
    assert load_array(str(folder / "v.npy")).tolist() == [1.0, 2.0]
    assert digest(folder / "a.tsv")
    (shard,) = shards_of([folder / "a.tsv"], ".tsv", tmp_path / "out")
    assert (shard.path, shard.name) == (str(folder / "a.tsv"), "a.tsv")
    assert _count(str(folder / "a.tsv")) == 1
    assert len(digests([str(folder / "a.tsv")])) == 1
    assert list(paths_of(str(folder / "a.tsv"))) == [folder / "a.tsv"]


SENTENCES = """# text = He can't stop
1\tHe\the\tPRON\tPRP\t_\t3\tnsubj\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t3\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_

# newpar

1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\t_
"""


@pytest.mark.parametrize("ending", ["", "\n", "\n\n\n"])
def test_conllu_sentences_are_rows_of_fields(write: Write, ending: str) -> None:
    path = write("a.conllu", SENTENCES + ending)
    assert texts(read(path, columns=("form", "upos"))) == [("He ca n't", "PRON AUX PART"), ("New_York", "PROPN")]
    assert [row.line for row in read(path, columns=("form", "lemma"))] == [2, 10]
    with pytest.raises(DataError, match="no field 'pos': the object has id, form, lemma, upos"):
        read(path, columns=("form", "pos"))


def test_a_broken_conllu_sentence_is_a_bad_row(write: Write) -> None:
    path = write("a.conllu", SENTENCES.replace("\tMD", "") + "\n3-4\tx\t_\t_\t_\t_\t_\t_\t_\t_\n")
    problems = Problems(skip=True)
    assert texts(read(path, columns=("form", "upos"), problems=problems)) == [("New_York", "PROPN")]
    assert problems.first == [
        f"{path}:2: line 4 is not the 10 columns of CoNLL-U",
        f"{path}:12: holds no words",
    ]
