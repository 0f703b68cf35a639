"""Runs of one base configuration with variants and seeds, kept so that a stopped study goes on where it was."""

from __future__ import annotations

import json
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.config.load import parse_config, set_value
from antiphon.devices import processor
from antiphon.files import write_text
from antiphon.training.loop import train

ROOT = Path(__file__).parent.parent
Tree = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A row of the table: its name, what it sets in the base configuration, and a model to start from."""

    name: tuple[str, ...]
    settings: Mapping[str, object]
    start: Path | None = None


Results = dict[tuple[str, ...], list[Tree]]


def run(study: str, base: Tree, variants: Sequence[Variant], seeds: Sequence[int], threads: int) -> Results:
    """Train every variant with every seed; the last validation of each run, and its minutes, by variant."""
    folder = ROOT / "runs" / study
    folder.mkdir(parents=True, exist_ok=True)
    results: Results = {variant.name: [] for variant in variants}
    for seed in seeds:
        for variant in variants:
            tree = json.loads(json.dumps(base))
            for key, value in {**variant.settings, "train.seed": seed}.items():
                set_value(tree, key, value)
            key = json.dumps(tree, sort_keys=True) + (variant.start.name if variant.start else "")
            record = folder / f"{zlib.crc32(key.encode()):08x}.json"
            if not record.exists():
                start = time.monotonic()
                config = parse_config(tree, ROOT)
                model = train(config, folder / "model", overwrite=True, threads=threads, init_from=variant.start)
                lines = (model / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()
                last = json.loads(lines[-1])
                write_text(
                    record, json.dumps({**last, "name": variant.name, "minutes": (time.monotonic() - start) / 60})
                )
            results[variant.name].append(json.loads(record.read_text(encoding="utf-8")))
    return results


COLUMNS: dict[str, tuple[Callable[[Tree], float], float, int]] = {
    "dev loss": (lambda r: r["loss"], 1, 3),
    "teacher-forced TER %": (lambda r: r["token_error_rate_teacher"], 100, 2),
    "free-running TER %": (lambda r: r["token_error_rate"], 100, 2),
    "gap, points": (lambda r: r["exposure_gap"], 100, 2),
    "words wrong %": (lambda r: 1 - r["exact_match"], 100, 1),
    "minutes": (lambda r: r["minutes"], 1, 1),
}


def write_table(path: Path, results: Results, names: Sequence[str], about: str) -> None:
    """The results as a table: a row a variant, its `names`, and the mean of its seeds ± half the range."""
    lines = [f"Mean of the seeds ± half the range; {about}.", "", f"| {' | '.join([*names, *COLUMNS])} |"]
    lines.append("|---" * (len(names) + len(COLUMNS)) + "|")
    for name, runs in results.items():
        cells = [mean_and_spread([value(r) for r in runs], scale, digits) for value, scale, digits in COLUMNS.values()]
        lines.append(f"| {' | '.join([*name, *cells])} |")
    write_text(path, "\n".join(lines) + "\n")


def known(path: Path) -> list[Tree]:
    """The runs so far, one on each line of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def keep(path: Path, run: Mapping[str, Any]) -> None:
    """Add a run to the file, and show it."""
    line = json.dumps(run, ensure_ascii=False)
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


def insert(path: Path, mark: str, lines: Sequence[str]) -> None:
    """Put lines between the marks `<!-- mark -->` and `<!-- /mark -->` of a document."""
    before, _, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, _, after = rest.partition(f"<!-- /{mark} -->\n")
    body = "\n".join(lines)
    write_text(path, f"{before}<!-- {mark} -->\n{body}\n<!-- /{mark} -->\n{after}")


def data(path: str) -> str:
    """A path in the folder of real data, as recipes name it."""
    return f"${{ANTIPHON_DATA:-../shared/data}}/{path}"


def mean_and_spread(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """`mean ± half the range`, scaled; of one value the value alone."""
    if len(values) == 1:
        return f"{values[0] * scale:.{digits}f}"
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values) * scale:.{digits}f} ± {half * scale:.{digits}f}"


def hardware(threads: int) -> str:
    """One line on the machine."""
    return f"{processor()}, {threads} thread(s) a run, PyTorch on the CPU"
