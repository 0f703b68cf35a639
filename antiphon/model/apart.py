"""A model that writes each column of a series alone, with shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.model.models import Input
from antiphon.model.parts.heads.apart import ApartHead
from antiphon.model.series import SeriesWriter, Start
from antiphon.model.state import State


class ApartWriter(SeriesWriter):
    """As `SeriesWriter`, where each of C columns is read and written as a series of one number: "channel independence"
    (Nie et al. 2023, arXiv 2211.14730). A learned vector of each column is added to all inputs of its decoder.

    Inside it has C * B rows: all rows of the first column, then all rows of the second, and so on.
    """

    head: ApartHead

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        width = self.decoder_inputs
        bound = (3.0 / width) ** 0.5
        self.columns = nn.Parameter(torch.empty(self.head.numbers, width).uniform_(-bound, bound))
        if self.project is not None:
            self.project = nn.Linear(self.head.segment, width)

    @property
    def decoder_inputs(self) -> int:
        """The width of the decoder's input."""
        if self.positions is not None:
            return self.positions.shape[1]
        assert self.project is not None
        return self.project.out_features

    def start(self, sources: Sequence[Input]) -> Start:
        scaled, scaling = self.scaled(sources)
        encoded = self.encode(self._apart(scaled))
        return Start(self.state_of(encoded), self._first_input(scaled), scaling)

    def _apart(self, sources: Sequence[Input]) -> list[Input]:
        """The sources of B rows as those of C * B rows, of which each has one column of the past."""
        assert self.past is not None
        count, apart = len(self.past.places), list[Input]()
        for number, (values, lengths) in enumerate(sources):
            if number == self.past.source:
                columns = torch.cat([values[:, :, place : place + 1] for place in self.past.places])
            else:
                columns = values.repeat(count, *[1] * (values.dim() - 1))
            apart.append((columns, lengths.repeat(count)))
        return apart

    def _first_input(self, sources: Sequence[Input]) -> Tensor:
        """What the first step reads [C * B, inputs]: the last segment of the scaled past, or the first position."""
        if self.positions is not None:
            rows = sources[0][0].shape[0]
            return (self.positions[:1] + self.columns).repeat_interleave(rows, 0)
        return self.read(self.last_segment(sources))

    def read(self, segment: Tensor) -> Tensor:
        """Segments [B, ..., segment * C] of all columns -> inputs [C * B, ..., inputs]."""
        assert self.project is not None
        apart = segment.reshape(*segment.shape[:-1], self.head.segment, self.head.numbers).movedim(-1, 0)
        columns = self.columns.view(-1, *[1] * (apart.dim() - 2), self.columns.shape[1])
        inputs: Tensor = self.project(apart) + columns  # [C, B, ..., inputs]
        return inputs.flatten(0, 1)

    def at_once(self, state: State, steps: int) -> tuple[Tensor, Tensor | None]:
        """As in `SeriesWriter`. Where nothing but the cells is between inputs and features, the products of the inputs
        are computed once for all rows of a column, and those of the states once for all steps."""
        assert self.positions is not None
        rows, columns = state.rows, self.columns.shape[0]
        inputs = self.positions[None, :steps] + self.columns[:, None]  # [C, K, inputs]
        if self.decoder.attention is None and not self.context_every_step and len(self.decoder.cells) == 1:
            cell = self.decoder.cells.at(0)
            before = tuple(part.view(columns, -1, 1, part.shape[1]) for part in state.layers[0])
            top = cell.advance(inputs[:, None], before)[0]  # [C, B, K, hidden]
            features = self.decoder.features_of(top.flatten(0, 1), state)
            return features, None
        repeated = inputs.repeat_interleave(rows // columns, 0).flatten(0, 1)
        features, _, attention = self.advance(repeated, state.expand(steps))
        weights = None if attention is None else attention.reshape(rows, steps, -1)
        return features.reshape(rows, steps, -1), weights
