"""The cost model of several machines: its arithmetic, what is measured for it, and its tables in a document."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks import in_ranks
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.tools import bench, scale
from antiphon.tools.scale import BYTES, LINKS, MACHINES, Costs, Link, messages, seconds_of_update
from antiphon.training.distributed import joined
from antiphon.training.gradients import BUCKET

ROOT = Path(__file__).parents[2]
SECONDS = st.floats(1e-6, 1.0)
COSTS = st.builds(Costs, st.integers(1, 10**9), st.just(10.0), SECONDS, SECONDS, SECONDS, SECONDS)
CONNECTIONS = st.builds(Link, st.just("x"), st.floats(1e5, 1e11), st.floats(1e-6, 0.1))
ROWS, REDUCE = st.integers(1, 1000), st.sampled_from(sorted(BYTES))


def test_a_hand_made_case() -> None:
    """Two machines, 4 buckets of a second each: the backward pass of 2 s hides two of the three first ones."""
    costs = Costs(parameters=4 * BUCKET, tokens=10.0, fixed=0.25, reading=0.01, forward=0.1, backward=0.2)
    link = Link("x", bandwidth=4.0 * BUCKET, latency=0.0)
    assert messages(costs, link, 2) == pytest.approx(4.0)
    assert seconds_of_update(costs, link, 2, 20) == pytest.approx(0.25 + 0.2 + 1.0 + 3.0 + 1.0)
    assert seconds_of_update(costs, link, 2, 20, overlapped=False) == pytest.approx(0.25 + 0.2 + 1.0 + 2.0 + 4.0)
    assert seconds_of_update(costs, link, 2, 20, "bfloat16") == pytest.approx(0.25 + 0.2 + 1.0 + 2.0 + 0.5)
    assert scale.limit(costs, link, 2, 20) == "gradients"
    assert scale.limit(costs, link, 1, 20) == "computation"


def test_latency_counts_every_step_of_the_ring_twice_and_two_messages_at_once() -> None:
    costs = Costs(parameters=4 * BUCKET, tokens=10.0, fixed=0.0, reading=0.0, forward=0.0, backward=0.0)
    assert messages(costs, Link("x", 1e30, 0.01), 5) == pytest.approx(2 * 2 * 4 * 0.01)


@given(COSTS, CONNECTIONS, st.sampled_from(MACHINES), ROWS, REDUCE)
def test_no_training_is_faster_than_what_its_machines_compute(
    costs: Costs, link: Link, machines: int, rows: int, reduce: str
) -> None:
    alone = seconds_of_update(costs, link, 1, rows, reduce)
    assert alone == pytest.approx(costs.fixed + rows * (costs.reading + costs.forward + costs.backward))
    seconds = seconds_of_update(costs, link, machines, rows, reduce)
    assert seconds >= alone / machines * (1 - 1e-9)
    assert seconds >= messages(costs, link, machines, reduce)
    assert seconds <= seconds_of_update(costs, link, machines, rows, reduce, overlapped=False) * (1 + 1e-9)
    faster = replace(link, bandwidth=2 * link.bandwidth)
    assert seconds_of_update(costs, faster, machines, rows, reduce) <= seconds


CONFIG = """
source: {kind: text, column: 0, tokens: words}
target: {kind: text, column: 1, tokens: words}
model: {embedding: 6, encoder: {hidden: 5}, decoder: {hidden: 5}}
train: {epochs: 1000, batch_size: 4, unknown: 0.0}
"""
SMALL = bench.Reference("a small model", lambda random: (("a b c", "x y z") for _ in range(80)), CONFIG, 3)


def test_the_command_measures_and_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "REFERENCES", {"sentences": SMALL})
    ran = CliRunner().invoke(app, ["bench", "--scale", "--seconds", "0.05", "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    costs = Costs(**report["costs"])
    assert costs.tokens == 4
    assert min(costs.forward, costs.backward, costs.fixed) >= 0 < costs.reading
    assert [Link(**link) for link in report["links"]] == list(LINKS)
    shown = CliRunner().invoke(app, ["bench", "--scale", "--seconds", "0.05"]).stdout
    assert "| 64 | " in shown


def link_between() -> tuple[float, float]:
    with joined("cpu") as ranks:
        link = scale.measured_link(ranks, 0.05)
    return link.bandwidth, link.latency


def test_a_connection_is_measured() -> None:
    for bandwidth, latency in in_ranks(2, link_between):
        assert 1e6 < bandwidth < 1e12
        assert 1e-7 < latency < 1


def test_the_documents_tables_are_what_the_model_predicts() -> None:
    """`python benchmarks/scale.py --document` writes them anew."""
    constants = json.loads((ROOT / "benchmarks/results/scale-costs.json").read_text())
    expected = "\n".join(scale.table(Costs(**constants["costs"]), [Link(**link) for link in constants["links"]]))
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert text.partition("<!-- predicted -->\n")[2].partition("<!-- end -->")[0].strip() == expected.strip()
