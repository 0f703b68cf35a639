"""What the decoder reads in training: four schedules of scheduled sampling, and the two extremes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import ConfigError
from antiphon.training.feeding import FEEDINGS, Feeding

DECAYS = ["constant", "linear", "exponential", "inverse_sigmoid"]
FALLING = DECAYS[1:]


def feeding(kind: str = "scheduled", **options: Any) -> Feeding:
    return FEEDINGS.build(kind, options, "train.feeding")


bounds = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
lengths = st.integers(1, 5000)


@given(st.integers(0, 10**6))
def test_teacher_always_and_free_never_gives_the_reference(step: int) -> None:
    assert feeding("teacher")(step) == 1.0
    assert feeding("free")(step) == 0.0


@pytest.mark.parametrize("decay", DECAYS)
@given(bounds=bounds, steps=lengths, at=st.lists(st.integers(0, 10**7), min_size=2, max_size=6))
def test_a_schedule_never_rises_and_stays_in_its_bounds(
    decay: str, bounds: list[float], steps: int, at: list[int]
) -> None:
    end, start = bounds
    shares = [feeding(decay=decay, start=start, end=end, steps=steps)(step) for step in sorted(at)]
    assert all(end - 1e-12 <= value <= start + 1e-12 for value in shares)
    assert all(after <= before for before, after in pairwise(shares))


@pytest.mark.parametrize("decay", FALLING)
@given(bounds=bounds, steps=lengths)
def test_a_falling_schedule_meets_its_end(decay: str, bounds: list[float], steps: int) -> None:
    end, start = bounds
    assert feeding(decay=decay, start=start, end=end, steps=steps)(10**9) == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("decay", ["constant", "linear", "exponential"])
@given(start=st.floats(0, 1), steps=lengths)
def test_the_first_update_has_the_start(decay: str, start: float, steps: int) -> None:
    assert feeding(decay=decay, start=start, end=0.0, steps=steps)(0) == pytest.approx(start)


@given(st.floats(0, 1), st.integers(0, 10**7))
def test_constant_stays(start: float, step: int) -> None:
    assert feeding(decay="constant", start=start)(step) == start


@given(bounds, st.integers(1, 500))
def test_linear_falls_by_equal_steps_and_arrives_on_time(bounds: list[float], half: int) -> None:
    end, start = bounds
    made = feeding(decay="linear", start=start, end=end, steps=2 * half)
    assert made(half) == pytest.approx((start + end) / 2)
    assert made(2 * half) == pytest.approx(end, abs=1e-12)


@given(lengths)
def test_exponential_falls_by_equal_factors(steps: int) -> None:
    made = feeding(decay="exponential", steps=steps)
    assert made(steps) == pytest.approx(math.exp(-3))
    assert made(2 * steps) == pytest.approx(made(steps) ** 2)


@given(st.integers(1, 2000))
def test_inverse_sigmoid_is_half_in_the_middle_and_has_its_formula(half: int) -> None:
    made = feeding(decay="inverse_sigmoid", steps=2 * half)
    assert made(half) == pytest.approx(0.5)
    k = made(0) / (1 - made(0))  # from k / (k + 1)
    for step in (half // 2, half, 2 * half):
        assert made(step) == pytest.approx(k / (k + math.exp(step / k)), rel=1e-6)


def test_inverse_sigmoid_starts_near_one_and_ends_near_nought() -> None:
    made = feeding(decay="inverse_sigmoid", steps=3000)
    assert made(0) > 0.99
    assert made(3000) < 0.05


def test_the_default_falls() -> None:
    made = feeding()
    assert made(0) > 0.99
    assert made(10**6) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1.5}, "train.feeding.start: must be a probability, from 0 to 1 (is 1.5)"),
        ({"start": -0.5}, "train.feeding.start: must be a probability, from 0 to 1 (is -0.5)"),
        ({"end": 2}, "train.feeding.end: must be a probability, from 0 to 1 (is 2.0)"),
        ({"start": math.nan}, "train.feeding.start: must be a finite number (is nan)"),
        ({"start": 0.1, "end": 0.2}, "train.feeding.end: must not be above start (0.2 > 0.1)"),
        ({"steps": 0}, "train.feeding.steps: must be at least 1 (is 0)"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        feeding(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["teacher", "free"])
def test_the_extremes_take_no_options(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"^train\.feeding\.steps: .*it takes no options$"):
        feeding(kind, steps=3)
