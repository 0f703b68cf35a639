"""A part of one's own costs one definition and one row: from a module given to `--import`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tasks import spoken, words, write_table

from antiphon.errors import ConfigError
from antiphon.registry import construct

MODULE = '''
"""A cell that forgets at one fixed rate."""

import torch

from antiphon.extend import CELLS, Cell


class Leaky(Cell):
    gates = 1

    def __init__(self, inputs: int, hidden: int, rate: float = 0.5) -> None:
        super().__init__(inputs, hidden)
        self.rate = rate

    def step(self, inputs, state):
        new, old = self._gates(inputs, state[0])
        return (self.rate * state[0] + (1 - self.rate) * torch.tanh(new + old),)


CELLS.add("leaky", Leaky)
'''


def antiphon(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "antiphon", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_cell_of_ones_own_trains_and_predicts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(80, 7, "shcteoamn")])
    settings = ["--set", "train.max_steps=4", "--set", "model.cell={kind: leaky, rate: 0.3}"]
    train = ["train", "pairs.tsv", "--out", "m", *settings]
    refused = antiphon(tmp_path, *train)
    assert refused.returncode == 1
    assert "unknown cell 'leaky'" in refused.stderr
    assert "antiphon --import MODULE" in refused.stderr

    done = antiphon(tmp_path, "--import", "mine", *train)
    assert done.returncode == 0, done.stderr
    assert "rate: 0.3" in (tmp_path / "m" / "config.yaml").read_text()
    done = antiphon(tmp_path, "--import", "mine", "predict", "m", text="shoe\nmoon\n")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2

    wrong = antiphon(tmp_path, "--import", "mine", *train[:3], "n", "--set", "model.cell={kind: leaky, rat: 0.3}")
    assert "model.cell.rat: cell 'leaky' has no such option; did you mean 'rate'?" in wrong.stderr
    missing = antiphon(tmp_path, "--import", "nowhere", "predict", "m")
    assert missing.returncode == 1
    assert missing.stderr.startswith("--import nowhere: ")


def test_the_page_about_parts_runs(tmp_path: Path) -> None:
    """Its modules, as they stand there: the cell, and a kind of source that trains, predicts and refuses."""
    page = (Path(__file__).parents[2] / "docs" / "parts.md").read_text(encoding="utf-8")
    cell, attention, place, rule = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "leaky.py").write_text(cell)
    (tmp_path / "cosine.py").write_text(attention)
    (tmp_path / "place.py").write_text(place)
    (tmp_path / "double.py").write_text(rule)
    rows = [(f"{north},{east}", "north" if north > 0 else "south") for north in range(-80, 81, 5) for east in (-90, 9)]
    write_table(tmp_path / "places.tsv", [row for row in rows if not row[0].startswith("0")])
    settings = ["--set", "source.kind=place", "--set", "target=label", "--set", "train.max_steps=200"]
    settings += ["--set", "model.cell={kind: leaky, rate: 0.3}", "--set", "train.validate_every=100"]
    train = ["--import", "place", "--import", "leaky", "train", "places.tsv", "--out", "m", *settings]
    done = antiphon(tmp_path, *train)
    assert done.returncode == 0, done.stderr
    done = antiphon(tmp_path, "--import", "place", "--import", "leaky", "predict", "m", text="48.2,16.4\n-33.9,18.4\n")
    assert done.stdout.split() == ["north", "south"], done.stderr
    wrong = antiphon(tmp_path, "--import", "place", "--import", "leaky", "predict", "m", text="Vienna\n")
    assert wrong.returncode == 1
    assert wrong.stderr == "standard input:1: the input must be latitude,longitude in degrees\n"

    write_table(tmp_path / "pairs.tsv", [(word, "A A B") for word in words(80, 7, "shcteoamn")])
    train = ["train", "pairs.tsv", "--out", "t", "--set", "train.max_steps=300", "--set", "train.validate_every=100"]
    train += ["--set", "model.attention={kind: cosine, sharpness: 5.0}"]
    done = antiphon(tmp_path, "--import", "cosine", *train)
    assert done.returncode == 0, done.stderr
    free = antiphon(tmp_path, "--import", "cosine", "predict", "t", text="shoe\n")
    assert free.stdout == "A A B\n", free.stderr
    imports = ["--import", "cosine", "--import", "double"]
    kept = antiphon(tmp_path, *imports, "predict", "t", "--set", "decode.no_double=[A]", text="shoe\n")
    assert "A" in kept.stdout, kept.stderr
    assert "A A" not in kept.stdout
    unknown = antiphon(tmp_path, "--import", "cosine", "predict", "t", "--set", "decode.no_double=[A]", text="shoe\n")
    assert unknown.stderr.startswith("decode.no_double: unknown key; "), unknown.stderr


def test_every_table_of_the_page_has_its_stable_address() -> None:
    from antiphon import extend

    page = (Path(__file__).parents[2] / "docs" / "parts.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    named = {table for tables, _ in rows for table in re.findall(r"`(\w+)`", tables)}
    assert named == {name for name in extend.__all__ if name.isupper()} - {"PAD", "BOS", "EOS", "UNK"}
    assert all(hasattr(extend, name) for name in extend.__all__)


def test_an_option_without_a_type_is_told() -> None:
    def untyped(inputs: int, rate=0.5):  # type: ignore[no-untyped-def]
        raise AssertionError

    with pytest.raises(ConfigError, match=r"model\.cell\.rate: cell 'mine' has no type for this option"):
        construct(untyped, {"rate": 0.1}, "model.cell", "cell 'mine'", inputs=3)
