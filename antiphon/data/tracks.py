"""One long table read as groups of rows that follow each other in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.common.calendar import Times, read_time, written
from antiphon.common.numbers import DECIMAL_COMMA, MISSING
from antiphon.config.files import InMemory
from antiphon.data.batches import Ints
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.calendar import CalendarCodec
from antiphon.data.codecs.numbers import ScaledCodec
from antiphon.data.columns import read_memory, read_table
from antiphon.data.formats import Column, tables_in
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader
from antiphon.data.times import Step, faults, step_of
from antiphon.errors import ConfigError

Border = float | int | str  # a share of the time, the number of a row of each group from 0, or a time


class Layout(NamedTuple):
    """How a long table is read: the columns of the time and of the group, and the width and distance of windows."""

    time: Column | None
    group: Column | None
    past: int
    horizon: int
    stride: int = 1
    separator: str | None = None
    commas: bool = False  # decimal commas


@dataclass(frozen=True)
class Track:
    """Rows of a group that follow each other without a gap.

    `sides` has for each side numbers [T, size], times [T], or a list of T values. The first row is number `offset` of
    `total` in its group. The target is known for the first `known` rows.
    """

    group: str
    file: str
    lines: Ints
    times: Times | None
    sides: tuple[Any, ...]
    offset: int
    total: int
    known: int

    def __len__(self) -> int:
        return len(self.lines)

    def piece(self, start: int, stop: int) -> Track:
        """The rows from `start` up to `stop`."""
        times = None if self.times is None else self.times[start:stop]
        sides = tuple(side[start:stop] for side in self.sides)
        known = min(max(self.known - start, 0), stop - start)
        return Track(
            self.group, self.file, self.lines[start:stop], times, sides, self.offset + start, self.total, known
        )

    def place_of(self, border: Border) -> int:
        """The first row that lies behind a border."""
        if isinstance(border, str):
            if self.times is None:
                raise ConfigError(
                    "data.window", f"the border {border!r} is a time; name the column of times: data.time"
                )
            return int(np.searchsorted(self.times, read_time(border)))
        number = round(border * self.total) if isinstance(border, float) else border
        return min(max(number - self.offset, 0), len(self))


@dataclass(frozen=True)
class Side:
    """A side as windows are cut for it: its codec, how cells are read, and whether it is read `ahead`, over the rows
    that are predicted."""

    codec: Codec
    reader: SideReader
    ahead: bool

    @property
    def gathers(self) -> bool:
        """Whether it takes the cells of all rows of a window; otherwise that of the last row of the past."""
        return self.codec.steps and isinstance(self.codec, ScaledCodec | CalendarCodec)

    def span(self, origin: int, layout: Layout) -> slice:
        """The rows that it reads of the window before and behind `origin`."""
        if not self.gathers:
            return slice(origin - 1, origin)
        return slice(origin, origin + layout.horizon) if self.ahead else slice(origin - layout.past, origin)

    def value(self, track: Track, number: int, origin: int, layout: Layout) -> Any:
        """What a row's side number `number` is for this window."""
        cells = track.sides[number][self.span(origin, layout)]
        return self.codec.read(cells, "") if self.gathers else cells[0]


def load_tracks(
    tables: Sequence[str | InMemory], sides: Sequence[Side], layout: Layout, problems: Problems
) -> tuple[list[Track], Step | None]:
    """The groups of long tables, cut where rows are missing or bad, which are added to `problems`; and the step."""
    tracks = [
        track
        for table in tables
        for part in ([table] if isinstance(table, InMemory) else tables_in(table))
        for track in _groups(part, sides, layout, problems)
    ]
    step = step_of([track.times for track in tracks if track.times is not None])
    pieces = []
    for track in tracks:
        bad, breaks = np.zeros(len(track), bool), {0, len(track)}
        if track.times is not None and step is not None:
            for place, row_is_bad, reason in faults(track.times, step):
                problems.add(track.file, int(track.lines[place]), reason)
                bad[place] |= row_is_bad
                breaks.add(place)
        bad |= _incomplete(track, sides, problems)
        breaks |= {place for row in np.flatnonzero(bad) for place in (int(row), int(row) + 1)}
        ordered = sorted(breaks)
        pieces += [track.piece(start, stop) for start, stop in pairwise(ordered) if not bad[start]]
    return pieces, step


def _groups(table: str | InMemory, sides: Sequence[Side], layout: Layout, problems: Problems) -> list[Track]:
    """The rows of a table by their group, in the order of the table."""
    path = str(table)
    reading = [side for side in sides if side.codec.reads]
    columns: list[Column] = [column for column in (layout.time, layout.group) if column is not None]
    extra = len(columns)
    columns += [column for side in reading for column in _columns(side, layout)]
    if isinstance(table, InMemory):
        fills = columns  # an empty cell is judged below
        records = read_memory(table, columns, problems, True, fills)
    else:
        records = read_table(table, columns, any(isinstance(c, str) for c in columns), problems, True, layout.separator)
    lines: dict[str, list[int]] = {}
    cells: dict[str, list[list[object]]] = {}
    for line, values in records:
        name = str(values[extra - 1]) if layout.group is not None else ""
        lines.setdefault(name, []).append(line)
        cells.setdefault(name, []).append(values)
    return [
        _track(path, name, lines[name], list(zip(*cells[name], strict=True)), sides, layout, problems) for name in lines
    ]


