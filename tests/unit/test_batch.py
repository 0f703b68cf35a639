"""Padded batches, and the order in which training visits rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import pad_sources

from antiphon.common.symbols import EOS, PAD, SPECIALS, UNK
from antiphon.data.batches import Examples, Sequences, collate, epoch_batches, replace_unknown

sequence = st.lists(st.integers(UNK, 30), max_size=7).map(lambda ids: [*ids, EOS])
pairs = st.lists(st.tuples(sequence, sequence), min_size=1, max_size=30)


def examples_of(rows: list[tuple[list[int], list[int]]]) -> Examples:
    return Examples((Sequences([source for source, _ in rows]),), Sequences([target for _, target in rows]))


def some_examples(count: int, longest: int = 20) -> Examples:
    chance = np.random.default_rng(1)

    def side() -> Sequences:
        return Sequences([[*range(SPECIALS, SPECIALS + n), EOS] for n in chance.integers(0, longest, count)])

    return Examples((side(),), side())


@given(st.lists(st.lists(st.integers(0, 1000), max_size=6), max_size=8))
def test_sequences_are_kept_as_they_are(rows: list[list[int]]) -> None:
    kept = Sequences(rows)
    assert len(kept) == len(rows)
    assert [kept[i].tolist() for i in range(len(rows))] == rows
    assert kept.lengths.tolist() == [len(row) for row in rows]


@given(st.lists(st.lists(st.lists(st.integers(0, 1000), max_size=6), max_size=4), max_size=4))
def test_joined_sequences_are_those_of_all_parts(parts: list[list[list[int]]]) -> None:
    joined, whole = Sequences.joined(list(map(Sequences, parts))), Sequences([row for part in parts for row in part])
    for computed, expected in (
        (joined.values, whole.values),
        (joined.lengths, whole.lengths),
        (joined.ends, whole.ends),
    ):
        assert computed.dtype == expected.dtype
        assert computed.tolist() == expected.tolist()


@given(st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8), st.data())
def test_padded_rows_are_the_rows_and_pads(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=9))
    padded = Sequences(rows).padded(chosen)
    longest = max(len(rows[i]) for i in chosen)
    assert padded.tolist() == [rows[i] + [PAD] * (longest - len(rows[i])) for i in chosen]


@given(pairs, st.data())
def test_a_batch_is_its_rows(rows: list[tuple[list[int], list[int]]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=9))
    batch = collate(examples_of(rows), chosen)
    for place, row in enumerate(chosen):
        source, target = rows[row]
        assert batch.sources[0].lengths[place] == len(source)
        assert batch.sources[0].values[place].tolist()[: len(source)] == source
        assert set(batch.sources[0].values[place].tolist()[len(source) :]) <= {PAD}
        assert batch.target.values[place].tolist()[: len(target)] == target
        assert set(batch.target.values[place].tolist()[len(target) :]) <= {PAD}
    assert batch.target.values.flatten()[batch.positions].tolist() == [t for row in chosen for t in rows[row][1]]


@given(pairs)
def test_pad_sources_is_collates_source(rows: list[tuple[list[int], list[int]]]) -> None:
    batch = collate(examples_of(rows), range(len(rows)))
    source, lengths = pad_sources([source for source, _ in rows])
    assert torch.equal(source, batch.sources[0].values)
    assert torch.equal(lengths, batch.sources[0].lengths)


@given(pairs, st.integers(1, 4))
def test_parts_of_a_batch_are_its_rows_dealt_out(rows: list[tuple[list[int], list[int]]], parts: int) -> None:
    """The parts' target tokens together are the whole's, and each part has every so-manyth row."""
    examples = examples_of(rows)
    whole = collate(examples, range(len(rows)))
    tokens: list[int] = []
    for number in range(parts):
        part = whole.part(number, parts)
        assert torch.equal(part.sources[0].values, whole.sources[0].values[number::parts])
        assert torch.equal(part.sources[0].lengths, whole.sources[0].lengths[number::parts])
        tokens += part.target.values.flatten()[part.positions].tolist()
    assert sorted(tokens) == sorted(whole.target.values.flatten()[whole.positions].tolist())


def test_a_batch_on_the_cpu_is_not_copied() -> None:
    batch = collate(some_examples(3), [0, 2])
    assert batch.to(torch.device("cpu")) is batch


# --- replace_unknown ----------------------------------------------------------------------------------


@given(pairs, st.floats(0.01, 0.99), st.integers(0, 99))
def test_replacing_touches_neither_end_nor_padding(
    rows: list[tuple[list[int], list[int]]], share: float, seed: int
) -> None:
    batch = collate(examples_of(rows), range(len(rows)))
    before = batch.sources[0].values.clone()
    replaced = replace_unknown(batch, share, torch.Generator().manual_seed(seed))
    changed = replaced.sources[0].values != before
    assert (replaced.sources[0].values[changed] == UNK).all()
    assert not changed[before == PAD].any()
    assert not changed[torch.arange(len(rows)), batch.sources[0].lengths - 1].any()
    assert torch.equal(batch.sources[0].values, before)
    assert torch.equal(replaced.sources[0].lengths, batch.sources[0].lengths)
    assert replaced.target is batch.target
    assert replaced.positions is batch.positions


def test_a_share_of_almost_one_replaces_all_but_the_end() -> None:
    batch = collate(examples_of([([7, 8, 9, EOS], [EOS]), ([7, EOS], [EOS])]), [0, 1])
    replaced = replace_unknown(batch, 1 - 1e-9, torch.Generator().manual_seed(0))
    assert replaced.sources[0].values.tolist() == [[UNK, UNK, UNK, EOS], [UNK, EOS, PAD, PAD]]


def test_no_share_replaces_nothing() -> None:
    batch = collate(some_examples(4), range(4))
    assert replace_unknown(batch, 0.0, torch.Generator()) is batch


def test_the_share_is_met_on_average() -> None:
    batch = collate(Examples((Sequences([[9] * 20_000 + [EOS]]),), Sequences([[EOS]])), [0])
    replaced = replace_unknown(batch, 0.1, torch.Generator().manual_seed(3))
    assert abs(float((replaced.sources[0].values == UNK).float().mean()) - 0.1) < 0.01


def test_replacing_is_the_same_by_seed() -> None:
    batch = collate(some_examples(9), range(9))

    def replaced(seed: int) -> list[Any]:
        return replace_unknown(batch, 0.3, torch.Generator().manual_seed(seed)).sources[0].values.tolist()

    assert replaced(1) == replaced(1)
    assert replaced(1) != replaced(2)


# --- epochs -------------------------------------------------------------------------------------------


@given(pairs, st.integers(1, 9), st.none() | st.integers(1, 60), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_has_every_row_exactly_once(
    rows: list[tuple[list[int], list[int]]], size: int, tokens: int | None, seed: int, epoch: int
) -> None:
    batches = epoch_batches(examples_of(rows), size, tokens, seed, epoch)
    assert sorted(int(row) for batch in batches for row in batch) == list(range(len(rows)))
    assert all(len(batch) for batch in batches)


@given(pairs, st.integers(1, 9))
def test_no_batch_has_more_rows_than_asked(rows: list[tuple[list[int], list[int]]], size: int) -> None:
    batches = epoch_batches(examples_of(rows), size, None, 1, 0)
    assert all(len(batch) <= size for batch in batches)
    assert len(batches) == -(-len(rows) // size)


@given(pairs, st.integers(1, 80))
def test_no_batch_has_more_padded_tokens_than_asked(rows: list[tuple[list[int], list[int]]], bound: int) -> None:
    examples = examples_of(rows)
    for chosen in epoch_batches(examples, 1, bound, 1, 0):
        batch = collate(examples, chosen)
        assert batch.sources[0].values.numel() + batch.target.values.numel() <= bound or len(chosen) == 1


def test_batches_of_tokens_are_filled() -> None:
    examples = some_examples(500)
    batches = epoch_batches(examples, 1, 400, 1, 0)
    padded = [int(np.prod(collate(examples, rows).sources[0].values.shape)) for rows in batches]
    padded = [
        p + int(np.prod(collate(examples, rows).target.values.shape)) for p, rows in zip(padded, batches, strict=True)
    ]
    assert sum(p > 300 for p in padded) > 0.8 * len(padded)


def order(seed: int, epoch: int, tokens: int | None = None) -> list[list[int]]:
    return [batch.tolist() for batch in epoch_batches(some_examples(300), 8, tokens, seed, epoch)]


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    for tokens in (None, 200):
        assert order(1, 0, tokens) == order(1, 0, tokens)
        assert order(1, 0, tokens) != order(1, 1, tokens)
        assert order(1, 0, tokens) != order(2, 0, tokens)


def test_epochs_differ_in_more_than_the_order_of_batches() -> None:
    assert {frozenset(batch) for batch in order(1, 0)} != {frozenset(batch) for batch in order(1, 1)}


def test_rows_of_similar_length_lie_together() -> None:
    examples = some_examples(800)

    def padding(batches: list[Any]) -> int:
        return sum(collate(examples, rows).target.values.numel() for rows in batches)

    shuffled = np.random.default_rng(0).permutation(800)
    assert padding(epoch_batches(examples, 8, None, 1, 0)) < 0.8 * padding(np.split(shuffled, 100))
