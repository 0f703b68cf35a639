"""What goes wrong in a training is measured, repaired where it can be, and reported in plain words."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from models import cell_of
from tasks import tiny_config

from antiphon import metrics
from antiphon.common.symbols import EOS
from antiphon.data.batches import Batch, Examples, Padded, Sequences, collate
from antiphon.errors import TrainingError
from antiphon.model.parts.cells import CELLS
from antiphon.saved import folder as bundle
from antiphon.training import autotune as fit
from antiphon.training import checkpoint, health, update
from antiphon.training.loop import train
from antiphon.training.prepare import prepare

SOUND: dict[str, Any] = {
    "commonest_output": 0.1,
    "commonest_reference": 0.1,
    "length_ratio": 1.0,
    "unknown_source": 0.0,
    "unknown_target": 0.01,
    "cells": {"encoder.forward_cells.0": {"saturated": 0.2, "dead": 0.0}},
    "gradients": {"all": 1.0, "encoder": 0.3},
    "skipped": 0,
}


def run(folder: Path, name: str = "m", **settings: Any) -> dict[str, Any]:
    train(tiny_config(folder, **settings), folder / name, threads=1)
    return checkpoint.load(folder / name)[0]


def test_a_sound_training_is_not_warned_of() -> None:
    assert health.warnings(SOUND) == {}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"commonest_output": 0.8}, "outputs are identical for 80% of inputs"),
        ({"length_ratio": 0.3}, "outputs are 0.3 times as long as their references"),
        ({"length_ratio": 3.0}, "outputs are 3 times as long as their references"),
        ({"unknown_source": 0.12}, "12% of the validation source symbols are unknown"),
        ({"unknown_target": 0.5}, "50% of the validation target symbols are unknown"),
        ({"cells": {"c": {"saturated": 0.95, "dead": 0.0}}}, "95% of the gates in c are saturated"),
        ({"cells": {"c": {"saturated": 0.0, "dead": 0.5}}}, "50% of the units in c are dead"),
        ({"gradients": {"all": 1.0, "head": 0.0}}, "no gradient reaches head"),
        ({"skipped": 7}, "7 updates were skipped"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], text: str) -> None:
    (message,) = health.warnings(SOUND | change).values()
    assert message.startswith(text)


def test_equal_outputs_are_right_where_the_references_are_equal() -> None:
    assert health.warnings(SOUND | {"commonest_output": 0.8, "commonest_reference": 0.7}) == {}


def test_output_figures() -> None:
    assert metrics.commonest([["a"], ["a"], ["b"], ["a", "b"]]) == 0.5
    assert metrics.commonest([]) == 0.0
    assert metrics.length_ratio([["a"], ["a", "b", "c"]], [[["a"], ["x", "y"]], [["b"]]]) == 2.0


@pytest.mark.parametrize("kind", list(CELLS))
def test_gate_values_are_those_of_the_equations(kind: str) -> None:
    torch.manual_seed(0)
    cell = cell_of(kind, 3, 4)
    inputs, before = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    gates = cell.gate_values(cell.read(inputs, cell.initial(inputs)), before)
    if kind.startswith("rnn") or kind == "selective":
        assert gates is None
        return
    assert gates is not None
    assert gates.shape == (2, 5, 4 * (cell.gates - 1))
    assert ((gates > 0) & (gates < 1)).all()
    wide = inputs * 1e6
    saturated = cell.gate_values(cell.read(wide, cell.initial(inputs)), before)
    assert saturated is not None
    assert ((saturated - 0.5).abs() > 0.49).float().mean() > 0.9


def test_every_validation_tells_of_cells_gradients_and_outputs(tmp_path: Path) -> None:
    state = run(tmp_path)
    entry = state["progress"]["history"][-1]
    assert set(entry["cells"]) == {"encoder.forward_cells.0", "encoder.backward_cells.0", "decoder.cells.0"}
    assert set(entry["gradients"]) == {
        "all", "source", "encoder", "bridge", "embedding", "decoder", "attention", "head"
    }  # fmt: skip
    parts = [norm for part, norm in entry["gradients"].items() if part != "all"]
    assert entry["gradients"]["all"] == pytest.approx(sum(norm**2 for norm in parts) ** 0.5, rel=1e-3)
    assert health.warnings(entry | {"commonest_output": 0.0, "length_ratio": 1.0}) == {}


def test_a_warning_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, train__max_steps=20, train__validate_every=2, train__learning_rate=1e-9)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings
    assert len(warnings) == len(set(warnings)) <= 3


def poisoned(monkeypatch: pytest.MonkeyPatch, is_bad: Any) -> list[int]:
    """Make the loss of chosen updates (by their number among all tried) no number; returns a list of those tried."""
    tried: list[int] = []
    honest = update.batch_loss

    def loss(*arguments: Any) -> Any:
        objective, nll = honest(*arguments)
        tried.append(len(tried))
        return (objective * torch.nan, nll) if is_bad(tried[-1]) else (objective, nll)

    monkeypatch.setattr(update, "batch_loss", loss)
    return tried


def test_an_update_that_is_no_number_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, lambda number: number == 2)
    state = run(tmp_path)
    assert state["progress"]["skipped"] == 1
    assert state["progress"]["history"][-1]["skipped"] == 1
    assert all(value.isfinite().all() for value in state["learner"]["weights"].values())
    assert state["progress"]["rate"] == 1.0


def test_a_skipped_update_leaves_weights_and_moments_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(tmp_path, "before", train__max_steps=4)
    poisoned(monkeypatch, lambda number: number == 4)
    after = run(tmp_path, "after", train__max_steps=5, train__validate_every=5)
    for name, value in before["learner"]["weights"].items():
        assert value.equal(after["learner"]["weights"][name])
    for name, moments in before["learner"]["optimizer"]["state"].items():
        for key, value in moments.items():
            assert value.equal(after["learner"]["optimizer"]["state"][name][key])


def test_repeated_failures_go_back_to_a_saved_state_with_half_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    tried = poisoned(monkeypatch, lambda number: 6 <= number < 11)
    state = run(tmp_path, train__max_steps=16)
    assert "the loss is NaN or infinite at update 11: back to update 4, with 0.5 times the learning rate" in caplog.text
    assert state["progress"]["rate"] == 0.5
    assert state["progress"]["step"] == 16
    assert state["progress"]["skipped"] == 5
    assert len(tried) == 11 + 12, "updates 5 to 16 are learned from again"
    assert [entry["step"] for entry in state["progress"]["history"]] == [4, 8, 12, 16]


def test_an_exploding_training_recovers_at_a_lower_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the rate is above a quarter of the one asked for, gradients overflow."""
    honest = update.apply

    def explode(learner: Any, this: Any, rate: float, *rest: Any) -> Any:
        if rate > 0.25 and this.step > 4:
            for parameter in learner.parameters:
                parameter.register_hook(lambda gradient: gradient * torch.inf)
        else:
            for parameter in learner.parameters:
                parameter._backward_hooks = None
        return honest(learner, this, rate, *rest)

    monkeypatch.setattr("antiphon.training.loop.apply", explode)
    state = run(tmp_path, train__max_steps=12)
    assert state["progress"]["rate"] == 0.25
    assert state["progress"]["step"] == 12
    assert all(value.isfinite().all() for value in state["learner"]["weights"].values())