def _columns(side: Side, layout: Layout) -> Sequence[Column]:
    columns = side.reader.columns
    if isinstance(side.codec, CalendarCodec) and not side.reader.named:
        if layout.time is None:
            raise ConfigError("data.time", "is needed by the source of the kind calendar; name the column of times")
        return (layout.time,)
    assert columns is not None
    return columns if isinstance(columns, tuple) else (columns,)


def _track(
    path: str,
    group: str,
    lines: Sequence[int],
    columns: Sequence[Sequence[object]],
    sides: Sequence[Side],
    layout: Layout,
    problems: Problems,
) -> Track:
    """A group's rows. Cells that cannot be read are added to `problems`."""
    rest = iter(columns)
    times = None if layout.time is None else _times(path, lines, next(rest), problems, str(layout.time))
    if layout.group is not None:
        next(rest)
    values: list[Any] = []
    for side in sides:
        if not side.codec.reads:
            values.append([""] * len(lines))
            continue
        names = _columns(side, layout)
        cells = [next(rest) for _ in names]
        if isinstance(side.codec, CalendarCodec) and side.gathers:
            same = times is not None and list(names) == [layout.time]
            values.append(times if same else _times(path, lines, cells[0], problems, str(names[0])))
        elif side.gathers:
            numbers = [
                _numbers(path, lines, column, problems, name, layout.commas)
                for column, name in zip(cells, names, strict=True)
            ]
            values.append(np.stack(numbers, 1))
        else:
            values.append(_static(path, lines, cells, side, problems))
    known = np.flatnonzero(~np.isnan(values[-1]).all(1))
    return Track(
        group, path, np.asarray(lines, np.int64), times, tuple(values), 0, len(lines),
        int(known[-1]) + 1 if len(known) else 0,
    )  # fmt: skip


def _times(path: str, lines: Sequence[int], cells: Sequence[object], problems: Problems, name: str) -> Times:
    """The times of a column; where one cannot be read, that of the row before."""
    times: list[np.datetime64] = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            times.append(read_time(written(cell) if not isinstance(cell, str) else cell))
        except ValueError as error:
            problems.add(path, line, f"column {name!r}: {error}")
            times.append(times[-1] if times else np.datetime64(0, "s"))
    return np.asarray(times, "datetime64[s]")


def _numbers(
    path: str, lines: Sequence[int], cells: Sequence[object], problems: Problems, name: Column, commas: bool
) -> NDArray[np.float32]:
    """The numbers of a column [T]; missing ones are NaN, and so are those that cannot be read."""
    try:
        values = np.asarray(cells, np.float64)
    except (ValueError, TypeError):
        values = np.full(len(cells), np.nan)
        for place, (line, cell) in enumerate(zip(lines, cells, strict=True)):
            try:
                values[place] = _number(cell, commas)
            except ValueError as error:
                problems.add(path, line, f"column {name!r}: {error}")
    for place in np.flatnonzero(np.isinf(values)).tolist():
        problems.add(path, lines[place], f"column {name!r}: is infinite")
        values[place] = np.nan
    return values.astype(np.float32)


def _number(cell: object, commas: bool) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
        return float("nan")
    text = str(cell)
    if DECIMAL_COMMA.fullmatch(text):
        if not commas:
            raise ValueError(f"{text!r} has a decimal comma; set data.decimal to ','")
        text = text.replace(".", "").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, but is {text[:40]!r}") from None


def _static(
    path: str, lines: Sequence[int], cells: Sequence[Sequence[object]], side: Side, problems: Problems
) -> list[Any]:
    """The values of a side that takes one cell of a window, as its codec reads them, one for each row."""
    values: list[Any] = []
    several = isinstance(side.reader.columns, tuple)
    for place, line in enumerate(lines):
        content = [column[place] for column in cells] if several else cells[0][place]
        try:
            values.append(side.reader.read(content, ""))
        except ValueError as error:
            problems.add(path, line, f"the {side.reader.name} {error}")
            values.append(None)
    return values


def _incomplete(track: Track, sides: Sequence[Side], problems: Problems) -> NDArray[np.bool_]:
    """Which rows [T] lack a number that is not filled; they are added to `problems`.

    Behind the last row with a target only what is known ahead must be there.
    """
    bad = np.zeros(len(track), bool)
    for side, values in zip(sides, track.sides, strict=True):
        if isinstance(values, list):
            bad |= [value is None for value in values]
            continue
        if values.dtype.kind == "M" or side.codec.fills:
            continue
        needed = len(track) if side.ahead else track.known
        for row in np.flatnonzero(np.isnan(values[:needed]).any(1)):
            columns = side.reader.columns
            names = columns if isinstance(columns, tuple) else (columns,)
            missing = ", ".join(repr(name) for name, gone in zip(names, np.isnan(values[row]), strict=True) if gone)
            if not bad[row]:
                problems.add(
                    track.file,
                    int(track.lines[row]),
                    f"has no number in the column {missing}; fill it, or set "
                    f"missing: previous at the {side.reader.name}",
                )
            bad[row] = True
    return bad
