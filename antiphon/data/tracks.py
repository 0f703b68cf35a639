"""One long table read as groups of rows that follow each other in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.common.calendar import Times, read_time, written
from antiphon.common.numbers import DECIMAL_COMMA, MISSING, with_point
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
    header: bool = False  # whether the first line has names, even if columns are positions


@dataclass(frozen=True)
class Track:
    """Rows of a group that follow each other without a gap.

    `sides` has for each side numbers [T, size], times [T], or a list of T values. The first row is number `offset` of
    `total` in its group. The target is known for the first `known` rows. Before the places in `cuts` stood lines that
    could not be read.
    """

    group: str
    file: str
    lines: Ints
    times: Times | None
    sides: tuple[Any, ...]
    offset: int
    total: int
    known: int
    cuts: tuple[int, ...] = ()

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


def gathers(codec: Codec) -> bool:
    """Whether a side takes the cells of all rows of a window; otherwise that of the last row of the past."""
    return codec.steps and isinstance(codec, ScaledCodec | CalendarCodec)


@dataclass(frozen=True)
class Side:
    """A side as windows are cut for it: its codec, how cells are read, and whether it is read `ahead`, over the rows
    that are predicted."""

    codec: Codec
    reader: SideReader
    ahead: bool

    @property
    def gathers(self) -> bool:
        """As the function `gathers`, of its codec."""
        return gathers(self.codec)

    def span(self, origin: int, layout: Layout) -> slice:
        """The rows that it reads of the window before and behind `origin`."""
        if not self.gathers:
            return slice(origin - 1, origin)
        return slice(origin, origin + layout.horizon) if self.ahead else slice(origin - layout.past, origin)

    def value(self, track: Track, number: int, origin: int, layout: Layout) -> Any:
        """What a row's side number `number` is for this window."""
        cells = track.sides[number][self.span(origin, layout)]
        return self.codec.read(cells, "") if self.gathers else cells[0]


class Faults:
    """The bad rows of a table, each reported once with what was wrong first."""

    def __init__(self, path: str, problems: Problems) -> None:
        self.path, self.problems = path, problems
        self.lines: set[int] = set()

    def add(self, line: int, reason: str) -> None:
        """Report a row, unless it has been."""
        if line not in self.lines:
            self.lines.add(line)
            self.problems.add(self.path, line, reason)


def load_tracks(
    tables: Sequence[str | InMemory], sides: Sequence[Side], layout: Layout, problems: Problems
) -> tuple[list[Track], Step | None]:
    """The groups of long tables, cut where rows are missing or bad, which are added to `problems`; and the step."""
    groups: list[tuple[Track, Faults]] = []
    for table in tables:
        for part in [table] if isinstance(table, InMemory) else tables_in(table):
            met = Faults(str(part), problems)
            groups += [(track, met) for track in _groups(part, sides, layout, met)]
    step = step_of([track.times for track, _ in groups if track.times is not None])
    return [piece for track, met in groups for piece in _pieces(track, sides, step, met)], step


def _pieces(track: Track, sides: Sequence[Side], step: Step | None, met: Faults) -> list[Track]:
    """A group cut where rows are missing, and without the bad ones."""
    breaks = {0, len(track), *track.cuts}
    if track.times is not None and step is not None:
        for fault in faults(track.times, step):
            breaks.add(fault.place)
            line = int(track.lines[fault.place])
            if fault.row_is_bad:
                met.add(line, fault.reason)
            else:
                met.problems.add(track.file, line, fault.reason)
    _report_missing(track, sides, met)
    bad = np.isin(track.lines, list(met.lines))
    breaks |= {place for row in np.flatnonzero(bad).tolist() for place in (row, row + 1)}
    return [track.piece(start, stop) for start, stop in pairwise(sorted(breaks)) if not bad[start]]


def _groups(table: str | InMemory, sides: Sequence[Side], layout: Layout, met: Faults) -> list[Track]:
    """The rows of a table by their group, in the order of the table."""
    columns: list[Column] = [column for column in (layout.time, layout.group) if column is not None]
    columns += [column for side in sides if side.codec.reads for column in _columns(side, layout)]
    names = list(dict.fromkeys(columns))
    fills = [name for name in names if name in _fillable(sides, layout)]
    if isinstance(table, InMemory):
        records = read_memory(table, names, met.problems, True, fills)
    else:
        header = layout.header or any(isinstance(name, str) for name in names)
        records = read_table(table, names, header, met.problems, True, layout.separator, fills)
    place = None if layout.group is None else names.index(layout.group)
    lines: dict[str, list[int]] = {}
    rows: dict[str, list[list[object]]] = {}
    unread: dict[str, list[int]] = {}  # how many lines before each row could not be read, of whichever group
    before = met.problems.reasons.total()
    for line, values in records:
        group = "" if place is None else str(values[place])
        lines.setdefault(group, []).append(line)
        unread.setdefault(group, []).append(met.problems.reasons.total() - before)
        rows.setdefault(group, []).append(values)
    return [
        _track(
            Cells(group, lines[group], dict(zip(names, zip(*rows[group], strict=True), strict=True)), unread[group]),
            sides,
            layout,
            met,
        )
        for group in lines
    ]


def _fillable(sides: Sequence[Side], layout: Layout) -> set[Column]:
    """The columns whose cells may be empty: those of numbers, which are judged when a whole group is known, since
    behind its last known row only some are needed."""
    numbers = [side for side in sides if side.codec.reads and not isinstance(side.codec, CalendarCodec)]
    columns = {name for side in numbers if side.gathers or side.codec.fills for name in _columns(side, layout)}
    return columns - {layout.time, layout.group}