def rows_of(batch: Batch) -> int:
    return len(batch.target.values)


def limited(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Memory that holds no more than so many rows at once."""
    honest = update.batch_loss

    def loss(model: Any, batch: Batch, *rest: Any) -> Any:
        if rows_of(batch) > rows:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
            )
        return honest(model, batch, *rest)

    monkeypatch.setattr(update, "batch_loss", loss)


def test_out_of_memory_splits_the_batch_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    options = {"train__optimizer": {"kind": "adamw", "eps": 1e-3}}
    whole = run(tmp_path, "whole", **options)
    limited(monkeypatch, 5)
    caplog.clear()
    parts = run(tmp_path, "parts", **options)
    assert "out of memory at update 1: from here on every batch is computed in 4 parts" in caplog.text
    assert parts["progress"]["parts"] == 4
    for name, value in whole["learner"]["weights"].items():
        torch.testing.assert_close(value, parts["learner"]["weights"][name], atol=1e-5, rtol=1e-5)


def test_memory_for_not_even_a_row_is_an_error_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 0)
    with pytest.raises(TrainingError, match=r"^out of memory; set a smaller train\.batch_size"):
        run(tmp_path)


def test_an_error_that_is_not_about_memory_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(update, "batch_loss", fail)
    with pytest.raises(RuntimeError, match="something else"):
        run(tmp_path)


def test_watching_cells_leaves_no_hook(tmp_path: Path) -> None:
    run(tmp_path)
    model = bundle.load(tmp_path / "m", torch.device("cpu")).model
    batch = collate(Examples((Sequences([[4, 5, EOS]]),), Sequences([[4, EOS]])), [0])
    assert health.cell_health(model, batch)
    assert not any(part._forward_hooks for part in model.modules())


# --- the largest batch that fits ----------------------------------------------------------------------


def test_the_largest_batch_that_fits_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, train__batch_tokens="auto", train__max_steps=8)
    honest = update.batch_loss

    def loss(model: Any, batch: Batch, *rest: Any) -> Any:
        if batch.sources[0].values.numel() + batch.target.values.numel() > 1024:
            raise torch.OutOfMemoryError("out of memory")
        return honest(model, batch, *rest)

    monkeypatch.setattr(fit, "batch_loss", loss)
    out = train(config, tmp_path / "m", threads=1)
    batch_tokens = bundle.load(out, torch.device("cpu")).config.train.batch_tokens
    assert batch_tokens in (512, 1024)
    monkeypatch.setattr(fit, "batch_loss", honest)
    train(tiny_config(tmp_path, train__batch_tokens="auto", train__max_steps=12), out, resume=True, threads=1)
    assert bundle.load(out, torch.device("cpu")).config.train.batch_tokens == batch_tokens


class Clock:
    """A clock that a test moves: how busy the machine is decides nothing."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_the_faster_precision_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
    honest, clock = update.batch_loss, Clock()
    monkeypatch.setattr(fit, "time", clock)

    def loss(*given: Any) -> Any:
        clock.seconds += 1 if given[-1] == faster else 2
        return honest(*given)

    monkeypatch.setattr(fit, "batch_loss", loss)
    config = tiny_config(tmp_path, train__precision="auto", train__max_steps=8)
    out = train(config, tmp_path / "m", threads=1)
    assert bundle.load(out, torch.device("cpu")).config.train.precision == faster
    monkeypatch.setattr(fit, "batch_loss", None)  # nothing is measured again
    train(tiny_config(tmp_path, train__precision="auto", train__max_steps=12), out, resume=True, threads=1)
    assert bundle.load(out, torch.device("cpu")).config.train.precision == faster


@pytest.mark.parametrize("fastest", [1, 2, 4])
def test_the_fastest_number_of_threads_is_found_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fastest: int
) -> None:
    honest, before, clock = update.batch_loss, torch.get_num_threads(), Clock()
    monkeypatch.setattr(fit, "time", clock)

    def loss(*given: Any) -> Any:
        clock.seconds += 1 if torch.get_num_threads() == fastest else 2
        return honest(*given)

    try:
        torch.set_num_threads(4)
        with monkeypatch.context() as patch:
            patch.setattr(fit, "batch_loss", loss)
            out = train(tiny_config(tmp_path, train__max_steps=8), tmp_path / "m", threads=0)
        assert torch.get_num_threads() == fastest
        torch.set_num_threads(3)
        train(tiny_config(tmp_path, train__max_steps=12), out, resume=True, threads=0)
        assert torch.get_num_threads() == fastest
    finally:
        torch.set_num_threads(before)


