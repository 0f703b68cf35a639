"""From a configuration's data to rows, codecs and examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.common.symbols import EOS, UNK
from antiphon.config.files import Parallel
from antiphon.config.schema import Config
from antiphon.data.codecs.text import TextCodec
from antiphon.data.encode import encode_rows
from antiphon.data.load import group_references, load_rows, split_rows, train_codecs, untrained
from antiphon.data.rows import Row
from antiphon.errors import ConfigError, DataError

Write = Callable[[str, str | bytes], Path]
Configure = Callable[..., Config]

rows_of = st.lists(st.tuples(st.text("abcdef", min_size=1, max_size=2), st.text("xy", min_size=1)), max_size=40).map(
    lambda pairs: [Row((source,), target, "t.tsv", line) for line, (source, target) in enumerate(pairs, 1)]
)


def row(source: str, target: str = "x", line: int = 1) -> Row:
    return Row((source,), target, "t.tsv", line)


# --- splitting ----------------------------------------------------------------------------------------


@given(rows_of, st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_fraction_splits_by_distinct_input(rows: list[Row], fraction: float, seed: int) -> None:
    inputs = {row.sources[0] for row in rows}
    if len(inputs) < 2:
        return
    train, valid = split_rows(rows, fraction, seed)
    assert sorted(train + valid, key=lambda row: row.line) == rows
    assert train
    assert valid
    known, held = {row.sources[0] for row in train}, {row.sources[0] for row in valid}
    assert not known & held
    assert abs(len(held) - fraction * len(inputs)) <= 1
    for part in (train, valid):
        assert part == sorted(part, key=lambda row: row.line)


@given(rows_of, st.randoms(use_true_random=False))
def test_a_split_depends_on_inputs_and_seed_alone(rows: list[Row], chance: object) -> None:
    if len({row.sources[0] for row in rows}) < 2:
        return
    mixed = list(rows)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    first, second = split_rows(rows, 0.3, 1)[1], split_rows(mixed, 0.3, 1)[1]
    assert {row.sources[0] for row in first} == {row.sources[0] for row in second}


def test_another_seed_splits_otherwise() -> None:
    rows = [row(f"word{i}") for i in range(100)]
    assert split_rows(rows, 0.2, 1) == split_rows(rows, 0.2, 1)
    assert split_rows(rows, 0.2, 1) != split_rows(rows, 0.2, 2)


def test_one_distinct_input_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"^t\.tsv: a fraction for validation needs at least 2 distinct inputs; "):
        split_rows([row("a", "x"), row("a", "y")], 0.5, 1)


# --- references ---------------------------------------------------------------------------------------


@given(rows_of)
def test_by_default_every_row_is_its_own_example(configure: Configure, rows: list[Row]) -> None:
    assert group_references(configure(), untrained(configure()), rows) == [[number] for number in range(len(rows))]


@given(rows_of)
def test_grouped_rows_are_references_of_one_input(configure: Configure, rows: list[Row]) -> None:
    groups = group_references(configure(data__references="group"), untrained(configure()), rows)
    assert [rows[group[0]].sources[0] for group in groups] == list(dict.fromkeys(row.sources[0] for row in rows))
    for group in groups:
        assert group == [number for number, row in enumerate(rows) if row.sources[0] == rows[group[0]].sources[0]]


# --- lengths ------------------------------------------------------------------------------------------


def test_a_row_of_the_greatest_length_is_kept_and_a_longer_one_refused(configure: Configure) -> None:
    rows = [row("abc", "x y", 1), row("abcd", "x", 2), row("a", "x x x x x", 3)]
    codecs = train_codecs(configure(), rows)
    with pytest.raises(DataError) as caught:
        encode_rows(configure(data__max_length=3), codecs, rows)
    assert str(caught.value).split("\n")[:2] == [
        "t.tsv:2: too long: the source has 4 tokens, data.max_length is 3",
        "t.tsv:3: too long: the target has 5 tokens, data.max_length is 3",
    ]
    kept, examples = encode_rows(configure(data__max_length=3, data__on_error="skip"), codecs, rows)
    assert kept == rows[:1]
    assert len(examples) == 1
    assert encode_rows(configure(data__max_length=5), codecs, rows)[0] == rows


def test_when_all_rows_are_too_long_nothing_is_left_to_skip(configure: Configure) -> None:
    rows = [row("abcd", "x", 7)]
    config = configure(data__max_length=3, data__on_error="skip")
    with pytest.raises(DataError, match=r"^t\.tsv:7: too long: the source has 4 tokens"):
        encode_rows(config, train_codecs(config, rows), rows)


@given(rows_of)
def test_encoded_rows_are_the_codecs_ids_in_order(configure: Configure, rows: list[Row]) -> None:
    if not rows:
        return
    codecs = train_codecs(configure(), rows)
    kept, examples = encode_rows(configure(), codecs, rows)
    assert kept == rows
    assert isinstance(codecs.target, TextCodec)
    for i, item in enumerate(rows):
        assert examples.sources[0][i].tolist() == codecs.sources[0].encode(item.sources[0])
        assert codecs.target.decode(examples.target[i].tolist()) == item.target
        assert examples.target[i][-1] == EOS


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_rows_are_the_same_however_many_are_encoded_at_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Bad rows among them, and pieces that are nothing but bad rows."""
    sources = ["a", "bbbb", "c", "dddd", "eeee", "ffff", "ab"]
    rows = [row(source, "x y", line) for line, source in enumerate(sources, 1)]
    config = configure(data__max_length=3, data__on_error="skip")
    codecs = train_codecs(config, rows)
    monkeypatch.setattr("antiphon.data.encode.AT_ONCE", at_once)
    kept, examples = encode_rows(config, codecs, rows)
    assert [item.line for item in kept] == [1, 3, 7]
    assert len(examples) == 3
    for i, item in enumerate(kept):
        assert examples.sources[0][i].tolist() == codecs.sources[0].encode(item.sources[0])


