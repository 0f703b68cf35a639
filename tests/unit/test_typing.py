"""The package as a type checker sees it: a program that uses all of it, and one with mistakes."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import antiphon

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/typed.py"

MISTAKES = """\
import antiphon
from antiphon import Callback, LabelPrediction, Run, TextPrediction

model = antiphon.load("model", predicts=TextPrediction)
best = model.predict(["shoe"])[0]
print(best.label)  # attr-defined
print(best.score + 1)  # operator
count: int = best.text  # assignment
model.predict(5)  # arg-type
model.guess(["shoe"])  # attr-defined
tagger: antiphon.Predictor[LabelPrediction] = model  # assignment
antiphon.load("model", predicts=str)  # type-var
antiphon.train("pairs.tsv", quiet="yes")  # call-overload
unchecked = antiphon.load("model").predict(["shoe"])[0].anything


class Stops(Callback):
    def update(self, run: Run) -> str:  # override
        return str(run.losses)  # attr-defined
"""


def checked(path: Path) -> str:
    """What `mypy --strict` says of a file."""
    command = [sys.executable, "-m", "mypy", "--strict", "--show-error-codes", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_the_example_is_accepted_and_runs(tmp_path: Path) -> None:
    assert checked(EXAMPLE) == "Success: no issues found in 1 source file\n"
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "so it predicts TextPrediction, not LabelPrediction" in done.stdout
    assert (tmp_path / "copy" / "weights.safetensors").is_file()


def test_the_example_uses_every_public_function() -> None:
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    methods = {name for name, _ in inspect.getmembers(antiphon.Predictor, inspect.isfunction) if name[0] != "_"}
    special = {
        "chat",
        "tag",
        "file",
        "lines",
        "most_outputs",
        "refuse_unsure",
        "rows",
        "row_sums",
        "evaluate_signed",
        "cells",
    }
    assert methods - special - used == set(), "what the command line needs is not shown"
    assert {"train", "load", "check", "compare", "Callback", "Run", "Trace"} <= used


def test_mistakes_are_rejected_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "mistakes.py"
    path.write_text(MISTAKES, encoding="utf-8")
    rejected = {
        (int(line), code) for line, code in re.findall(r"mistakes\.py:(\d+): error: .*\[([\w-]+)\]", checked(path))
    }
    expected = {
        (number, line.split("  # ")[1]) for number, line in enumerate(MISTAKES.splitlines(), 1) if "  # " in line
    }
    assert rejected == expected


def test_a_model_that_predicts_another_class_is_refused(model_folder: Path, pairs: Path) -> None:
    model = antiphon.load(model_folder, "cpu", predicts=antiphon.TextPrediction)
    assert isinstance(model.predict(["abc"])[0], antiphon.TextPrediction)
    message = "its target is of the kind text, so it predicts TextPrediction, not LabelPrediction; give predicts=TextP"
    with pytest.raises(antiphon.AntiphonError, match=message):
        antiphon.load(model_folder, "cpu", predicts=antiphon.LabelPrediction)
    with pytest.raises(antiphon.AntiphonError, match=message):
        antiphon.train(pairs, settings={"train.max_steps": 10**6}, predicts=antiphon.LabelPrediction)
