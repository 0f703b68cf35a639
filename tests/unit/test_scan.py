"""Linear recurrences: every way through the steps gives what one step after the other gives, and its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import cell_of
from torch import Tensor

from antiphon.model.parts import scan as scanning
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.linear import LinearCell, positive
from antiphon.model.parts.scan import scan, scan_blocks
from antiphon.model.parts.selective import SelectiveCell

LINEAR = ["mingru", "minlstm", "selective"]


def one_by_one(decay: Tensor, inputs: Tensor, start: Tensor) -> Tensor:
    states = []
    for a, b in zip(decay, inputs, strict=True):
        start = a * start + b
        states.append(start)
    return torch.stack(states)


@pytest.fixture(params=[(1, 1), (1 << 17, 1), (1 << 17, 1 << 11), (20, 4)], ids=str)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one step and of all, wide steps and narrow ones."""
    block, wide = request.param
    monkeypatch.setattr(scanning, "BLOCK", block)
    monkeypatch.setattr(scanning, "WIDE", wide)


@given(steps=st.integers(1, 70), rows=st.integers(1, 3), width=st.integers(1, 3), wide=st.sampled_from([1, 5, 1 << 11]))
def test_a_scan_is_its_steps(steps: int, rows: int, width: int, wide: int) -> None:
    torch.manual_seed(steps)
    decay, inputs, start = torch.rand(steps, rows, width), torch.randn(steps, rows, width), torch.randn(rows, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "WIDE", wide)
        torch.testing.assert_close(scan(decay, inputs, start), one_by_one(decay, inputs, start), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 16, 35])
def test_the_gradients_of_a_scan(steps: int, sizes: None) -> None:
    torch.manual_seed(0)
    given = [torch.randn(steps, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    start = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, h: scan(torch.tanh(a), b, h), (*given, start))


def test_without_slopes_autograd_finds_them(sizes: None) -> None:
    def coefficients(blocks: Tensor) -> tuple[Tensor, Tensor]:
        a, b = blocks.chunk(2, -1)
        return torch.sigmoid(a), torch.tanh(a) * positive(b)

    torch.manual_seed(0)
    blocks = torch.randn(2, 37, 6, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    states = scan_blocks(blocks, start, coefficients)
    a, b = coefficients(blocks.transpose(0, 1))
    torch.testing.assert_close(states, one_by_one(a, b, start).transpose(0, 1))
    assert torch.autograd.gradcheck(lambda x, h: scan_blocks(x, h, coefficients), (blocks, start))


@pytest.mark.parametrize("kind", ["mingru", "minlstm"])
def test_slopes_of_a_cell_are_those_of_autograd(kind: str, sizes: None) -> None:
    cell = cell_of(kind, 3, 4)
    assert isinstance(cell, LinearCell)
    torch.manual_seed(0)
    blocks = 3 * torch.randn(2, 37, 4 * cell.gates, dtype=torch.float64)
    start = torch.randn(2, 4, dtype=torch.float64)
    weights = torch.randn(2, 37, 4, dtype=torch.float64)
    slopes = []
    for chosen in (cell.slopes, None):
        leaves = blocks.clone().requires_grad_(), start.clone().requires_grad_()
        slopes.append(torch.autograd.grad((scan_blocks(*leaves, cell.coefficients, chosen) * weights).sum(), leaves))
    torch.testing.assert_close(slopes[0], slopes[1])


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("length", [1, 5, 40])
def test_the_gradients_of_a_cell_over_all_steps_are_those_of_its_steps(kind: str, length: int, sizes: None) -> None:
    torch.manual_seed(1)
    cell = cell_of(kind, 3, 4).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    inputs = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, length, 4, dtype=torch.float64)
    leaves = [inputs, start, *cell.parameters()]

    def slopes(outputs: Tensor, final: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        loss = (outputs * weights).sum() + sum((value**2).sum() for value in final)
        return torch.autograd.grad(loss, leaves)

    outputs, final = cell(inputs, cell.begin((start,)))
    state, steps = cell.begin((start,)), []
    for step in inputs.unbind(1):
        state = cell.step(step, state)
        steps.append(state[0])
    torch.testing.assert_close(outputs, torch.stack(steps, 1))
    torch.testing.assert_close(final, state)
    torch.testing.assert_close(slopes(outputs, final), slopes(torch.stack(steps, 1), state))


@pytest.mark.parametrize("kind", LINEAR)
def test_extreme_gates_stay_finite(kind: str) -> None:
    torch.manual_seed(0)
    cell = cell_of(kind, 3, 4)
    inputs = (torch.randn(2, 600, 3) * 1000).requires_grad_()
    outputs, _ = cell(inputs, cell.initial(inputs))
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("kind", LINEAR)
def test_pieces_of_a_sequence_are_the_whole(kind: str) -> None:
    """A state carries all that later steps need: also the convolution's last inputs."""
    torch.manual_seed(0)
    cell = cell_of(kind, 3, 4)
    inputs = torch.randn(2, 50, 3)
    whole, final = cell(inputs, cell.initial(inputs))
    state, pieces = cell.initial(inputs), []
    for begin, end in ((0, 1), (1, 3), (3, 33), (33, 50)):
        outputs, state = cell(inputs[:, begin:end], state)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, final, rtol=1e-5, atol=1e-5)


def test_memory_of_the_selective_cell_is_bounded() -> None:
    """The gradient keeps the states between blocks, not those of all steps."""
    kept = 0

    def pack(values: Tensor) -> Tensor:
        nonlocal kept
        kept += values.numel()
        return values

    cell = SelectiveCell(64, 64, state_size=64)
    inputs = torch.randn(16, 400, 64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda values: values):
        cell(inputs, cell.initial(inputs))
    assert kept < 16 * 400 * 64 * 64 / 2


@pytest.mark.parametrize("kind", ["mingru", "minlstm"])
def test_units_begin_with_keeping_their_state_for_up_to_a_horizon(kind: str) -> None:
    cell = CELLS.build(kind, {"horizon": 200}, "cell", inputs=3, hidden=50)
    assert isinstance(cell, LinearCell)
    decay, _ = cell.coefficients(cell.input_bias.detach())
    steps = 1 / (1 - decay)
    assert steps[0] == pytest.approx(2, rel=1e-3)
    assert steps[-1] == pytest.approx(200, rel=1e-3)
    torch.testing.assert_close(steps[1:] / steps[:-1], torch.full((49,), 100 ** (1 / 49)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", LINEAR)
def test_in_bfloat16_states_are_float32(kind: str) -> None:
    """Products are rounded, what follows them over many steps is not."""
    torch.manual_seed(0)
    cell = cell_of(kind, 6, 8)
    inputs = torch.randn(3, 100, 6, requires_grad=True)
    computed = []
    for lower in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            outputs, final = cell(inputs, cell.initial(inputs))
            state = cell.initial(inputs)
            for step in inputs[:, :30].unbind(1):
                state = cell.advance(step, state)
        assert outputs.dtype == state[0].dtype == final[-1].dtype == torch.float32
        torch.testing.assert_close(outputs[:, 29], state[0], rtol=0.02, atol=0.02)
        slopes = torch.autograd.grad(outputs.square().sum(), [inputs, *cell.parameters()])
        computed.append((outputs.detach(), *slopes))
    for exact, rounded in zip(*computed, strict=True):
        assert float((exact - rounded).norm() / exact.norm()) < 0.05
