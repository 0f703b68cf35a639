"""Which rows make which update: a pure function of data and settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from antiphon.config.schema import Train
from antiphon.data.batches import Examples, Ints, epoch_batches


@dataclass(frozen=True)
class Update:
    """One update of the weights: its number and epoch, and the rows of its micro-batches."""

    step: int
    epoch: float
    batches: list[Ints]


def updates(settings: Train, examples: Examples, start: int) -> Iterator[Update]:
    """The updates of a training from number `start` on: a pure function of data and settings."""
    step, total = 0, total_steps(settings, examples)
    for epoch in count():
        batches = epoch_batches(examples, settings.batch_size, settings.token_budget, settings.seed, epoch)
        groups = math.ceil(len(batches) / settings.accumulate)
        for index in range(groups):
            if step >= total:
                return
            step += 1
            if step > start:
                group = batches[index * settings.accumulate : (index + 1) * settings.accumulate]
                yield Update(step, epoch + (index + 1) / groups, group)


def steps_per_epoch(settings: Train, examples: Examples) -> int:
    """Updates in the first epoch; with batches by tokens later epochs may differ a little."""
    batches = epoch_batches(examples, settings.batch_size, settings.token_budget, settings.seed, 0)
    return math.ceil(len(batches) / settings.accumulate)


def total_steps(settings: Train, examples: Examples) -> int:
    """The ceiling in updates."""
    return min(settings.max_steps or 1 << 60, settings.epochs * steps_per_epoch(settings, examples))
