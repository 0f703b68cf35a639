"""`antiphon init`: a short configuration for a table, with its columns, to begin with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from antiphon.common.numbers import MISSING, NUMBER
from antiphon.data.formats import ENDINGS, FORMATS, KEYED, Layout, is_table, sniffed, suffix_of, tables_in
from antiphon.data.oddities import NAMES, TARGETS
from antiphon.errors import DataError, shown

LOOKED_AT = 200  # rows
EXAMPLE = 40  # characters of an example
ROWS_A_GROUP = 3  # on average, at least


@dataclass(frozen=True)
class Column:
    """A column of a table: how a configuration names it, and its cells in the first rows."""

    key: str | int
    cells: Sequence[str]

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers; some may be missing."""
        cells = [cell for cell in self.cells if cell.strip().lower() not in MISSING]
        return bool(cells) and all(NUMBER.fullmatch(cell) for cell in cells)

    @property
    def has_gaps(self) -> bool:
        return any(cell.strip().lower() in MISSING for cell in self.cells)

    @property
    def is_target(self) -> bool:
        return isinstance(self.key, str) and _stem(self.key) in TARGETS.split()


def starter(table: str, folder: str) -> str:
    """The YAML for a table, whose path is written relative to `folder`.

    What a table does not show is a comment. If it is not clear which column a side is, the side is a comment too. What
    cannot be read is a `DataError`.
    """
    if not is_table(table) and not Path(table).is_dir():
        raise DataError(f"{table}: is not a table ({ENDINGS}, text with .gz too)")
    path = tables_in(table)[0]
    suffix = suffix_of(path)
    separator = sniffed(path) if suffix == ".csv" else None
    columns, header = _columns(path, separator)
    source, target = _sides(columns, suffix)
    group = next((column for column in columns if _groups(column, columns)), None)
    lines = [f"# {os.path.basename(table)}: the first rows have these columns", "#"]
    for column in columns:
        example = next((cell for cell in column.cells if cell.strip()), "")
        lines.append(f"#   {_yaml(column.key)}: {shown(example[:EXAMPLE])}{', numbers' if column.numeric else ''}")
    lines += ["#", "# antiphon check THIS_FILE shows what would be chosen for the keys that are not here.", "", "data:"]
    lines.append(f"  train: {_yaml(os.path.relpath(table, folder))}")
    lines.append("  # valid: 0.1   # a share of the inputs, or a file; by default chosen from the rows")
    if header and not any(isinstance(side.key, str) for side in (source, target) if side):
        lines.append("  header: true")
    elif suffix not in KEYED:
        lines.append(f"  # header: {str(header).lower()}   # whether the first line has the names of the columns")
    if separator not in (None, ","):
        lines.append(f"  separator: {_yaml(separator)}")
        if any("," in cell for column in columns if column.numeric for cell in column.cells):
            lines.append('  decimal: ","')
    if group is not None:
        about = "rows with the same in this column are one sequence, a step each"
        lines.append(f"  # group: {_yaml(group.key)}   # {about}")
    free = [column for column in columns if column not in (target, group) and not _is_id(column)]
    lines += _side("source", source, free or columns, group is not None) + _side("target", target, columns)
    return "\n".join(lines) + "\n"


def is_clear(text: str) -> bool:
    """Whether what `starter` wrote can be trained as it is."""
    return "\ntarget:" in text and "\nsource:" in text


def _columns(path: str, separator: str | None) -> tuple[list[Column], bool]:
    """The columns of a table, and whether its first line has their names."""
    suffix = suffix_of(path)
    first_records = islice(FORMATS[suffix](path, Layout(separator=separator)), LOOKED_AT)
    records = [record for _, record, _ in first_records if record]
    if not records:
        raise DataError(f"{path}: has no rows")
    if isinstance(records[0], Mapping):
        keyed = [record for record in records if isinstance(record, Mapping)]
        fields = list(dict.fromkeys(name for record in keyed for name in record))
        return [Column(name, [str(record.get(name, "")) for record in keyed]) for name in fields], False
    width = len(records[0])
    rows = [list(map(str, record)) for record in records if len(record) == width]
    header = suffix != ".conll" and _has_header(rows)
    names: Sequence[str | int] = rows[0] if header else range(width)
    cells = rows[1:] if header else rows
    return [Column(name, [row[place] for row in cells]) for place, name in enumerate(names)], header


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row reads like names: usual ones, or words above columns of numbers."""
    first, *others = rows
    if len(set(first)) < len(first) or not all(name.strip() for name in first) or not others:
        return False
    columns = [Column(place, [row[place] for row in others]) for place in range(len(first))]
    numbers = [column.numeric for column in columns]
    if any(Column(0, [name]).numeric for name in first):
        return False
    return any(numbers) or all(_stem(name) in NAMES.split() for name in first)


def _stem(name: str) -> str:
    return re.sub(r"[ _-]?\d*$", "", name.strip().lower())


def _sides(columns: Sequence[Column], suffix: str) -> tuple[Column | None, Column | None]:
    """The columns of source and target, if they are clear."""
    if suffix == ".conll":
        return columns[0], Column(-1, columns[-1].cells)
    if suffix == ".conllu":
        by_name = {column.key: column for column in columns}
        return by_name["form"], by_name["upos"]
    targets = [column for column in columns if column.is_target]
    if len(columns) == 2:
        return (columns[1], columns[0]) if targets == [columns[0]] else (columns[0], columns[1])
    known = [column for column in columns if isinstance(column.key, str) and _stem(column.key) in NAMES.split()]
    sources = [column for column in known if not column.is_target and _stem(str(column.key)) not in ("id", "file")]
    return (sources[0] if len(sources) == 1 else None), (targets[0] if len(targets) == 1 else None)


def _groups(column: Column, columns: Sequence[Column]) -> bool:
    """Whether rows stand in groups of the same in this column, while another column has numbers."""
    runs = [name for name, _ in groupby(column.cells)]
    numbers = any(other.numeric for other in columns if other is not column)
    stand_together = len(set(runs)) == len(runs) and len(column.cells) >= ROWS_A_GROUP * len(runs)
    return numbers and not column.is_target and stand_together


KINDS = {
    "source": "text, category, vector, frames, image, ...",
    "target": "text, label, labels, number, numbers, next",
}


def _is_id(column: Column) -> bool:
    return isinstance(column.key, str) and _stem(column.key) in ("id", "index", "row")


def _side(name: str, column: Column | None, columns: Sequence[Column], grouped: bool = False) -> list[str]:
    """The line of a side, which is one of `columns`; a comment if it is not clear which."""
    if column is None:
        numbers = ", ".join(_yaml(other.key) for other in columns if other.numeric)
        filled = ", missing: mean" if any(other.numeric and other.has_gaps for other in columns) else ""
        kind = "frames" if grouped else "vector"
        several = f", or {{kind: {kind}, columns: [{numbers}]{filled}}}" if name == "source" and numbers else ""
        return [f"# {name}: {{column: {_yaml(columns[0].key)}}}   # which column? Set it here{several}"]
    kind = "kind: vector, " if column.numeric and name == "source" else ""
    return [f"{name}: {{{kind}column: {_yaml(column.key)}}}   # kind: {KINDS[name]}; by default chosen from the rows"]


def _yaml(value: str | int | None) -> str:
    """A value in a flow of YAML."""
    text = str(value)
    is_name = re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text not in ("null", "true", "false")
    return text if isinstance(value, int) or is_name else json.dumps(text, ensure_ascii=False)
