"""Optimizers, and schedules of their learning rate."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antiphon.api import read_config
from antiphon.common.symbols import EOS
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config
from antiphon.data.batches import Examples, Sequences
from antiphon.errors import ConfigError
from antiphon.saved import folder as bundle
from antiphon.training.average import Average
from antiphon.training.loop import train
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES, Schedule
from antiphon.training.plan import total_steps, updates
from antiphon.training.prepare import prepare

Configure = Callable[..., Config]

NAMES = list(SCHEDULES)
FALLING = ["linear", "cosine", "inverse_sqrt"]


def schedule(kind: str, **options: object) -> Schedule:
    return SCHEDULES.build(kind, options, "train.schedule")


@pytest.mark.parametrize("kind", NAMES)
@given(warmup=st.integers(1, 50), total=st.integers(51, 200))
def test_the_warm_up_rises_linearly_to_the_whole_rate(kind: str, warmup: int, total: int) -> None:
    made = schedule(kind, warmup=warmup)
    factors = [made(step, total) for step in range(warmup)]
    assert factors == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert made(warmup, total) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", NAMES)
@given(warmup=st.integers(0, 60), total=st.integers(1, 60))
def test_factors_lie_between_zero_and_one_and_never_rise_behind_the_warm_up(kind: str, warmup: int, total: int) -> None:
    made = schedule(kind, warmup=warmup)
    factors = [made(step, total) for step in range(total + 5)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    behind = factors[warmup:]
    assert all(after <= before + 1e-12 for before, after in pairwise(behind))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(warmup=st.integers(0, 20), total=st.integers(21, 99), end=st.floats(0, 1))
def test_linear_and_cosine_meet_their_end_and_their_middle(kind: str, warmup: int, total: int, end: float) -> None:
    made = schedule(kind, warmup=warmup, end=end)
    assert made(total, total) == pytest.approx(end)
    assert made(total + 10, total) == pytest.approx(end)
    if (total - warmup) % 2 == 0:
        assert made((total + warmup) // 2, total) == pytest.approx((1 + end) / 2)


def test_linear_falls_by_equal_steps_and_cosine_slowly_at_both_ends() -> None:
    line = [schedule("linear")(step, 10) for step in range(11)]
    curve = [schedule("cosine")(step, 10) for step in range(11)]
    assert line == pytest.approx([1 - step / 10 for step in range(11)])
    assert curve == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(11)])
    assert curve[1] > line[1]
    assert curve[9] < line[9]


def test_constant_stays() -> None:
    assert [schedule("constant")(step, 10) for step in range(20)] == [1.0] * 20


@given(st.integers(1, 100))
def test_inverse_sqrt_halves_when_updates_fourfold(warmup: int) -> None:
    made = schedule("inverse_sqrt", warmup=warmup)
    assert made(4 * warmup, 10**6) == pytest.approx(0.5)
    assert made(4 * warmup, 10**6) == made(4 * warmup, 10)


@pytest.mark.parametrize("kind", FALLING)
def test_falling_schedules_fall(kind: str) -> None:
    assert schedule(kind)(9, 10) < 0.5


@pytest.mark.parametrize("kind", NAMES)
def test_a_negative_warm_up_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"^train\.schedule\.warmup: must not be negative \(is -3\)$"):
        schedule(kind, warmup=-3)


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_an_optimizer_finds_the_bottom_of_a_bowl(kind: str) -> None:
    place = nn.Parameter(torch.tensor([3.0, -2.0]))
    made = OPTIMIZERS.build(kind, {}, "train.optimizer", parameters=[place], learning_rate=0.1)
    for _ in range(200):
        made.zero_grad()
        (place**2).sum().backward()  # type: ignore[no-untyped-call]
        made.step()
    assert place.detach().abs().max() < 0.05


def test_muon_turns_matrices_and_leaves_the_rest_to_adamw() -> None:
    """Its update of a matrix has equal singular values, which Adam's has not; a vector's is AdamW's."""
    torch.manual_seed(1)
    start = {"matrix": torch.randn(6, 6), "vector": torch.randn(6)}
    gradients = {name: torch.randn_like(value) for name, value in start.items()}
    moved = {}
    for kind in ("muon", "adamw"):
        parameters = {name: nn.Parameter(value.clone()) for name, value in start.items()}
        made = OPTIMIZERS.build(
            kind, {"weight_decay": 0.0}, "train.optimizer", parameters=list(parameters.values()), learning_rate=0.1
        )
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        made.step()
        moved[kind] = {name: parameter.detach() - start[name] for name, parameter in parameters.items()}
    assert moved["muon"]["vector"].equal(moved["adamw"]["vector"])
    values = {kind: torch.linalg.svdvals(change["matrix"]) for kind, change in moved.items()}
    assert values["muon"].max() / values["muon"].median() < 2 < values["adamw"].max() / values["adamw"].median()


