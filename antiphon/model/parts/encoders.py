"""Encoders: source vectors x_1..x_S to states h_1..h_S, whatever the padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.between import Between
from antiphon.model.parts.dropout import Dropout
from antiphon.model.parts.recurrent import Cells, MakeCell
from antiphon.model.state import Encoded, Layer


def length_mask(lengths: Tensor, steps: int) -> Tensor:
    """[B] lengths -> [B, steps], true where a step lies within its row's length."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def reverse_within(values: Tensor, lengths: Tensor) -> Tensor:
    """values [B, S, width] with each row reversed within its own length; padding stays where it is."""
    place = torch.arange(values.shape[1], device=values.device)
    mirrored = lengths[:, None] - 1 - place
    index = torch.where(mirrored >= 0, mirrored, place)
    return values.gather(1, index[..., None].expand_as(values))


class Encoder(nn.Module):
    """Vectors [B, S, inputs] and lengths [B] -> `Encoded`; `size` is the width of the states."""

    size: int

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        raise NotImplementedError


class FeedForwardEncoder(Encoder):
    """Layers h = max(0, W x + b) over each vector on its own, for a source that is not a sequence.

    Dropout is applied to every layer's input; with `residual`, every layer but the first adds its input.
    The last state is the mean over the source's vectors: the one there is, or those of a picture's grid.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
        locked_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.residual, self.dropout = hidden, residual, Dropout(dropout, locked_dropout)
        self.layers = nn.ModuleList(nn.Linear(inputs if depth == 0 else hidden, hidden) for depth in range(layers))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        mask = length_mask(lengths, inputs.shape[1])
        states = inputs
        for depth, layer in enumerate(self.layers):
            made = functional.relu(layer(self.dropout(states)))
            states = made + states if self.residual and depth > 0 else made
        states = states.masked_fill(~mask[..., None], 0.0)
        return Encoded(states, mask, states.sum(1) / lengths[:, None].to(states.dtype))


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers, each in one direction or both.

    The backward direction reads every row from its own last symbol; nothing is packed. With
    `residual`, every layer but the first adds its input to its output. Dropout is applied to the input of
    every layer (Zaremba et al. 2014, arXiv 1409.2329), so it works with one layer too. `norm` and `feed_forward`:
    see `Between`.
    `size` is the width of the states: `hidden` times the directions.
    """

    def __init__(
        self,
        inputs: int,
        make_cell: MakeCell,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        norm: bool = False,
        feed_forward: int = 0,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.size = hidden * (2 if bidirectional else 1)
        self.residual = residual
        self.dropout = Dropout(dropout, locked_dropout)
        widths = [inputs] + [self.size] * (layers - 1)
        self.forward_cells = Cells(make_cell(width, hidden) for width in widths)
        self.backward_cells = Cells(make_cell(width, hidden) for width in widths if bidirectional)
        self.between = Between(self.size, layers, norm, feed_forward)

    @property
    def one_way(self) -> bool:
        """Whether no state depends on what comes after it: then it can be run step by step."""
        return not self.backward_cells

    def begin(self, like: Tensor) -> tuple[Layer, ...]:
        """The state of every layer before the first step, for the rows of `like` [rows, ...]."""
        return tuple(cell.initial(like) for cell in self.forward_cells)

    def _above(self, depth: int, output: Tensor, below: Tensor) -> Tensor:
        """A layer's output, from that of its cell and what the layer was given."""
        return self.between.after(depth, output + below if self.residual and depth > 0 else output)

    def step(self, inputs: Tensor, layers: tuple[Layer, ...]) -> tuple[Tensor, tuple[Layer, ...]]:
        """One step of a one-way encoder: inputs [R, inputs] and the layers' states -> the top state, new states."""
        after: list[Layer] = []
        states = inputs
        for depth, cell in enumerate(self.forward_cells):
            below = self.dropout(states)
            after.append(cell.advance(self.between.before(depth, below), layers[depth]))
            states = self._above(depth, after[-1][0], below)
        return states, tuple(after)

    def run(self, inputs: Tensor, layers: tuple[Layer, ...]) -> tuple[Tensor, tuple[Layer, ...]]:
        """All steps of a one-directional encoder from given states; equals `step` in a loop. inputs [B, S, inputs]."""
        after: list[Layer] = []
        states = inputs
        for depth, cell in enumerate(self.forward_cells):
            below = self.dropout(states)
            output, final = cell(self.between.before(depth, below), layers[depth])
            after.append(final)
            states = self._above(depth, output, below)
        return states, tuple(after)

    def layer(self, depth: int, inputs: Tensor, lengths: Tensor) -> Tensor:
        """One layer in its directions: inputs [B, S, width], lengths [B] -> states [B, S, size]."""
        cell = self.forward_cells.at(depth)
        states: Tensor = cell(inputs, cell.initial(inputs))[0]
        if not self.backward_cells:
            return states
        backward, turned = self.backward_cells.at(depth), reverse_within(inputs, lengths)
        output, _ = backward(turned, backward.initial(turned))
        return torch.cat([states, reverse_within(output, lengths)], -1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoded:
        """inputs [B, S, inputs], lengths [B] -> states; `last` joins forward h_S with backward h_1."""
        mask = length_mask(lengths, inputs.shape[1])
        states = inputs
        for depth in range(len(self.forward_cells)):
            below = self.dropout(states)
            output = self.layer(depth, self.between.before(depth, below), lengths)
            states = self._above(depth, output, below)
        states = states.masked_fill(~mask[..., None], 0.0)
        at_end = states[torch.arange(lengths.shape[0], device=lengths.device), lengths - 1]
        last = torch.cat([at_end[:, : self.hidden], states[:, 0, self.hidden :]], -1)
        return Encoded(states, mask, last)
