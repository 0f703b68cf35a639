"""Times as texts, and the parts of the calendar that a model reads of them: points of circles, one for each part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.datetime64]  # of seconds
Shares = NDArray[np.float64]
DAY = 86_400  # seconds
EXAMPLE = "2016-07-01 13:00"
HOUR = len("2016-07-01 13")  # an offset from UTC stands behind it; the signs before are those of the date
OFFSET = re.compile(r"([\d:.]*) ?(?:Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?", re.IGNORECASE)


def read_time(text: str) -> np.datetime64:
    """A time in ISO 8601 (2016-07, 2016-07-01, 2016-07-01 13:00:00); one with an offset (+02:00, +0200, +02, Z) as
    UTC."""
    plain = text.strip()
    if not plain[:4].isdecimal() or (len(plain) > 4 and plain[4] not in "-"):
        raise ValueError(f"{text!r} is not a time such as {EXAMPLE}; write the year first")
    rest = OFFSET.fullmatch(plain[HOUR:])
    value: np.datetime64
    try:
        value = np.datetime64("NaT" if rest is None else plain[:HOUR] + rest[1], "s")
    except ValueError:
        value = np.datetime64("NaT")
    if rest is None or np.isnat(value):
        raise ValueError(f"{text!r} is not a time such as {EXAMPLE}")
    _, sign, hours, minutes = rest.groups()
    ahead = np.timedelta64(60 * int(hours or 0) + int(minutes or 0), "m")
    return value + ahead if sign == "-" else value - ahead


def read_times(content: object) -> Times:
    """Times [steps] of one text, a JSON list of texts, or a list or array of them."""
    if isinstance(content, str):
        text = content.strip()
        try:
            content = json.loads(text) if text.startswith("[") else [text]
        except ValueError:
            raise ValueError(f"is not a JSON list of times such as {EXAMPLE}") from None
    if isinstance(content, np.ndarray) and content.dtype.kind == "M":
        times: Times = content.astype("datetime64[s]").reshape(-1)
        return times
    if not isinstance(content, list | tuple) or not content:
        raise ValueError(f"must be a list of times such as {EXAMPLE}")
    return np.asarray([read_time(written(item)) for item in content], "datetime64[s]")


def written(time: object) -> str:
    """A time as text: without the time of the day if that is midnight, without seconds if these are 0."""
    if isinstance(time, np.datetime64):
        date, _, clock = str(time.astype("datetime64[s]")).partition("T")
        clock = clock.removesuffix(":00")
        return date if clock in ("", "00:00") else f"{date} {clock}"
    return str(time)


def written_alike(times: Sequence[np.datetime64] | Times) -> list[str]:
    """Times as texts of one form, as long as the longest: with the time of the day if one of them is not midnight, and
    with seconds if one of them has seconds."""
    texts = [written(time) for time in times]
    longest = max(map(len, texts), default=0)
    midnight = "2016-07-01 00:00:00"
    return [text + midnight[len(text) : longest] for text in texts]


def _hour(times: Times) -> Shares:
    return np.asarray((times - times.astype("datetime64[D]")).astype(np.int64) / DAY)


def _weekday(times: Times) -> Shares:
    return np.asarray((times.astype("datetime64[D]").astype(np.int64) + 3) % 7 / 7)  # 1970 began on a Thursday


def _month(times: Times) -> Shares:
    return np.asarray(times.astype("datetime64[M]").astype(np.int64) % 12 / 12)


def _day_of_year(times: Times) -> Shares:
    days = times.astype("datetime64[D]")
    return np.asarray((days - days.astype("datetime64[Y]")).astype(np.int64) / 366)


PARTS: dict[str, Callable[[Times], Shares]] = {  # the share of each cycle that is over, from 0 to 1
    "hour": _hour,
    "weekday": _weekday,
    "month": _month,
    "day_of_year": _day_of_year,
}


def calendar_numbers(times: Times, parts: Sequence[str]) -> NDArray[np.float32]:
    """Times [steps] -> sine and cosine of each part's angle [steps, 2 parts], so that a cycle's end meets its start."""
    angles = np.stack([2 * np.pi * PARTS[part](times) for part in parts], 1)
    points = np.stack([np.sin(angles), np.cos(angles)], 2).reshape(len(times), -1)
    return points.astype(np.float32, copy=False)
