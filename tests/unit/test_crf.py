"""The CRF against brute force over every labelling, and its head against the definition."""

from __future__ import annotations

import copy
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from antiphon.common.symbols import PAD, SPECIALS
from antiphon.data.batches import Padded
from antiphon.model.parts import crf
from antiphon.model.parts.heads.crf import CRFHead
from antiphon.model.parts.heads.softmax import LabelHead


class Chains(NamedTuple):
    """Potentials [B, T, K] of rows of these lengths, and transitions [K, K]."""

    potentials: Tensor
    transitions: Tensor
    lengths: list[int]

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.potentials.shape[1]) < torch.tensor(self.lengths)[:, None]

    def score(self, row: int, labels: tuple[int, ...]) -> float:
        """By the definition, in float64."""
        own = sum(float(self.potentials[row, step, label]) for step, label in enumerate(labels))
        return own + sum(float(self.transitions[a, b]) for a, b in itertools.pairwise(labels))

    def scores(self, row: int) -> dict[tuple[int, ...], float]:
        every = itertools.product(range(len(self.transitions)), repeat=self.lengths[row])
        return {labels: self.score(row, labels) for labels in every}


@st.composite
def chains(draw: st.DrawFn) -> Chains:
    """Up to 4 rows of up to 5 steps and 3 labels, padded further than the longest; padding holds anything."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    labels, padding = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    scale = draw(st.sampled_from([0.1, 1.0, 30.0]))

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(chance.normal(size=shape) * scale).float()

    return Chains(drawn(len(lengths), max(lengths) + padding, labels), drawn(labels, labels), lengths)


@given(chains())
def test_log_partition_is_that_of_all_labellings(given: Chains) -> None:
    log_partition = crf.log_partition(given.potentials, given.transitions, given.mask)
    for row in range(len(given.lengths)):
        expected = np.logaddexp.reduce(list(given.scores(row).values()))
        assert float(log_partition[row]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(chains())
def test_marginals_are_those_of_all_labellings(given: Chains) -> None:
    marginals = crf.log_marginals(given.potentials, given.transitions, given.mask).exp()
    for row, length in enumerate(given.lengths):
        scores = given.scores(row)
        total = np.logaddexp.reduce(list(scores.values()))
        for step, label in itertools.product(range(length), range(len(given.transitions))):
            expected = sum(np.exp(score - total) for labels, score in scores.items() if labels[step] == label)
            assert float(marginals[row, step, label]) == pytest.approx(expected, abs=2e-5)


@given(chains())
def test_viterbi_finds_the_best_labelling(given: Chains) -> None:
    best = crf.viterbi(given.potentials, given.transitions, given.mask)
    for row, length in enumerate(given.lengths):
        labels = tuple(best[row, :length].tolist())
        assert given.score(row, labels) == pytest.approx(max(given.scores(row).values()), rel=1e-6, abs=1e-5)


@given(chains())
def test_marginals_are_the_slopes_of_log_partition(given: Chains) -> None:
    leaf = given.potentials.double().requires_grad_()
    (slope,) = torch.autograd.grad(
        crf.log_partition(leaf, given.transitions.double(), given.mask).sum(), leaf, materialize_grads=True
    )
    marginals = crf.log_marginals(given.potentials.double(), given.transitions.double(), given.mask).exp()
    torch.testing.assert_close(slope, marginals * given.mask[..., None])


# --- the head -----------------------------------------------------------------------------------------

LABELS, WIDTH = 3, 4


def head(seed: int = 0) -> CRFHead:
    torch.manual_seed(seed)
    made = CRFHead(WIDTH, SPECIALS + LABELS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return made


def batch(lengths: list[int], seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features, targets and positions of rows of these lengths."""
    chance = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    features = torch.randn(len(lengths), longest, WIDTH, generator=chance)
    targets = torch.randint(SPECIALS, SPECIALS + LABELS, (len(lengths), longest), generator=chance)
    inside = torch.arange(longest) < torch.tensor(lengths)[:, None]
    positions = Padded(features, torch.tensor(lengths)).positions
    return features, torch.where(inside, targets, PAD), positions


