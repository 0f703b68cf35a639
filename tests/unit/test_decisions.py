"""Each decision has a title, a status and a date in the same place, and is listed."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

DECISIONS = Path(__file__).parents[2] / "docs/decisions"
HEADER = re.compile(
    r"# (?P<title>(?P<number>\d{4}): .+)\n\n"
    r"Status: (?P<status>accepted|superseded by \[\d{4}\]\((?P<by>.+)\)), (?P<date>\d{4}-\d\d-\d\d)\n\n"
)


def test_each_has_a_status_and_a_date_and_is_listed_by_its_title() -> None:
    paths = sorted(DECISIONS.glob("[0-9]*.md"))
    assert len(paths) >= 19
    lines = []
    for number, path in enumerate(paths, 1):
        header = HEADER.match(path.read_text(encoding="utf-8"))
        assert header is not None, f"{path.name}: begins otherwise than `# NUMBER: Title` and `Status: STATUS, DATE`"
        assert int(header["number"]) == number
        assert path.name.startswith(f"{header['number']}-")
        assert date.fromisoformat(header["date"]) >= date(2026, 11, 22), path.name
        assert header["by"] is None or (DECISIONS / header["by"]).is_file(), path.name
        lines.append(f"- [{header['title']}]({path.name}): {header['status']}, {header['date']}")
    listed = (DECISIONS / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in listed if line.startswith("- ")] == lines
