"""What a decoder carries from step to step, as a value. Modules hold parameters and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import torch
from torch import Tensor

Layer: TypeAlias = tuple[Tensor, ...]
"""A recurrent layer's state, each tensor [rows, hidden]: (h,), or (h, c) for an LSTM. h is the output."""


def at_least_float32(values: Tensor) -> Tensor:
    """Values of lower precision as float32, where a softmax follows; others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Encoded(NamedTuple):
    """An encoder's output: states [B, S, memory] (zero at padding), mask [B, S] (true at symbols), last [B, memory].

    Several sources are one memory, of which `first` [B, S] is true at the symbols of the first source.
    """

    states: Tensor
    mask: Tensor
    last: Tensor
    first: Tensor | None = None


@dataclass(frozen=True)
class Memory:
    """What attention reads: states [B, S, memory], keys [B, S, key] projected once, mask [B, S].

    For a decoder that copies, `copy_ids` [B, S] are the ids that it writes when it copies from each step.
    """

    states: Tensor
    keys: Tensor
    mask: Tensor
    copy_ids: Tensor | None = None

    @property
    def places(self) -> Tensor:
        """The number of each symbol within its row [B, S], from 1; at padding, that of the symbol before."""
        return self.mask.long().cumsum(1)

    def select(self, sources: Tensor) -> Memory:
        copy_ids = None if self.copy_ids is None else self.copy_ids[sources]
        return Memory(self.states[sources], self.keys[sources], self.mask[sources], copy_ids)


@dataclass(frozen=True)
class State:
    """All that decoding must carry, for every cell, context and attention.

    `layers`, `fed`, `attended`, `emitted` and `drawn` have R = B * width rows, those of one source side by side;
    `memory` and `context` have one row per source, since a beam never changes them.
    """

    layers: tuple[Layer, ...]
    context: Tensor | None = None  # [B, context]: C, where it enters at every step
    memory: Memory | None = None
    fed: Tensor | None = None  # [R, features]: the last readout, with input feeding
    attended: Tensor | None = None  # [R, S]: where attention has looked, for kinds that use it
    emitted: Tensor | None = None  # [R, S, symbols]: with hidden alignments, log p of the last step's symbols by place
    drawn: tuple[Tensor, ...] | None = None  # [R, width] each: in training, what locked dropout does at every step

    @property
    def rows(self) -> int:
        return self.layers[0][0].shape[0]

    def _map(self, rows: Tensor) -> State:
        layers = tuple(tuple(value[rows] for value in layer) for layer in self.layers)
        fed = None if self.fed is None else self.fed[rows]
        attended = None if self.attended is None else self.attended[rows]
        emitted = None if self.emitted is None else self.emitted[rows]
        drawn = None if self.drawn is None else tuple(value[rows] for value in self.drawn)
        return replace(self, layers=layers, fed=fed, attended=attended, emitted=emitted, drawn=drawn)

    def expand(self, width: int) -> State:
        """Every source `width` times, side by side: [B] rows become [B * width]."""
        return self._map(torch.arange(self.rows, device=self.layers[0][0].device).repeat_interleave(width))

    def reorder(self, rows: Tensor) -> State:
        """The given decoder rows [R], each taken from its own source's rows; memory stays as it is."""
        return self._map(rows)

    def select(self, sources: Tensor, width: int = 1) -> State:
        """Only the given sources [b], with all their `width` decoder rows."""
        rows = (sources[:, None] * width + torch.arange(width, device=sources.device)).flatten()
        return replace(
            self._map(rows),
            context=None if self.context is None else self.context[sources],
            memory=None if self.memory is None else self.memory.select(sources),
        )


class DecodingState(Protocol):
    """What a search needs of a state; `width` rows of one source lie side by side."""

    def expand(self, width: int) -> Self: ...

    def reorder(self, rows: Tensor) -> Self: ...

    def select(self, sources: Tensor, width: int = 1) -> Self: ...


S = TypeVar("S", bound=DecodingState)


class Step(NamedTuple, Generic[S]):
    """What a step function returns: log_probs [R, symbols], the state after, attention [R, S] or None.

    The search may write into the log-probabilities.
    """

    log_probs: Tensor
    state: S
    attention: Tensor | None = None
