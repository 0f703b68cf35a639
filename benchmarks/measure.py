"""A side's command as a whole process, and what a larger task takes longer than a smaller one: start-up falls out."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

ENVS = Path(os.environ.get("ANTIPHON_PEERS", Path(__file__).parent / "envs"))
PARAMETERS = re.compile(r"([\d,.]+)( ?M)?\s+(?:total |trainable )?param|param\w*:?\s*([\d,]{6,})", re.IGNORECASE)


@dataclass(frozen=True)
class Side:
    """A tool in an environment of its own, and the folder that it works in."""

    name: str
    tool: ModuleType
    out: Path

    def run(self, command: Sequence[str], threads: int) -> tuple[float, str]:
        """Seconds of wall time, and all that it printed."""
        own = ENVS / self.name / "bin"
        path = f"{own}:{os.environ['PATH']}" if own.exists() else os.environ["PATH"]
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, **counts, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)}\n{done.stdout[-3000:]}")
        return seconds, done.stdout


def side(name: str, out: Path) -> Side:
    """The tool `benchmarks/peers/NAME.py`."""
    (out / name).mkdir(parents=True, exist_ok=True)
    return Side(name, import_module(f"peers.{name}"), out / name)


def middle(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
