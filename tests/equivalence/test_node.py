"""The example in JavaScript predicts what the Python runtime predicts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node import copied, install
from tasks import tiny_config, words

from antiphon.training.loop import train

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import antiphon_runtime

from antiphon.export.folder import export

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "v0.1.0"
CHOSEN: dict[str, Any] = {
    "model__cell": "lstm",
    "model__attention": {"kind": "additive", "input_feeding": True},
    "model__context": {"from": "projected_last", "to": "every_step"},
    "source__tokens": {"split": "e"},
    "source__lowercase": True,
    "target__tokens": "chars",
    "decode__length_penalty": 0.5,
    "decode__min_length": 2,
    "train__label_smoothing": 0.3,
}
TEXTS = [*words(25, 11, "shcteoamn"), "", "SHOE", "e\N{COMBINING ACUTE ACCENT}q", "o"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with what it needs."""
    folder = tmp_path_factory.mktemp("example")
    copied(folder)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("node_modules"))
    install(folder / "examples" / "node")
    return folder / "examples" / "node"


@pytest.mark.slow  # it fetches what it needs
@pytest.mark.parametrize("chosen", [None, CHOSEN], ids=["golden", "other parts"])
def test_the_example_in_node_says_what_the_runtime_says(
    example: Path, chosen: dict[str, Any] | None, tmp_path: Path
) -> None:
    model = GOLDEN if chosen is None else train(tiny_config(tmp_path, **chosen), tmp_path / "model", device="cpu")
    export(model, tmp_path / "shipped")
    runtime = antiphon_runtime.load(tmp_path / "shipped")
    for beam in (1, 4):
        done = subprocess.run(
            ["node", "predict.js", tmp_path / "shipped", str(beam)], cwd=example, capture_output=True, text=True,
            check=False, input="".join(f"{text}\r\n" for text in TEXTS), encoding="utf-8", timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        expected = runtime.predict(TEXTS, beam=beam)
        for line, item in zip(done.stdout.removesuffix("\n").split("\n"), expected, strict=True):
            text, score = line.split("\t")
            assert text == item.text
            assert (float(score) if score else None) == pytest.approx(item.score, abs=1e-3)
    if chosen is None:
        assert len({item.text for item in expected}) > 5
    refused = subprocess.run(
        ["node", "predict.js"], cwd=example, capture_output=True, text=True, check=False, timeout=60
    )
    assert (refused.returncode, refused.stderr) == (2, "usage: node predict.js FOLDER [BEAM] < inputs\n")
    absent = subprocess.run(
        ["node", "predict.js", "absent"], cwd=example, capture_output=True, text=True, check=False, input="", timeout=60
    )
    assert (absent.returncode, absent.stderr) == (1, "absent/antiphon.json: is missing\n")