def test_where_memory_runs_out_the_precision_stays_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(*given: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(fit, "batch_loss", loss)
    assert fit.faster_precision(prepare(tiny_config(tmp_path)), torch.device("cpu")) == "float32"


def test_finding_what_fits_changes_no_weight(tmp_path: Path) -> None:
    prepared = prepare(tiny_config(tmp_path))
    before = {name: value.clone() for name, value in prepared.model.named_parameters()}
    assert fit.largest_batch(prepared, torch.device("cpu")) >= fit.LEAST
    assert fit.faster_precision(prepared, torch.device("cpu")) in ("float32", "bfloat16")
    assert fit.fastest_threads(prepared, torch.device("cpu")) == torch.get_num_threads()
    for name, value in prepared.model.named_parameters():
        assert value.equal(before[name])
        assert value.grad is None


def test_not_even_the_least_batch_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(fit, "batch_loss", loss)
    with pytest.raises(TrainingError, match="out of memory with 512 tokens per batch"):
        fit.largest_batch(prepare(tiny_config(tmp_path)), torch.device("cpu"))


def test_a_training_without_one_good_update_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, lambda number: True)
    with pytest.raises(TrainingError, match=r"^the loss was NaN or infinite in every update"):
        run(tmp_path, train__max_steps=4)


def test_padding_counts_neither_as_saturated_nor_as_dead(tmp_path: Path) -> None:
    run(tmp_path)
    model = bundle.load(tmp_path / "m", torch.device("cpu")).model
    rows = [[4 + number % 5, 5, EOS] for number in range(15)]
    short = Examples((Sequences(rows),), Sequences([[4, EOS]] * 15))
    padded = Examples((Sequences([*rows, [4] * 40 + [EOS]]),), Sequences([*[[4, EOS]] * 15, [4] * 40 + [EOS]]))
    alone = health.cell_health(model, collate(short, range(15)))
    beside = health.cell_health(model, collate(padded, range(15)).part(0, 1))
    assert alone == beside
    wide = collate(padded, range(16))
    source, target = (Padded(values[:15], lengths[:15]) for values, lengths in (*wide.sources, wide.target))
    fifteen = Batch((source,), target, wide.positions[:30])
    for name, shares in health.cell_health(model, fifteen).items():
        assert shares == pytest.approx(alone[name], abs=1e-6)
