"""The benchmark's own arithmetic: what it counts, what it draws, what it reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.tools import bench

SMALL = bench.Reference(
    "a small model",
    lambda random: (("a b c", "x y z") for _ in range(12)),
    """
source: {kind: text, column: 0, tokens: words}
target: {kind: text, column: 1, tokens: words}
model:
  cell: CELL
  embedding: 6
  encoder: {hidden: 5, layers: 1, bidirectional: false}
  context: {from: last, to: initial_state}
  attention: none
  decoder: {hidden: 5, layers: 1}
  dropout: 0.0
train: {epochs: 1000, batch_size: 4, unknown: 0.0}
""",
    3,
)


def small(cell: str) -> bench.Reference:
    return bench.Reference(SMALL.about, SMALL.rows, SMALL.config.replace("CELL", cell), SMALL.outputs)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_operations_are_those_of_the_equations(cell: str, gates: int) -> None:
    steps, target = 4 + 4, 4  # steps of source and target, each with an end symbol
    inputs, states, readout, head = gates * 5 * 6, gates * 5 * 5, 5 * 5, 5 * 7
    forward = 2 * (steps * (inputs + states) + target * (readout + head))
    # backward: once more for inputs and once more for weights; nothing goes on from the first state, which is zero
    expected = 3 * forward - 2 * states
    assert bench.operations_a_token(bench.prepared(small(cell))) == expected / target


def test_every_symbol_is_drawn() -> None:
    rows = list(bench.REFERENCES["letters"].rows(np.random.default_rng(0)))
    assert {letter for source, _ in rows for letter in source} == {chr(ord("a") + i) for i in range(26)}
    words = {
        word for _, target in bench.REFERENCES["sentences"].rows(np.random.default_rng(0)) for word in target.split()
    }
    assert len(words) == 7_859


def test_the_command_reports_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "REFERENCES", {"small": small("lstm")})
    ran = CliRunner().invoke(app, ["bench", "--seconds", "0.01", "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["products"]["float32, torch.mm"] > 0
    for precision in bench.PRECISIONS:
        part = report["small"][precision]
        assert part["training"] > 0
        assert sum(part["time"].values()) == pytest.approx(1, abs=0.05)
    assert report["small"]["greedy"] > 0
    assert report["small"]["beam 5"] > 0
