"""The side of a series: what it reads, what it refuses, and how it is kept."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from antiphon.config.schema import Config
from antiphon.data.codecs.kinds import TARGETS, codec_from_json
from antiphon.data.codecs.numbers import FramesCodec, NumberCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.load import untrained
from antiphon.errors import ConfigError
from antiphon.training.prepare import check_names


def config(target: dict[str, Any], source: dict[str, Any] | None = None, **settings: Any) -> Config:
    tree = {"data": {"train": "rows.jsonl"}, "source": source or {"kind": "frames", "column": "x"}, **settings}
    return Config.model_validate({**tree, "target": {"kind": "series", "column": "y", **target}})


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ({"horizon": 0}, {}, "target.horizon: must be at least 1 (is 0)"),
        ({"segment": 0}, {}, "target.segment: must be at least 1 (is 0)"),
        ({"read": "position"}, {}, "target.read: position has a learned vector for each step, so it needs target.hor"),
        ({"window": "last"}, {"source": {"kind": "category", "column": "x"}}, "target.window: needs a source of"),
        ({"likelihood": "gauss"}, {}, "target.likelihood: unknown likelihood 'gauss'; did you mean 'gaussian'?"),
        ({"likelihood": {"size": 3}}, {}, "target.likelihood: needs the key 'kind', or just the name"),
        ({}, {"model": {"tie": True}}, "model.tie: is for symbols, and a series has numbers; set it to false"),
        ({}, {"model": {"attention": "hard"}}, "model.attention: hard attention is for symbols"),
        ({}, {"train": {"metric": "bleu"}}, "train.metric: unknown metric 'bleu' for series"),
        (
            {"read": "position", "horizon": 3}, {"train": {"feeding": "free"}},
            "train.feeding: is for decoders; a target of series read by position is not fed",
        ),
        (
            {"read": "position", "horizon": 3}, {"model": {"attention": {"kind": "general", "input_feeding": True}}},
            "model.attention.input_feeding: with target.read: position no step is fed the one before; set it to false",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_data_is_read(target: Any, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_names(config(target, **settings))
    assert str(caught.value).startswith(message)


def test_columns_of_the_target_are_found_among_those_of_its_past() -> None:
    source = {"kind": "frames", "columns": ["load", "heat", "oil"]}
    made = untrained(config({"column": None, "columns": ["oil"], "window": "last"}, source)).target
    assert isinstance(made, SeriesCodec)
    assert made.past == (2,)
    with pytest.raises(ConfigError, match="column 'wind' of the target is not among the columns of the source"):
        untrained(config({"column": None, "columns": ["wind"], "window": "last"}, source))


def test_rows_that_do_not_fit() -> None:
    codec = SeriesCodec("target", horizon=2)
    codec.learn([np.asarray([[1.0], [3.0]], np.float32)])
    with pytest.raises(ValueError, match=r"^has 3 steps, but target\.horizon is 2$"):
        codec.encode(codec.read("[1, 2, 3]", ""))
    bits = SeriesCodec("target", likelihood="bernoulli")
    with pytest.raises(ValueError, match=r"has numbers other than 0 and 1, which target.likelihood: bernoulli needs"):
        bits.encode(bits.read("[1, 0.5]", ""))
    with pytest.raises(ValueError, match=r"must be one number, but has 12; for several, set target.kind: numbers"):
        NumberCodec("target").read(list(range(12)), "")


@pytest.mark.parametrize("window", [None, "last", "mean", "standard"])
def test_it_is_kept_and_read_again(window: Any) -> None:
    rows = [np.random.default_rng(seed).normal(5, 3, (6, 2)).astype(np.float32) for seed in (1, 2)]
    source = FramesCodec("source")
    codec = SeriesCodec("target", 4, {"kind": "mixture", "components": 3}, "position", 2, window)
    codec.relate([source], [None], None)
    source.learn(rows)
    codec.learn([row[:4] for row in rows])
    codec.follow([source], [(row, row[:4]) for row in rows])
    again = codec_from_json(TARGETS, json.loads(json.dumps(codec.to_json())), "target")
    assert again.to_json() == codec.to_json()
    far = np.full((4, 2), 1e4, np.float32)
    np.testing.assert_allclose(codec.restored(codec.encode(far)), far, rtol=1e-5)
    if window is not None:
        assert np.abs(source.encode(far)).max() > 10, "outliers of a past are not clipped"
        assert (codec.deviation == source.deviation).all()
        if window == "last":
            left = np.concatenate([part - row[-1] for row in rows for part in (row, row[:4])])
            np.testing.assert_allclose(codec.deviation, np.sqrt(np.square(left).mean(0)), rtol=1e-5)
