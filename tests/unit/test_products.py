"""Gradients of many steps' products at once are those of one step after the other."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.products import at_once
from antiphon.model.parts.recurrent import Cell


def walked(weights: list[Tensor], start: Tensor, steps: int, used: list[bool], together: bool) -> list[Tensor]:
    """The gradients of a loss of the used steps of a walk that multiplies with every weight at every step."""
    into, back, bias = weights
    for value in (*weights, start):
        value.grad = None
    loss, values = start.new_zeros(()), start
    with at_once([into, back]) if together else nullcontext():
        for step in range(steps):
            values = torch.tanh(functional.linear(torch.tanh(functional.linear(values, into, bias)), back))
            if used[step]:
                loss = loss + values.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(value) if value.grad is None else value.grad for value in (*weights, start)]


def chosen(dtype: torch.dtype, *lead: int) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    shapes = [(7, 3), (3, 7), (7,), (*lead, 3)]
    *weights, start = (torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes)
    return weights, start


@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any), st.sampled_from([(4,), (1,), (2, 3)]))
def test_gradients_are_those_of_step_after_step(used: list[bool], lead: tuple[int, ...]) -> None:
    """Whichever steps a loss reads: the steps after the last of them have no gradient."""
    weights, start = chosen(torch.float64, *lead)
    plain, together = (walked(weights, start, len(used), used, way) for way in (False, True))
    for item, other in zip(plain, together, strict=True):
        torch.testing.assert_close(other, item, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_what_is_frozen_has_no_gradient(frozen: int) -> None:
    weights, start = chosen(torch.float64, 4)
    plain = walked(weights, start, 3, [True] * 3, False)
    [*weights, start][frozen].requires_grad_(False)
    together = walked(weights, start, 3, [True] * 3, True)
    assert [*weights, start][frozen].grad is None
    for place, (item, other) in enumerate(zip(plain, together, strict=True)):
        torch.testing.assert_close(other, torch.zeros_like(item) if place == frozen else item)


def test_in_lower_precision_gradients_are_as_near_to_exact_ones() -> None:
    """The sum over steps is rounded once, where otherwise it is at every step."""
    weights, start = chosen(torch.float64, 64)
    for value in (*weights, start):
        value.detach().mul_(0.5)
    exact = walked(weights, start, 12, [True] * 12, False)
    low, first = [value.detach().float().requires_grad_() for value in weights], start.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        plain, together = (walked(low, first, 12, [True] * 12, way) for way in (False, True))
    for item, other, expected in zip(plain[:2], together[:2], exact[:2], strict=True):
        assert other.dtype == torch.float32
        errors = [float((rounded - expected).norm() / expected.norm()) for rounded in (other, item)]
        assert errors[0] < min(0.01, 1.2 * errors[1])


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_a_cell_that_is_taken_step_by_step(kind: str) -> None:
    """With layer normalisation there is no fused call: `forward` equals `advance` in a loop, gradients too."""
    torch.manual_seed(0)
    cell = CELLS.build(kind, {"layer_norm": True}, "cell", inputs=5, hidden=4).double()
    assert isinstance(cell, Cell)
    inputs = torch.randn(3, 6, 5, dtype=torch.float64)
    computed = []
    for fast in (True, False):
        cell.zero_grad()
        state = cell.initial(inputs)
        if fast:
            outputs, state = cell(inputs, state)
        else:
            outputs = []
            for step in inputs.unbind(1):
                state = cell.advance(step, state)
                outputs.append(state[0])
            outputs = torch.stack(outputs, 1)
        (outputs.square().sum() + state[-1].sum()).backward()
        computed.append([outputs, *(parameter.grad for parameter in cell.parameters())])
    for item, other in zip(*computed, strict=True):
        torch.testing.assert_close(item, other, rtol=1e-12, atol=1e-12)


def test_without_gradients_nothing_is_kept() -> None:
    layer = nn.Linear(3, 3)
    with torch.no_grad(), at_once([layer.weight]):
        assert not layer(torch.ones(2, 3)).requires_grad


@pytest.mark.parametrize("names", [("bias",), ("weight", "bias"), ("input", "weight", "bias")])
def test_arguments_may_have_names(names: tuple[str, ...]) -> None:
    """As a cell that somebody adds may give them."""
    layer, inputs = nn.Linear(3, 2), torch.ones(2, 3)
    given = {"input": inputs, "weight": layer.weight, "bias": layer.bias}
    placed = [value for name, value in given.items() if name not in names]
    with at_once([layer.weight]):
        outputs = functional.linear(*placed, **{name: given[name] for name in names})
    torch.testing.assert_close(outputs, layer(inputs))
    outputs.sum().backward()  # type: ignore[no-untyped-call]
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == [2.0, 2.0]


def test_a_weight_may_have_another_bias_at_every_step() -> None:
    layer, computed = nn.Linear(3, 3).double(), []
    for together in (False, True):
        layer.zero_grad()
        values = torch.ones(2, 3, dtype=torch.float64)
        with at_once([layer.weight]) if together else nullcontext():
            for step in range(3):
                values = functional.linear(torch.tanh(values), layer.weight, layer.bias * step)
        values.square().sum().backward()  # type: ignore[no-untyped-call]
        computed.append([values, *(parameter.grad for parameter in layer.parameters())])
    for item, other in zip(*computed, strict=True):
        torch.testing.assert_close(item, other)
