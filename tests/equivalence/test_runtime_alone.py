"""The runtime in an environment of its own: it answers as `predict` does, without PyTorch, and is small."""

from __future__ import annotations

import json
import subprocess
import time
import venv
from pathlib import Path

import pytest
from serving import GOLDEN

from antiphon.export.folder import export
from antiphon.use.loading import load

ROOT = Path(__file__).parents[2]
WORDS = ["shoe", "moon", "a", "shee", "mmmm"]
ANSWER = """
import json, sys, antiphon_runtime
model = antiphon_runtime.load(sys.argv[1])
said = [[one.text, one.score] for beam in (1, 4) for one in model.predict(json.loads(sys.argv[2]), beam=beam)]
strange = sorted({"torch", "antiphon"} & {name.partition(".")[0] for name in sys.modules})
print(json.dumps([said, strange]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the runtime and what it needs, and no more."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    arguments = ["install", "--quiet", "--retries", "0", "--timeout", "60", str(ROOT / "runtime")]
    done = subprocess.run([folder / "bin/python", "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a package index to install numpy and onnxruntime from: {done.stderr[-200:]}")
    return folder / "bin/python"


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.slow
def test_it_answers_as_predict_without_torch(python: Path, tmp_path: Path) -> None:
    export(GOLDEN, tmp_path / "out")
    done = subprocess.run(
        [python, "-c", ANSWER, tmp_path / "out", json.dumps(WORDS)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    answers, strange = json.loads(done.stdout)
    model = load(GOLDEN, "cpu")
    expected = [item for beam in (1, 4) for item in model.predict(WORDS, beam=beam)]
    assert [text for text, _ in answers] == [item.text for item in expected]
    assert [score for _, score in answers] == pytest.approx([item.score for item in expected], abs=1e-4)
    assert strange == []
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False, cwd=tmp_path)
    assert missing.returncode != 0


@pytest.mark.slow
def test_it_is_small_and_imported_at_once(python: Path) -> None:
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    tools = sum(megabytes(tool) for tool in packages.iterdir() if tool.name.startswith(("pip", "setuptools")))
    assert megabytes(packages) - tools <= 180
    assert megabytes(packages / "antiphon_runtime") <= 1
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([python, "-c", "import antiphon_runtime"], check=True, cwd=python.parent)
        seconds.append(time.perf_counter() - began)
    print(
        f"{megabytes(packages) - tools:.1f} MB, {megabytes(packages / 'antiphon_runtime'):.3f} MB, {min(seconds):.2f} s"
    )
    assert min(seconds) < 0.5
