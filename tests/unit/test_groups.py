"""Rows of a table that share a column are one sequence: the same rows as a JSON list per row would give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config.schema import Config
from antiphon.data.load import load_rows
from antiphon.data.rows import Row
from antiphon.errors import ConfigError, DataError

Write = Callable[[str, str | bytes], Path]
Configure = Callable[..., Config]
FRAMES = {"kind": "frames", "columns": ["x", "y"]}
HEADER = "walk,x,y,doing,who\n"
TABLE = HEADER + "a,1,2,up,Ann\na,3,4.5,down,Ann\nb,5,6,up,Bob\n"

number = st.integers(-9, 9)
walks = st.lists(st.lists(st.tuples(number, number, st.sampled_from("ud")), min_size=1, max_size=4), min_size=1)


def same(item: Row, other: Row) -> bool:
    return np.array_equal(item.sources[0], other.sources[0]) and np.array_equal(item.target, other.target)


@pytest.mark.parametrize(
    ("target", "listed"),
    [
        ({"kind": "labels", "column": "doing"}, lambda walk: [step[2] for step in walk]),
        ({"kind": "numbers", "columns": ["y", "x"]}, lambda walk: [[step[1], step[0]] for step in walk]),
        ({"kind": "numbers", "column": "y"}, lambda walk: [step[1] for step in walk]),
        ({"kind": "label", "column": "who"}, lambda walk: "Ann"),
        ({"kind": "text", "column": "who"}, lambda walk: "Ann"),
    ],
    ids=["labels", "numbers", "one number", "label", "text"],
)
@given(groups=walks)
def test_a_group_is_read_as_lists_are(
    write: Write, configure: Configure, target: dict[str, Any], listed: Any, groups: list[Any]
) -> None:
    lines = [f"{name},{x},{y},{doing},Ann\n" for name, walk in enumerate(groups) for x, y, doing in walk]
    grouped = write("grouped.csv", HEADER + "".join(lines))
    rows = [{"frames": [step[:2] for step in walk], "said": listed(walk)} for walk in groups]
    whole = write("whole.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    target = dict(target)
    config = configure(data__group="walk", source=FRAMES, target=target)
    other = configure(source={"kind": "frames", "column": "frames"}, target={"kind": target["kind"], "column": "said"})
    ours, others = load_rows(config, str(grouped)), load_rows(other, str(whole))
    assert len(ours) == len(others) == len(groups)
    assert all(map(same, ours, others))
    assert [row.line for row in ours] == [2 + sum(map(len, groups[:place])) for place in range(len(groups))]


def test_a_group_by_position_of_a_table_without_header(write: Write, configure: Configure) -> None:
    path = write("t.tsv", "a\t1\tu\na\t2\td\nb\t3\tu\n")
    source, target = {"kind": "frames", "column": 1}, {"kind": "labels", "column": 2}
    rows = load_rows(configure(data__group=0, source=source, target=target), str(path))
    assert [row.sources[0].tolist() for row in rows] == [[[1], [2]], [[3]]]
    assert [row.target for row in rows] == [("u", "d"), ("u",)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,7,8,up,Ann\n", r"t\.csv:5: the rows of a group must stand together: 'a' began on line 2; sort the table$"),
        (
            "c,1,2,up,Ann\nc,1,2,up,Bob\n",
            r"t\.csv:6: the target differs from that of its group, which begins on line 5$",
        ),
        ("c,1,2,up,Ann\nc,1,z,up,Ann\n", r"t\.csv:6: the source must be numbers: could not convert .* 'z'$"),
        ("c,1,2,up,Ann\nc,1\n", r"t\.csv:6: column 2 is missing"),
    ],
    ids=["apart", "two labels", "no number", "short row"],
)
def test_a_bad_group_is_named_by_its_line(write: Write, configure: Configure, rows: str, message: str) -> None:
    path = write("t.csv", TABLE + rows)
    config = configure(data__group="walk", source=FRAMES, target={"kind": "label", "column": "who"})
    with pytest.raises(DataError, match=message):
        load_rows(config, str(path))
    skipping = config.model_copy(update={"data": config.data.model_copy(update={"on_error": "skip"})})
    assert [row.target for row in load_rows(skipping, str(path))][:2] == ["Ann", "Bob"]


def test_groups_are_for_sides_with_steps_of_their_own(write: Write, configure: Configure) -> None:
    path = write("t.csv", TABLE)
    config = configure(data__group="walk", source={"column": "x"}, target={"column": "y"})
    with pytest.raises(
        ConfigError, match=r"^data\.group: makes one row of several for frames, labels, numbers or a series"
    ):
        load_rows(config, str(path))
    with pytest.raises(ConfigError, match=r"data\.group: parallel files have no columns; give a table$"):
        configure(data__group="walk", data__train={"source": "a", "target": "b"})
