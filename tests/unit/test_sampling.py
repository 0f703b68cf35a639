"""Sampling draws by the probabilities, and only from what is allowed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from antiphon.common.symbols import EOS, SPECIALS
from antiphon.decoding.greedy import greedy, sampler
from antiphon.decoding.step import Limits
from antiphon.model.state import Step

CPU = torch.device("cpu")
PROBABILITIES = {EOS: 0.2, SPECIALS: 0.5, SPECIALS + 1: 0.25, SPECIALS + 2: 0.05}


@dataclass(frozen=True)
class Rows:
    """A state that holds nothing but how many rows there are."""

    rows: int

    def expand(self, width: int) -> Rows:
        return Rows(self.rows * width)

    def reorder(self, rows: Tensor) -> Rows:
        return Rows(len(rows))

    def select(self, sources: Tensor, width: int = 1) -> Rows:
        return Rows(len(sources) * width)


def step(tokens: Tensor, state: Rows) -> Step[Rows]:
    """The same distribution at every step."""
    row = torch.full((SPECIALS + 3,), -torch.inf)
    for symbol, probability in PROBABILITIES.items():
        row[symbol] = np.log(probability)
    return Step(row.expand(len(tokens), -1).clone(), state)


def drawn(
    count: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
) -> list[tuple[int, ...]]:
    noise = [np.random.default_rng([seed, row]) for row in range(count)]
    choose = sampler(temperature, top_k, top_p, noise)
    outputs = greedy(step, Rows(count), count, CPU, Limits(6), choose=choose)
    for row in outputs:
        expected = sum(np.log(PROBABILITIES[symbol]) for symbol in (*row[0].tokens, EOS)[:7])
        if len(row[0].tokens) < 6:  # an output cut off there must end, which has a probability of its own
            assert row[0].score == pytest.approx(expected, abs=1e-4)
    return [row[0].tokens for row in outputs]


def shares(outputs: list[tuple[int, ...]]) -> dict[int, float]:
    """How often each symbol comes first, EOS for none."""
    counts = Counter(tokens[0] if tokens else EOS for tokens in outputs)
    return {symbol: counts[symbol] / len(outputs) for symbol in PROBABILITIES}


def test_first_symbols_come_as_often_as_they_are_probable() -> None:
    assert shares(drawn(4000)) == pytest.approx(PROBABILITIES, abs=0.03)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    square = {symbol: p**2 for symbol, p in PROBABILITIES.items()}
    assert shares(drawn(4000, 0.5)) == pytest.approx({s: p / sum(square.values()) for s, p in square.items()}, abs=0.03)
    root = {symbol: p**0.5 for symbol, p in PROBABILITIES.items()}
    assert shares(drawn(4000, 2.0)) == pytest.approx({s: p / sum(root.values()) for s, p in root.items()}, abs=0.03)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, {SPECIALS}),
        ({"top_k": 2}, {SPECIALS, SPECIALS + 1}),
        ({"top_k": 99}, set(PROBABILITIES)),
        ({"top_p": 0.5}, {SPECIALS}),
        ({"top_p": 0.51}, {SPECIALS, SPECIALS + 1}),
        ({"top_p": 0.9}, {SPECIALS, SPECIALS + 1, EOS}),
        ({"top_k": 3, "top_p": 0.6}, {SPECIALS, SPECIALS + 1}),
    ],
)
def test_only_the_most_probable_are_drawn(options: dict[str, float], kept: set[int]) -> None:
    measured = shares(drawn(600, **options))  # type: ignore[arg-type]
    assert {symbol for symbol, share in measured.items() if share} == kept


def test_a_row_draws_the_same_beside_any_others() -> None:
    few, many = drawn(3), drawn(40)
    assert many[:3] == few
    assert drawn(3, seed=1) != few