def test_codecs_know_the_rows_they_were_given_only(configure: Configure) -> None:
    codecs = train_codecs(configure(), [row("ab", "X")])
    assert codecs.sources[0].encode("abc") == [*codecs.sources[0].encode("ab")[:-1], UNK, EOS]
    assert codecs.target.encode("Y") == [UNK, EOS]


# --- loading ------------------------------------------------------------------------------------------


def test_files_may_be_one_several_or_parallel(configure: Configure, write: Write) -> None:
    item, two = str(write("1.tsv", "a\tx\n")), str(write("2.tsv", "b\ty\n"))
    source, target = str(write("s", "a\nb\n")), str(write("t", "x\ny\n"))

    def pairs(files: str | list[str] | Parallel) -> list[tuple[str, str]]:
        return [(row.sources[0], row.target) for row in load_rows(configure(), files)]

    assert pairs(item) == [("a", "x")]
    assert pairs([item, two]) == pairs(Parallel(source=source, target=target)) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(("name", "content"), [("t.tsv", ""), ("t.csv", ""), ("t.jsonl", "\n\n"), ("t.tsv", "\ufeff")])
def test_an_empty_file_holds_no_rows(configure: Configure, write: Write, name: str, content: str) -> None:
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        load_rows(configure(), str(path))
    assert str(caught.value) == f"{path}: has no rows"


def test_a_header_alone_holds_no_rows(configure: Configure, write: Write) -> None:
    path = write("t.tsv", "s\tt\n")
    with pytest.raises(DataError, match="has no rows"):
        load_rows(configure(data__header=True), str(path))


def test_empty_parallel_files_name_both(configure: Configure, write: Write) -> None:
    source, target = str(write("s", "")), str(write("t", ""))
    with pytest.raises(DataError) as caught:
        load_rows(configure(), Parallel(source=source, target=target))
    assert str(caught.value) == f"{source}, {target}: has no rows"


def test_bad_rows_fail_or_are_skipped_as_configured(configure: Configure, write: Write) -> None:
    path = str(write("t.tsv", "a\tx\n\ty\nb\tz\n"))
    with pytest.raises(DataError, match=r":2: the source is empty$"):
        load_rows(configure(), path)
    assert [row.line for row in load_rows(configure(data__on_error="skip"), path)] == [1, 3]


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_bad_rows_alone_are_told_either_way(configure: Configure, write: Write, on_error: str) -> None:
    path = write("t.tsv", "\ty\n")
    with pytest.raises(DataError) as caught:
        load_rows(configure(data__on_error=on_error), str(path))
    assert str(caught.value) == f"{path}:1: the source is empty"


def test_named_columns_reach_the_reader(configure: Configure, write: Write) -> None:
    path = str(write("t.csv", "id,out,in\n1,x,a\n"))
    config = configure(source__column="in", target__column="out")
    assert [(row.sources[0], row.target) for row in load_rows(config, path)] == [("a", "x")]


def test_inputs_that_are_the_same_to_the_model_stay_on_one_side() -> None:
    rows = [row(text, line=line) for line, text in enumerate(["apple", "Apple", "APPLE", "pear", "Pear", "fig"], 1)]
    for seed in range(20):
        train, valid = split_rows(rows, 0.4, seed, lambda row: row.sources[0].lower())
        assert not {item.sources[0].lower() for item in train} & {item.sources[0].lower() for item in valid}


def test_a_vocabulary_without_a_symbol_is_refused(configure: Configure) -> None:
    config = configure(target__tokens={"kind": "words", "min_count": 100})
    with pytest.raises(ConfigError, match=r"^target\.tokens: no symbol occurs 100 times"):
        train_codecs(config, [row("ab", "X Y")])


def test_too_few_pieces_for_the_characters_are_refused(configure: Configure) -> None:
    config = configure(source__tokens={"kind": "unigram", "size": 2})
    with pytest.raises(ConfigError, match=r"^source\.tokens\.size: 2 pieces cannot be learned"):
        train_codecs(config, [row("abcdef", "X")])
