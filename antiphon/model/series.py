"""A model that writes a series: a sequence of vectors of its own length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.models import Channel, Input, Model, decoding_state
from antiphon.model.parts.bridges import Bridge
from antiphon.model.parts.decoders import RecurrentDecoder
from antiphon.model.parts.heads.series import Scaling, SeriesFeatures, SeriesHead
from antiphon.model.state import Encoded, State

SMALLEST = 1e-5  # added to the variance of a window, whose numbers may all be equal (Kim et al. 2022, RevIN)


class Past(NamedTuple):
    """The source of frames that is the past of the target: its number, which of its numbers are the target's, and what
    is made of their window."""

    source: int
    places: tuple[int, ...]
    window: Literal["last", "mean", "standard"]


class Start(NamedTuple):
    """What a series begins with: the decoder's state, the first input [B, inputs], each row's scaling or None."""

    state: State
    inputs: Tensor
    scaling: Scaling | None


class SeriesWriter(Model):
    """source -> encoder -> bridge -> decoder -> head: p(y|x) = prod_t p(y_t | y_<t, x).

    The decoder reads a linear map of the segment before, at first a learned vector or the last segment of the past.
    With `steps` it reads instead a learned vector for each of so many steps, from the same first state, so that all are
    computed at once (Lin et al. 2023, arXiv 2308.11200). Scaled by its window, a row is written in that scale.
    """

    head: SeriesHead

    def __init__(
        self,
        channels: Sequence[Channel],
        bridge: Bridge,
        decoder: RecurrentDecoder,
        head: SeriesHead,
        inputs: int,
        context_every_step: bool,
        steps: int | None = None,
        past: Past | None = None,
    ) -> None:
        super().__init__(channels)
        self.bridge, self.decoder, self.head, self.past = bridge, decoder, head, past
        self.context_every_step = context_every_step
        bound = (3.0 / inputs) ** 0.5
        self.positions = self.begin = self.project = None
        if steps is not None:
            self.positions = nn.Parameter(torch.empty(steps, inputs).uniform_(-bound, bound))
            return
        self.project = nn.Linear(head.segment * head.numbers, inputs)
        if past is None:
            self.begin = nn.Parameter(torch.empty(inputs).uniform_(-bound, bound))

    @property
    def attends(self) -> bool:
        return self.decoder.attention is not None

    @property
    def feeds(self) -> bool:
        """Whether the decoder reads what was written before."""
        return self.positions is None

    def start(self, sources: Sequence[Input]) -> Start:
        """The sources of B rows -> what their series begin with."""
        sources, scaling = self.scaled(sources)
        encoded = self.encode(sources)
        return Start(self.state_of(encoded), self._first(sources, encoded.last), scaling)

    def state_of(self, encoded: Encoded) -> State:
        """The decoder's state before its first step."""
        context = self.bridge.context(encoded)
        return decoding_state(self.decoder, self.bridge, encoded, context, self.context_every_step)

    def scaled(self, sources: Sequence[Input]) -> tuple[Sequence[Input], Scaling | None]:
        """The sources, with the past of the target in the scale of its window, and the scaling, if there is one."""
        past = self.past
        if past is None:
            return sources, None
        values, lengths = sources[past.source]
        places = torch.tensor(past.places, device=values.device)
        window = values.index_select(2, places)
        inside = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        if past.window == "last":
            last = (lengths - 1)[:, None, None].expand(-1, 1, window.shape[2])
            shift = window.gather(1, last)[:, 0]
        else:
            shift = (window * inside[..., None]).sum(1) / lengths[:, None]
        unit = torch.ones_like(shift)
        if past.window == "standard":
            squares = ((window - shift[:, None]) * inside[..., None]).square().sum(1) / lengths[:, None]
            unit = (squares + SMALLEST).sqrt()
        columns = torch.arange(values.shape[2], device=values.device)
        spread = (places[:, None] == columns).to(values.dtype)  # exact: each column has at most one 1
        shifts, units = shift @ spread, unit @ spread + (1 - spread.sum(0))
        changed = Scaling(shifts, units).into(values) * inside[..., None]
        scaled = [(changed, lengths) if number == past.source else side for number, side in enumerate(sources)]
        return scaled, Scaling(shift, unit)

    def _first(self, sources: Sequence[Input], like: Tensor) -> Tensor:
        """What the first step reads [B, inputs]: the learned vector, or the last segment of the scaled past."""
        if self.project is None:
            assert self.positions is not None
            return self.positions[0].expand(like.shape[0], -1)
        if self.past is None:
            assert self.begin is not None
            return self.begin.expand(like.shape[0], -1)
        return self.read(self.last_segment(sources))

    def last_segment(self, sources: Sequence[Input]) -> Tensor:
        """The last segment of the scaled past [B, segment * numbers]."""
        assert self.past is not None
        values, lengths = sources[self.past.source]
        segment = self.head.segment
        padded = functional.pad(values, (0, 0, segment, 0))  # a past shorter than a segment begins with zeros
        steps = lengths[:, None] + torch.arange(segment, device=values.device)
        taken = padded.gather(1, steps[..., None].expand(-1, -1, values.shape[2]))
        places = torch.tensor(self.past.places, device=values.device)
        return taken.index_select(2, places).flatten(1)

    def read(self, segment: Tensor) -> Tensor:
        """The decoder's input [..., inputs] after a segment [..., segment * numbers] in the scale of its row."""
        assert self.project is not None
        inputs: Tensor = self.project(segment)
        return inputs

    def advance(self, inputs: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """A step of the decoder: readout features [R, features], the state after, attention [R, S] or None."""
        decoded = self.decoder.step(inputs, state)
        return decoded.features, decoded.state, decoded.attention

    def at_once(self, state: State, steps: int) -> tuple[Tensor, Tensor | None]:
        """Features [B, steps, features] of a decoder that reads positions, and attention [B, steps, S] or None."""
        assert self.positions is not None
        rows = state.rows
        inputs = self.positions[:steps].repeat(rows, 1)
        features, _, attention = self.advance(inputs, state.expand(steps))
        weights = None if attention is None else attention.reshape(rows, steps, -1)
        return features.reshape(rows, steps, -1), weights

    def segments(self, target: Tensor, scaling: Scaling | None) -> Tensor:
        """A target [B, T, numbers] in the scale of its rows and in segments [B, K, segment * numbers]."""
        scaled = target if scaling is None else scaling.into(target)
        short = -target.shape[1] % self.head.segment
        return functional.pad(scaled, (0, 0, 0, short)).reshape(
            target.shape[0], -1, self.head.segment * self.head.numbers
        )

    def forward(self, sources: Sequence[Input], target: Tensor, reference: float = 1.0) -> SeriesFeatures:
        """Readout features of the steps of target [B, T, numbers].

        `reference` is the probability, for each step on its own, that the decoder is fed the reference; else it is fed
        the center of its own distribution, through which gradients go.
        """
        state, inputs, scaling = self.start(sources)
        segments = self.segments(target, scaling)
        steps = segments.shape[1]
        if not self.feeds:
            return SeriesFeatures(self.at_once(state, steps)[0], scaling)
        if reference >= 1.0:
            read = torch.cat([inputs[:, None], self.read(segments[:, :-1])], 1)
            return SeriesFeatures(self.decoder.unroll(read, state).features, scaling)
        from_reference = torch.rand(segments.shape[:2], device=segments.device) < reference
        readouts = []
        for step in range(steps):
            features, state, _ = self.advance(inputs, state)
            readouts.append(features)
            written = self.center(features)
            inputs = self.read(torch.where(from_reference[:, step, None], segments[:, step], written))
        return SeriesFeatures(torch.stack(readouts, 1), scaling)

    def center(self, features: Tensor) -> Tensor:
        """The center of the segment [R, segment * numbers] that features [R, features] predict."""
        return self.head.likelihood.center(self.head.parameters_of(features[:, None])).flatten(1)

    def attention(self, sources: Sequence[Input], target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Attention weights [B, K, S] while the decoder is fed the target, and the mask [B, S] of what can be read.

        None without attention.
        """
        state, inputs, scaling = self.start(sources)
        if state.memory is None:
            return None
        segments = self.segments(target, scaling)
        if self.feeds:
            read = torch.cat([inputs[:, None], self.read(segments[:, :-1])], 1)
            weights = self.decoder.unroll(read, state).attention
        else:
            weights = self.at_once(state, segments.shape[1])[1]
        return None if weights is None else (weights, state.memory.mask)
