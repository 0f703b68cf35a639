"""The reference pages that are made from the code: configuration keys, commands, Python API, errors, results."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import commands
import keys
import python_api
from wording import chinese

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

import trace_page  # noqa: E402

REPOSITORY = "https://github.com/antiphon-ml/antiphon/blob/main"


def trace_tables(code: str) -> str:
    """The parts of a trace and their fields."""
    return "\n\n".join(
        trace_page.section(part, chinese()["trace"] if code == "zh" else None) for part in trace_page.parts()
    )


def messages() -> str:
    """docs/errors.md below its heading; a dollar sign is no formula there."""
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    return text[text.index("\n## ") :].replace("$", r"\$")


def result_tables() -> dict[str, str]:
    """The tables of docs/results by the file they stand in and, where it has them, their marked names."""
    tables = {}
    for path in sorted((ROOT / "docs/results").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        marked = re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", text, re.DOTALL)
        for name, table in marked:
            tables[f"{path.stem}-{name}"] = _with_addresses(re.split(r"\n\n", table)[0])
        if not marked and (first_table := re.search(r"^\|.*?(?=\n(?!\|)|\Z)", text, re.DOTALL | re.MULTILINE)):
            tables[path.stem] = _with_addresses(first_table[0])
    return tables


def _with_addresses(table: str) -> str:
    """A table whose links to files of the repository are addresses."""
    return re.sub(r"\]\((?:\.\./)+([^)]*)\)", rf"]({REPOSITORY}/\1)", table)


def write_all(folder: Path, code: str) -> None:
    """Write every generated page of a language into `generated` of a folder."""
    pages = {
        "configuration": keys.key_page(code),
        "choices": keys.part_page(code),
        "commands": commands.page(code),
        "python": python_api.page(code),
        "extend": python_api.extension_page(code),
        "trace": trace_tables(code),
        "errors": messages(),
        **{f"results-{name}": table for name, table in result_tables().items()},
    }
    to = folder / "generated"
    to.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = to / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
