"""Bad rows: kept until all files are read, then raised together or skipped."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from antiphon.config.files import MEMORY
from antiphon.errors import DataError


def place(file: str, line: int, column: int | str | None = None) -> str:
    """Where a row stands, as messages begin: FILE:LINE, or of rows in memory their number, and the column if known."""
    if file != MEMORY and not file.startswith(f"{MEMORY} of "):
        return f"{file}:{line}"
    return f"row {line}{file.removeprefix(MEMORY)}" + ("" if column is None else f", column {column!r}")


def _kind(reason: str) -> str:
    """A reason without the value that it ends with: up to its first colon that does not follow a key alone."""
    kind = re.match(r"(?:\S+: )*[^:]*", reason)
    return kind[0] if kind else reason


@dataclass
class Problems:
    """Bad rows met while reading: kept until the end, so that a user sees them all at once."""

    skip: bool = False
    first: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)  # what is not an error, but may be a mistake
    hint: str = ""  # what may help with all of them

    SHOWN = 10

    def add(self, file: str, line: int, reason: str, column: int | str | None = None) -> None:
        """Note a bad row."""
        if len(self.first) < self.SHOWN:
            self.first.append(f"{place(file, line, column)}: {reason}")
        self.reasons[_kind(reason)] += 1

    def take(self) -> Problems:
        """The bad rows met so far; those of later rows are met anew."""
        met = Problems(self.skip, self.first, self.reasons)
        self.first, self.reasons = [], Counter()
        return met

    def join(self, other: Problems) -> None:
        """Add the bad rows that `other` met."""
        self.first = [*self.first, *other.first][: self.SHOWN]
        self.reasons += other.reasons

    def summary(self) -> str:
        """The first bad rows, and the count by reason if there are more."""
        total = self.reasons.total()
        lines = list(self.first)
        if total > len(lines):
            counts = "; ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common())
            lines.append(f"... {total} bad rows in all: {counts}")
        return "\n".join([*lines, self.hint] if self.hint else lines)

    def raise_any(self) -> None:
        """Raise the collected errors, unless bad rows are skipped."""
        if self.first and not self.skip:
            hint = "\n(data.on_error: skip leaves such rows out)" if self.reasons.total() > 1 else ""
            raise DataError(self.summary() + hint)
