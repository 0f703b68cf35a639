"""Whether two checkouts do the same, result for result: a change of structure must change nothing.

python scripts/unchanged.py OTHER [--model DIR --inputs FILE]

Each step runs in both checkouts, with this Python and one thread, and what comes out is compared to the byte: trained
weights and the whole configuration of small tables of four structures, predictions with all that `--json` holds,
scores, evaluations, a trace, the exported folder and the runtime's predictions, the OpenAPI file. `--model` adds a
model folder, which is asked for predictions of the inputs in FILE and for its scores on its test rows.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
OPENAPI = """
import json
from antiphon.inspection.trace import Trace
from antiphon.server.app import create_app
print(json.dumps(create_app([], trace=Trace).openapi(), indent=1, sort_keys=True))
"""
RUNTIME = """
import json, sys
import antiphon_runtime
model = antiphon_runtime.load(sys.argv[1])
for answer in model.predict([line.rstrip("\\n") for line in open(sys.argv[2], encoding="utf-8")]):
    print(json.dumps(answer.to_json(), ensure_ascii=False))
"""


@dataclass(frozen=True)
class Table:
    """Rows to train on, the settings beside the defaults, and inputs to ask for."""

    rows: list[tuple[str, ...]]
    settings: tuple[str, ...] = ()

    @property
    def inputs(self) -> list[str]:
        """The first sources."""
        return [row[0] for row in self.rows[:40]]


def tables() -> dict[str, Table]:
    """Rows made by code: of texts that are written, labels of texts, labels of words, and of a language model."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(3, 7))) for _ in range(300)]
    sentences = [" ".join(chance.choices(words[:40], k=chance.randint(2, 6))) for _ in range(300)]
    return {
        "written": Table([(word, " ".join(reversed(word.upper()))) for word in words]),
        "label": Table([(line, "many" if len(line.split()) > 3 else "few") for line in sentences]),
        "labels": Table([(line, " ".join("AB"["a" in word] for word in line.split())) for line in sentences]),
        "next": Table([(line,) for line in sentences], ("target.kind=next",)),
        "beside": Table(
            [(word, " ".join(word.upper())) for word in words],
            ("model.attention=dot", "model.context.from=projected_all", "model.context.to=every_step"),
        ),
    }


@dataclass(frozen=True)
class Checkout:
    """A checkout and a folder for what it makes."""

    root: Path
    work: Path

    def run(self, *arguments: str | Path, stdin: str = "") -> str:
        """What a Python process prints; a failure ends everything."""
        paths = os.pathsep.join([str(self.root), str(self.root / "runtime")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.work, env=environment, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{self.root}: {' '.join(map(str, arguments))[:200]}\n{done.stderr}")
        return done.stdout

    def antiphon(self, *arguments: str | Path, stdin: str = "") -> str:
        """What a command writes to standard output."""
        return self.run("-m", "antiphon", *arguments, stdin=stdin)


def outputs(checkout: Checkout, model: Path | None, inputs: Path | None) -> Iterator[tuple[str, str]]:
    """What a checkout does, step by step: the name of a step and what came out."""
    for name, table in tables().items():
        lines = "".join(f"{line}\n" for line in table.inputs)
        (checkout.work / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in table.rows))
        settings = [part for pair in (*table.settings, "train.max_steps=60") for part in ("--set", pair)]
        checkout.antiphon("train", f"{name}.tsv", "--out", name, "--threads", "1", *settings)
        folder = checkout.work / name
        yield f"{name}: configuration", (folder / "config.yaml").read_text().replace(str(checkout.work), "")
        yield f"{name}: weights", hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        more = ("--beam", "4", "--n-best", "3") if name in ("written", "beside") else ()
        yield f"{name}: predict --json", checkout.antiphon("predict", name, "--json", *more, stdin=lines)
        yield f"{name}: evaluate", checkout.antiphon("evaluate", name, f"{name}.tsv")
        checkout.antiphon("inspect", name, table.inputs[0], "--out", f"{name}.json")
        yield f"{name}: trace", (checkout.work / f"{name}.json").read_text()
        checkout.antiphon("export", name, f"{name}-exported")
        yield f"{name}: exported", (checkout.work / f"{name}-exported/antiphon.json").read_text()
        (checkout.work / "inputs.txt").write_text(lines)
        yield f"{name}: runtime", checkout.run("-c", RUNTIME, f"{name}-exported", "inputs.txt")
    yield "OpenAPI", checkout.run("-c", OPENAPI)
    golden = HERE / "tests/golden/v0.1.0"
    words = "".join(f"{each['input']}\n" for each in json.loads((golden / "expected.json").read_text())["predictions"])
    yield "golden: predict --json", checkout.antiphon("predict", golden, "--json", stdin=words)
    if model is not None and inputs is not None:
        yield "model: predict --json", checkout.antiphon("predict", model, inputs, "--json")
        yield "model: evaluate", checkout.antiphon("evaluate", model)


def main() -> None:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--inputs", type=Path)
    request = parser.parse_args()
    model, inputs = (path and path.resolve() for path in (request.model, request.inputs))
    work = Path(tempfile.mkdtemp())
    sides = []
    for name, root in (("here", HERE), ("other", request.other.resolve())):
        (work / name).mkdir()
        sides.append(Checkout(root, work / name))
    differences = 0
    for (step, ours), (_, others) in zip(*(outputs(side, model, inputs) for side in sides), strict=True):
        print(f"{'same' if ours == others else 'DIFFERENT'}  {step}  ({len(ours):,} characters)", flush=True)
        if ours != others:
            differences += 1
            changes = difflib.unified_diff(others.splitlines(), ours.splitlines(), "other", "here", lineterm="", n=1)
            print("\n".join(line[:200] for line, _ in zip(changes, range(20), strict=False)))
    shutil.rmtree(work)
    sys.exit(f"{differences} differences" if differences else 0)


if __name__ == "__main__":
    main()
