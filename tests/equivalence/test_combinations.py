"""The contracts of the design over combinations of parts: a covering set, and with --all every one of the main axes."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from models import AXES, NAMES, Choice, assert_slopes, covering, make, name, pad_sources, refused, sources, targets
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, PAD
from antiphon.decoding.beam import beam
from antiphon.decoding.greedy import greedy
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits
from antiphon.model.models import Writer

CPU = torch.device("cpu")
LIMITS = Limits(max_length=8)
MAIN = ("cell", "decoder_layers", "context", "to", "attention", "query", "input_feeding")


def full_grid() -> list[Choice]:
    """Every combination of the main axes; the others are drawn, each choice its own way."""
    choices = []
    for values in itertools.product(*(AXES[axis] for axis in MAIN)):
        chance = random.Random(repr(values))
        drawn = {axis: chance.choice(AXES[axis]) for axis in NAMES} | dict(zip(MAIN, values, strict=True))
        if drawn["context"] != "projected_all":
            drawn["pool"] = "mean"
        if drawn["decoder_layers"] == 1 or drawn["attention"] == "none":
            drawn["layer"] = "last"
        choice = tuple(drawn[axis] for axis in NAMES)
        if not refused(choice):
            choices.append(choice)
    return choices


CASES = [
    *(pytest.param(choice, id=name(choice)) for choice in covering()),
    *(pytest.param(choice, id=f"full-{name(choice)}", marks=pytest.mark.slow) for choice in full_grid()),
]


def log_probs(model: Writer, rows: list[list[int]], target: Tensor, extra_padding: int = 0) -> Tensor:
    ids, lengths = pad_sources(rows)
    ids = torch.nn.functional.pad(ids, (0, extra_padding), value=PAD)
    wider = torch.nn.functional.pad(target, (0, extra_padding), value=PAD)
    with torch.inference_mode():
        values = model.head.log_probs(model([(ids, lengths)], wider))
    return values[:, : target.shape[1]]


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choice", CASES)
def test_contracts(choice: Choice) -> None:
    """Padding, batch and order change nothing; one call = step by step; every score is the same sum."""
    rows = sources(6)
    target_in, target_out = targets(6)
    for seed in range(10):
        model = make(choice, seed=seed)
        together = log_probs(model, rows, target_out)
        if together[..., EOS:].std(dim=0).mean() > 1e-3:
            break
    else:
        pytest.fail("the rows' outputs must differ, or this compares nothing")
    assert torch.isfinite(together[..., EOS:]).all()

    close(log_probs(model, rows, target_out, extra_padding=5), together)
    order = [3, 0, 5, 1, 4, 2]
    close(log_probs(model, [rows[i] for i in order], target_out[order]), together[order])
    for i, row in enumerate(rows):
        close(log_probs(model, [row], target_out[i : i + 1])[0], together[i])

    ids, lengths = pad_sources(rows)
    with torch.inference_mode():
        state = model.start([(ids, lengths)])
        stepped = []
        for t in range(target_in.shape[1]):
            answer = model.step(target_in[:, t], state)
            state = answer.state
            stepped.append(answer.log_probs)
        close(torch.stack(stepped, 1), together)

        scores = forced(model.step, model.start([(ids, lengths)]), target_out)
        taken = together.gather(2, target_out[..., None]).squeeze(2).masked_fill(target_out == PAD, 0)
        close(scores, taken)

        for results in (
            greedy(model.step, model.start([(ids, lengths)]), len(rows), CPU, LIMITS),
            beam(model.step, model.start([(ids, lengths)]), len(rows), CPU, LIMITS, width=3, length_penalty=0.7),
        ):
            outputs, _ = pad_sources([[*best[0].tokens, EOS] for best in results])
            again = forced(model.step, model.start([(ids, lengths)]), outputs).sum(1)
            torch.testing.assert_close(again, torch.tensor([best[0].score for best in results]), atol=1e-4, rtol=1e-5)
            for i, row in enumerate(rows):
                item, size = pad_sources([row])
                wide = len(results[0]) > 1
                alone = (
                    beam(model.step, model.start([(item, size)]), 1, CPU, LIMITS, width=3, length_penalty=0.7)
                    if wide
                    else greedy(model.step, model.start([(item, size)]), 1, CPU, LIMITS)
                )
                assert alone[0][0].tokens == results[i][0].tokens or abs(alone[0][0].score - results[i][0].score) < 1e-4


def at_step(features: Any, step: int) -> Any:
    """Features [B, T, ...], also those of a tuple, of one step."""
    if isinstance(features, Tensor):
        return features[:, step]
    return type(features)(*(None if part is None else part[:, step] for part in features))


def shapes(features: Any) -> list[tuple[int, ...]]:
    """The shapes of features; what training computes once for all steps is left out."""
    parts = [features] if isinstance(features, Tensor) else [features.prior, features.places]
    return [tuple(part.shape) for part in parts]


@pytest.mark.parametrize("choice", CASES[: len(covering())])
def test_free_feeding_reads_its_own_output(choice: Choice) -> None:
    """forward(reference=0) is the chain of most probable symbols; reference=1 is teacher forcing."""
    model = make(choice)
    ids, lengths = pad_sources(sources(5))
    _, target = targets(5)
    with torch.inference_mode():
        free = model([(ids, lengths)], target, 0.0)
        state, last = model.start([(ids, lengths)]), torch.full((5,), BOS)
        for t in range(target.shape[1]):
            answer = model.step(last, state)
            close(model.head.log_probs(at_step(free, t)), answer.log_probs)
            last, state = answer.log_probs.argmax(-1), answer.state
        torch.manual_seed(0)
        mixed = model([(ids, lengths)], target, 0.5)
        forms = [shapes(features) for features in (mixed, free, model([(ids, lengths)], target, 1.0))]
        assert forms[0] == forms[1] == forms[2]


@pytest.mark.parametrize("choice", CASES[: len(covering())])
def test_gradients_equal_finite_differences(choice: Choice) -> None:
    """The loss's gradient along random directions, in float64; attention as in training, which may draw."""
    model = make(choice).double()
    if model.decoder.attention is not None:
        model.decoder.attention.train()
    ids, lengths = pad_sources(sources(3))
    _, target_out = targets(3)
    positions = (target_out.flatten() != PAD).nonzero().flatten()

    def loss() -> Tensor:
        torch.manual_seed(2)
        features = model([(ids, lengths)], target_out)
        return model.head.objective(features, target_out, positions, smoothing=0.1)[0]

    assert_slopes(model, loss)
