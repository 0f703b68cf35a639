"""Times as a source: for each step the parts of the calendar, such as the hour and the weekday."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from antiphon.common.calendar import PARTS, Times, calendar_numbers, read_times, written
from antiphon.data.codecs.base import Array, Codec
from antiphon.errors import ConfigError, nearest

USUAL = ("hour", "weekday", "day_of_year")


class CalendarCodec(Codec):
    """A sequence of times, each read as parts of the calendar: a sine and a cosine for each part.

    `parts` are some of hour (the time of the day), weekday, month and day_of_year.
    """

    kind = "calendar"
    part = "numbers"
    steps = True

    def __init__(self, where: str, parts: Sequence[str] = USUAL) -> None:
        super().__init__(where)
        if isinstance(parts, str) or not parts:
            raise ConfigError("parts", "must be a list such as [hour, weekday]")
        for name in parts:
            if name not in PARTS:
                raise ConfigError("parts", f"unknown part {name!r}; {nearest(str(name), PARTS)}")
        self.parts = tuple(parts)

    @property
    def size(self) -> int:
        return 2 * len(self.parts)

    def read(self, content: object, folder: str) -> Times:
        return read_times(content)

    def encode(self, value: Times) -> Array:
        return calendar_numbers(value, self.parts)

    def shown(self, value: Times) -> str:
        return json.dumps([written(time) for time in value])

    def about(self) -> str:
        return f"times as {', '.join(self.parts)}"

    def read_step(self, step: object) -> Array:
        return self.encode(read_times([step])[:1])

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": list(self.parts)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        return cls(where, value["parts"])

    def key_of(self, value: Any) -> Any:
        return np.asarray(value).tobytes()
