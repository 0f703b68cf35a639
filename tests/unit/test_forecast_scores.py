"""Measures of forecasts against slow plain versions and scipy, controls, and conformal intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from antiphon.common.intervals import fitted, from_json
from antiphon.evaluation.controls import Linear, _ridge, naive, season_of, seasonal_naive
from antiphon.evaluation.forecasts import (
    LEVELS,
    Floats,
    crps_of_quantiles,
    interval_scores,
    pinball,
    point_scores,
    point_sums,
)

NUMBER = st.floats(-50, 50)


def crps_of_samples(samples: NDArray[Any], references: NDArray[Any]) -> Floats:
    """The score [...] of samples [..., M]: E|X - y| - E|X - X'| / 2 over the samples (Gneiting & Raftery 2007)."""
    ordered = np.sort(samples.astype(np.float64), -1)
    count = ordered.shape[-1]
    ranks = 2 * np.arange(1, count + 1) - count - 1
    spread = (ranks * ordered).sum(-1) / count**2  # half the mean difference of two samples
    result: Floats = np.abs(ordered - references[..., None]).mean(-1) - spread
    return result


_erf: Callable[[Any], Floats] = np.vectorize(math.erf, otypes=[np.float64])


def _normal(z: NDArray[Any]) -> tuple[Floats, Floats]:
    """The standard normal distribution and its density."""
    return 0.5 * (1 + _erf(z / math.sqrt(2))), np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def crps_of_normal(mean: NDArray[Any], deviation: NDArray[Any], references: NDArray[Any]) -> Floats:
    """The score of a normal distribution, in closed form (Gneiting et al. 2005)."""
    z = (references - mean) / deviation
    below, density = _normal(z)
    result: Floats = deviation * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return result


def crps_of_laplace(median: NDArray[Any], scale: NDArray[Any], references: NDArray[Any]) -> Floats:
    """The score of a Laplace distribution, in closed form (Jordan et al. 2019, scoringRules)."""
    z = np.abs(references - median) / scale
    result: Floats = scale * (z + np.exp(-z) - 0.75)
    return result


def crps_of_mixture(
    weights: NDArray[Any], means: NDArray[Any], deviations: NDArray[Any], references: NDArray[Any]
) -> Floats:
    """The score [...] of a mixture of normal distributions [..., K], in closed form (Grimit et al. 2006)."""

    def distance(mean: NDArray[Any], deviation: NDArray[Any]) -> Floats:  # E|X| of a normal X
        below, density = _normal(mean / deviation)
        result: Floats = mean * (2 * below - 1) + 2 * deviation * density
        return result

    near = (weights * distance(references[..., None] - means, deviations)).sum(-1)
    both = np.sqrt(deviations[..., :, None] ** 2 + deviations[..., None, :] ** 2)
    apart = distance(means[..., :, None] - means[..., None, :], both)
    result: Floats = near - 0.5 * (weights[..., :, None] * weights[..., None, :] * apart).sum((-2, -1))
    return result


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=12))
def test_errors_of_points_as_they_are_defined(pairs: list[tuple[float, float]]) -> None:
    points, truth = (np.asarray(side)[:, None, None] for side in zip(*pairs, strict=True))
    scale, deviation = np.asarray([2.0]), np.asarray([4.0])
    parts = [(points[:3], truth[:3]), (points[3:], truth[3:])]
    scores = point_scores(point_sums(*part, scale, deviation) for part in parts)
    count = len(pairs)
    assert scores["mse"] == pytest.approx(sum((f - y) ** 2 for f, y in pairs) / count)
    assert scores["rmse"] == pytest.approx(math.sqrt(scores["mse"]))
    assert scores["mae"] == pytest.approx(sum(abs(f - y) for f, y in pairs) / count)
    assert scores["mase"] == pytest.approx(scores["mae"] / 2)
    assert scores["mse_scaled"] == pytest.approx(scores["mse"] / 16)
    assert scores["mae_scaled"] == pytest.approx(scores["mae"] / 4)
    terms = [2 * abs(f - y) / (abs(f) + abs(y)) if f or y else 0.0 for f, y in pairs]
    assert scores["smape"] == pytest.approx(sum(terms) / count)


@given(NUMBER, NUMBER, st.floats(0.01, 0.99))
def test_pinball(quantile: float, truth: float, level: float) -> None:
    loss = pinball(np.asarray([quantile]), np.asarray(truth), np.asarray([level]))[0]
    expected = level * (truth - quantile) if truth >= quantile else (1 - level) * (quantile - truth)
    assert loss == pytest.approx(expected)


def integrated(distribution: object, truth: float) -> float:
    """The score by its definition: the integral of (F(x) - [y <= x])^2."""
    cdf = distribution.cdf  # type: ignore[attr-defined]
    below, _ = integrate.quad(lambda x: cdf(x) ** 2, -80, truth, limit=400)
    above, _ = integrate.quad(lambda x: (1 - cdf(x)) ** 2, truth, 80, limit=400)
    return float(below + above)


@given(st.floats(-5, 5), st.floats(0.3, 3), st.floats(-8, 8))
@settings(max_examples=25, deadline=None)
def test_closed_forms_are_the_integral(center: float, width: float, truth: float) -> None:
    values = (np.asarray([value]) for value in (center, width, truth))
    mean, scale, reference = values
    assert crps_of_normal(mean, scale, reference)[0] == pytest.approx(
        integrated(stats.norm(center, width), truth), abs=1e-5
    )
    assert crps_of_laplace(mean, scale, reference)[0] == pytest.approx(
        integrated(stats.laplace(center, width), truth), abs=1e-5
    )


