"""The shipped weights: the last ones, their moving average, or a mean of checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antiphon.training.average import Average

values = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=12)


def parameter(value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.full((2,), value))


def set_to(p: nn.Parameter, value: float) -> None:
    with torch.no_grad():
        p.fill_(value)


def shipped(average: Average, p: nn.Parameter) -> float:
    with average.shipped():
        return held(p)


def held(p: nn.Parameter) -> float:
    return float(p[0].detach())


@given(values)
def test_without_average_the_weights_themselves_are_shipped(path: list[float]) -> None:
    p = parameter()
    average = Average([p], None, 1)
    for value in path:
        set_to(p, value)
        average.update()
        average.snapshot()
        assert shipped(average, p) == held(p)


@given(values, st.integers(2, 5))
def test_the_mean_of_the_last_snapshots_is_shipped(path: list[float], last: int) -> None:
    p = parameter()
    average = Average([p], None, last)
    for count, value in enumerate(path, 1):
        set_to(p, value)
        average.update()
        average.snapshot()
        kept = path[max(0, count - last) : count]
        assert shipped(average, p) == pytest.approx(sum(kept) / len(kept), abs=1e-4)
        assert held(p) == value


@given(values, st.floats(0.05, 0.999))
def test_the_moving_average_follows_its_formula(path: list[float], decay: float) -> None:
    p = parameter(1.0)
    average, expected = Average([p], decay, 1), 1.0
    for step, value in enumerate(path, 1):
        set_to(p, value)
        average.update()
        rate = min(decay, (1 + step) / (10 + step))
        expected = rate * expected + (1 - rate) * value
        assert shipped(average, p) == pytest.approx(expected, abs=1e-4)
        assert held(p) == value


def test_the_moving_average_of_resting_weights_is_the_weights() -> None:
    p = parameter(2.5)
    average = Average([p], 0.9, 1)
    for _ in range(20):
        average.update()
    assert shipped(average, p) == pytest.approx(2.5)


@pytest.mark.parametrize(("ema", "last"), [(0.9, 1), (None, 3), (None, 1)])
def test_training_weights_come_back_even_after_an_error(ema: float | None, last: int) -> None:
    p = parameter(1.0)
    average = Average([p], ema, last)
    for value in (2.0, 5.0):
        set_to(p, value)
        average.update()
        average.snapshot()
    with pytest.raises(RuntimeError, match="validation"), average.shipped():
        raise RuntimeError("validation")
    assert p.tolist() == [5.0, 5.0]


@pytest.mark.parametrize(("ema", "last"), [(0.9, 1), (None, 3)])
def test_later_updates_leave_a_snapshot_alone(ema: float | None, last: int) -> None:
    p = parameter(1.0)
    average = Average([p], ema, last)
    average.snapshot()
    set_to(p, 3.0)
    average.snapshot()
    before = shipped(average, p)
    set_to(p, 100.0)
    assert shipped(average, p) == before


@pytest.mark.parametrize(("ema", "last"), [(0.9, 1), (None, 3), (None, 1)])
def test_a_restored_average_goes_on_as_if_never_stopped(ema: float | None, last: int) -> None:
    p, q = parameter(), parameter()
    item = Average([p], ema, last)
    path = [1.0, 4.0, -2.0, 8.0, 3.0, 0.5]
    for step, value in enumerate(path):
        if step == 3:
            state = copy.deepcopy(item.state())
        set_to(p, value)
        item.update()
        item.snapshot()
    other = Average([q], ema, last)
    other.restore(state)
    for value in path[3:]:
        set_to(q, value)
        other.update()
        other.snapshot()
    assert shipped(item, p) == shipped(other, q)