class Cells(NamedTuple):
    """The cells of a group: its lines, what stands in each column, and how many lines of the table before each row
    could not be read."""

    group: str
    lines: Sequence[int]
    columns: Mapping[Column, Sequence[object]]
    unread: Sequence[int]


def _columns(side: Side, layout: Layout) -> Sequence[Column]:
    columns = side.reader.columns
    if isinstance(side.codec, CalendarCodec) and not side.reader.named:
        if layout.time is None:
            raise ConfigError("data.time", "is needed by the source of the kind calendar; name the column of times")
        return (layout.time,)
    assert columns is not None
    return columns if isinstance(columns, tuple) else (columns,)


def _track(cells: Cells, sides: Sequence[Side], layout: Layout, met: Faults) -> Track:
    """A group's rows. Cells that cannot be read are reported."""
    times = None if layout.time is None else _times(cells, layout.time, met)
    numbers: dict[Column, NDArray[np.float32]] = {}
    values: list[Any] = []
    for side in sides:
        names = _columns(side, layout) if side.codec.reads else ()
        if isinstance(side.codec, CalendarCodec):
            values.append(times if list(names) == [layout.time] else _times(cells, names[0], met))
        elif side.gathers:
            for name in names:
                if name not in numbers:
                    numbers[name] = _numbers(cells, name, layout.commas, met)
            values.append(np.stack([numbers[name] for name in names], 1))
        elif side.codec.reads:
            values.append(_static(cells, names, side, met))
        else:
            values.append([""] * len(cells.lines))
    known = np.flatnonzero(~np.isnan(values[-1]).all(1))
    lines, total = np.asarray(cells.lines, np.int64), len(cells.lines)
    last = int(known[-1]) + 1 if len(known) else 0
    # with times, a gap between them tells which group a line was of that could not be read
    cuts = tuple((np.flatnonzero(np.diff(cells.unread)) + 1).tolist()) if times is None else ()
    return Track(cells.group, met.path, lines, times, tuple(values), 0, total, last, cuts)


def _times(cells: Cells, name: Column, met: Faults) -> Times:
    """The times of a column; where one cannot be read, that of the row before."""
    times: list[np.datetime64] = []
    for line, cell in zip(cells.lines, cells.columns[name], strict=True):
        try:
            times.append(read_time(cell if isinstance(cell, str) else written(cell)))
        except ValueError as error:
            met.add(line, f"column {name!r}: {error}")
            times.append(times[-1] if times else np.datetime64(0, "s"))
    return np.asarray(times, "datetime64[s]")


def _numbers(cells: Cells, name: Column, commas: bool, met: Faults) -> NDArray[np.float32]:
    """The numbers of a column [T]; missing ones are NaN, and so are those that cannot be read."""
    column = cells.columns[name]
    try:
        if commas and any(isinstance(cell, str) and "." in cell for cell in column):
            raise ValueError  # numpy reads each point as a decimal mark
        values = np.asarray(column, np.float64)
    except (ValueError, TypeError):
        values = np.full(len(column), np.nan)
        for place, (line, cell) in enumerate(zip(cells.lines, column, strict=True)):
            try:
                values[place] = _number(cell, commas)
            except ValueError as error:
                met.add(line, f"column {name!r}: {error}")
    for place in np.flatnonzero(np.isinf(values)).tolist():
        met.add(cells.lines[place], f"column {name!r}: is infinite")
        values[place] = np.nan
    return values.astype(np.float32)


def _number(cell: object, commas: bool) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
        return float("nan")
    text = with_point(cell) if commas and isinstance(cell, str) else str(cell)
    if DECIMAL_COMMA.fullmatch(text):
        raise ValueError(f"{text!r} has a decimal comma; set data.decimal to ','")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, but is {text[:40]!r}") from None


def _static(cells: Cells, names: Sequence[Column], side: Side, met: Faults) -> list[Any]:
    """The values of a side that takes one cell of a window, as its codec reads them, one for each row."""
    values: list[Any] = []
    several = isinstance(side.reader.columns, tuple)
    columns = [cells.columns[name] for name in names]
    for place, line in enumerate(cells.lines):
        content = [column[place] for column in columns] if several else columns[0][place]
        try:
            values.append(side.reader.read(content, ""))
        except ValueError as error:
            met.add(line, f"the {side.reader.name} {error}")
            values.append(None)
    return values


def _report_missing(track: Track, sides: Sequence[Side], met: Faults) -> None:
    """Report the rows that lack a number which is not filled. Behind the last row with a target only what is known
    ahead must be there."""
    for side, values in zip(sides, track.sides, strict=True):
        if isinstance(values, list) or values.dtype.kind == "M" or side.codec.fills:
            continue
        needed = track.known if side is sides[-1] or not side.ahead else len(track)
        columns = side.reader.columns if isinstance(side.reader.columns, tuple) else (side.reader.columns,)
        for row in np.flatnonzero(np.isnan(values[:needed]).any(1)).tolist():
            missing = ", ".join(repr(name) for name, gone in zip(columns, np.isnan(values[row]), strict=True) if gone)
            advice = "" if side is sides[-1] else f", or set missing: previous at the {side.reader.name}"
            met.add(int(track.lines[row]), f"has no number in the column {missing}; fill it{advice}")
