"""Cells whose state is linear in the state before: h' = a * h + b, where a and b depend on the inputs alone.

Then no step waits for the product of another: those of all steps are one product, and what follows each other is one
multiplication and one addition a unit (`scan.py`). A cell may first mix each input with those just before it, by a
causal convolution, whose last inputs are a part of the state.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.model.parts.recurrent import CANDIDATE, Cell
from antiphon.model.parts.scan import scan_blocks, scan_products
from antiphon.model.state import Layer, at_least_float32

LOWEST = -80.0  # below it a gate of minLSTM would be 0 in float32, and a share of two such gates undefined


def check_range(name: str, value: int, most: int) -> None:
    """A size outside of 1 to `most` is an error of the option."""
    if not 1 <= value <= most:
        raise ConfigError(name, f"must lie between 1 and {most} (is {value})")


def log_odds(horizon: int, units: int) -> Tensor:
    """The logarithm of what a unit keeps over what it replaces, where it keeps its state for t steps on average.

    t goes from 2 for the first unit to `horizon` for the last in equal ratios; a gate of sigmoid(-log_odds) is 1 / t
    (Tallec & Ollivier 2018, arXiv 1804.11188, who draw t at random).
    """
    if not 2 <= horizon <= 1_000_000:
        raise ConfigError("horizon", f"must lie between 2 and 1000000 (is {horizon})")
    return (torch.linspace(math.log(2), math.log(horizon), units).exp() - 1).log()


class Convolution(nn.Module):
    """y_t = sum_k w_k * x_{t-K+k} + b, k from 1 to K, for each of `width` numbers on its own; it sees no later step.

    `kernel` is K. What a step needs of the steps before is a value: the last K - 1 inputs [rows, (K - 1) * width].
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.width, self.kernel = width, kernel
        self.weight = nn.Parameter(torch.empty(width, 1, kernel).uniform_(-1, 1) * kernel**-0.5)
        self.weight.detach()[:, :, -1] = 1.0  # each step begins with its own input
        self.bias = nn.Parameter(torch.zeros(width))

    def initial(self, like: Tensor) -> Tensor:
        """The inputs before the first step, zeros, for the rows of `like` [rows, ...]."""
        return like.new_zeros(like.shape[0], (self.kernel - 1) * self.width)

    def forward(self, values: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """values [rows, T, width] and the inputs before them -> y [rows, T, width], the last inputs after them."""
        steps = values.shape[1]
        joined = torch.cat([last.to(values.dtype).view(-1, self.kernel - 1, self.width), values], 1)
        mixed = functional.conv1d(joined.transpose(1, 2), self.weight, self.bias, groups=self.width)
        return mixed.transpose(1, 2), joined[:, steps:].flatten(1).contiguous()


class LinearCell(Cell):
    """h' = h + z * (y - h), so a = 1 - z and b = z * y; z and y of `gates` blocks W x + b, with layer normalisation
    LN(W x) + b.

    With `kernel` above 1 a convolution of so many steps stands before W. Zoneout keeps h linear in the state before:
    h' = (1 - m (1 - a)) * h + m b, where m is 0 or 1 in training and 1 - zoneout in use.
    """

    recurrent = False
    fused = None

    def __init__(self, inputs: int, hidden: int, kernel: int = 1) -> None:
        super().__init__(inputs, hidden)
        check_range("kernel", kernel, 64)
        self.convolution = Convolution(inputs, kernel) if kernel > 1 else None

    @abstractmethod
    def shares(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks [..., gates * hidden] -> z and y, [..., hidden] each; without parameters of its own."""

    @abstractmethod
    def slopes(self, blocks: Tensor) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """The gradient of `coefficients`, as `scan.Slopes`."""

    def coefficients(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks [..., gates * hidden] -> a = 1 - z and b = z * y, [..., hidden] each."""
        share, value = self.shares(blocks)
        return 1 - share, share * value

    def begin(self, start: Layer) -> Layer:
        return start if self.convolution is None else (*start, self.convolution.initial(start[0]))

    def _mixed(self, inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
        """What W reads of inputs [rows, T, inputs], and what is kept of them for the steps after."""
        if self.convolution is None:
            return inputs, ()
        mixed, last = self.convolution(inputs, state[1])
        return mixed, (last,)

    def read(self, inputs: Tensor, state: Layer) -> Tensor:
        if inputs.dim() == 2:
            return self._mixed(inputs[:, None], state)[0][:, 0]
        return self._mixed(inputs, state)[0]

    def _blocks(self, mixed: Tensor) -> Tensor:
        """W x + b, or LN(W x) + b, in at least float32."""
        if self.input_norm is None:
            return at_least_float32(functional.linear(mixed, self.input_weight, self.input_bias))
        return at_least_float32(self.input_norm(functional.linear(mixed, self.input_weight)) + self.input_bias)

    def advance(self, inputs: Tensor, state: Layer) -> Layer:
        return self._advance(inputs, state, self._moved(torch.ones_like(state[0])) if self.zoneout else None)

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        return self._advance(inputs, state, None)

    def _advance(self, inputs: Tensor, state: Layer, moves: Tensor | None) -> Layer:
        mixed, last = self._mixed(inputs[:, None], state)
        decay, values = self.coefficients(self._blocks(mixed[:, 0]))
        if moves is not None:
            decay, values = zoned(decay, values, moves)
        return (decay * state[0] + values, *last)

    def forward(self, inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
        mixed, last = self._mixed(inputs, state)
        if self._in_blocks(mixed):
            start = state[0].to(mixed.dtype)
            outputs = scan_products(mixed, self.input_weight, self.input_bias, start, self.shares, self.slopes)
            return outputs, (outputs[:, -1], *last)
        blocks = self._blocks(mixed)
        start = state[0].to(blocks.dtype)
        if self.zoneout:
            moves = self._moved(torch.ones_like(blocks[..., : self.hidden]))
            outputs = scan_blocks(torch.cat([blocks, moves], -1), start, self._zoned)
        else:
            outputs = scan_blocks(blocks, start, self.coefficients, self.slopes)
        return outputs, (outputs[:, -1], *last)

    def _in_blocks(self, mixed: Tensor) -> bool:
        """Whether the products can be taken a block of steps at a time: in the precision of the state, and with nothing
        between product and coefficients."""
        plain = self.input_norm is None and not self.zoneout
        exact = mixed.dtype == self.input_weight.dtype and at_least_float32(mixed) is mixed
        return plain and exact and not torch.is_autocast_enabled(mixed.device.type)

    def _zoned(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        return zoned(*self.coefficients(blocks[..., : -self.hidden]), blocks[..., -self.hidden :])


def zoned(decay: Tensor, values: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients of (1 - m) h + m (a h + b)."""
    return 1 - moves * (1 - decay), moves * values


def positive(values: Tensor) -> Tensor:
    """g(x) = x + 0.5 for x >= 0, else sigmoid(x) (Feng et al. 2024, appendix B): positive, continuous, growing."""
    return functional.relu(values) + torch.sigmoid(values.clamp(max=0))


def interpolation_slopes(
    share: Tensor, candidate: Tensor, slope: Tensor, before: Tensor, out: Sequence[Tensor]
) -> None:
    """Put the gradients of x and y in (1 - z) h + z g(y), z = sigmoid(x), into `out`, from `slope`, that of the whole:
    slope * (g(y) - h) * z (1 - z), and slope * z * g'(y), where g' is 1 or g (1 - g)."""
    low, moved = candidate.clamp(max=0).sigmoid_(), slope * share
    difference = functional.relu(candidate).add_(low).sub_(before).mul_(slope)
    torch.ops.aten.sigmoid_backward(difference, share, grad_input=out[0])
    steps = torch.ops.aten.threshold_backward(moved, candidate, 0)  # at 0 and below it, low (1 - low) is all of g'
    torch.ops.aten.sigmoid_backward(moved, low, grad_input=out[1])
    out[1].add_(steps, alpha=0.75)


class MinGruCell(LinearCell):
    """minGRU (Feng et al. 2024, arXiv 2410.01201): z = sigmoid(W_z x), n = g(W_n x), h' = (1 - z) * h + z * n.

    g(x) is x + 0.5 for x >= 0, else sigmoid(x). Neither the gate nor the candidate depends on the state before. The
    gates' biases start so that units keep their state for 2 to `horizon` steps. `kernel` above 1 first mixes as many
    steps of the input, each number on its own.
    """

    gates = 2

    def __init__(self, inputs: int, hidden: int, horizon: int = 32, kernel: int = 1) -> None:
        super().__init__(inputs, hidden, kernel)
        self.input_bias.detach()[:hidden] = -log_odds(horizon, hidden)

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        update, candidate = self._blocks(inputs).chunk(2, -1)
        return {"input": torch.sigmoid(update), CANDIDATE: positive(candidate)}

    def shares(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        update, candidate = blocks.chunk(2, -1)
        return torch.sigmoid(update), positive(candidate)

    def slopes(self, blocks: Tensor) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        update, candidate = blocks.chunk(2, -1)
        new = torch.sigmoid(update)

        def gradient(slope: Tensor, before: Tensor) -> Tensor:
            made = torch.empty_like(blocks)
            interpolation_slopes(new, candidate, slope, before, made.chunk(2, -1))
            return made

        return 1 - new, gradient


class MinLstmCell(LinearCell):
    """minLSTM (Feng et al. 2024, arXiv 2410.01201): f, i = sigmoid(W x), n = g(W_n x), h' = (f h + i n) / (f + i).

    g(x) is x + 0.5 for x >= 0, else sigmoid(x). The gates' biases start so that units keep their state for 2 to
    `horizon` steps. `kernel` above 1 first mixes as many steps of the input, each number on its own.
    """

    gates = 3

    def __init__(self, inputs: int, hidden: int, horizon: int = 32, kernel: int = 1) -> None:
        super().__init__(inputs, hidden, kernel)
        start = log_odds(horizon, hidden)
        self.input_bias.detach()[: 2 * hidden] = torch.cat([start, -start])

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        forget, update, candidate = self._blocks(inputs).chunk(3, -1)
        return {"forget": torch.sigmoid(forget), "input": torch.sigmoid(update), CANDIDATE: positive(candidate)}

    def shares(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        forget, update, candidate = blocks.chunk(3, -1)
        kept, new = torch.sigmoid(forget.clamp(min=LOWEST)), torch.sigmoid(update.clamp(min=LOWEST))
        return new / (kept + new), positive(candidate)

    def slopes(self, blocks: Tensor) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        forget, update, candidate = blocks.chunk(3, -1)
        kept, new = torch.sigmoid(forget.clamp(min=LOWEST)), torch.sigmoid(update.clamp(min=LOWEST))
        share = new / (kept + new)

        def gradient(slope: Tensor, before: Tensor) -> Tensor:
            made = torch.empty_like(blocks)
            of_forget, of_update, of_candidate = made.chunk(3, -1)
            interpolation_slopes(share, candidate, slope, before, [of_update, of_candidate])
            torch.mul(of_update, kept.sub_(1), out=of_forget)
            of_update.mul_(1 - new)
            return made

        return 1 - share, gradient
