"""One long table as windows: the rows before an origin are read, those behind it predicted.

Windows are places in the arrays of the table: each is cut when it is read, so that memory holds the table once. Parts
of the table for training, validation and testing are spans of time: a window belongs to the part that all its
predicted rows lie in, and its past may reach back over the border; nothing ever reaches ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from antiphon.common.calendar import Times, written
from antiphon.data.batches import Ints, Sequences
from antiphon.data.codecs.calendar import CalendarCodec
from antiphon.data.rows import Row
from antiphon.data.times import Step
from antiphon.data.tracks import Border, Layout, Side, Track
from antiphon.errors import ConfigError, DataError, count_of


@dataclass(frozen=True)
class Windows(Sequence[Row]):
    """The windows of tracks as rows, each made when it is asked for.

    `places` [N, 2] are the track and the origin, its first predicted row, of each window.
    """

    tracks: Sequence[Track]
    sides: Sequence[Side]
    layout: Layout
    places: Ints
    step: Step | None = None

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> Windows: ...
    def __getitem__(self, number: int | slice) -> Row | Windows:
        if isinstance(number, slice):
            return replace(self, places=self.places[number])
        track, origin = self._place(number)
        *sources, target = (self.value(number, side) for side in range(len(self.sides)))
        return Row(tuple(sources), target, track.file, int(track.lines[origin]))

    def _place(self, number: int) -> tuple[Track, int]:
        track, origin = self.places[number]
        return self.tracks[track], int(origin)

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(len(self)))

    def value(self, number: int, side: int) -> Any:
        """What window `number` has for a side."""
        track, origin = self._place(number)
        return self.sides[side].value(track, side, origin, self.layout)

    def about(self) -> str:
        """How many windows there are, of how many groups, and which times they predict."""
        groups = {self.tracks[number].group for number in np.unique(self.places[:, 0]).tolist()}
        several = f" of {len(groups):,} groups" if len(groups) > 1 else ""
        times = [
            self.tracks[number].times[origin : origin + self.layout.horizon]
            for number, origin in self.places.tolist()
            if self.tracks[number].times is not None
        ]
        if not times:
            return f"{len(self):,} windows{several}"
        first, last = min(part[0] for part in times), max(part[-1] for part in times)
        step = "" if self.step is None else f"; the step is {self.step}"
        return f"{len(self):,} windows{several}, which predict {written(first)} to {written(last)}{step}"

    def group(self, number: int) -> str:
        """The group of a window."""
        return self._place(number)[0].group

    def times(self, number: int) -> Times | None:
        """The times of a window's predicted rows; None without times."""
        track, origin = self._place(number)
        return None if track.times is None else track.times[origin : origin + self.layout.horizon]

    def in_time(self) -> list[int]:
        """The numbers of the windows of all groups, the one that predicts the earliest rows first; without times by
        the place in their group."""
        origins = []
        for number, origin in self.places.tolist():
            track = self.tracks[number]
            origins.append(track.offset + origin if track.times is None else int(track.times[origin].astype(np.int64)))
        order: list[int] = np.argsort(np.asarray(origins, np.int64), kind="stable").tolist()
        return order

    def take(self, numbers: Sequence[int] | Ints) -> Windows:
        """Only these windows."""
        return replace(self, places=self.places[np.asarray(numbers, np.int64)])

    def covered(self, side: int) -> list[Any]:
        """The values of a side in the rows that windows read or predict, each row of the table once: to learn from."""
        values: list[Any] = []
        for cells in self._covered(side):
            values += [self.sides[side].codec.read(cells, "")] if self.sides[side].gathers else cells
        return values

    def covered_numbers(self) -> list[Any]:
        """The target's numbers [T, C] in the rows that windows read or predict, of each track."""
        return self._covered(-1)

    def _covered(self, side: int) -> list[Any]:
        parts = []
        for number in np.unique(self.places[:, 0]).tolist():
            origins = self.places[self.places[:, 0] == number, 1]
            first, last = int(origins.min()) - self.layout.past, int(origins.max()) + self.layout.horizon
            parts.append(self.tracks[number].sides[side][first:last])
        return parts

    def history(self) -> list[Any]:
        """The target's numbers [T, C] before the first window of each track, with that window's past."""
        parts = []
        for number in np.unique(self.places[:, 0]).tolist():
            first = int(self.places[self.places[:, 0] == number, 1].min())
            parts.append(self.tracks[number].sides[-1][:first])
        return parts

    def target_of(self, number: int) -> tuple[Any, Any]:
        """The target's numbers in the past of a window [P, C] and behind its origin [H, C], in the unit of the data."""
        track, origin = self._place(number)
        numbers = track.sides[-1]
        return numbers[origin - self.layout.past : origin], numbers[origin : origin + self.layout.horizon]

    def between(self, start: Border | None, stop: Border | None) -> Windows:
        """The windows whose predicted rows all lie behind the border `start` and before `stop`."""
        low, high = np.zeros(len(self), np.int64), np.zeros(len(self), np.int64)
        for number, track in enumerate(self.tracks):
            mine = self.places[:, 0] == number
            low[mine] = 0 if start is None else track.place_of(start)
            high[mine] = len(track) if stop is None else track.place_of(stop)
        origins = self.places[:, 1]
        return replace(self, places=self.places[(origins >= low) & (origins + self.layout.horizon <= high)])

    def border(self, share: float, stop: Border | None) -> Border:
        """The border behind the first `share` of the rows before `stop`: a time if there are times, one for all groups;
        else a share of each group."""
        if any(track.times is None for track in self.tracks):
            if stop is None:
                return share
            if isinstance(stop, float):
                return share * stop
            return round(share * int(stop))
        kept = [track.times[: len(track) if stop is None else track.place_of(stop)] for track in self.tracks]  # type: ignore[index]
        times = np.sort(np.concatenate(kept))
        if not len(times):
            raise ConfigError("data.window", "no row lies before the first border")
        return written(times[min(round(share * len(times)), len(times) - 1)])

    def arrays(self, side: int) -> Sequences:
        """The encoded arrays of a side, made when they are asked for."""
        return LazySequences(self, side)


