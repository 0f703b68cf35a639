"""Time of one sentence at a time, from text to text, with a trained model: PyTorch, and the exported model in the
runtime with weights of 32 and of 8 bits.

python benchmarks/latency.py MODEL INPUTS [--beam 1 5] [--inputs 200] [--rounds 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from antiphon_runtime import load as load_runtime
from measure import write

import antiphon
from antiphon.export.folder import export

WARM = 10


def answering(model: Any) -> Callable[[str, int], object]:
    """What answers one input with a beam."""
    return lambda text, beam: model.predict([text], beam=beam)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, metavar="INPUTS")
    parser.add_argument("--beam", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    texts = [line.split("\t")[0] for line in given.texts.read_text(encoding="utf-8").splitlines()][: given.inputs]
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[str, int], object]] = {}
        loaded = antiphon.load(given.model)
        sides["PyTorch, as it was trained"] = answering(loaded)
        for name, int8 in (("runtime, float32", False), ("runtime, int8", True)):
            out = Path(folder, "int8" if int8 else "float32")
            export(given.model, out, int8=int8)
            model = load_runtime(out, threads=given.threads)
            sides[name] = answering(model)
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(given.rounds):
            for beam in given.beam:
                for name, predict in sides.items():
                    for text in texts[:WARM]:
                        predict(text, beam)
                    for text in texts:
                        began = time.perf_counter()
                        predict(text, beam)
                        times.setdefault((name, beam), []).append((time.perf_counter() - began) * 1e3)
    rows: dict[str, list[str]] = {}
    for name in sides:
        cells = rows.setdefault(name, [])
        for beam in given.beam:
            cuts = statistics.quantiles(times[name, beam], n=20)
            cells += [f"{statistics.median(times[name, beam]):.2f}", f"{cuts[-1]:.2f}"]
    heads = ["side"]
    for beam in given.beam:
        heads += [f"beam {beam}: median ms", "95% below"]
    about = f"{len(texts)} inputs one by one, {given.rounds} interleaved rounds; {given.model.name}."
    write(f"latency-{given.model.name}", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
