"""What a configuration names in place of rows: files, two parallel files, or rows in memory."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Parallel(BaseModel):
    """Two files whose lines belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    target: str


MEMORY = "rows in memory"  # in place of the name of a file


class InMemory:
    """Rows in memory in place of a file.

    `records` are the cells of each row, in a list or in anything that can be iterated again and again; `names` those of
    the columns, if they have names. A saved configuration contains only `about`, a description: rows read from it have
    no `records`. `part` is the key they stand for, if messages must name it: data.valid. `rows` are rows that the sides
    have read already, in place of records.
    """

    rows: Sequence[Any] | None = None

    def __init__(
        self, records: Iterable[Sequence[object]] | None, names: Sequence[str] | None, about: str = "", part: str = ""
    ) -> None:
        self.records, self.names, self.part = records, names, part
        count = f"{len(records):,} " if isinstance(records, Sized) else ""
        self.about = about or f"{count if records else '0 '}rows{_with_columns(names)}"

    @classmethod
    def read(cls, rows: Sequence[Any]) -> InMemory:
        """Rows that the sides have read already."""
        made = cls(None, None, f"{len(rows):,} rows")
        made.rows = rows
        return made

    def __str__(self) -> str:
        return f"{MEMORY} of {self.part}" if self.part else MEMORY

    def of(self, part: str) -> InMemory:
        """The same rows for another key."""
        return InMemory(self.records, self.names, self.about, part)

    @property
    def saved(self) -> dict[str, str]:
        """What a saved configuration contains of the rows."""
        return {"in_memory": f"{self.about.removesuffix(LOST)}{LOST}"}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.plain_serializer_function_ser_schema(lambda rows: rows.saved, when_used="json")
        return core_schema.is_instance_schema(cls, serialization=plain)


LOST = "; they were in memory and cannot be read again"


def _with_columns(names: Sequence[str] | None) -> str:
    return f" with the columns {', '.join(names)}" if names else ""


Files = str | list[str] | Parallel | InMemory
ARRAY = re.compile(r"(.+?\.npz)#(.*)", re.IGNORECASE | re.DOTALL)  # any other "#" belongs to a name


def file_and_array(path: str) -> tuple[str, str]:
    """The file that a path names, and the name of the array in it: `file.npz` and `array` of `file.npz#array`. Any
    other path names a file as it is, without an array: an empty name."""
    inside = ARRAY.fullmatch(path)
    return (inside[1], inside[2]) if inside else (path, "")


def file_of(path: str) -> str:
    """The file that a path names, without the name of an array in it."""
    return file_and_array(path)[0]


def files_exist(files: Files) -> bool:
    """Whether all files are there, of a pattern at least one; rows in memory only where they were given."""
    match files:
        case InMemory():
            return files.records is not None or files.rows is not None
        case Parallel():
            paths = [files.source, files.target]
        case str():
            paths = [files]
        case list():
            paths = files
    return all(os.path.exists(file_of(path)) or bool(glob.glob(path, recursive=True)) for path in paths)


def files_of(value: object) -> object:
    """Check files with one message, where a union would give a message for each branch."""
    if isinstance(value, Mapping) and value.keys() == {"in_memory"}:
        return InMemory(None, None, str(value["in_memory"]))
    if isinstance(value, InMemory):
        return value
    if isinstance(value, Mapping):
        odd = sorted(map(str, set(value) ^ {"source", "target"}))
        if odd:
            raise ValueError(
                f"parallel files need {{source: FILE, target: FILE}}, both keys and no others (look at {odd[0]!r})"
            )
    elif isinstance(value, list):
        if not value or not all(isinstance(path, str) for path in value):
            raise ValueError("a list of files needs at least one path, and only paths")
    elif not isinstance(value, str | Parallel):
        raise ValueError("must be a path, a list of paths, or {source: FILE, target: FILE}")  # noqa: TRY004 pydantic's
    return value


def files_or_fraction(value: object) -> object:
    """As `files_of`, or a fraction of the training inputs, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise ValueError("a fraction must be greater than 0 and less than 1; a file is given by its path")
        return float(value)
    return value if value is None else files_of(value)


def optional_files(value: object) -> object:
    """As `files_of`, or None."""
    return value if value is None else files_of(value)


def vectors(value: object) -> object:
    """As `files_of` for pretrained vectors: a file, or one for each side, or None."""
    if isinstance(value, list):
        raise ValueError("must be a path, or {source: FILE, target: FILE}")  # noqa: TRY004 pydantic's
    return value if value is None else files_of(value)
