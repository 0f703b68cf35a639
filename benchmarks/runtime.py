"""An exported G2P model in the runtime: latency of one word, words per second beside g2p_en, sizes, start-up, memory.

python benchmarks/runtime.py MODEL [--words FILE] [--g2p-en FOLDER] [--rounds 5] [--threads 2]

MODEL is a trained folder (configs/g2p-cmudict-small.yaml); FOLDER the package g2p_en 2.1.0, unpacked from its wheel
(`pip download --no-deps g2p_en==2.1.0`), of which the network alone is timed, the method `predict` of its own class:
its dictionary and its text normalisation are left out on both sides. All sides answer the same words, in turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import antiphon_runtime
import torch
from measure import DOCS, write
from task import DATA

import antiphon
from antiphon.export.folder import export

WARM = 50
STARTS = 5
LOOK = "; print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
STARTED = {  # a program that answers one word, and prints the most KiB that it held
    "runtime": "import antiphon_runtime as a; a.load({folder!r}).predict(['shoe'])",
    "PyTorch": "import antiphon as a; a.load({folder!r}, device='cpu').predict(['shoe'])",
}


def network(package: Path) -> Callable[[str], Any]:
    """The network of g2p_en, which reads and transcribes one word."""
    for name in ("nltk", "nltk.corpus", "nltk.tokenize", "inflect", "g2p_en"):
        sys.modules[name] = MagicMock()  # what its dictionary and its normalisation need
    for name in ("expand", "g2p"):
        spec = importlib.util.spec_from_file_location(f"g2p_en.{name}", package / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"g2p_en.{name}"] = module
        spec.loader.exec_module(module)
    module.construct_homograph_dictionary = dict  # type: ignore[attr-defined]
    predict: Callable[[str], Any] = module.G2p().predict
    return predict


def answering(model: Any, beam: int) -> Callable[[str], object]:
    """What answers one input."""
    return lambda text: model.predict([text], beam=beam)


def latency(predict: Callable[[str], object], words: Sequence[str]) -> list[float]:
    """Milliseconds of each word."""
    for word in words[:WARM]:
        predict(word)
    times = []
    for word in words:
        began = time.perf_counter()
        predict(word)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def started(program: str) -> tuple[float, float]:
    """Seconds from process start to the first answer, and MiB: the median of several."""
    seconds, held = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program + LOOK], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
        held.append(int(done.stdout.split()[-1]) / 1024)
    return statistics.median(seconds), statistics.median(held)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--words", type=Path, default=DATA / "g2p-cmudict/test.tsv")
    parser.add_argument("--g2p-en", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lines = given.words.read_text(encoding="utf-8").splitlines()
    words = list(dict.fromkeys(line.split("\t")[0] for line in lines))
    few, some = words[:300], words[:1_000]
    with tempfile.TemporaryDirectory() as name:
        folders = {"float32": Path(name, "float32"), "int8": Path(name, "int8")}
        for kind, folder in folders.items():
            export(given.model, folder, int8=kind == "int8")
        shipped = {kind: antiphon_runtime.load(folder) for kind, folder in folders.items()}
        wide = {kind: antiphon_runtime.load(folder, threads=given.threads) for kind, folder in folders.items()}
        trained = antiphon.load(given.model, device="cpu")
        models: dict[str, Any] = {**{f"runtime, {kind}": item for kind, item in shipped.items()}, "PyTorch": trained}
        throughput: dict[str, Callable[[], object]] = {
            **{f"runtime, {kind}": partial(item.predict, words, beam=1) for kind, item in wide.items()},
            "PyTorch": lambda: trained.predict(words, beam=1),
        }
        counts = dict.fromkeys(throughput, len(words))
        if given.g2p_en:
            others = network(given.g2p_en)
            throughput["g2p_en 2.1.0"] = lambda: [others(word) for word in some]
            counts["g2p_en 2.1.0"] = len(some)
        times: dict[tuple[str, int], list[float]] = {}
        rates: dict[str, list[float]] = {side: [] for side in throughput}
        for number in range(given.rounds + 1):  # the first warms up
            for side, run in throughput.items():
                began = time.perf_counter()
                run()
                rates[side].append(counts[side] / (time.perf_counter() - began))
            for side, model in models.items():
                for beam in (1, 5):
                    seconds = latency(answering(model, beam), few)
                    times.setdefault((side, beam), []).extend(seconds if number else [])
        starts = {
            "runtime, float32": started(STARTED["runtime"].format(folder=str(folders["float32"]))),
            "runtime, int8": started(STARTED["runtime"].format(folder=str(folders["int8"]))),
            "PyTorch": started(STARTED["PyTorch"].format(folder=str(given.model))),
        }
        sizes = {f"runtime, {kind}": megabytes(folder) for kind, folder in folders.items()}
        sizes["PyTorch"] = megabytes(given.model)
    base = statistics.median(rates["g2p_en 2.1.0"][1:]) if given.g2p_en else 0.0
    rows = {}
    for side in throughput:
        rate = statistics.median(rates[side][1:])
        cells = [f"{rate:,.0f}", f"{rate / base:.1f}" if base else ""]
        for beam in (1, 5):
            own = times.get((side, beam))
            cells.append(f"{statistics.median(own):.2f} / {statistics.quantiles(own, n=20)[-1]:.2f}" if own else "")
        cells.append(f"{sizes[side]:.1f}" if side in sizes else "")
        cells += [f"{starts[side][0]:.2f}", f"{starts[side][1]:,.0f}"] if side in starts else ["", ""]
        rows[side] = cells
    parameters = sum(p.numel() for p in trained.model.parameters())
    about = (
        f"`{given.model.name}`, {parameters:,} parameters; {len(words):,} words in batches, greedily (g2p_en takes "
        f"one at a time: {len(some):,}), {len(few)} words one by one, on one thread in the runtime; medians of "
        f"{given.rounds} interleaved rounds, of {STARTS} starts."
    )
    heads = ["side", "words/s", "of g2p_en", "ms a word, beam 1: median / 95%", "beam 5", "folder, MB", "start-up, s"]
    write("runtime", about, rows, [*heads, "memory, MiB"], given.threads, DOCS)


if __name__ == "__main__":
    main()
