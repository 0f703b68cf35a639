"""Columns that are read and written alone, with shared weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import antiphon_runtime
import numpy as np
import pytest
import torch

import antiphon
from antiphon.config.load import parse_config
from antiphon.config.schema import Model
from antiphon.data.batches import Padded
from antiphon.data.codecs.numbers import FramesCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.errors import ConfigError
from antiphon.export.folder import export
from antiphon.model.apart import ApartWriter
from antiphon.model.build import series_writer
from antiphon.training.loop import train

COLUMNS, ROWS, PAST = 3, 4, 6
SIZES = {"embedding": 5, "encoder": {"hidden": 6, "bidirectional": False}, "decoder": {"hidden": 6}, "dropout": 0.0}


def made(**options: Any) -> tuple[ApartWriter, SeriesCodec]:
    """A model with random weights, whose attention is `attention`."""
    tree = SIZES | {"cell": options.pop("cell", "gru"), "attention": options.pop("attention", "none")}
    source = FramesCodec("source", segment=2)
    target = SeriesCodec("target", **{"horizon": 5, "segment": 2, "window": "last", "separate": True, **options})
    target.relate([source], [None], None)
    rows = [np.random.default_rng(0).normal(3, 2, (9, COLUMNS)).astype(np.float32)]
    source.learn(rows)
    target.learn(rows)
    target.follow([source])
    torch.manual_seed(0)
    model = series_writer(Model.model_validate(tree), [source], target)
    assert isinstance(model, ApartWriter)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return model.eval(), target


def past(seed: int = 1) -> Padded:
    values = torch.randn(ROWS, PAST, COLUMNS, generator=torch.Generator().manual_seed(seed))
    return Padded(values, torch.tensor([6, 6, 4, 5]))


def parameters_of(model: ApartWriter, source: Padded) -> torch.Tensor:
    """The parameters of each column's distribution [ROWS, 5, COLUMNS, size] of a target of zeros."""
    target = torch.zeros(ROWS, 5, COLUMNS)
    with torch.no_grad():
        parameters = model.head.parameters_of(model([source], target).readout)[:, :5]
    return parameters.reshape(ROWS, 5, COLUMNS, -1)


@pytest.mark.parametrize("read", ["output", "position"])
@pytest.mark.parametrize("column", range(COLUMNS))
def test_a_column_depends_on_its_own_past_alone(read: str, column: int) -> None:
    model, _ = made(read=read)
    source = past()
    before = parameters_of(model, source)
    changed = source.values.clone()
    changed[:, :, column] += torch.randn(ROWS, PAST)
    after = parameters_of(model, Padded(changed, source.lengths))
    others = [other for other in range(COLUMNS) if other != column]
    torch.testing.assert_close(before[:, :, others], after[:, :, others])
    assert (before[:, :, column] - after[:, :, column]).abs().max() > 1e-3


def test_columns_share_weights_but_for_their_vector() -> None:
    model, _ = made(read="position")
    source = past()
    turned = [2, 0, 1]
    with torch.no_grad():
        first = parameters_of(model, source)
        model.columns.copy_(model.columns[turned])
        second = parameters_of(model, Padded(source.values[:, :, turned], source.lengths))
    torch.testing.assert_close(first[:, :, turned], second)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
def test_products_computed_once_change_nothing(cell: str) -> None:
    """Without attention the products of inputs and states are shared; the decoder's plain step gives the same."""
    model, _ = made(read="position", cell=cell)
    source = past()
    with torch.no_grad():
        state = model.start([source]).state
        shared, _ = model.at_once(state, 3)
        for step in range(3):
            inputs = (model.positions[step] + model.columns).repeat_interleave(ROWS, 0)  # type: ignore[index]
            features, _, _ = model.advance(inputs, state)
            torch.testing.assert_close(shared[:, step], features)


def test_attention_reads_the_past_of_the_column() -> None:
    model, _ = made(read="position", attention="general")
    source = past()
    with torch.no_grad():
        state = model.start([source]).state
        features, weights = model.at_once(state, 3)
    assert features.shape[:2] == (COLUMNS * ROWS, 3)
    assert weights is not None
    assert weights.shape == (COLUMNS * ROWS, 3, PAST // 2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(COLUMNS * ROWS, 3))


def test_codec_keeps_that_columns_are_separate() -> None:
    _, target = made()
    assert SeriesCodec.from_json(target.to_json(), "target").separate


@pytest.mark.parametrize("options", [{"window": None}, {"horizon": None}])
def test_separate_columns_need_a_past_and_a_horizon(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"needs target\.window and target\.horizon"):
        SeriesCodec("target", **{"horizon": 5, "window": "last", "separate": True, **options})


def test_separate_columns_are_those_of_the_source() -> None:
    target = SeriesCodec("target", horizon=5, window="last", separate=True)
    with pytest.raises(ConfigError, match="needs a source of frames with the columns of the target and no others"):
        target.relate([FramesCodec("source")], [["a", "b"]], ["a"])


def test_separate_columns_are_exported(tmp_path: Path) -> None:
    """From a small table to a folder without PyTorch: the same numbers."""
    table, numbers = tmp_path / "t.csv", np.random.default_rng(0).normal(size=(60, 2)).cumsum(0)
    table.write_text("a,b\n" + "\n".join(f"{a:.3f},{b:.3f}" for a, b in numbers))
    tree = {
        "data": {"train": str(table), "window": {"past": 6, "horizon": 4}, "valid": 0.3},
        "target": {
            "columns": ["a", "b"], "window": "last", "read": "position", "segment": 2, "separate": True,
            "likelihood": "mae",
        },
        "model": SIZES | {"attention": "none"},
        "train": {"max_steps": 3, "examples": 0},
    }  # fmt: skip
    model = antiphon.load(train(parse_config(tree, tmp_path), tmp_path / "model", quiet=True))
    model.calibrate_intervals()
    export(tmp_path / "model", tmp_path / "shipped")
    runtime = antiphon_runtime.load(tmp_path / "shipped")
    window = numbers[:6].tolist()
    [expected], [actual] = model.predict([window]), runtime.predict([window])
    np.testing.assert_allclose(actual.values, expected.values, atol=1e-4)
    for level, values in expected.quantiles.items():
        np.testing.assert_allclose(actual.quantiles[level], values, atol=1e-4)
