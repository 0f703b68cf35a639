"""Exported models beside the models that they were made of, on whole test sets: outputs, scores, and 8 bits.

python studies/parity.py MODEL ... [--rows N] [--beam 1 5]      then writes docs/results/parity.md

A row agrees if both say the same and their scores lie within 1e-4. Where they say different things, the gap between
PyTorch's two best answers is told: within 1e-4 either is right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import antiphon_runtime
import numpy as np
from grid import ROOT

import antiphon
from antiphon.export.folder import export
from antiphon.files import write_text
from antiphon.model.build import structure_of
from antiphon.use.predictor import Predictor

RUNS = ROOT / "docs/results/parity.jsonl"
TABLE = ROOT / "docs/results/parity.md"
CLOSE = 1e-4


def inputs_of(model: Predictor, rows: int | None) -> list[Any]:
    """The distinct inputs of the test rows, in order."""
    distinct = {repr(row.sources): row.sources for row in model.rows(None)}
    return [values[0] if len(values) == 1 else values for values in list(distinct.values())[:rows]]


def content(answer: Any) -> Any:
    """The prediction of an answer, without its scores."""
    for name in ("tokens", "labels", "label"):
        if hasattr(answer, name):
            return getattr(answer, name)
    return None


def numbers(answer: Any) -> np.ndarray[Any, Any]:
    """The scores of an answer, or the numbers that it predicts."""
    for name in ("score", "probabilities", "values", "value"):
        if (value := getattr(answer, name, None)) is not None:
            return np.asarray(sorted(value.values()) if isinstance(value, dict) else value, dtype=float)
    return np.zeros(0)


def gap(model: Predictor, given: Any, beam: int | None) -> float:
    """Between the scores of the two best answers to an input."""
    if beam is None:
        probabilities = np.sort(np.atleast_2d(numbers(model.predict([given])[0])))
        return float((probabilities[:, -1] - probabilities[:, -2]).min()) if probabilities.shape[1] > 1 else np.inf
    best = model.predict([given], beam=max(2, beam), n_best=2)[0].n_best
    return float(abs(best[0].score - best[1].score))


def compared(model: Predictor, shipped: Any, inputs: Sequence[Any], beam: int | None) -> dict[str, Any]:
    """Both over all inputs."""
    options: dict[str, Any] = {} if beam is None else {"beam": beam}
    expected, from_runtime = model.predict(inputs, **options), shipped.predict(inputs, **options)
    pairs = list(zip(expected, from_runtime, strict=True))
    differ = [place for place, (item, other) in enumerate(pairs) if content(item) != content(other)]
    gaps = [gap(model, inputs[place], beam) for place in differ]
    alike = [(numbers(a), numbers(b)) for place, (a, b) in enumerate(pairs) if place not in set(differ)]
    apart = max((float(np.abs(a - b).max(initial=0)) for a, b in alike), default=0.0)
    return {"rows": len(inputs), "differ": len(differ), "gap": max(gaps, default=0.0), "score": apart}


def measured(folder: Path, rows: int | None, beams: Sequence[int]) -> dict[str, Any]:
    """A model's line."""
    model = antiphon.load(folder, device="cpu")
    inputs = inputs_of(model, rows)
    line: dict[str, Any] = {"model": folder.name, "structure": structure_of(model.config)}
    with tempfile.TemporaryDirectory() as name:
        export(folder, Path(name, "float32"))
        shipped = antiphon_runtime.load(Path(name, "float32"))
        writes = hasattr(model.predict(inputs[:1])[0], "n_best")
        for beam in beams if writes else (None,):
            line["each answer" if beam is None else f"beam {beam}"] = compared(model, shipped, inputs, beam)
        eight = export(folder, Path(name, "int8"), int8=True)
        line["size"] = (eight.quantized_size or 0) / eight.size
        line["int8"] = dict(eight.changes or {})
    return {**line, "day": date.today().isoformat()}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """All lines as a page."""
    rows = []
    for line in lines:
        changes = ", ".join(f"{name} {before:.4g} -> {after:.4g}" for name, (before, after) in line["int8"].items())
        for way, comparison in line.items():
            if isinstance(comparison, dict) and way != "int8":
                cells = [line["structure"], line["model"], f"{comparison['rows']:,}", way, f"{comparison['differ']:,}"]
                cells += [f"{comparison['gap']:.1e}" if comparison["differ"] else "", f"{comparison['score']:.1e}"]
                rows.append("| " + " | ".join([*cells, changes, f"{line['size']:.0%}"]) + " |")
                changes = ""
    heads = ["structure", "model", "test inputs", "way", "that differ", "their largest gap", "scores apart, at most"]
    heads += ["8 bits: before -> after", "size of 8 bits"]
    about = (
        "# The runtime beside PyTorch\n\nWhole test sets, answered by `antiphon predict` and by the exported model in "
        "the runtime. The gap is between the two best answers of PyTorch where the runtime says another. Of 8-bit "
        "weights: what they change of the metrics, by the exporter's own measure (greedy). Made by "
        "`studies/parity.py` from [parity.jsonl](parity.jsonl).\n\n"
    )
    return about + "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--beam", nargs="+", type=int, default=[1, 5])
    given = parser.parse_args()
    lines = [json.loads(line) for line in RUNS.read_text("utf-8").splitlines()] if RUNS.exists() else []
    for folder in given.models:
        measurement = measured(folder, given.rows, given.beam)
        print(measurement, flush=True)
        lines = [line for line in lines if line["model"] != measurement["model"]] + [measurement]
        write_text(RUNS, "".join(json.dumps(line) + "\n" for line in lines))
    write_text(TABLE, table(lines))


if __name__ == "__main__":
    main()
