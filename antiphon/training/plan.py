"""Which rows make which update: a pure function of data and settings, the same in every process of a training.

A streamed table comes in windows; each is divided into batches as an epoch in memory is, so a batch has rows of similar
length from anywhere in its window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, TypeAlias

from antiphon.config.schema import Train
from antiphon.data.batches import Examples, Ints, epoch_batches
from antiphon.data.stream import Position, Stream

Rows: TypeAlias = Examples | Stream
"""What a training learns from: rows in memory, or a streamed table."""

Place: TypeAlias = Mapping[str, Any]
"""Where an update's window begins: its `Position` as plain values, and in `step` the updates before it."""


@dataclass(frozen=True)
class Update:
    """One update of the weights: its number and epoch, and the rows of its micro-batches, which are rows of `examples`.

    With `place` a training of a streamed table goes on from here.
    """

    step: int
    epoch: float
    batches: list[Ints]
    examples: Examples
    place: Place | None = None

    @property
    def tokens(self) -> int:
        """Target tokens of all rows."""
        return sum(int(self.examples.target.lengths[rows].sum()) for rows in self.batches)


def updates(settings: Train, data: Rows, start: int, place: Place | None = None) -> Iterator[Update]:
    """The updates of a training after number `start`: a pure function of data and settings.

    Of a streamed table those up to the `place` of update `start` are not read again.
    """
    if isinstance(data, Stream):
        yield from _streamed(settings, data, start, place)
        return
    step, total = 0, total_steps(settings, data)
    for epoch in count():
        batches = epoch_batches(data, settings.batch_size, settings.token_budget, settings.seed, epoch)
        for share, group in _groups(settings, batches):
            if step >= total:
                return
            step += 1
            if step > start:
                yield Update(step, epoch + share, group, data)


def _groups(settings: Train, batches: list[Ints]) -> Iterator[tuple[float, list[Ints]]]:
    """The micro-batches of each update, and the share of all updates of these batches that are made with it."""
    groups = math.ceil(len(batches) / settings.accumulate)
    for index in range(groups):
        yield (index + 1) / groups, batches[index * settings.accumulate : (index + 1) * settings.accumulate]


def _streamed(settings: Train, stream: Stream, start: int, place: Place | None) -> Iterator[Update]:
    begin = dict(place or {"step": 0})
    step, total = int(begin.pop("step")), total_steps(settings, stream)
    for at, examples in stream.visit(Position(**begin)):
        here = {"step": step, **asdict(at)}
        batches = epoch_batches(
            examples, settings.batch_size, settings.token_budget, settings.seed, at.epoch, at.window
        )
        for share, group in _groups(settings, batches):
            if step >= total:
                return
            step += 1
            if step > start:
                read = (at.rows + len(examples) * share) / max(stream.rows, 1)
                yield Update(step, at.epoch + min(read, 1.0), group, examples, here)


def steps_per_epoch(settings: Train, data: Rows) -> int:
    """Updates in the first epoch; with batches by tokens later epochs may differ a little. About so many for a streamed
    table, whose bad rows are met later."""
    if isinstance(data, Examples):
        batches = len(epoch_batches(data, settings.batch_size, settings.token_budget, settings.seed, 0))
    elif settings.token_budget is None:
        batches = math.ceil(data.rows / settings.batch_size)
    else:
        of_sample = epoch_batches(data.sample, settings.batch_size, settings.token_budget, settings.seed, 0)
        batches = math.ceil(data.rows * len(of_sample) / len(data.sample))
    return max(1, math.ceil(batches / settings.accumulate))


def total_steps(settings: Train, data: Rows) -> int:
    """The ceiling in updates."""
    return min(settings.max_steps or 1 << 60, settings.epochs * steps_per_epoch(settings, data))