def test_muon_takes_the_rate_of_its_schedule() -> None:
    parameters = [nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))]
    made = OPTIMIZERS.build("muon", {}, "train.optimizer", parameters=parameters, learning_rate=0.1)
    for group in made.param_groups:
        group["lr"] = 0.0
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    made.step()
    assert all(parameter.detach().eq(1).all() for parameter in parameters)


def test_muon_is_refused_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"^train\.optimizer: muon is not part of PyTorch .*; install 2\.9 or newer"):
        OPTIMIZERS.build("muon", {}, "train.optimizer", parameters=[], learning_rate=0.1)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [("sgd", "momentum", 1.0), ("asgd", "start", 0), ("asgd", "decay", -0.1), ("muon", "eps", 0.0)],
)
def test_an_option_out_of_its_range_is_refused(kind: str, option: str, value: float) -> None:
    place = nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match=rf"^train\.optimizer\.{option}: (must|is) "):
        OPTIMIZERS.build(kind, {option: value}, "train.optimizer", parameters=[place], learning_rate=0.1)


def test_asgd_ships_the_mean_of_the_weights_after_each_update() -> None:
    place = nn.Parameter(torch.tensor([4.0]))
    made = OPTIMIZERS.build("asgd", {"start": 3}, "train.optimizer", parameters=[place], learning_rate=0.25)
    average, seen = Average([place], None, 1, made), []
    for _ in range(6):
        made.zero_grad()
        (place**2).sum().backward()  # type: ignore[no-untyped-call]
        made.step()
        seen.append(float(place.detach()))
    with average.shipped():
        assert float(place.detach()) == pytest.approx(sum(seen[2:]) / 4, rel=1e-5)
    assert float(place.detach()) == seen[-1]


# --- a measured rate ----------------------------------------------------------------------------------


def test_a_measured_rate_is_told_saved_and_the_same_each_time(
    tiny_config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "antiphon")
    settings = {"train.learning_rate": "auto", "train.optimizer": "sgd"}
    folders = [train(read_config_file(tiny_config, settings), tmp_path / name, device="cpu") for name in "ab"]
    chosen = [bundle.load_config(folder).train.learning_rate for folder in folders]
    curves = [json.loads((folder / bundle.RATES).read_text()) for folder in folders]
    assert curves[0] == curves[1]
    assert chosen == [curves[0]["chosen"]] * 2
    lowest = curves[0]["rates"][curves[0]["losses"].index(min(curves[0]["losses"]))]
    assert chosen[0] == pytest.approx(lowest / 10, rel=0.05)
    assert f"train.learning_rate: {chosen[0]:g}, a tenth of" in caplog.text
    assert (folders[0] / bundle.RATES_PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_range_test_changes_no_weight_and_its_rate_trains_as_the_number_does(
    tiny_config: Path, tmp_path: Path
) -> None:
    measured = train(read_config_file(tiny_config, {"train.learning_rate": "auto"}), tmp_path / "a", device="cpu")
    number = bundle.load_config(measured).train.learning_rate
    numbered = train(read_config_file(tiny_config, {"train.learning_rate": number}), tmp_path / "b", device="cpu")
    assert (measured / bundle.WEIGHTS).read_bytes() == (numbered / bundle.WEIGHTS).read_bytes()
    assert not (numbered / bundle.RATES).exists()


def test_plain_gradient_descent_measures_its_rate_unless_it_is_given(tiny_config: Path) -> None:
    for kind, keys, expected in (
        ("sgd", {}, "auto"),
        ("sgd", {"train.learning_rate": 0.5}, 0.5),
        ("adam", {}, 0.001),
    ):
        completed = read_config(tiny_config, {"train.optimizer": kind, **keys})
        assert completed.config.train.learning_rate == expected


def test_options_reach_the_optimizer() -> None:
    place = nn.Parameter(torch.ones(1))
    options = {"weight_decay": 0.5, "beta1": 0.8, "beta2": 0.9}
    made = OPTIMIZERS.build("adamw", options, "train.optimizer", parameters=[place], learning_rate=0.25)
    group = made.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.25, 0.5, (0.8, 0.9))


