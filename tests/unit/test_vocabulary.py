"""Vocabularies: distinct symbols, ids behind the special ones."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS, UNK
from antiphon.common.vocabulary import Vocabulary

sequences = st.lists(st.lists(st.text(max_size=3), max_size=6), max_size=8)


def test_special_ids_lie_below_all_others() -> None:
    assert sorted({PAD, BOS, EOS, UNK}) == list(range(SPECIALS))


@given(sequences, st.integers(1, 4))
def test_it_holds_what_occurs_often_enough(rows: list[list[str]], min_count: int) -> None:
    counts = Counter(symbol for row in rows for symbol in row)
    vocabulary = Vocabulary.build(rows, min_count)
    assert set(vocabulary.symbols) == {symbol for symbol, count in counts.items() if count >= min_count}
    for before, after in pairwise(vocabulary.symbols):
        assert (-counts[before], before) < (-counts[after], after)


@given(sequences)
def test_ids_and_symbols_are_inverse(rows: list[list[str]]) -> None:
    vocabulary = Vocabulary.build(rows)
    ids = [vocabulary.id(symbol) for symbol in vocabulary.symbols]
    assert ids == list(range(SPECIALS, len(vocabulary)))
    assert [vocabulary.symbol(number) for number in ids] == vocabulary.symbols


@given(sequences, st.text(max_size=3))
def test_an_unknown_symbol_is_unk(rows: list[list[str]], symbol: str) -> None:
    vocabulary = Vocabulary.build(rows)
    assert (vocabulary.id(symbol) == UNK) == (symbol not in vocabulary)


@given(sequences)
def test_the_order_of_rows_does_not_matter(rows: list[list[str]]) -> None:
    assert Vocabulary.build(rows).symbols == Vocabulary.build(rows[::-1]).symbols


def test_special_ids_have_no_symbol() -> None:
    vocabulary = Vocabulary(["a"])
    assert [vocabulary.symbol(number) for number in range(SPECIALS)] == [None] * SPECIALS


def test_symbols_must_be_distinct() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(["a", "b", "a"])
