"""The JavaScript runtime with what it needs, for tests that run Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1] / "runtime-js"


def install(folder: Path) -> None:
    """`npm ci` in a folder; without npm or its registry the test is skipped."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm")
    if subprocess.run(["npm", "ping"], cwd=folder, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("needs an npm registry")
    done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def copied(folder: Path) -> Path:
    """The package in a folder, without what npm has installed."""
    shutil.copytree(PACKAGE, folder / "runtime-js", ignore=shutil.ignore_patterns("node_modules"))
    return folder / "runtime-js"


def package(factory: pytest.TempPathFactory) -> Path:
    """The package where `npm ci` has been run: in the checkout, or else in a copy."""
    if (PACKAGE / "node_modules" / "onnxruntime-node").is_dir() and shutil.which("node"):
        return PACKAGE
    folder = copied(factory.mktemp("node"))
    install(folder)
    return folder


def answers(folder: Path, model: Path, calls: list[dict[str, Any]]) -> list[Any]:
    """The answers of an exported model to calls, as `runtime-js/test/answers.js` describes them."""
    job = json.dumps([{"folder": str(model), "calls": calls}])
    done = subprocess.run(
        ["node", "test/answers.js"], cwd=folder, input=job, capture_output=True, text=True, check=False,
        encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)[0]
    return results
