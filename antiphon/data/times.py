"""The times of a long table: the step between them, what lies behind the last, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from antiphon.common.calendar import DAY, Times, written
from antiphon.errors import count_of

UNITS = ((7 * DAY, "week"), (DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True)
class Step:
    """The time from one row to the next: so many seconds, or months. Months may be counted `from_end`, as the last days
    of months are."""

    seconds: int = 0
    months: int = 0
    from_end: bool = False

    def after(self, time: np.datetime64, count: int) -> Times:
        """The times of the next `count` rows behind `time`."""
        numbers = np.arange(1, count + 1)
        if not self.months:
            return time + (self.seconds * numbers).astype("timedelta64[s]")
        month = time.astype("datetime64[M]")
        shift = self.from_end  # the end of a month is the beginning of the next
        rest = time - (month + shift).astype("datetime64[s]")
        result: Times = (month + shift + self.months * numbers).astype("datetime64[s]") + rest
        return result

    def __str__(self) -> str:
        return count_of(self.months, "month") if self.months else duration(self.seconds)


def duration(seconds: int) -> str:
    """Seconds in the largest unit that they are a multiple of."""
    size, name = next((size, name) for size, name in UNITS if not seconds % size)
    return count_of(seconds // size, name)


def step_of(groups: Sequence[Times]) -> Step | None:
    """The step of the times of groups: the most frequent difference, or months; None if no group has two times."""
    differences = np.concatenate([np.diff(times).astype(np.int64) for times in groups] or [np.zeros(0, np.int64)])
    differences = differences[differences > 0]
    if not len(differences):
        return None
    values, counts = np.unique(differences, return_counts=True)
    if values[counts.argmax()] >= 28 * DAY and (step := _months(groups)) is not None:
        return step
    return Step(int(values[counts.argmax()]))


def _months(groups: Sequence[Times]) -> Step | None:
    """The step in months, if the times are the same place of their months, counted from the start or from the end."""
    for from_end in (False, True):
        rests = [times - (times.astype("datetime64[M]") + from_end).astype("datetime64[s]") for times in groups]
        if len(np.unique(np.concatenate(rests))) == 1:
            months = np.concatenate([np.diff(times.astype("datetime64[M]").astype(np.int64)) for times in groups])
            values, counts = np.unique(months[months > 0], return_counts=True)
            return Step(months=int(values[counts.argmax()]), from_end=from_end)
    return None


class Fault(NamedTuple):
    """What is wrong at a row of a group: its place, whether the row itself is bad (its time is not behind that of the
    last good row; otherwise rows are missing before it), and the reason."""

    place: int
    row_is_bad: bool
    reason: str


def faults(times: Times, step: Step) -> Iterator[Fault]:
    """What is wrong with a group's times."""
    seconds, last = times.astype(np.int64).tolist(), 0
    for place in range(1, len(seconds)):
        apart, before = seconds[place] - seconds[last], times[last]
        if apart == 0:
            yield Fault(place, True, f"the time {written(before)} is also that of an earlier row; keep one of them")
            continue
        if apart < 0:
            later, time = written(before), written(times[place])
            yield Fault(place, True, f"the time goes back from {later} to {time}; sort the table by time")
            continue
        if apart != step.seconds and not (step.months and times[place] == step.after(before, 1)[0]):
            yield Fault(place, False, _gap(before, times[place], step))
        last = place


def _gap(before: np.datetime64, time: np.datetime64, step: Step) -> str:
    apart = duration(int((time - before).astype(np.int64)))
    message = f"the time {written(time)} comes {apart} after that of the row before ({written(before)}), "
    missing = 0
    if step.months:
        missing = int((time.astype("datetime64[M]") - before.astype("datetime64[M]")).astype(np.int64)) // step.months
    elif not int((time - before).astype(np.int64)) % step.seconds:
        missing = int((time - before).astype(np.int64)) // step.seconds
    rows = f": {count_of(missing - 1, 'row')} missing; fill them, with empty cells and missing: previous" * (
        missing > 1
    )
    return f"{message}but the step is {step}{rows}"
