"""What the commands and snippets of a page print: run for real by `python docs/site/outputs.py PAGE ...`, and kept.

A page is like a notebook: its `sh` and `python` blocks are run from top to bottom in one folder, the Python blocks in
one namespace. What the n-th of them prints is `outputs/PAGE/n.txt`, which the page shows with the directive `output`;
pictures that a block writes as `shown-*` are kept there too. The same blocks stand in both languages.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive

SITE = Path(__file__).parent
OUTPUTS = SITE / "outputs"
LANGUAGES = ("en", "zh")
MOST = 60  # lines that are kept of an output


class Block(NamedTuple):
    """A block of a page that can be run."""

    language: str  # sh or python
    text: str

    @property
    def code(self) -> str:
        """Its lines without comments, which are in the page's language."""
        lines = (re.sub(r"(^|\s)# .*$", "", line).rstrip() for line in self.text.splitlines())
        return "\n".join(line for line in lines if line)


def pages(language: str) -> list[str]:
    """The names of all written pages, such as learn/attention."""
    folder = SITE / language
    paths = [path.relative_to(folder) for path in folder.rglob("*.md")]
    return sorted(str(path.with_suffix("")) for path in paths if "generated" not in path.parts)


def blocks(page: str, language: str = "en") -> list[Block]:
    """What can be run of a page, in order."""
    text = (SITE / language / f"{page}.md").read_text(encoding="utf-8")
    return [Block(*match) for match in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


def shows_output(page: str) -> bool:
    """Whether a page shows what any of its blocks prints."""
    return "\n```{output} " in (SITE / "en" / f"{page}.md").read_text(encoding="utf-8")


def run(
    page_blocks: list[Block], folder: Path, namespace: dict[str, Any], shell: Callable[[str, Path], str]
) -> Iterator[str]:
    """What each block prints when it is run in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in page_blocks:
            if block.language == "sh":
                yield shell(block.text, folder)
            else:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(block.text, "page", "exec"), namespace)
                yield printed.getvalue()
    finally:
        os.chdir(before)


def bash(text: str, folder: Path) -> str:
    """The standard output of a shell block; an error is shown."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{text}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def record(page: str) -> None:
    """Run a page, with the tables that it reads, and keep what it prints."""
    import tables

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables.write(page, folder)
        printed = list(run(blocks(page), folder, {"__name__": "page"}, bash))
        to = OUTPUTS / page
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for number, text in enumerate(printed, 1):
            lines = text.replace(f"{folder}/", "").splitlines()
            shown = lines if len(lines) <= MOST else [*lines[:MOST], "..."]
            (to / f"{number}.txt").write_text("".join(f"{line.rstrip()}\n" for line in shown), encoding="utf-8")
        for path in folder.glob("shown-*"):
            shutil.copy(path, to)
    about = {"date": f"{date.today():%Y-%m-%d}", "machine": machine()}
    (to / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """The processor, and how many cores."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if os.path.exists("/proc/cpuinfo") else []
    )
    return f"{os.cpu_count()} x {names[0] if names else platform.processor()}"


DATED = {"en": "Output of {date}, on {machine}.", "zh": "输出日期：{date}，机器：{machine}。"}


class Output(Directive):
    """`{output} 3`: what the third block of the page printed."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        environment = self.state.document.settings.env
        folder = OUTPUTS / environment.docname
        path = folder / f"{self.arguments[0]}.txt"
        environment.note_dependency(str(path))
        if not path.exists():
            raise self.error(f"{path} is missing; run python docs/site/outputs.py {environment.docname}")
        text = path.read_text(encoding="utf-8").rstrip("\n")
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        literal = nodes.literal_block(text, text, classes=["output"], language="text")
        code = environment.config.language[:2]
        return [literal, nodes.paragraph("", DATED[code].format(**about), classes=["output-date"])]


if __name__ == "__main__":
    sys.path[:0] = [str(SITE)]
    for chosen in sys.argv[1:] or [page for page in pages("en") if shows_output(page)]:
        print(chosen, flush=True)
        record(chosen)
