"""A side's command as a whole process, and what a larger task takes longer than a smaller one: start-up falls out."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from antiphon.devices import processor

ROOT = Path(__file__).parent
DOCS = ROOT.parent / "docs/results"
ENVS = Path(os.environ.get("ANTIPHON_PEERS", ROOT / "envs"))  # one environment a peer: benchmarks/setup
COUNT = re.compile(r"param\w*: ?([\d,.]+)( ?M)?|([\d,.]+)( ?M)? +(?:total |trainable )?param", re.IGNORECASE)


@dataclass(frozen=True)
class Contender:
    """A tool in an environment of its own, with a precision, and the folder that it works in."""

    name: str
    precision: str
    tool: ModuleType
    out: Path

    @property
    def title(self) -> str:
        """As the table has it: the tool, its version and the precision."""
        versions = [item.split("==") for item in self.tool.REQUIRES if not item.startswith("torch")]
        own = next((f" {number}" for _, number in (pair for pair in versions if len(pair) == 2)), "")
        return f"{self.name}{own}, {self.precision}"

    def clear(self) -> None:
        """Empty the folder."""
        shutil.rmtree(self.out)
        self.out.mkdir()

    def run(self, command: Sequence[str], threads: int) -> tuple[float, str]:
        """Seconds of wall time, and all that it printed; a command that fails ends the comparison."""
        own = ENVS / self.name / "bin"
        path = f"{own}:{os.environ['PATH']}" if own.exists() else f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, **counts, **getattr(self.tool, "ENVIRONMENT", {}), "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)}\n{done.stdout[-3000:]}")
        return seconds, done.stdout


def sides(names: Sequence[str], out: Path) -> list[Contender]:
    """The tools `benchmarks/peers/NAME.py`, each with every precision that it has."""
    all_sides = []
    for name in names:
        tool = import_module(f"peers.{name}")
        for precision in tool.PRECISIONS:
            folder = out / f"{name}-{precision}"
            folder.mkdir(parents=True, exist_ok=True)
            all_sides.append(Contender(name, precision, tool, folder))
    return all_sides


def parameters(printed: str) -> int | None:
    """The number of parameters that a training printed: the largest such number."""
    counts = []
    for match in COUNT.finditer(printed):
        digits, millions = (match[1], match[2]) if match[1] else (match[3], match[4])
        text = digits.replace(",", "").rstrip(".")
        if text.replace(".", "", 1).isdigit():
            counts.append(int(float(text) * (1_000_000 if millions else 1)))
    return max(counts, default=None)


def middle(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def write(
    name: str,
    about: str,
    rows: Mapping[str, Sequence[str]],
    heads: Sequence[str],
    threads: int,
    folder: Path = ROOT / "results",
) -> None:
    """`FOLDER/NAME.md`: the command, the machine, and a row a side."""
    given = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(given)}".strip()
    lines = [
        f"# {name}",
        "",
        f"`{command}`",
        "",
        f"{processor()}, {threads} threads a side, PyTorch {version('torch')}.",
    ]
    lines += ["", about, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join([title, *cells])} |" for title, cells in rows.items()]
    text = "\n".join(lines) + "\n"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
