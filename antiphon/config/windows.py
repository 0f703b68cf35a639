"""Checks of the keys of windows (`data.window`), and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from antiphon.common.calendar import read_time
from antiphon.config.files import Parallel


def border(value: object) -> object:
    """A border between parts of a long table: a time as text, a share, or the number of a row."""
    if isinstance(value, datetime | date):  # as YAML reads a time
        value = value.isoformat(*([" "] if isinstance(value, datetime) else []))
    if isinstance(value, str):
        read_time(value)
    elif isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a share must be greater than 0 and less than 1; a row is given by a whole number")
    elif isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise ValueError("the number of a row must be at least 0")
    return value


def with_sides(tree: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The tree with what windows imply: the target is a series as long as the horizon; where no source is named, the
    past of the target's columns is read; and a source whose kind is not named is one of frames."""
    data, target = tree.get("data"), tree.get("target")
    window = data.get("window") if isinstance(data, Mapping) else None
    if not isinstance(window, Mapping) or not isinstance(target, Mapping):
        return tree
    target = {"kind": "series", **target}
    if target["kind"] == "series":
        target = {"horizon": window.get("horizon"), **target}
    tree = {**tree, "target": target}
    places = {name: target[name] for name in ("column", "columns") if target.get(name) is not None}
    if places and "source" not in tree and "sources" not in tree:
        return {**tree, "source": {"kind": "frames", **places}}
    for name in ("source", "sources"):
        sides = tree.get(name)
        if isinstance(sides, Mapping):
            tree = {**tree, name: {"kind": "frames", **sides}}
        elif isinstance(sides, list):
            tree = {**tree, name: [{"kind": "frames", **side} if isinstance(side, Mapping) else side for side in sides]}
    return tree


def wrong_windows(data: Any, sources: Sequence[Any], target: Any) -> str | None:
    """What is wrong with the keys of windows in the sections `data`, `source` and `target`, as a message, or None."""
    if data.window is None:
        if data.time is not None:
            return "data.time: is for one long table; set data.window: {past: 96, horizon: 24}"
        return "source.ahead: is for one long table; set data.window" if any(side.ahead for side in sources) else None
    for name in ("shuffle", "sample", "workers"):
        if getattr(data, name) is not None:
            return f"data.{name}: is for streamed rows, and a long table (data.window) is read whole; leave it out"
    if isinstance(data.train, Parallel):
        return "data.window: parallel files have no columns; give a table"
    if target.column is None and target.columns is None:
        return "target.columns: is missing; with data.window it names the columns that are predicted"
    if target.kind != "series":
        return f"target.kind: is {target.kind}, but a window predicts a series; set target.kind: series"
    if target.options.get("horizon") != data.window.horizon:
        return f"target.horizon: must be that of data.window, {data.window.horizon}; leave it out"
    if data.references == "group":
        return "data.references: windows have one reference each; leave it out"
    names = ("valid_from", "test_from", "end")
    borders = {name: value for name in names if (value := getattr(data.window, name)) is not None}
    for name, value in borders.items():
        if isinstance(value, str) and data.time is None:
            advice = "name the column of times in data.time, or give a share or a row"
            return f"data.window.{name}: is a time, {value!r}; {advice}"
    order = list(borders.values())
    for earlier, later in pairwise(order):
        if type(earlier) is type(later) and not earlier < later:
            reason = f"must follow each other, but {later!r} is not behind {earlier!r}"
            return f"data.window: valid_from, test_from and end {reason}"
    return None
