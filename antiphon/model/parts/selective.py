"""A selective state space (Gu & Dao 2023, arXiv 2312.00752): every channel has several states, which decay at rates
that the input chooses. Its recurrence is linear in the state before, as those of `linear.py`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from antiphon.model.parts.linear import Convolution, check_range, zoned
from antiphon.model.parts.recurrent import Cell
from antiphon.model.parts.scan import backwards, before_each, by_time, forwards, steps_of_block
from antiphon.model.state import Layer, at_least_float32

KEEP = "keep"
SHORTEST, LONGEST = 1e-3, 1.0  # the steps that channels begin with (Gu & Dao 2023 end at 0.1; texts are shorter)


class Space(NamedTuple):
    """What the recurrence takes of every step: u and its time step [..., channels], B and C [..., states]."""

    inputs: Tensor
    steps: Tensor
    write: Tensor
    read: Tensor


class SelectiveCell(Cell):
    """A selective state space with a short convolution and a gate, a block of Mamba (arXiv 2312.00752, figure 3).

    [u, z] = W x + b, u of `expand` * hidden channels; u' = silu(convolution of `kernel` steps of u);
    delta = softplus(V_2 V_1 u' + d), B = W_B u', C = W_C u'; for each channel and each of its `state_size` states
    s' = exp(-delta exp(r)) * s + delta u' B; and h' = W_o ((C . s' + D u') * silu(z)).

    A decoder begins with h in each of a channel's states. Zoneout is that of the states, the same for all of a channel.
    """

    recurrent = False
    fused = None

    def __init__(self, inputs: int, hidden: int, state_size: int = 8, kernel: int = 4, expand: int = 1) -> None:
        for name, value, most in (("state_size", state_size, 256), ("kernel", kernel, 64), ("expand", expand, 8)):
            check_range(name, value, most)
        self.gates = 2 * expand
        super().__init__(inputs, hidden)
        self.channels, self.states, self.rank = expand * hidden, state_size, math.ceil(hidden / 16)
        self.convolution = Convolution(self.channels, kernel)
        self.select = nn.Linear(self.channels, self.rank + 2 * state_size, bias=False)
        self.widen = nn.Linear(self.rank, self.channels)
        rates = torch.arange(1.0, state_size + 1).log()
        self.log_rates = nn.Parameter(rates[:, None].repeat(1, self.channels))
        self.skip = nn.Parameter(torch.ones(self.channels))
        self.output = nn.Linear(self.channels, hidden)
        with torch.no_grad():
            steps = torch.empty(self.channels).uniform_(math.log(SHORTEST), math.log(LONGEST)).exp()
            self.widen.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus of it is the step
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def begin(self, start: Layer) -> Layer:
        (h,) = start
        return h, self.convolution.initial(h), h.repeat(1, self.states * self.channels // self.hidden)

    @property
    def matrices(self) -> list[Tensor]:
        return [self.input_weight, self.select.weight, self.widen.weight, self.output.weight]

    def _mixed(self, inputs: Tensor, state: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """u' and z [rows, T, channels] of inputs [rows, T, inputs], and the convolution's last inputs."""
        blocks = functional.linear(inputs, self.input_weight)
        blocks = (blocks if self.input_norm is None else self.input_norm(blocks)) + self.input_bias
        values, gate = blocks.chunk(2, -1)
        mixed, last = self.convolution(values, state[1])
        return functional.silu(mixed), gate, last

    def read(self, inputs: Tensor, state: Layer) -> Tensor:
        if inputs.dim() == 2:
            return self._mixed(inputs[:, None], state)[0][:, 0]
        return self._mixed(inputs, state)[0]

    def _space(self, mixed: Tensor) -> Space:
        narrow, write, read = self.select(mixed).split([self.rank, self.states, self.states], -1)
        steps = functional.softplus(at_least_float32(self.widen(narrow)))
        return Space(*(at_least_float32(value) for value in (mixed, steps, write, read)))

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        """`keep`: the mean share of a unit's states that stays, over its channels."""
        steps = self._space(inputs).steps
        share = (-steps.unsqueeze(-2) * self.log_rates.exp()).exp().mean(-2)
        return {KEEP: share.view(*share.shape[:-1], -1, self.hidden).mean(-2)}

    def gate_values(self, inputs: Tensor, before: Tensor) -> None:
        """None: a state that stays nearly as it is, is no gate that has stopped learning."""

    def _moves(self, like: Tensor) -> Tensor | None:
        """What share of their way the states of each channel go, None without zoneout."""
        return self._moved(torch.ones_like(like)) if self.zoneout else None

    def _shown(self, read: Tensor, mixed: Tensor, gate: Tensor) -> Tensor:
        """The output h of what C reads of the states."""
        shown: Tensor = self.output((read + self.skip * mixed) * functional.silu(gate))
        return at_least_float32(shown)

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        return self._advance(inputs, state, None)

    def advance(self, inputs: Tensor, state: Layer) -> Layer:
        return self._advance(inputs, state, self._moves(state[2][:, : self.channels]))

    def _advance(self, inputs: Tensor, state: Layer, moves: Tensor | None) -> Layer:
        mixed, gate, last = self._mixed(inputs[:, None], state)
        mixed, gate = mixed[:, 0], gate[:, 0]
        space, states = self._space(mixed), state[2].view(-1, self.states, self.channels)
        decay, values = coefficients(space, -self.log_rates.exp(), moves)
        states = decay * states + values
        read = (space.read[..., None] * states).sum(-2)
        return self._shown(read, mixed, gate), last, states.flatten(1)

    def forward(self, inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
        mixed, gate, last = self._mixed(inputs, state)
        space = self._space(mixed)
        start = state[2].view(-1, self.states, self.channels).to(space.steps.dtype)
        moves = self._moves(space.inputs)
        with torch.autocast(inputs.device.type, enabled=False):  # sums over states stay in float32
            read, final = _Selective.apply(*space, -self.log_rates.exp(), start, moves)  # type: ignore[no-untyped-call]
        outputs = self._shown(read, mixed, gate)
        return outputs, (outputs[:, -1], last, final.flatten(1))


def coefficients(space: Space, rates: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
    """a = exp(delta A) and b = delta u B [..., states, channels]; with zoneout of each channel."""
    decay = (space.steps.unsqueeze(-2) * rates).exp()
    values = (space.steps * space.inputs).unsqueeze(-2) * space.write.unsqueeze(-1)
    return (decay, values) if moves is None else zoned(decay, values, moves.unsqueeze(-2))


class _Selective(torch.autograd.Function):
    """u, delta [B, T, channels], B, C [B, T, states], A, s_0 [B, states, channels] -> C . s_t of every step, s_T.

    The states of all steps are many times larger than all else, so only those before each block are kept; the gradient
    makes the others again, a block at a time.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        *sequences, rates, start, moves = given
        inputs = sequences[0]
        size, state, kept = _size(start), start, []
        outputs = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        for place in range(0, inputs.shape[1], size):
            kept.append(state)
            space = Space(*(by_time(values, place, size) for values in sequences))
            decay, states = coefficients(space, rates, _block(moves, place, size))
            state = forwards(decay, states, state)
            outputs[:, place : place + size].transpose(0, 1).copy_((space.read.unsqueeze(-2) @ states).squeeze(-2))
            state = state.clone()
        ctx.zoned = moves is not None
        ctx.save_for_backward(*sequences, rates, *([moves] if ctx.zoned else []), *kept)
        return outputs, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, carried: Tensor) -> tuple[Tensor | None, ...]:
        *sequences, rates = ctx.saved_tensors[:5]
        moves, kept = (ctx.saved_tensors[5], ctx.saved_tensors[6:]) if ctx.zoned else (None, ctx.saved_tensors[5:])
        gradients = [torch.empty_like(values, memory_format=torch.contiguous_format) for values in sequences]
        of_rates, size = torch.zeros_like(rates), _size(kept[0])
        for number in range(len(kept) - 1, -1, -1):
            place, part = number * size, slice(number * size, (number + 1) * size)
            space, out = Space(*(by_time(values, place, size) for values in sequences)), by_time(slope, place, size)
            move = _block(moves, place, size)
            decay, states = coefficients(space, rates, move)
            forwards(decay.clone(), states, kept[number])
            of_read = (states @ out.unsqueeze(-1)).squeeze(-1)
            slopes = out.unsqueeze(-2) * space.read.unsqueeze(-1)
            carried = backwards(decay, slopes, carried)
            written = space.steps * space.inputs
            of_decay = before_each(states, kept[number]).mul_(slopes)
            if move is not None:
                of_decay *= move.unsqueeze(-2)
                slopes *= move.unsqueeze(-2)
                decay = (space.steps.unsqueeze(-2) * rates).exp()
            of_written = (space.write.unsqueeze(-2) @ slopes).squeeze(-2)
            of_write = (slopes @ written.unsqueeze(-1)).squeeze(-1)
            of_exponent = of_decay.mul_(decay)
            of_steps = (of_exponent * rates).sum(-2).addcmul_(of_written, space.inputs)
            of_rates += of_exponent.mul_(space.steps.unsqueeze(-2)).sum((0, 1))
            made = of_written.mul_(space.steps), of_steps, of_write, of_read
            for gradient, values in zip(gradients, made, strict=True):
                gradient[:, part].transpose(0, 1).copy_(values)
        return *gradients, of_rates, carried, None


def _size(start: Tensor) -> int:
    """The steps of a block; longer ones than where blocks hold all that is kept, since states are kept between them."""
    return 4 * steps_of_block(start.numel())


def _block(moves: Tensor | None, place: int, size: int) -> Tensor | None:
    return None if moves is None else by_time(moves, place, size)
