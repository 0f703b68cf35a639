"""Cells whose state is linear in the state before: h' = a * h + b, where a and b depend on the inputs alone.

Then no step waits for the product of another: those of all steps are one product, and what follows each other is one
multiplication and one addition a unit (`scan.py`). A cell may first mix each input with those just before it, by a
causal convolution, whose last inputs are a part of the state.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.model.parts.recurrent import CANDIDATE, Cell
from antiphon.model.parts.scan import Slopes, scan_blocks
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
    """h' = a * h + b; a and b of `gates` blocks W x + b, with layer normalisation LN(W x) + b.

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
    def coefficients(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks [..., gates * hidden] -> a and b, [..., hidden] each; without parameters of its own."""

    slopes: Slopes | None = None

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
        blocks = self._blocks(mixed)
        start = state[0].to(blocks.dtype)
        if self.zoneout:
            moves = self._moved(torch.ones_like(blocks[..., : self.hidden]))
            outputs = scan_blocks(torch.cat([blocks, moves], -1), start, self._zoned)
        else:
            outputs = scan_blocks(blocks, start, self.coefficients, self.slopes)
        return outputs, (outputs[:, -1], *last)

    def _zoned(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        return zoned(*self.coefficients(blocks[..., : -self.hidden]), blocks[..., -self.hidden :])


def zoned(decay: Tensor, values: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients of (1 - m) h + m (a h + b)."""
    return 1 - moves * (1 - decay), moves * values


def positive(values: Tensor) -> Tensor:
    """g(x) = x + 0.5 for x >= 0, else sigmoid(x) (Feng et al. 2024, appendix B): positive, continuous, growing."""
    return torch.sigmoid(values.clamp(max=0)) + functional.relu(values)


def interpolation_slopes(decay: Tensor, candidate: Tensor, slope: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x and y in (1 - z) h + z g(y), z = sigmoid(x), from that of the whole: slope * z (1 - z) (g(y) -
    h) and slope * z g'(y), where g' is 1 or g (1 - g)."""
    moved = (1 - decay).mul_(slope)
    low = torch.sigmoid(candidate.clamp(max=0))
    steep = candidate.sign().clamp_(min=0).mul_(0.75).add_(low).addcmul_(low, low, value=-1)
    of_share = low.add_(functional.relu(candidate)).sub_(before).mul_(moved).mul_(decay)
    return of_share, moved.mul_(steep)


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

    def coefficients(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        update, candidate = blocks.chunk(2, -1)
        new = torch.sigmoid(update)
        return 1 - new, new * positive(candidate)

    @staticmethod
    def slopes(blocks: Tensor, decay: Tensor, slope: Tensor, before: Tensor) -> Tensor:
        _, candidate = blocks.chunk(2, -1)
        return torch.cat(interpolation_slopes(decay, candidate, slope, before), -1)


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

    def coefficients(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        forget, update, candidate = blocks.chunk(3, -1)
        kept, new = torch.sigmoid(forget.clamp(min=LOWEST)), torch.sigmoid(update.clamp(min=LOWEST))
        share = new / (kept + new)
        return 1 - share, share * positive(candidate)

    @staticmethod
    def slopes(blocks: Tensor, decay: Tensor, slope: Tensor, before: Tensor) -> Tensor:
        forget, update, candidate = blocks.chunk(3, -1)
        of_share, of_candidate = interpolation_slopes(decay, candidate, slope, before)
        parts = [of_share * (torch.sigmoid(forget) - 1), of_share * (1 - torch.sigmoid(update)), of_candidate]
        return torch.cat(parts, -1)