class LazySequences(Sequences):
    """The encoded arrays of one side of windows: cut and scaled when a batch asks for them."""

    def __init__(self, windows: Windows, side: int) -> None:
        self.windows, self.side = windows, side
        length = len(self[0]) if len(windows) else 0
        self.lengths = np.full(len(windows), length, np.int64)
        self.ends = np.cumsum(self.lengths, dtype=np.int64)

    @property
    def values(self) -> NDArray[Any]:  # type: ignore[override]
        """What all windows read, each row of the table once: numbers and times as they are, names as ids."""
        side, parts = self.windows.sides[self.side], self.windows.covered(self.side)
        if not side.gathers:
            parts = [np.asarray(side.codec.encode(value), np.int32) for value in parts]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> NDArray[Any]:
        codec = self.windows.sides[self.side].codec
        array = codec.encode(self.windows.value(row, self.side))
        return array if isinstance(array, np.ndarray) else np.asarray(array, np.int32)

    def take(self, rows: Sequence[int] | Ints) -> Sequences:
        return LazySequences(self.windows.take(rows), self.side)

    def padded(self, rows: Sequence[int] | Ints) -> NDArray[Any]:
        if not len(rows):
            return np.zeros((0, 0), np.float32)
        stacked = np.stack([self[int(row)] for row in rows])
        return stacked.astype(np.int64) if stacked.dtype.kind == "i" else stacked


def windows_of(tracks: Sequence[Track], sides: Sequence[Side], layout: Layout, step: Step | None) -> Windows:
    """All windows of the tracks: every `stride` rows an origin with enough rows before and behind it."""
    places = [
        (number, origin)
        for number, track in enumerate(tracks)
        for origin in range(layout.past, track.known - layout.horizon + 1, layout.stride)
    ]
    return Windows(tracks, sides, layout, np.asarray(places, np.int64).reshape(-1, 2), step)


# --- predicting ---------------------------------------------------------------------------------------


class Ahead(NamedTuple):
    """What a group's prediction reads: its name, the line of its last known row, its sources, and the times of the rows
    that are predicted."""

    group: str
    file: str
    line: int
    sources: list[Any]
    times: Times | None


def continued(tracks: Sequence[Track], sides: Sequence[Side], layout: Layout, step: Step | None) -> Iterator[Ahead]:
    """For each group what is read to predict the rows behind its last row with a target."""
    last = {(track.file, track.group): track for track in tracks if track.known}
    for track in last.values():
        where, origin = f"{track.file}:{track.lines[track.known - 1]}", track.known
        named = f"group {track.group!r}" if track.group else "the table"
        if origin < layout.past:
            reason = (
                f"{named} ends here after {count_of(origin, 'row')} without a gap, but the model reads {layout.past}"
            )
            raise DataError(f"{where}: {reason}")
        times = None
        if track.times is not None:
            if step is None:
                raise DataError(f"{where}: {named} has one row, so the step of its times is not known")
            times = step.after(track.times[origin - 1], layout.horizon)
        sources = []
        for number, side in enumerate(sides[:-1]):
            if not (side.ahead and side.gathers):
                sources.append(side.value(track, number, origin, layout))
            elif isinstance(side.codec, CalendarCodec) and times is not None and not side.reader.named:
                sources.append(times)
            elif len(track) - origin < layout.horizon:
                missing = layout.horizon - (len(track) - origin)
                reason = (
                    f"{named} needs {count_of(missing, 'further row')} behind its last known row, with the columns "
                )
                raise DataError(f"{where}: {reason}that are known ahead ({side.reader.name}) and an empty target")
            else:
                sources.append(side.value(track, number, origin, layout))
        yield Ahead(track.group, track.file, int(track.lines[origin - 1]), sources, times)
