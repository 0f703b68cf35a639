"""One input of a user as the parts that the sources read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def refuse_other_length(steps: int, expected: int | None) -> None:
    """Refuse an input with another number of steps than the model reads, if that number is fixed."""
    if expected is not None and steps != expected:
        raise ValueError(f"has {steps:,} steps, but the model reads {expected:,}")


def parts_of(value: Any, reads: Sequence[bool]) -> Sequence[Any] | None:
    """The part of an input for each source, "" for a source that reads nothing; None for an empty input.

    `reads` says which sources read. With several of these an input is a sequence, or texts with tabs between.
    """
    count = sum(reads)
    if count == 1:
        parts = [value]
    elif isinstance(value, str):
        parts = value.split("\t") if value.strip() else []
    else:
        parts = list(value)
    if count and all(isinstance(part, str) and not part for part in parts):
        return None
    if count and len(parts) != count:
        raise ValueError(f"has {len(parts)} of {count} sources; a tab separates them")
    rest = iter(parts)
    return [next(rest) if source else "" for source in reads]
