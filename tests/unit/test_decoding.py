"""Decoding on a hand-made Markov chain: no model, only a step function."""

from __future__ import annotations

import itertools
import math

import antiphon_runtime.search as runtime
import pytest
import torch
from chains import CPU, Chain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, SPECIALS, UNK
from antiphon.decoding.beam import beam
from antiphon.decoding.greedy import greedy
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.scoring import forced, score
from antiphon.decoding.step import BLOCK, Limits, largest
from antiphon.model.state import Step


def stepper(tables: Tensor):  # type: ignore[no-untyped-def]
    """tables [chains, symbols, symbols]: log p(next | last)."""

    def step(tokens: Tensor, state: Chain) -> Step[Chain]:
        return Step(tables[state.which, tokens], state)

    return step


def random_tables(chains: int, words: int, seed: int) -> Tensor:
    symbols = SPECIALS + words
    logits = torch.randn(chains, symbols, symbols, generator=torch.Generator().manual_seed(seed)) * 2
    logits[..., :EOS] = -torch.inf
    return torch.log_softmax(logits, -1)


def starts(chains: int) -> Chain:
    return Chain(torch.arange(chains))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_improbable_early_ends_do_not_stop_a_search_whose_best_prefix_goes_on(width: int) -> None:
    """A sure chain of ten symbols, each of which could also end, with probability 0.01, or be another."""
    words, length = 12, 10
    symbols = SPECIALS + words
    table = torch.full((symbols, symbols), 0.02 / (words - 1))
    table[:, :EOS], table[:, EOS] = 0.0, 0.01
    path = [BOS, *range(SPECIALS, SPECIALS + length), EOS]
    for last, following in itertools.pairwise(path):
        table[last, following] = 0.97
    chain = torch.log(table / table.sum(-1, keepdim=True))[None]
    hypotheses = beam(stepper(chain), starts(1), 1, CPU, Limits(30), width)[0]
    assert hypotheses[0].tokens == tuple(path[1:-1])


def all_outputs(table: Tensor, words: int, longest: int, penalty: float) -> list[tuple[float, tuple[int, ...], float]]:
    outputs = []
    for length in range(longest + 1):
        for row in itertools.product(range(SPECIALS, SPECIALS + words), repeat=length):
            path = [BOS, *row, EOS]
            total = sum(float(table[a, b]) for a, b in itertools.pairwise(path))
            outputs.append((total / (length + 1) ** penalty, row, total))
    return sorted(outputs, reverse=True)


@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.0, 0.5, 1.0]), words=st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_a_beam_wide_enough_is_exhaustive(seed: int, penalty: float, words: int) -> None:
    tables = random_tables(2, words, seed)
    longest = 3
    width = sum(words**n for n in range(longest + 1))
    results = beam(stepper(tables), starts(2), 2, CPU, Limits(longest), width, penalty)
    for chain, hypotheses in enumerate(results):
        expected = all_outputs(tables[chain], words, longest, penalty)
        assert [h.tokens for h in hypotheses] == [row for _, row, _ in expected]
        for hypothesis, (rank, _, total) in zip(hypotheses, expected, strict=True):
            assert hypothesis.score == pytest.approx(total, abs=1e-5)
            assert hypothesis.rank_score == pytest.approx(rank, abs=1e-5)


@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.0, 1.0, 2.0]), shortest=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_a_beam_of_one_is_greedy(seed: int, penalty: float, shortest: int) -> None:
    tables = random_tables(5, 6, seed)
    limits = Limits(7, shortest)
    item = beam(stepper(tables), starts(5), 5, CPU, limits, 1, penalty)
    for left, right in zip(item, greedy(stepper(tables), starts(5), 5, CPU, limits), strict=True):
        assert left[0].tokens == right[0].tokens
        assert left[0].score == pytest.approx(right[0].score, abs=1e-5)


