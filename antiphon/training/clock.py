"""A training within `train.minutes`: its number of updates is what the rest of the time allows.

The time of an update is measured all along, so the schedule of the learning rate reaches its end together with the
minutes, also where other programs slow the machine down in between. The last validation and the saving of the model
have their time set aside; validations before take at most a tenth of the time, and none is in the last tenth.
A training whose updates all fit is the same as without a clock, unless validating all rows would take too long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from antiphon.config.schema import Config
from antiphon.data.batches import only
from antiphon.evaluation.measure import validate
from antiphon.evaluation.task import Task, grouped_rows
from antiphon.training.prepare import Prepared

CPU = torch.device("cpu")
SHARE = 0.1  # of the time, for validations before the last
CHECK = 0.04  # of the time, for the last one
EARLY = 0.1  # of the time, which counts as over from the beginning
LAST = 0.9  # of the time, after which only the last validation follows
WARM = 2  # updates that are not timed: the first ones take longer
SLOW = 0.02  # how much of the mean time of an update the newest replaces, at least
MARGIN = 1.3  # the last validation may take so many times as long as the one before
SAVING = 0.01  # of the time, for saving the model
AROUND = 1.0  # seconds of the process before the clock begins and after the model is saved
LEAST = 100  # validation inputs, where there are so many
SAMPLE = 64  # validation inputs whose time is measured before the first update


@dataclass
class Clock:
    """The time of a training, in seconds of `time.monotonic`; only the first process's is used."""

    began: float
    seconds: float  # in all
    validation: float  # seconds of the last validation and its saving; before the first an estimate
    spent: float = 0.0  # seconds of all validations
    update: float = 0.0  # mean seconds of an update
    timed: int = 0  # updates, with those that only warm up

    def used(self) -> float:
        """The share of the time that is over."""
        return (time.monotonic() - self.began) / self.seconds

    def ended_update(self, began: float) -> None:
        """An update that began at `began` has ended."""
        taken = time.monotonic() - began
        self.timed += 1
        count = self.timed - WARM
        if count > 0:
            self.update += max(1 / count, SLOW) * (taken - self.update)

    def total(self, step: int, ceiling: int) -> int:
        """The updates of the whole training after `step` of them: `ceiling`, or fewer if the time allows no more."""
        if self.timed <= WARM:
            return ceiling
        left = self.seconds * (1 - self.used() - SAVING) - AROUND - MARGIN * self.validation
        share = min(SHARE, self.spent / max(self.used() * self.seconds, 1e-9))  # for validations to come
        return min(ceiling, step + max(0, int(left * (1 - share) / self.update)))

    def allows_validation(self) -> bool:
        """Whether there is time for a validation before the last."""
        used = self.used()
        return used < LAST and self.spent + self.validation <= SHARE * (used + EARLY) * self.seconds

    def ended_validation(self, began: float) -> None:
        """A validation that began at `began` has ended, and its state is saved."""
        self.validation = time.monotonic() - began
        self.spent += self.validation


def validation_cost(prepared: Prepared, device: torch.device) -> float:
    """The seconds that validation takes for an input, with outputs as long as the references are on average."""
    inputs = _inputs(prepared)
    few = _only(prepared, _spread(inputs, SAMPLE))
    config, longest = few.config, max(1, round(float(few.valid.target.lengths.mean())))
    if config.decode.max_length is not None:
        most = max(config.decode.min_length, min(longest, config.decode.max_length))
        config = config.model_copy(update={"decode": config.decode.model_copy(update={"max_length": most})})
    few.model.to(device)
    began = time.monotonic()
    validate(_task(few, config, device), few.metric)
    return (time.monotonic() - began) / min(len(inputs), SAMPLE)


def within(prepared: Prepared, began: float, cost: float, checked: int | None) -> tuple[Prepared, int, Clock]:
    """The clock of a training that began at `began`; and `checked` of its validation inputs, if the time does not allow
    all, each of which takes `cost` seconds. Before the first update `checked` is None."""
    minutes, inputs = prepared.config.train.minutes, _inputs(prepared)
    assert minutes is not None
    if checked is None:
        checked = min(len(inputs), max(LEAST, int(CHECK * 60 * minutes / max(cost, 1e-9))))
    if checked < len(inputs):
        note = f"{minutes:g} minutes: {checked:,} of the {len(inputs):,} validation inputs are used, evenly spread"
        prepared = _only(replace(prepared, notes=[*prepared.notes, note]), _spread(inputs, checked))
    return prepared, checked, Clock(began, 60 * minutes, validation=cost * min(checked, len(inputs)))


def _inputs(prepared: Prepared) -> list[list[int]]:
    """The validation rows of each input; a long text is one."""
    if prepared.codecs.sources[0].whole:
        return [[*range(len(prepared.valid))]]
    return grouped_rows(_task(prepared, prepared.config))


def _spread(inputs: Sequence[Sequence[int]], count: int) -> list[int]:
    """The rows of `count` inputs, evenly spread; of all if there are no more."""
    chosen = [inputs[place * len(inputs) // count] for place in range(count)] if count < len(inputs) else inputs
    return [row for rows in chosen for row in rows]


def _only(prepared: Prepared, rows: Sequence[int]) -> Prepared:
    """The same with these of its validation rows."""
    if len(rows) == len(prepared.valid):
        return prepared
    return replace(prepared, valid=only(prepared.valid, rows), valid_rows=[prepared.valid_rows[row] for row in rows])


def _task(prepared: Prepared, config: Config, device: torch.device = CPU) -> Task:
    """The validation rows as a task."""
    return Task(prepared.model, config, prepared.codecs, prepared.valid_rows, prepared.valid, device)