# --- updates ------------------------------------------------------------------------------------------


def some_examples(count: int) -> Examples:
    rows = [[5] * (i % 7) + [EOS] for i in range(count)]
    return Examples((Sequences(rows),), Sequences(rows))


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.none() | st.integers(1, 30))
def test_updates_visit_every_row_once_an_epoch_up_to_the_ceiling(
    configure: Configure, rows: int, size: int, accumulate: int, epochs: int, steps: int | None
) -> None:
    keys = {"batch_size": size, "accumulate": accumulate, "epochs": epochs, "max_steps": steps}
    settings = configure(**{f"train__{key}": value for key, value in keys.items()}).train
    examples = some_examples(rows)
    all_updates = list(updates(settings, examples, 0))
    an_epoch = math.ceil(math.ceil(rows / size) / accumulate)
    assert len(all_updates) == total_steps(settings, examples) == min(steps or 10**9, epochs * an_epoch)
    assert [update.step for update in all_updates] == list(range(1, len(all_updates) + 1))
    assert all(1 <= len(update.batches) <= accumulate for update in all_updates)
    for start in range(0, len(all_updates) - an_epoch + 1, an_epoch):
        seen = [
            int(row) for update in all_updates[start : start + an_epoch] for batch in update.batches for row in batch
        ]
        assert sorted(seen) == list(range(rows))
        assert all_updates[start + an_epoch - 1].epoch == start // an_epoch + 1


@given(st.integers(0, 12))
def test_updates_go_on_where_they_stopped(configure: Configure, start: int) -> None:
    settings, examples = configure(train__epochs=3, train__batch_size=8).train, some_examples(30)
    whole, rest = list(updates(settings, examples, 0)), list(updates(settings, examples, start))
    assert [update.step for update in rest] == [update.step for update in whole[start:]]
    for item, other in zip(rest, whole[start:], strict=True):
        assert [batch.tolist() for batch in item.batches] == [batch.tolist() for batch in other.batches]


def test_the_first_update_is_warmed_up_like_all_others(tiny_config: Path, tmp_path: Path) -> None:
    settings = {"train.max_steps": 1, "train.learning_rate": 0.1, "train.schedule": {"kind": "constant"}}
    moved = []
    for warmup in (0, 10**6):
        settings["train.schedule"] = {"kind": "constant", "warmup": warmup}
        config = read_config_file(tiny_config, settings)
        before = prepare(config).model
        after = bundle.load(train(config, tmp_path / str(warmup), device="cpu"), torch.device("cpu")).model
        pairs = zip(before.parameters(), after.parameters(), strict=True)
        moved.append(max(float((a - b).abs().max()) for a, b in ((a.detach(), b.detach()) for a, b in pairs)))
    assert moved[0] > 0.01
    assert moved[1] < 1e-5