@given(seed=st.integers(0, 10_000), width=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_every_output_keeps_the_limits_and_carries_its_own_score(seed: int, width: int) -> None:
    tables = random_tables(4, 5, seed)
    results = beam(stepper(tables), starts(4), 4, CPU, Limits(6, 2), width)
    for chain, hypotheses in enumerate(results):
        assert 1 <= len(hypotheses) <= width
        assert len({h.tokens for h in hypotheses}) == len(hypotheses)
        assert [h.rank_score for h in hypotheses] == sorted((h.rank_score for h in hypotheses), reverse=True)
        for h in hypotheses:
            assert 2 <= len(h.tokens) <= 6
            assert UNK not in h.tokens
            target = torch.tensor([[*h.tokens, EOS]])
            scores = forced(stepper(tables), Chain(torch.tensor([chain])), target)
            assert float(scores.sum()) == pytest.approx(h.score, abs=1e-4)
            assert score(stepper(tables), Chain(torch.tensor([chain])), target)[0][0].tokens == h.tokens
            assert h.rank_score == pytest.approx(h.score / (len(h.tokens) + 1), abs=1e-5)


@given(seed=st.integers(0, 10_000), width=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_other_sources_in_the_batch_change_nothing(seed: int, width: int) -> None:
    tables = random_tables(6, 4, seed)
    limits = Limits(8)
    together = beam(stepper(tables), starts(6), 6, CPU, limits, width)
    for chain in range(6):
        alone = beam(stepper(tables), Chain(torch.tensor([chain])), 1, CPU, limits, width)
        assert alone[0] == together[chain]


def test_a_known_chain_is_decoded_as_worked_out_by_hand() -> None:
    """a: 0.6 then surely b, b ends with 0.5 or is followed by b; c: 0.4 and ends at once."""
    a, b, c = SPECIALS, SPECIALS + 1, SPECIALS + 2
    table = torch.full((1, SPECIALS + 3, SPECIALS + 3), -math.inf)
    table[0, BOS, a], table[0, BOS, c] = math.log(0.6), math.log(0.4)
    table[0, a, b] = 0.0
    table[0, b, EOS], table[0, b, b] = math.log(0.5), math.log(0.5)
    table[0, c, EOS] = 0.0
    assert greedy(stepper(table), starts(1), 1, CPU, Limits(2))[0][0].tokens == (a, b)
    best = beam(stepper(table), starts(1), 1, CPU, Limits(5), 2, 0.0)[0]
    assert best[0] == Hypothesis((c,), pytest.approx(math.log(0.4)), pytest.approx(math.log(0.4)))  # type: ignore[arg-type]
    assert best[1].tokens == (a, b)
    assert best[1].score == pytest.approx(math.log(0.3))


def test_a_chain_that_never_ends_is_cut_and_its_score_holds_the_end_symbol() -> None:
    tables = torch.full((1, SPECIALS + 1, SPECIALS + 1), -math.inf)
    tables[0, :, SPECIALS], tables[0, :, EOS] = math.log(0.99), math.log(0.01)
    for results in (
        greedy(stepper(tables), starts(1), 1, CPU, Limits(4)),
        beam(stepper(tables), starts(1), 1, CPU, Limits(4), 1),
    ):
        assert results[0][0].tokens == (SPECIALS,) * 4
        assert results[0][0].score == pytest.approx(4 * math.log(0.99) + math.log(0.01), rel=1e-5)


def test_unknown_is_never_an_output_even_if_most_probable() -> None:
    tables = torch.full((1, SPECIALS + 1, SPECIALS + 1), -math.inf)
    tables[0, :, UNK], tables[0, :, EOS] = math.log(0.9), math.log(0.1)
    assert greedy(stepper(tables), starts(1), 1, CPU, Limits(4))[0][0].tokens == ()
    assert beam(stepper(tables), starts(1), 1, CPU, Limits(4), 3)[0][0].tokens == ()


def barred_numbers(rows: int, size: int, barred: float, seed: int) -> Tensor:
    """Different numbers [rows, size], a share of them -inf."""
    chance = torch.Generator().manual_seed(seed)
    values = torch.randperm(rows * size, generator=chance).view(rows, size).float()
    values[torch.rand(rows, size, generator=chance) < barred] = -math.inf
    return values


@given(
    rows=st.integers(1, 4),
    size=st.one_of(st.integers(1, 40), st.integers(2 * BLOCK - 2, 30 * BLOCK)),
    count=st.integers(1, 12),
    barred=st.sampled_from([0.0, 0.5, 0.99]),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=150)
def test_the_largest_are_those_of_topk(rows: int, size: int, count: int, barred: float, seed: int) -> None:
    """Also if most symbols are barred."""
    values, count = barred_numbers(rows, size, barred, seed), min(count, size)
    top, place = largest(values, count)
    expected = values.topk(count, -1)
    assert torch.equal(top, expected.values)
    assert torch.equal(values.gather(1, place), top)
    there = top > -math.inf
    assert torch.equal(place[there], expected.indices[there])
    assert all(len(set(row)) == count for row in place.tolist())


@given(
    rows=st.integers(1, 3),
    size=st.integers(1, 3 * runtime.SORTED),
    count=st.integers(1, 2 * runtime.BLOCK),
    barred=st.sampled_from([0.0, 0.5, 0.99]),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=100)
def test_the_runtimes_largest_are_the_same(rows: int, size: int, count: int, barred: float, seed: int) -> None:
    values, count = barred_numbers(rows, size, barred, seed), min(count, size)
    top, place = (torch.from_numpy(top) for top in runtime.largest(values.numpy(), count))
    assert torch.equal(top, values.topk(count, -1).values)
    assert torch.equal(values.gather(1, place), top)
    assert all(len(set(row)) == count for row in place.tolist())
