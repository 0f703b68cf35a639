"""Recurrent cells: the equations of one step, and the fastest way through many.

A cell is a pure function (input, state) -> state with weights. `step` is written as the equations
are, `advance` adds what is chosen for every cell alike; calling it runs a whole padded sequence, in one
fused call where there is one, and equals `advance` in a loop. Weights are laid out as in `torch.nn`: gates
stacked, two biases.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.model.parts.dropout import dropped
from antiphon.model.parts.products import at_once
from antiphon.model.state import Layer

CANDIDATE = "candidate"  # the name of what a gated cell would write, among its activations


def _uniform(weight: Tensor) -> Tensor:
    """Between -1 / sqrt(hidden) and 1 / sqrt(hidden), as `torch.nn` starts."""
    bound = weight.shape[1] ** -0.5
    return nn.init.uniform_(weight, -bound, bound)


STARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_uniform_,
    "uniform": _uniform,
}


class Cell(nn.Module, ABC):
    """Weights of one recurrent layer in one direction.

    `inputs` and `hidden` are widths. Input weights start Glorot-uniform, recurrent ones orthogonal
    (a block a gate), biases zero.
    """

    gates: int  # the blocks of the weights
    recurrent: ClassVar[bool] = True  # whether the blocks depend on the state before, through weights of their own
    # the blocks of the weights, as in `activations`; for a cell without gates the state
    names: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[int] = 1  # tensors [rows, hidden] that a state begins from
    fused: ClassVar[Callable[..., Any] | None] = None  # torch's call for a whole sequence, where there is one

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.zoneout = self.weight_drop = 0.0
        self.input_norm: nn.LayerNorm | None = None
        self.state_norm: nn.LayerNorm | None = None
        self.input_weight = nn.Parameter(torch.empty(self.gates * hidden, inputs))
        if self.recurrent:
            self.state_weight = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.input_bias = nn.Parameter(torch.zeros(self.gates * hidden))
        if self.recurrent:
            self.state_bias = nn.Parameter(torch.zeros(self.gates * hidden))
        for gate in self.input_weight.detach().chunk(self.gates):
            nn.init.xavier_uniform_(gate)
        if self.recurrent:
            for gate in self.state_weight.detach().chunk(self.gates):
                nn.init.orthogonal_(gate)

    def configure(
        self,
        layer_norm: bool = False,
        zoneout: float = 0.0,
        weight_drop: float = 0.0,
        initial: Literal["orthogonal", "uniform", "xavier"] | None = None,
    ) -> None:
        """The options of every cell.

        `layer_norm` normalises W x and U h, each over all its gates, before the biases (Ba et al. 2016, arXiv
        1607.06450). In training `zoneout` is the probability with which a unit of a state keeps its value (Krueger
        et al. 2017, 1606.01305), `weight_drop` that of a recurrent weight to be zero. `initial`
        is how the recurrent weights start, by default in the cell's own way. A cell without recurrent weights refuses
        the last two.
        """
        for name, rate in (("zoneout", zoneout), ("weight_drop", weight_drop)):
            if not 0 <= rate < 1:
                raise ConfigError(name, f"must be at least 0 and less than 1 (is {rate:g})")
        if not self.recurrent and (weight_drop or initial is not None):
            option = "weight_drop" if weight_drop else "initial"
            raise ConfigError(
                option, "this cell has no recurrent weights; leave this option out, or choose lstm or gru"
            )
        self.zoneout, self.weight_drop = zoneout, weight_drop
        if layer_norm:
            self._normalize()
        if initial is not None:
            for gate in self.state_weight.detach().chunk(self.gates):
                STARTS[initial](gate)

    def _normalize(self) -> None:
        """Add the normalisations (the cell's own biases follow them); a cell with more to normalise adds its own."""
        self.input_norm = nn.LayerNorm(self.gates * self.hidden, bias=False)
        if self.recurrent:
            self.state_norm = nn.LayerNorm(self.gates * self.hidden, bias=False)

    @property
    def plain(self) -> bool:
        """Whether the equations are those of `fused`, without an option that changes them."""
        return not self.zoneout and self.input_norm is None

    @property
    def matrices(self) -> list[Tensor]:
        """The weights that inputs and states are multiplied with."""
        return [self.input_weight, self.state_weight] if self.recurrent else [self.input_weight]

    @property
    def weights(self) -> list[Tensor]:
        """The weights as `torch.nn` orders them, of a cell with recurrent weights."""
        return [*self.matrices, self.input_bias, self.state_bias]

    def begin(self, start: Layer) -> Layer:
        """The state that begins from `parts` tensors [rows, hidden]: these, and what else the cell keeps, at zero."""
        return start

    def initial(self, like: Tensor) -> Layer:
        """The zero state for the rows of `like` [rows, ...]."""
        return self.begin((like.new_zeros(like.shape[0], self.hidden),) * self.parts)

    def read(self, inputs: Tensor, state: Layer) -> Tensor:
        """What gates see of inputs [rows, inputs] or [rows, T, inputs], from the state before the first of them."""
        return inputs

    def _gates(self, inputs: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """W x + b and U h + d, each [rows, gates * hidden]; with layer normalisation LN(W x) + b and LN(U h) + d."""
        if self.input_norm is None or self.state_norm is None:
            return (
                functional.linear(inputs, self.input_weight, self.input_bias),
                functional.linear(h, self.state_weight, self.state_bias),
            )
        return (
            self.input_norm(functional.linear(inputs, self.input_weight)) + self.input_bias,
            self.state_norm(functional.linear(h, self.state_weight)) + self.state_bias,
        )

    @abstractmethod
    def step(self, inputs: Tensor, state: Layer) -> Layer:
        """The equations of one step: inputs [rows, inputs], state of [rows, hidden] -> the next state."""

    def advance(self, inputs: Tensor, state: Layer) -> Layer:
        """`step` with zoneout: each unit of the state keeps its value with that probability, in use the expectation."""
        after = self.step(inputs, state)
        if not self.zoneout:
            return after
        moves = [new - old for new, old in zip(after, state, strict=True)]
        return tuple(old + self._moved(move) for old, move in zip(state, moves, strict=True))

    def _moved(self, moves: Tensor) -> Tensor:
        """What zoneout leaves of the moves of units: in training all of some and none of others, in use a share."""
        share = 1 - self.zoneout
        return share * (dropped(moves, self.zoneout) if self.training else moves)  # `dropped` scales by 1 / share

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        """What a step computes on its way, by name: every gate (0 to 1) and the candidate, [..., hidden] each.

        What `read` gives of the inputs, and the outputs one step before [..., hidden]. Nothing if a cell has no gates.
        """
        return {}

    def sums(self, inputs: Tensor, before: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """W x + b and U h + d of each gate and the candidate, [..., hidden] each; of a cell without gates of the state.

        inputs [..., inputs], and the outputs one step before [..., hidden]. Nothing if a cell does not name its blocks.
        """
        if len(self.names) != self.gates:
            return {}
        new, old = (values.chunk(self.gates, -1) for values in self._gates(inputs, before))
        return dict(zip(self.names, zip(new, old, strict=True), strict=True))

    def gate_values(self, inputs: Tensor, before: Tensor) -> Tensor | None:
        """The values of all gates (0 to 1), from what `activations` takes, or None if there are no gates."""
        gates = [value for name, value in self.activations(inputs, before).items() if name != CANDIDATE]
        return torch.cat(gates, -1) if gates else None

    def forward(self, inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
        """All steps: inputs [rows, T, inputs] -> outputs [rows, T, hidden] and the state after the last."""
        if self.fused is None or not self.plain or not self._runs_fused(inputs):
            outputs = []
            with at_once(self.matrices):
                for step in inputs.unbind(1):
                    state = self.advance(step, state)
                    outputs.append(state[0])
            return torch.stack(outputs, 1), state
        start = [value.unsqueeze(0) for value in state]
        hidden = start if self.parts > 1 else start[0]
        output, *final = self.fused(inputs, hidden, self.weights, True, 1, 0.0, self.training, False, True)
        return output, tuple(value.squeeze(0) for value in final)

    def _runs_fused(self, inputs: Tensor) -> bool:
        """Whether this device computes the fused call in the precision that is chosen here."""
        if inputs.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return True
        return _runs_lowered(type(self), torch.get_autocast_dtype("cpu"))


@functools.cache
def _runs_lowered(kind: type[Cell], dtype: torch.dtype) -> bool:
    """Whether this processor runs the fused call of a cell in a lower precision, found out by a call of one unit.

    oneDNN has no LSTM in bfloat16 for processors without AVX-512.
    """
    assert kind.fused is not None
    values, weights = torch.zeros(1, 1, 1), [torch.zeros(kind.gates, 1)] * 2 + [torch.zeros(kind.gates)] * 2
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype):
            kind.fused(
                values, [values] * kind.parts if kind.parts > 1 else values, weights, True, 1, 0.0, False, False, True
            )
    except RuntimeError:
        return False
    return True


class TanhCell(Cell):
    """h' = tanh(W x + b + U h + d) (Elman 1990)."""

    gates = 1
    names = ("state",)
    fused = staticmethod(torch.rnn_tanh)

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        new, old = self._gates(inputs, state[0])
        return (torch.tanh(new + old),)


class ReluCell(Cell):
    """h' = max(0, W x + b + U h + d); U starts as the identity (Le et al. 2015, arXiv 1504.00941)."""

    gates = 1
    names = ("state",)
    fused = staticmethod(torch.rnn_relu)

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        nn.init.eye_(self.state_weight)

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        new, old = self._gates(inputs, state[0])
        return (torch.relu(new + old),)


class GruCell(Cell):
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078), the reset gate after the product as in cuDNN.

    r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), n = tanh(W_n x + r * (U_n h + d_n)),
    h' = (1 - z) * n + z * h.
    """

    gates = 3
    names = ("reset", "update", CANDIDATE)
    fused = staticmethod(torch.gru)

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        new, old = self._gates(inputs, before)
        new_r, new_z, new_n = new.chunk(3, -1)
        old_r, old_z, old_n = old.chunk(3, -1)
        reset, update = torch.sigmoid(new_r + old_r), torch.sigmoid(new_z + old_z)
        return {"reset": reset, "update": update, CANDIDATE: torch.tanh(new_n + reset * old_n)}

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        (h,) = state
        gates = self.activations(inputs, h)
        candidate = gates[CANDIDATE]
        return (candidate + gates["update"] * (h - candidate),)


class LstmCell(Cell):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid(W x + U h), g = tanh(W_g x + U_g h), c' = f * c + i * g, h' = o * tanh(c').
    The forget gate's bias starts at `forget_bias` (Jozefowicz et al. 2015). With layer normalisation
    h' = o * tanh(LN(c')). `mogrifier` is in how many rounds input and state first scale each other, in turn, x = 2
    sigmoid(Q h) * x and h = 2 sigmoid(R x) * h (Melis et al. 2020, arXiv 1909.01792); `mogrifier_rank` is the rank of Q
    and R, by default full. With it all steps are taken one after the other, which is much slower.
    """

    gates = 4
    names = ("input", "forget", CANDIDATE, "output")
    parts = 2
    fused = staticmethod(torch.lstm)

    def __init__(
        self,
        inputs: int,
        hidden: int,
        forget_bias: float = 1.0,
        mogrifier: int = 0,
        mogrifier_rank: int | None = None,
    ) -> None:
        super().__init__(inputs, hidden)
        self.cell_norm: nn.LayerNorm | None = None
        if not 0 <= mogrifier <= 16:
            raise ConfigError("mogrifier", f"must lie between 0 and 16 (is {mogrifier})")
        if mogrifier_rank is not None and (mogrifier_rank < 1 or not mogrifier):
            reason = (
                "needs mogrifier, the number of rounds"
                if not mogrifier
                else f"must be at least 1 (is {mogrifier_rank})"
            )
            raise ConfigError("mogrifier_rank", reason)
        ways = [(hidden, inputs), (inputs, hidden)]
        self.rounds = nn.ModuleList(_product(*ways[place % 2], mogrifier_rank) for place in range(mogrifier))
        if abs(forget_bias) > 100:
            raise ConfigError("forget_bias", f"must lie between -100 and 100 (is {forget_bias:g})")
        nn.init.constant_(self.input_bias.detach()[hidden : 2 * hidden], forget_bias)

    @property
    def plain(self) -> bool:
        return super().plain and not self.rounds

    def _gates(self, inputs: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        for place, scale in enumerate(self.rounds):
            if place % 2:
                h = 2 * torch.sigmoid(scale(inputs)) * h
            else:
                inputs = 2 * torch.sigmoid(scale(h)) * inputs
        return super()._gates(inputs, h)

    def _normalize(self) -> None:
        super()._normalize()
        self.cell_norm = nn.LayerNorm(self.hidden)

    def activations(self, inputs: Tensor, before: Tensor) -> dict[str, Tensor]:
        new, old = self._gates(inputs, before)
        i, f, g, o = (new + old).chunk(4, -1)
        gates = {"input": torch.sigmoid(i), "forget": torch.sigmoid(f), "output": torch.sigmoid(o)}
        return {**gates, CANDIDATE: torch.tanh(g)}

    def step(self, inputs: Tensor, state: Layer) -> Layer:
        h, c = state
        gates = self.activations(inputs, h)
        c = gates["forget"] * c + gates["input"] * gates[CANDIDATE]
        shown = c if self.cell_norm is None else self.cell_norm(c)
        return gates["output"] * torch.tanh(shown), c


def _product(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """A linear map, or one of a lower rank."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def dropped_weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's recurrent weights by name, with `weight_drop` of each cell's set to zero; none unless it is training.

    DropConnect (Merity et al. 2018, arXiv 1708.02182): put in the place of the weights for one pass over a batch, they
    are the same at all its steps, and a fused call stays one.
    """
    return {
        f"{name}.state_weight": dropped(cell.state_weight, cell.weight_drop)
        for name, cell in model.named_modules()
        if isinstance(cell, Cell) and cell.training and cell.weight_drop
    }


class Cells(nn.ModuleList):
    """A stack of cells, from the bottom."""

    def __iter__(self) -> Iterator[Cell]:
        return super().__iter__()  # type: ignore[return-value]

    def at(self, depth: int) -> Cell:
        """The cell of a layer."""
        cell = self[depth]
        assert isinstance(cell, Cell)
        return cell


MakeCell: TypeAlias = Callable[[int, int], Cell]
"""(inputs, hidden) -> a new cell of the kind the user chose."""
