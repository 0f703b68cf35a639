"""The recurrent decoder: one step, and all steps of a known target at once.

With s_t the states, y the embedded inputs, C the context, c_t what attention read, f_t the readout
and [..] for joining (bracketed terms exist where the choice asks for them):

    query: current   s_t = cells([y_{t-1}, C?, f_{t-1}?], s_{t-1});  c_t = attend(s_t)
    query: previous  c_t = attend(s_{t-1});  s_t = cells([y_{t-1}, C?, f_{t-1}?, c_t], s_{t-1})
    readout          f_t = tanh(W [s_t, c_t?, C?, y_{t-1}?] + b)

C enters with `every_step` (Cho et al. 2014, arXiv 1406.1078), f_{t-1} with `input_feeding` (Luong et
al. 2015, 1508.04025), y_{t-1} the readout with `every_step` (Cho) and with `query: previous` (Bahdanau
et al. 2015, 1409.0473). With `layer: first` the query is the first layer's state and c_t joins the input of
all others (Wu et al. 2016, GNMT, 1609.08144). Where attention uses its earlier weights, they are in the state too, and
its steps are computed one after the other.

A decoder that copies also has at each step the probability p_gen that it writes a symbol of its vocabulary (See et al.
2017, 1704.04368, eq. 8):

    gate             p_gen = sigmoid(w . [s_t, c_t, y_{t-1}] + b)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.model.parts.attention.base import Attention
from antiphon.model.parts.between import Between
from antiphon.model.parts.dropout import Dropout
from antiphon.model.parts.products import at_once
from antiphon.model.parts.recurrent import Cells, MakeCell
from antiphon.model.state import Layer, State


class Decoded(NamedTuple):
    """Readout features [R, features] or [B, T, features], attention over the source or None, the state after.

    For a decoder that copies, `gate` [R] or [B, T] is the logit of p_gen.
    """

    features: Tensor
    attention: Tensor | None
    state: State
    gate: Tensor | None = None


class RecurrentDecoder(nn.Module):
    """A stack of recurrent layers with context, attention and a readout of width `features`."""

    def __init__(
        self,
        inputs: int,
        make_cell: MakeCell,
        hidden: int,
        features: int,
        layers: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
        context: int = 0,
        attention: Attention | None = None,
        memory: int = 0,
        query: Literal["previous", "current"] = "current",
        input_feeding: bool = False,
        layer: Literal["first", "last"] = "last",
        locked_dropout: bool = False,
        copies: bool = False,
        norm: bool = False,
        feed_forward: int = 0,
    ) -> None:
        """`context` is C's width if it enters at every step, else 0; `memory` the encoder states' width.

        `norm` and `feed_forward`: see `Between`.
        """
        super().__init__()
        if attention is None and (input_feeding or query == "previous" or layer == "first"):
            wish = "input_feeding" if input_feeding else "query: previous" if query == "previous" else "layer: first"
            raise ConfigError("attention.kind", f"{wish} needs an attention; choose general, additive or dot")
        if layer == "first" and layers == 1:
            raise ConfigError(
                "attention.layer", "first needs at least 2 decoder layers; set decoder.layers, or layer: last"
            )
        self.residual, self.dropout, self.features = residual, Dropout(dropout, locked_dropout), features
        self.attention, self.input_feeding = attention, input_feeding
        self.previous, self.from_first = query == "previous", layer == "first"
        read = memory if attention is not None else 0
        bottom = inputs + context + (features if input_feeding else 0) + (read if self.previous else 0)
        above = hidden + (read if self.from_first else 0)
        self.cells = Cells(make_cell(bottom if depth == 0 else above, hidden) for depth in range(layers))
        self.between = Between(hidden, layers, norm, feed_forward)
        self.reads_input = bool(context) or self.previous
        self.readout = nn.Linear(hidden + read + context + (inputs if self.reads_input else 0), features)
        self.gate = nn.Linear(hidden + read + inputs, 1) if copies else None

    @property
    def steps_alone(self) -> bool:
        """Whether a step needs the one before: then a known target cannot be unrolled in one call."""
        return self.previous or self.input_feeding

    def begin(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The state of every layer before the first step, from what a bridge has made of C."""
        return tuple(cell.begin(layer) for cell, layer in zip(self.cells, layers, strict=True))

    def draw(self, like: Tensor) -> tuple[Tensor, ...] | None:
        """What locked dropout does at every step to each layer's input and to the readout, for the rows of `like`."""
        if not self.dropout.draws:
            return None
        widths = [*(cell.inputs for cell in self.cells), self.features]
        return tuple(self.dropout.draw(like, width) for width in widths)

    def _dropped(self, values: Tensor, state: State, place: int) -> Tensor:
        dropped: Tensor = self.dropout(values, None if state.drawn is None else state.drawn[place])
        return dropped

    def _attend(self, queries: Tensor, state: State) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """queries [R, hidden] of decoder rows, or [B, T, hidden] of steps -> c and weights in the same leading shape,
        and what attention keeps after the last step."""
        if self.attention is None or state.memory is None:
            return None, None, None
        attended = state.attended
        if attended is not None and queries.dim() == 3:
            reads, weights = [], []
            for query in queries.unbind(1):
                read, weight, attended = self._attend(query, replace(state, attended=attended))
                reads.append(read)
                weights.append(weight)
            return _stacked(reads), _stacked(weights), attended
        sources, steps = state.memory.mask.shape
        before = None if attended is None else attended.reshape(sources, -1, steps)
        looked = self.attention(queries.reshape(sources, -1, queries.shape[-1]), state.memory, before)
        lead = queries.shape[:-1]
        after = None if looked.attended is None else looked.attended.reshape(-1, steps)
        return looked.read.reshape(*lead, -1), looked.weights.reshape(*lead, -1), after

    def _context(self, state: State, like: Tensor) -> Tensor | None:
        """C for every row [R, context] or every step [B, T, context] of `like`."""
        if state.context is None:
            return None
        if like.dim() == 3:
            return state.context[:, None].expand(-1, like.shape[1], -1)
        return state.context.repeat_interleave(like.shape[0] // state.context.shape[0], 0)

    def _read_out(
        self, top: Tensor, read: Tensor | None, context: Tensor | None, inputs: Tensor, state: State
    ) -> tuple[Tensor, Tensor | None]:
        """The readout features of one step or of all, and the gate's logits."""
        features = torch.tanh(self.readout(_joined(top, read, context, inputs if self.reads_input else None)))
        gate = None if self.gate is None else self.gate(_joined(top, read, inputs)).squeeze(-1)
        return self._dropped(features, state, -1), gate

    def features_of(self, top: Tensor, state: State) -> Tensor:
        """The readout features [R, K, features] of outputs [R, K, hidden] without context or attention."""
        return self._dropped(torch.tanh(self.readout(top)), state, -1)

    def step(self, inputs: Tensor, state: State) -> Decoded:
        """One step: embedded inputs [R, inputs] and the state before."""
        context = self._context(state, inputs)
        top, read, weights, after = self._advance(inputs, context, state)
        features, gate = self._read_out(top, read, context, inputs, state)
        return Decoded(features, weights, replace(after, fed=features if self.input_feeding else None), gate)

    def _advance(
        self, inputs: Tensor, context: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None, Tensor | None, State]:
        """A step without its readout: the top output, what attention read and its weights, the state after."""
        read = weights = attended = None
        if self.previous:
            read, weights, attended = self._attend(state.layers[0 if self.from_first else -1][0], state)
        bottom = [inputs, context, state.fed if self.input_feeding else None, read if self.previous else None]
        below = _joined(*bottom)
        layers: list[Layer] = []
        for depth, cell in enumerate(self.cells):
            given = self.between.before(depth, below)
            joined = given if depth == 0 or not self.from_first or read is None else torch.cat([given, read], -1)
            layers.append(cell.advance(self._dropped(joined, state, depth), state.layers[depth]))
            output = layers[-1][0]
            if depth == 0 and self.from_first and not self.previous:
                read, weights, attended = self._attend(output, state)
            below = self.between.after(depth, output + below if self.residual and depth > 0 else output)
        if not self.previous and not self.from_first:
            read, weights, attended = self._attend(below, state)
        return below, read, weights, replace(state, layers=tuple(layers), attended=attended)

    def unroll(self, inputs: Tensor, state: State) -> Decoded:
        """All steps of a known target: embedded inputs [B, T, inputs]; equals `step` by step."""
        if self.steps_alone:
            with at_once([*(weight for cell in self.cells for weight in cell.matrices), self.readout.weight]):
                return self._step_by_step(inputs, state)
        context = self._context(state, inputs)
        below = inputs if context is None else torch.cat([inputs, context], -1)
        read = weights = attended = None
        layers: list[Layer] = []
        for depth, cell in enumerate(self.cells):
            given = self.between.before(depth, below)
            joined = given if depth == 0 or read is None else torch.cat([given, read], -1)
            output, final = cell(self._dropped(joined, state, depth), state.layers[depth])
            layers.append(final)
            if depth == 0 and self.from_first:
                read, weights, attended = self._attend(output, state)
            below = self.between.after(depth, output + below if self.residual and depth > 0 else output)
        if not self.from_first:
            read, weights, attended = self._attend(below, state)
        features, gate = self._read_out(below, read, context, inputs, state)
        return Decoded(features, weights, replace(state, layers=tuple(layers), attended=attended), gate)

    def _step_by_step(self, inputs: Tensor, state: State) -> Decoded:
        if self.input_feeding:
            decoded: list[Decoded] = []
            for step in inputs.unbind(1):
                decoded.append(self.step(step, state))
                state = decoded[-1].state
            return stacked(decoded)
        context = self._context(state, inputs[:, 0])
        tops, reads, weights = [], [], []
        for step in inputs.unbind(1):
            top, read, weight, state = self._advance(step, context, state)
            tops.append(top)
            reads.append(read)
            weights.append(weight)
        # no step needs the readout of another, so it is computed for all at once
        context = self._context(state, inputs)
        features, gate = self._read_out(torch.stack(tops, 1), _stacked(reads), context, inputs, state)
        return Decoded(features, _stacked(weights), state, gate)


def stacked(steps: Sequence[Decoded]) -> Decoded:
    """Single steps joined, as `unroll` returns them."""
    features, attention, _, gate = zip(*steps, strict=True)
    return Decoded(torch.stack(features, 1), _stacked(attention), steps[-1].state, _stacked(gate))


def _joined(*parts: Tensor | None) -> Tensor:
    """The parts that are not None, side by side."""
    return torch.cat([part for part in parts if part is not None], -1)


def _stacked(steps: Sequence[Tensor | None]) -> Tensor | None:
    """[R, ...] a step, or None -> [R, T, ...], or None."""
    tensors = [step for step in steps if step is not None]
    return torch.stack(tensors, 1) if tensors else None