def test_mixture_is_the_integral() -> None:
    weights, means, deviations = np.asarray([0.3, 0.7]), np.asarray([-1.0, 2.0]), np.asarray([0.5, 1.5])

    class Mixture:
        def cdf(self, x: float) -> float:
            return float((weights * stats.norm(means, deviations).cdf(x)).sum())

    score = crps_of_mixture(weights[None], means[None], deviations[None], np.asarray([0.4]))[0]
    assert score == pytest.approx(integrated(Mixture(), 0.4), abs=1e-6)


@given(st.lists(NUMBER, min_size=1, max_size=9), NUMBER)
def test_score_of_samples_as_it_is_defined(samples: list[float], truth: float) -> None:
    count = len(samples)
    near = sum(abs(x - truth) for x in samples) / count
    spread = sum(abs(x - z) for x in samples for z in samples) / (2 * count**2)
    assert crps_of_samples(np.asarray([samples]), np.asarray([truth]))[0] == pytest.approx(near - spread, abs=1e-9)


def test_many_quantiles_come_near_the_closed_form() -> None:
    levels = np.arange(0.5, 200) / 200
    quantiles = stats.norm(1, 2).ppf(levels)[None]
    truth = np.asarray([2.5])
    exact = crps_of_normal(np.asarray([1.0]), np.asarray([2.0]), truth)
    assert crps_of_quantiles(quantiles, truth, levels) == pytest.approx(exact, abs=2e-3)


def test_coverage_and_width() -> None:
    levels = np.asarray([0.05, 0.1, 0.9, 0.95])
    quantiles = np.broadcast_to(np.asarray([-2.0, -1.0, 1.0, 2.0]), (4, 1, 1, 4))
    scores = interval_scores(quantiles, np.asarray([0.0, 1.0, 1.5, 3.0]).reshape(4, 1, 1), levels)
    assert scores == {"coverage_80": 0.5, "width_80": 2.0, "coverage_90": 0.75, "width_90": 4.0}


@pytest.mark.parametrize("with_quantiles", [False, True])
def test_conformal_intervals_cover_what_they_say(with_quantiles: bool) -> None:
    """Rows that are exchangeable: coverage is that of the levels, step by step, however wrong the model's scale is."""
    draw = np.random.default_rng(3)
    levels = np.asarray(LEVELS)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        points = draw.normal(size=(count, 3, 2))
        noise = draw.gamma(2.0, size=points.shape) * np.asarray([1.0, 2.0, 4.0])[:, None]
        wrong = points[:, None] + 0.1 * stats.norm.ppf(levels)[:, None, None]
        return points, points + noise, wrong if with_quantiles else None

    points, truth, quantiles = rows(4000)
    intervals = from_json(fitted(levels, points, truth, quantiles).to_json())
    points, truth, quantiles = rows(4000)
    calibrated = intervals.quantiles(points, quantiles)
    below = (truth[:, None] <= calibrated).mean(0)
    assert np.abs(below - levels[:, None, None]).max() < 0.035
    scores = interval_scores(np.moveaxis(calibrated, 1, -1), truth, levels)
    assert abs(scores["coverage_80"] - 0.8) < 0.02
    assert abs(scores["coverage_90"] - 0.9) < 0.02
    assert (np.diff(calibrated, axis=1) >= 0).all()


def test_few_rows_give_wide_intervals_not_narrow_ones() -> None:
    """With N rows an upper quantile takes the ceil((N + 1) a)-th residual."""
    truth = np.arange(1.0, 10.0).reshape(9, 1, 1)
    intervals = fitted(np.asarray([0.1, 0.9]), np.zeros((9, 1, 1)), truth)
    assert intervals.offsets[:, 0, 0].tolist() == [1.0, 9.0]


def test_simple_controls() -> None:
    past = np.arange(12.0).reshape(1, 6, 2)
    assert naive(3)(past)[0].tolist() == [[10.0, 11.0]] * 3
    assert seasonal_naive(5, 3)(past)[0, :, 0].tolist() == [6.0, 8.0, 10.0, 6.0, 8.0]


@pytest.mark.parametrize("season", [7, 24])
def test_the_season_is_seen_through_a_trend(season: int) -> None:
    draw = np.random.default_rng(2)
    steps = np.arange(40 * season)
    waves = np.sin(2 * np.pi * steps / season) + 0.5 * np.cos(4 * np.pi * steps / season)
    values = waves + 0.03 * steps + draw.normal(0, 0.2, len(steps))
    assert season_of([values[:, None]], 3 * season + 2) == season
    assert season_of([draw.normal(size=(2000, 1)).cumsum(0)], 60) is None


def test_linear_finds_a_linear_rule() -> None:
    draw = np.random.default_rng(1)
    past = draw.normal(size=(400, 8))
    rule = draw.normal(size=(8, 3))
    future = (past - past[:, -1:]) @ rule + past[:, -1:] + 0.5
    weights, bias = _ridge(past[:300], future[:300], past[300:], future[300:])
    fitted_map = Linear(weights[None], bias[None])
    assert np.allclose(fitted_map(past[..., None])[..., 0], future, atol=1e-3)
