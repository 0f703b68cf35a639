"""Rows made from few: stems change in both sides alike, and nothing else does."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks import write_table

import antiphon
from antiphon.api import read_config
from antiphon.config.load import parse_config
from antiphon.data.hallucinate import SHORTEST, hallucinated
from antiphon.data.load import Codecs, train_codecs, untrained
from antiphon.data.rows import Row
from antiphon.errors import ConfigError
from antiphon.tools.checkup import check
from antiphon.training.prepare import prepare

WORDS = ["walk", "talk", "jump", "climb", "laugh"]
ROWS = [Row((word, "V;PST"), f"{word}ed", "t.tsv", line) for line, word in enumerate(WORDS, 1)]


def codecs(rows: list[Row] = ROWS, **target: object) -> Codecs:
    tree = {
        "data": {"train": "t.tsv"},
        "source": [{"tokens": "chars"}, {"tokens": {"split": ";"}}],
        "target": {"tokens": "chars", **target},
    }
    return train_codecs(parse_config(tree, Path()), rows)


def made(rows: list[Row], count: int, seed: int = 1) -> list[Row]:
    sides = codecs(rows)
    return hallucinated(rows, sides.sources, sides.target, count, seed)


def test_endings_and_other_sources_stay_and_stems_are_the_same_in_both() -> None:
    rows = made(ROWS, 50)
    assert len(rows) == 50
    lengths = {len(word) for word in WORDS}
    letters = set("".join(WORDS))
    for row in rows:
        word, tags = row.sources
        assert tags == "V;PST"
        assert row.target == f"{word}ed"
        assert len(word) in lengths
        assert set(word) <= letters
    assert len({row.sources[0] for row in rows}) > 40
    assert rows == made(ROWS, 50)
    assert rows != made(ROWS, 50, seed=2)


@given(
    st.lists(st.tuples(st.text("abcd", min_size=1, max_size=8), st.text("abcd", min_size=1, max_size=8)), min_size=1)
)
def test_what_is_no_stem_stays_in_its_place(pairs: list[tuple[str, str]]) -> None:
    rows = [Row((source, "x"), target, "t.tsv", line) for line, (source, target) in enumerate(pairs)]
    stems = {
        row.line: [
            block
            for block in SequenceMatcher(None, row.sources[0], row.target, autojunk=False).get_matching_blocks()
            if block.size >= SHORTEST
        ]
        for row in rows
    }
    if not any(stems.values()):
        with pytest.raises(ConfigError, match=r"data\.hallucinate: no row has 3 symbols in a row"):
            made(rows, 5)
        return
    for row in made(rows, 10):
        source, target = rows[row.line].sources[0], rows[row.line].target
        assert stems[row.line]
        outside = {*range(len(source))}, {*range(len(target))}
        for at, to, size in stems[row.line]:
            assert row.sources[0][at : at + size] == row.target[to : to + size]
            outside[0].difference_update(range(at, at + size))
            outside[1].difference_update(range(to, to + size))
        assert all(row.sources[0][place] == source[place] for place in outside[0])
        assert all(row.target[place] == target[place] for place in outside[1])


def test_they_are_learned_from_and_never_validated(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.tsv", [(f"{word}{n}", f"{word}{n}ed") for word in WORDS for n in "abcdef"])
    config = read_config(table, {"data.hallucinate": 70}).config
    prepared = prepare(config)
    assert len(prepared.train) == 27 + 70
    assert len(prepared.valid) == 3
    plain = prepare(read_config(table, {}).config)
    assert prepared.codecs.to_json() == plain.codecs.to_json()


def test_the_card_counts_made_rows_apart(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.tsv", [(f"{word}{n}", f"{word}{n}ed") for word in WORDS for n in "abcdef"])
    settings = {"data.hallucinate": 70, "data.valid": str(table), "train.max_steps": 1}
    antiphon.train(table, tmp_path / "model", settings)
    assert "trained on 30 rows of `t.tsv` and 70 made of them" in (tmp_path / "model/README.md").read_text()


def test_check_counts_the_rows_of_the_table(tmp_path: Path) -> None:
    """Made rows may be alike, which is no fault of the table's."""
    table = write_table(tmp_path / "t.tsv", [("abc", "abcd"), ("bcd", "bcde"), ("abcc", "abccd"), ("dab", "dabd")] * 2)
    report = check(table, {"data.hallucinate": 400, "data.valid": str(table)})
    assert "train: 8 rows, 4 distinct inputs" in report.lines
    assert "  and 400 rows made of these (data.hallucinate)" in report.lines
    assert "train: 4 rows repeat another row" in report.warnings


@pytest.mark.parametrize("wish", [{"source.kind": "vector"}, {"target.kind": "label"}, {"source.turns": 2}])
def test_sides_without_stems_are_refused(tmp_path: Path, wish: dict[str, object]) -> None:
    from antiphon.training.prepare import check_names

    table = write_table(tmp_path / "t.tsv", [("ab", "ab")])
    tree = {"data": {"train": str(table), "hallucinate": 5}, "source": {}, "target": {}}
    for key, value in wish.items():
        side, name = key.split(".")
        tree[side] = {name: value}
    config = parse_config(tree, tmp_path)
    untrained(config)
    with pytest.raises(ConfigError, match=r"data\.hallucinate: needs a text as first source"):
        check_names(config)
