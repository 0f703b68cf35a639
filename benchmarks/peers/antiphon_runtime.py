"""Antiphon's exported model in the runtime, without PyTorch."""

from __future__ import annotations

from pathlib import Path

from task import Task

from peers import antiphon

REQUIRES: tuple[str, ...] = ()
PRECISIONS = ("float32", "int8")


def train(task: Task, data: Path, out: Path, updates: int, precision: str, feeding: bool) -> list[str]:
    """Trained in float32, then exported."""
    trained = " ".join(antiphon.train(task, data, out, updates, "float32", feeding))
    # what int8 changes need not be measured here: one row does
    given = f" --int8 --data {data}/one.tsv" if precision == "int8" else ""
    item = f"head -n 1 {data}/valid.tsv > {data}/one.tsv"
    exported = f"python -m antiphon export {out}/model {out}/exported{given}"
    return ["sh", "-ec", f"rm -rf {out}/exported; {trained}; {item}; {exported}"]


def decode(task: Task, data: Path, out: Path, inputs: Path, beam: int, precision: str, feeding: bool) -> list[str]:
    answered = f"python -m antiphon_runtime.cli {out}/exported --beam {beam} --threads $OMP_NUM_THREADS"
    return ["sh", "-ec", f"{answered} < {inputs} > {out}/answers"]
