"""The distributions of a step's numbers: densities, gradients, answers, quantiles and draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from antiphon.common.series import NEAREST
from antiphon.errors import ConfigError
from antiphon.model.parts.likelihoods.base import Likelihood
from antiphon.model.parts.likelihoods.table import LIKELIHOODS

DENSITIES = {
    "gaussian": {},
    "laplace": {},
    "student_t": {},
    "mixture": {"components": 3},
}
DRAWN: dict[str, dict[str, Any]] = {**DENSITIES, "quantiles": {}, "bernoulli": {}}
PROBABILITIES = [0.05, 0.3, 0.5, 0.9]


def made(name: str, numbers: int = 1, **options: Any) -> Likelihood:
    return LIKELIHOODS.build(name, DRAWN.get(name, {}) | options, "target.likelihood", numbers=numbers)


def drawn_parameters(likelihood: Likelihood, *lead: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, likelihood.size, generator=generator, dtype=torch.float64)


def uniform(likelihood: Likelihood, count: int, seed: int = 1) -> Tensor:
    drawn = np.random.default_rng(seed).random((count, likelihood.numbers, likelihood.draws))
    return torch.from_numpy(np.clip(drawn, NEAREST, 1 - NEAREST))


def density(likelihood: Likelihood, parameters: Tensor, *places: float) -> float:
    nll = likelihood.loss(parameters, torch.tensor(places, dtype=torch.float64), None)
    return math.exp(-float(nll))


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_density_integrates_to_one_and_its_quantiles_divide_it(name: str, seed: int) -> None:
    likelihood = made(name)
    parameters = drawn_parameters(likelihood, seed=seed)

    axis = torch.linspace(-80, 80, 320_001, dtype=torch.float64)
    p = (-likelihood.loss(parameters.expand(len(axis), -1), axis[:, None], None)).exp()
    below = integrate.cumulative_trapezoid(p.numpy(), axis.numpy(), initial=0)
    least = 1e-3 if name == "student_t" else 1e-5  # the tails beyond
    assert below[-1] == pytest.approx(1, abs=least)
    for probability, place in zip(PROBABILITIES, likelihood.quantiles(parameters, PROBABILITIES)[:, 0], strict=True):
        assert np.interp(float(place), axis, below) == pytest.approx(probability, abs=least)


@pytest.mark.parametrize("correlation", [False, True])
def test_a_mixture_of_two_numbers_integrates_to_one(correlation: bool) -> None:
    likelihood = made("mixture", 2, components=2, correlation=correlation)
    parameters = drawn_parameters(likelihood, seed=4)
    axis = torch.linspace(-14, 14, 701, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    p = (-likelihood.loss(parameters.expand(len(grid), -1), grid, None)).exp()
    assert float(p.sum()) * float(axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


def test_densities_are_those_of_scipy() -> None:
    place, raw = 0.7, -0.4
    spread = math.log1p(math.exp(raw)) + 1e-3
    parameters = torch.tensor([place, raw, 1.3], dtype=torch.float64)
    freedom = 2.001 + math.log1p(math.exp(1.3))
    for name, expected in {
        "gaussian": stats.norm(place, spread),
        "laplace": stats.laplace(place, spread),
        "student_t": stats.t(freedom, place, spread),
    }.items():
        likelihood = made(name)
        own = parameters[: likelihood.size]
        for target in (-3.0, 0.7, 2.0):
            assert density(likelihood, own, target) == pytest.approx(expected.pdf(target), rel=1e-9), name
        quantiles = likelihood.quantiles(own, PROBABILITIES)[:, 0]
        np.testing.assert_allclose(quantiles, expected.ppf(PROBABILITIES), atol=1e-6)


def test_a_correlated_mixture_is_that_of_scipy() -> None:
    likelihood = made("mixture", 2, components=2, correlation=True)
    parameters = drawn_parameters(likelihood, seed=2)
    shares = torch.softmax(parameters[:2], -1).numpy()
    means, raw, slopes = parameters[2:6].reshape(2, 2), parameters[6:10].reshape(2, 2), parameters[10:]
    spreads = (torch.nn.functional.softplus(raw) + 1e-3).numpy()
    expected = 0.0
    for share, mean, spread, slope in zip(shares, means, spreads, 0.999 * torch.tanh(slopes).numpy(), strict=True):
        off = slope * spread[0] * spread[1]
        covariance = [[spread[0] ** 2, off], [off, spread[1] ** 2]]
        expected += share * stats.multivariate_normal(mean.numpy(), covariance).pdf([0.3, -0.2])
    assert density(likelihood, parameters, 0.3, -0.2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", list(LIKELIHOODS))
@pytest.mark.parametrize("unit", [False, True])
def test_gradients_are_exact(name: str, unit: bool) -> None:
    likelihood = made(name, 2)
    parameters = drawn_parameters(likelihood, 3).requires_grad_()
    targets = torch.randint(2, (3, 2)).double() if name == "bernoulli" else torch.randn(3, 2, dtype=torch.float64)
    units = torch.rand(3, 2, dtype=torch.float64) + 0.5 if unit else None
    assert torch.autograd.gradcheck(lambda values: likelihood.loss(values, targets, units), (parameters,))


@pytest.mark.parametrize("name", [*DENSITIES, "quantiles", "mse", "mae"])
def test_a_loss_in_another_unit_is_that_of_the_numbers_in_it(name: str) -> None:
    """A density in metres is a hundredth of one in centimetres, and an absolute error a hundred times."""
    likelihood = made(name, 2)
    parameters, targets = drawn_parameters(likelihood, 4), torch.randn(4, 2, dtype=torch.float64)
    unit = torch.full((4, 2), 100.0, dtype=torch.float64)
    plain, scaled = likelihood.loss(parameters, targets, None), likelihood.loss(parameters, targets, unit)
    if likelihood.has_density:
        torch.testing.assert_close(scaled, plain + 2 * math.log(100))
    else:
        torch.testing.assert_close(scaled, plain * (10_000 if name == "mse" else 100))


@pytest.mark.parametrize("name", DRAWN)
def test_draws_follow_the_distribution(name: str) -> None:
    """The shares of draws below its quantiles are the probabilities, and their mean is the center if that is a mean."""
    likelihood = made(name, 2)
    parameters, count = drawn_parameters(likelihood, seed=3), 40_000
    draws = likelihood.draw(parameters.expand(count, -1), uniform(likelihood, count))
    assert draws.shape == (count, 2)
    if name == "bernoulli":
        torch.testing.assert_close(draws.mean(0), likelihood.center(parameters), atol=0.01, rtol=0)
        return
    for probability, place in zip(PROBABILITIES, likelihood.quantiles(parameters, PROBABILITIES), strict=True):
        share = (draws < place).double().mean(0)
        torch.testing.assert_close(share, torch.full_like(share, probability), atol=0.01, rtol=0)
    if name in ("gaussian", "mixture"):
        torch.testing.assert_close(draws.mean(0), likelihood.center(parameters), atol=0.05, rtol=0)


def test_correlated_draws_have_the_density() -> None:
    likelihood = made("mixture", 2, components=1, correlation=True)
    parameters = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.2, 0.8], dtype=torch.float64)
    draws = likelihood.draw(parameters.expand(40_000, -1), uniform(likelihood, 40_000)).numpy()
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0.999 * math.tanh(0.8), abs=0.01)


@pytest.mark.parametrize("name", DRAWN)
def test_a_lower_temperature_draws_nearer_to_the_center(name: str) -> None:
    likelihood = made(name)
    parameters = drawn_parameters(likelihood, seed=5).expand(5_000, -1)
    random = uniform(likelihood, 5_000)
    wide, narrow = (likelihood.draw(parameters, random, temperature) for temperature in (1.0, 0.1))
    assert float(narrow.std()) < 0.9 * float(wide.std())


@given(st.lists(st.floats(-30, 30), min_size=27, max_size=27), st.lists(st.floats(0.001, 0.999), max_size=9))
def test_quantiles_never_cross(raw: list[float], probabilities: list[float]) -> None:
    likelihood = made("quantiles", 3)
    ascending = sorted({0.5, *probabilities})
    values = likelihood.quantiles(torch.tensor(raw, dtype=torch.float64), ascending)
    assert (values.diff(dim=0) >= -1e-9).all()


def test_the_pinball_loss_is_least_at_the_quantiles() -> None:
    """Of the numbers 0 to 99, learned alone, the quantile at 0.9 is 89.5 and so on."""
    likelihood = made("quantiles", levels=[0.1, 0.5, 0.9])
    parameters = torch.zeros(likelihood.size, dtype=torch.float64, requires_grad=True)
    targets = torch.arange(100, dtype=torch.float64)[:, None]
    optimizer = torch.optim.Adam([parameters], 0.5)
    for _ in range(700):
        optimizer.zero_grad()
        likelihood.loss(parameters.expand(100, -1), targets, None).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    np.testing.assert_allclose(
        likelihood.quantiles(parameters, [0.1, 0.5, 0.9]).detach()[:, 0], [9.5, 49.5, 89.5], atol=1
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gaussian", {"least": 0.0}, "target.likelihood.least: must be above 0 (is 0.0)"),
        ("mixture", {"components": 0}, "target.likelihood.components: must be at least 1 (is 0)"),
        (
            "mixture",
            {"correlation": True},
            "target.likelihood.correlation: is for two numbers in a step, and here there",
        ),
        (
            "quantiles",
            {"levels": [0.9, 0.5]},
            "target.likelihood.levels: must be different probabilities between 0 and 1",
        ),
        (
            "quantiles",
            {"levels": [0.1, 0.9]},
            "target.likelihood.levels: must contain 0.5, whose quantile is the answer",
        ),
        ("gaussian", {"lest": 0.1}, "target.likelihood.lest: likelihood 'gaussian' has no such option; did you mean"),
        ("gausian", {}, "target.likelihood: unknown likelihood 'gausian'; did you mean 'gaussian'?"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(name, **options)
    assert message.split(";")[0] in str(caught.value)
