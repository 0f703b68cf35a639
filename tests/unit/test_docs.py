"""What the documentation names exists, and the commands of the READMEs work."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tasks import spoken, words, write_table

ROOT = Path(__file__).parents[2]


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


def commands(readme: str) -> list[str]:
    """The command lines of a README that can be run, those of its examples."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if "antiphon export" not in line or find_spec("onnxruntime")]  # an extra


def test_the_readmes_commands_run(tmp_path: Path) -> None:
    """In order, in a folder that holds the two tables, with fewer updates."""
    for name, seed in (("pairs.tsv", 7), ("test.tsv", 8)):
        write_table(tmp_path / name, [(word, spoken(word)) for word in words(150, seed, "shcteoamn")])
    examples = commands("README.md")
    assert len(examples) >= 5
    assert commands("README.zh.md") == examples
    run_commands(examples, tmp_path)


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_a_readme_is_one_screen_with_the_two_commands_first(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert len(text.encode()) < 6_000
    first = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert first is not None
    assert [line.split()[0] for line in first[1].splitlines()] == ["scripts/demo", "scripts/test"]


def run_commands(examples: list[str], folder: Path) -> None:
    """Run commands in a folder, trainings shortened."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for line in examples:
        if " train " in line:
            line = re.sub(r"--minutes \d+", "--minutes 0.5", line)
            line += " --set train.max_steps=6 --set train.validate_every=3"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