def log_p(made: CRFHead, features: Tensor, labels: tuple[int, ...]) -> float:
    """log p of one row's labels, by the definition, in float64: every labelling's score is added up."""
    weights: dict[str, Any] = {name: value.detach().double().numpy() for name, value in made.named_parameters()}
    emissions = (features.double().numpy() @ weights["weight"].T + weights["bias"])[:, SPECIALS:]

    def score(y: tuple[int, ...]) -> float:
        inner = sum(emissions[t, a] for t, a in enumerate(y)) + sum(
            weights["transitions"][a, b] for a, b in itertools.pairwise(y)
        )
        return float(weights["start"][y[0]] + inner + weights["end"][y[-1]])

    every = [score(y) for y in itertools.product(range(LABELS), repeat=len(features))]
    return score(labels) - float(np.logaddexp.reduce(every))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 1 << 20))
def test_the_loss_of_a_row_is_minus_log_p_by_the_definition(lengths: list[int], seed: int) -> None:
    made, (features, targets, positions) = head(seed), batch(lengths, seed)
    losses, hits = made.judge(features, targets, positions)
    predicted, values = made.answer(features, positions)
    assert losses.shape == hits.shape == predicted.shape == (sum(lengths),)
    assert predicted.eq(targets.flatten()[positions]).equal(hits)
    assert values[:, :SPECIALS].eq(-torch.inf).all()
    torch.testing.assert_close(values.exp().sum(1), torch.ones(sum(lengths)))
    for row, own in enumerate(losses.split(lengths)):  # type: ignore[no-untyped-call]
        labels = tuple((targets[row, : lengths[row]] - SPECIALS).tolist())
        expected = log_p(made, features[row, : lengths[row]], labels)
        assert -float(own.detach().sum()) == pytest.approx(expected, abs=1e-4)
        assert own.eq(own[0]).all(), "every label bears the same share"
    objective, nll = made.objective(features, targets, positions, 0.0)
    torch.testing.assert_close(nll, losses.sum())
    torch.testing.assert_close(objective, losses.sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_equal_finite_differences(smoothing: float) -> None:
    made, (features, targets, positions) = head().double(), batch([4, 1, 3])
    features = features.double().requires_grad_()

    def objective(features: Tensor, *_: Tensor) -> Tensor:
        return made.objective(features, targets, positions, smoothing)[0]

    assert torch.autograd.gradcheck(objective, (features, *made.parameters()))


def test_smoothing_is_the_cross_entropy_to_all_labellings_alike() -> None:
    made, (features, targets, positions) = head(), batch([4])
    every = itertools.product(range(LABELS), repeat=4)
    even = -np.mean([log_p(made, features[0], labels) for labels in every])
    own = -log_p(made, features[0], tuple((targets[0] - SPECIALS).tolist()))
    objective, nll = made.objective(features, targets, positions, 0.2)
    assert float(objective.detach()) == pytest.approx(0.8 * own + 0.2 * even, abs=1e-4)
    assert float(nll) == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_transitions_it_is_a_softmax_a_step(smoothing: float) -> None:
    made, plain, (features, targets, positions) = head(), LabelHead(WIDTH, SPECIALS + LABELS), batch([4, 1, 3])
    with torch.no_grad():
        for name in ("transitions", "start", "end"):
            made.get_parameter(name).zero_()
        for name, parameter in plain.named_parameters():
            parameter.copy_(made.get_parameter(name))
    computed, expected = (
        (*item.objective(features, targets, positions, smoothing), *item.answer(features, positions))
        for item in (made, plain)
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


def test_a_long_row_is_judged_alike_alone_and_in_a_batch() -> None:
    made = head()
    features, targets, positions = batch([500, 7])
    features[0, :, 0] += 30  # large scores must not drown small losses
    together = made.judge(features, targets, positions)[0].split([500, 7])  # type: ignore[no-untyped-call]
    exact = copy.deepcopy(made).double().judge(features.double(), targets, positions)[0].split([500, 7])  # type: ignore[no-untyped-call]
    for row, length in enumerate((500, 7)):
        own = features[row : row + 1, :length], targets[row : row + 1, :length], torch.arange(length)
        torch.testing.assert_close(made.judge(*own)[0], together[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[row].sum().double(), exact[row].sum(), atol=1e-3, rtol=1e-5)
