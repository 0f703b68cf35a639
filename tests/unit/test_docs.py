"""What the documentation names exists, and the commands of the README work."""

from __future__ import annotations

import ast
import logging
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tasks import spoken, words, write_table

from antiphon.config.schema import Config
from antiphon.data.tokenizers import TOKENIZERS
from antiphon.decoding.rules import RULES
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.bridges import BRIDGES
from antiphon.model.parts.recurrent import CELLS
from antiphon.training.feeding import FEEDINGS
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_walk_names_what_exists() -> None:
    text = (ROOT / "docs/walk.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:antiphon|runtime)/[\w/]+\.py):(\w+)`", text)
    assert len(named) > 30
    for file, symbol in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        targets = [
            n.targets[0] if isinstance(n, ast.Assign) else n.target
            for n in tree.body
            if isinstance(n, ast.Assign | ast.AnnAssign)
        ]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        assert symbol in defined, f"docs/walk.md names {file}:{symbol}"


def test_the_readme_lists_every_choice() -> None:
    """The table of what can be chosen names each row of each table and each key of the configuration."""
    for table in (CELLS, ATTENTIONS, BRIDGES, TOKENIZERS, OPTIMIZERS, SCHEDULES, FEEDINGS, RULES):
        for row in table:
            assert f"`{row}`" in README, row
    for section, field in Config.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            assert f"`{inner.alias or name}`" in README, f"{section}.{name}"


def test_every_recipe_is_a_valid_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.config.load import read_config_file
    from antiphon.training.prepare import check_names

    monkeypatch.setenv("ANTIPHON_DATA", "data")
    recipes = sorted((ROOT / "configs").glob("*.yaml"))
    assert recipes
    for path in recipes:
        check_names(read_config_file(path))
        text = path.read_text(encoding="utf-8")
        assert "Paper:" in text, path
        assert "Expected:" in text, path


def commands(text: str = README) -> list[str]:
    """Lines of a document's shell blocks that the test can run on a small table."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    examples = [line for line in lines if re.match(r"(antiphon|printf|cut) (?!serve)", line) and "demo" not in line]
    return [line for line in examples if "antiphon export" not in line or find_spec("onnxruntime")]  # an extra


def test_the_readmes_commands_run(tmp_path: Path) -> None:
    """In order, in a folder that holds a `pairs.tsv`, with fewer updates."""
    write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(150, 7, "shcteoamn")])
    examples = commands()
    assert len(examples) >= 6
    run_commands(examples, tmp_path)


@pytest.mark.slow
def test_the_commands_about_experiments_run(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(150, 7, "shcteoamn")])
    examples = commands((ROOT / "docs/experiments.md").read_text(encoding="utf-8"))
    assert {line.split()[1] for line in examples} == {"sweep", "table", "tune", "train"}
    run_commands(["antiphon train pairs.tsv --out model", *examples], tmp_path)


def run_commands(examples: list[str], folder: Path) -> None:
    """Run commands in a folder, trainings and searches shortened."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for line in examples:
        if re.search(" (train|sweep|tune) ", f" {line}"):
            line += " --set train.max_steps=6 --set train.validate_every=3"
        line = re.sub(r"--minutes \d+", "--minutes 0.5", line)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert shlex.split(line)


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import antiphon

    table = write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(150, 7, "shcteoamn")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(antiphon, "train", _train_briefly, raising=False)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert table.exists()


def test_the_python_of_the_page_about_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import antiphon

    write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(150, 7, "shcteoamn")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(antiphon, "train", _train_briefly, raising=False)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "page"}
    level = logging.getLogger("antiphon").level
    try:
        for block in blocks:
            exec(compile(block, "python.md", "exec"), names)
    finally:
        logging.getLogger("antiphon").setLevel(level)
    assert len(blocks) == 7
    assert capsys.readouterr().out.startswith("Predictor(many_to_many, text -> text, ")
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.tsv", "model", "copy", "stopped", "quiet"}


def _train_briefly(what: Any, out: str | None = None, settings: Any = None, **options: Any) -> object:
    from antiphon.api import train

    return train(what, out, {**(settings or {}), "train.max_steps": 6, "train.validate_every": 3}, **options)
