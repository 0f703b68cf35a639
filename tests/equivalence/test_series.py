"""A model that writes series: at once as step by step, in batches as alone, scaled and unscaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from models import assert_slopes
from torch import Tensor

from antiphon.common.options import Sample
from antiphon.config.decode import Decode
from antiphon.config.schema import Model
from antiphon.data.batches import Padded, Sequences, pad
from antiphon.data.codecs.numbers import FramesCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.decoding.series import limits_of, write_series
from antiphon.errors import ConfigError
from antiphon.evaluation.series import predict_series
from antiphon.model.build import series_writer
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.heads.base import at_positions
from antiphon.model.parts.likelihoods.table import LIKELIHOODS
from antiphon.model.series import SeriesWriter

SOURCES = [3, 7, 1, 5, 4, 2]  # steps of each source
TARGETS = [4, 2, 9, 1, 6, 5]  # and of its target
CPU = torch.device("cpu")
SAMPLED = ["gaussian", "laplace", "student_t", "mixture", "quantiles", "bernoulli"]
MODELS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm, every step": {"context": {"from": "projected_all", "to": "every_step"}, "attention": "additive"},
    "previous": {"attention": {"kind": "additive", "query": "previous"}, "decoder": {"hidden": 6, "layers": 2}},
    "input feeding": {"cell": "gru", "attention": {"kind": "general", "input_feeding": True}},
    "location": {"attention": "location", "encoder": {"hidden": 3, "layers": 2}},
    "no attention": {"cell": "rnn_tanh", "attention": "none"},
}


def codecs(numbers: int = 2, read: int = 1, **options: Any) -> tuple[FramesCodec, SeriesCodec]:
    """Codecs, which have learned two rows, of a source that is read so many steps at a time, and of a target."""
    source = FramesCodec("source", segment=read)
    target = SeriesCodec("target", **{"read": options.pop("reads", "output"), **options})
    chance = np.random.default_rng(0)
    rows = [chance.normal(3, 2, (9, numbers)).astype(np.float32) for _ in range(2)]
    target.relate([source], [None], None)
    source.learn(rows)
    target.learn([(row > 3).astype(np.float32) for row in rows] if options.get("likelihood") == "bernoulli" else rows)
    target.follow([source])
    return source, target


def made(
    source: FramesCodec, target: SeriesCodec, tree: Mapping[str, Any] | None = None, seed: int = 0
) -> SeriesWriter:
    """An untrained model with weights large enough that rows differ."""
    sizes = {"embedding": 5, "encoder": {"hidden": 3}, "decoder": {"hidden": 6}, "dropout": 0.0}
    torch.manual_seed(seed)
    model = series_writer(Model.model_validate({**sizes, **(tree or {})}), [source], target)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return model.eval()


def rows_of(source: FramesCodec, target: SeriesCodec, seed: int = 1) -> tuple[Sequences, Sequences]:
    chance = np.random.default_rng(seed)
    lengths = TARGETS if target.horizon is None else [target.horizon] * len(SOURCES)
    bits = target.likelihood == "bernoulli"
    reads = [chance.normal(3, 2, (steps, source.size)).astype(np.float32) for steps in SOURCES]
    writes = [chance.normal(3, 2, (steps, target.size)).astype(np.float32) for steps in lengths]
    writes = [(values > 3).astype(np.float32) for values in writes] if bits else writes
    return Sequences(map(source.encode, reads)), Sequences(map(target.encode, writes))


def features(model: SeriesWriter, source: Padded, target: Padded, reference: float = 1.0) -> Any:
    return model([source], target.values, reference)


def losses(model: SeriesWriter, source: Padded, target: Padded) -> Tensor:
    """[N], those of the steps that are not padding."""
    with torch.no_grad():
        return model.head.judge(features(model, source, target), target.values, target.positions)[0]


VARIED: list[dict[str, Any]] = [
    {},
    {"segment": 3},
    {"horizon": 5, "segment": 2},
    {"horizon": 6, "segment": 2, "reads": "position"},
    {"window": "last"},
    {"window": "mean", "segment": 2, "horizon": 5},
    {"window": "standard", "likelihood": {"kind": "mixture", "correlation": True}},
    {"window": "standard", "reads": "position", "horizon": 4, "likelihood": "quantiles"},
    {"likelihood": "student_t"},
    {"window": "last", "horizon": 5, "segment": 2, "separate": True},
    {"window": "standard", "horizon": 6, "segment": 2, "reads": "position", "separate": True, "likelihood": "mixture"},
]


@pytest.mark.parametrize("options", VARIED, ids=str)
@pytest.mark.parametrize("segment", [1, 2])
def test_padding_and_batches_change_nothing(options: dict[str, Any], segment: int) -> None:
    source, target = codecs(2, segment, **options)
    model = made(source, target, {"attention": "general"})
    reads, writes = rows_of(source, target)
    places = np.arange(len(reads))
    whole = torch.split(losses(model, pad(reads, places), pad(writes, places)), writes.lengths.tolist())
    limits = limits_of(target, 0, 12)
    sample = Sample(seed=3)
    together = write_series(model, [reads], limits, CPU)
    drawn = write_series(model, [reads], limits, CPU, sample, paths=3)
    for row in places.tolist():
        alone = losses(model, pad(reads, [row]), pad(writes, [row]))
        torch.testing.assert_close(whole[row], alone, atol=1e-5, rtol=1e-5)
        [single] = write_series(model, [reads.take([row])], limits, CPU)
        np.testing.assert_allclose(single[0], together[row][0], atol=1e-5)
        [path] = write_series(model, [reads.take([row])], limits, CPU, sample, paths=3, numbers=[row])
        for number in range(3):
            np.testing.assert_allclose(path[number], drawn[row][number], atol=1e-4)
    turned = write_series(model, [reads.take(places[::-1])], limits, CPU, sample, 3, places[::-1].tolist())
    for row in places.tolist():
        np.testing.assert_allclose(turned[len(reads) - 1 - row][2], drawn[row][2], atol=1e-4)


@pytest.mark.parametrize("tree", list(MODELS.values()), ids=list(MODELS))
@pytest.mark.parametrize("options", [{}, {"segment": 3, "window": "standard"}], ids=str)
def test_one_unroll_is_step_by_step(tree: dict[str, Any], options: dict[str, Any]) -> None:
    source, target = codecs(**options)
    model = made(source, target, tree)
    reads, writes = (pad(rows, np.arange(len(SOURCES))) for rows in rows_of(source, target))
    at_once = features(model, reads, writes).readout
    state, inputs, scaling = model.start([reads])
    segments = model.segments(writes.values, scaling)
    for step in range(segments.shape[1]):
        readout, state, _ = model.advance(inputs, state)
        torch.testing.assert_close(readout, at_once[:, step], atol=1e-5, rtol=1e-5)
        inputs = model.read(segments[:, step])


@pytest.mark.parametrize("tree", list(MODELS.values())[:3], ids=list(MODELS)[:3])
@pytest.mark.parametrize("options", [{"horizon": 6}, {"horizon": 6, "segment": 2, "window": "standard"}], ids=str)
def test_free_running_features_are_those_of_what_is_written(tree: dict[str, Any], options: dict[str, Any]) -> None:
    """Fed with its own output, `forward` computes what writing computes: fed with what was written, teacher forcing
    gives the same features again."""
    source, target = codecs(**options)
    model = made(source, target, tree)
    reads, writes = rows_of(source, target)
    batch = pad(reads, np.arange(len(reads)))
    written = torch.from_numpy(
        np.stack([row[0] for row in write_series(model, [reads], limits_of(target, 0, None), CPU)])
    )
    free = model([batch], pad(writes, np.arange(len(reads))).values, 0.0)
    again = model([batch], written)
    torch.testing.assert_close(free.readout, again.readout, atol=1e-4, rtol=1e-4)
    positions = torch.arange(written.shape[0] * written.shape[1])
    torch.testing.assert_close(
        model.head.answer(free, positions)[0], at_positions(written, positions), atol=1e-4, rtol=1e-4
    )


def test_free_running_ignores_the_reference() -> None:
    source, target = codecs()
    model = made(source, target)
    reads, writes = (pad(rows, np.arange(len(SOURCES))) for rows in rows_of(source, target))
    other = Padded(writes.values + 1, writes.lengths)
    torch.testing.assert_close(features(model, reads, writes, 0.0).readout, features(model, reads, other, 0.0).readout)
    mixed = features(model, reads, writes, 0.5).readout
    assert not torch.allclose(mixed, features(model, reads, writes).readout)


@pytest.mark.parametrize("name", list(LIKELIHOODS))
@pytest.mark.parametrize("options", [{}, {"horizon": 4, "reads": "position"}], ids=["output", "position"])
def test_gradients_are_slopes(name: str, options: dict[str, Any]) -> None:
    window: dict[str, Any] = {"window": "standard"} if name != "bernoulli" else {}
    source, target = codecs(likelihood=name, **window, **options)
    model = made(source, target, {"attention": "general", "context": {"to": "every_step"}}).double()
    reads, writes = rows_of(source, target)
    read, written = pad(reads, [0, 1]), pad(writes, [0, 1])
    sources = [Padded(read.values.double(), read.lengths)]
    values = written.values.double()

    def loss() -> Tensor:
        return model.head.objective(model(sources, values), values, written.positions, 0.0)[0]

    assert_slopes(model, loss)


@pytest.mark.parametrize("window", ["last", "mean", "standard"])
def test_a_window_makes_a_model_blind_to_level_and_gives_it_back(window: str) -> None:
    """A past that is moved (and stretched, if it is standardised) has its prediction moved and stretched alike."""
    source, target = codecs(1, window=window, horizon=5)
    model = made(source, target)
    past = np.random.default_rng(3).normal(3, 2, (8, 1)).astype(np.float32)
    times = 20.0 if window == "standard" else 1.0
    decode = Decode(quantiles=[0.1, 0.9])

    def predicted(values: Any) -> Any:
        return predict_series(model, target, [Sequences([source.encode(values)])], decode, CPU)[0]

    plain, moved = predicted(past), predicted(past * times + 300)
    np.testing.assert_allclose(moved.values, plain.values * times + 300, rtol=2e-3)
    assert plain.quantiles is not None
    assert moved.quantiles is not None
    for level in (0.1, 0.9):
        np.testing.assert_allclose(moved.quantiles[level], plain.quantiles[level] * times + 300, rtol=2e-3)


def test_a_score_is_a_density_in_the_unit_of_the_data() -> None:
    """The scores of a series of one number, over all numbers, add up to 1 in the unit of the data."""
    for options in (
        {"likelihood": "gaussian"},
        {"window": "standard", "likelihood": {"kind": "mixture", "components": 2}},
    ):
        source, target = codecs(1, horizon=1, **options)
        model = made(source, target)
        axis = np.linspace(-60, 70, 4001, dtype=np.float32)
        past = source.encode(np.asarray([[2.0], [5.0], [4.0]], np.float32))
        writes = pad(
            Sequences([target.encode(np.asarray([[place]], np.float32)) for place in axis]), np.arange(len(axis))
        )
        reads = pad(Sequences([past] * len(axis)), np.arange(len(axis)))
        p = losses(model, reads, writes).neg().exp()
        assert float(p.sum()) * float(axis[1] - axis[0]) == pytest.approx(1, abs=1e-3)


def test_the_lengths_of_series_have_a_distribution() -> None:
    """log p of stopping after 1, 2, ... steps and of going on adds up to 1, whatever the numbers are."""
    source, target = codecs(1)
    model = made(source, target)
    reads, _ = rows_of(source, target)
    steps = 12
    batch = pad(reads, [0] * steps)
    values = np.random.default_rng(1).normal(size=(steps, 1)).astype(np.float32)
    writes = pad(Sequences([values[: length + 1] for length in range(steps)]), np.arange(steps))
    judged = model([batch], writes.values)
    whole = -model.head.judge(judged, writes.values, writes.positions)[0]
    stop, model.head.stop = model.head.stop, None
    numbers = -model.head.judge(judged, writes.values, writes.positions)[0]
    model.head.stop = stop
    lengths = [part.sum() for part in torch.split(whole - numbers, list(range(1, steps + 1)))]
    assert stop is not None
    logits = model.head.stop_logits(judged.readout[-1:])
    assert logits is not None
    goes_on = float(torch.sigmoid(-logits[0]).prod().detach())
    assert float(torch.stack(lengths).exp().sum().detach()) + goes_on == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_what_is_drawn_is_repeated_bit_for_bit(name: str) -> None:
    source, target = codecs(likelihood=name)
    model = made(source, target)
    reads, _ = rows_of(source, target)
    limits = limits_of(target, 2, 7)
    first, again, other = (write_series(model, [reads], limits, CPU, Sample(seed=seed), paths=4) for seed in (5, 5, 6))
    for row, same in zip(first, again, strict=True):
        assert all((path == copy).all() for path, copy in zip(row, same, strict=True))
        assert all(2 <= len(path) <= 7 for path in row)
        assert len({path.tobytes() for path in row}) == 4 or name == "bernoulli"
    assert any(path.tobytes() != copy.tobytes() for path, copy in zip(first[0], other[0], strict=True))


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("options", [{"horizon": 5}, {"horizon": 5, "reads": "position"}, {}], ids=str)
def test_quantiles_are_ordered_and_hold_their_share_of_draws(name: str, options: dict[str, Any]) -> None:
    source, target = codecs(1, likelihood=name, **options)
    model = made(source, target)
    reads, _ = rows_of(source, target)
    decode = Decode(quantiles=[0.1, 0.5, 0.9], paths=400, max_length=8, sample=Sample(seed=9))
    paths = predict_series(model, target, [reads.take([1])], decode, CPU, paths=400, numbers=[1])[0]
    assert paths.quantiles is not None
    assert paths.samples is not None
    low, middle, high = paths.quantiles.values()
    assert low.shape == paths.values.shape
    assert (low <= middle).all()
    assert (middle <= high).all()
    if options and name != "bernoulli":
        within = np.mean([(low <= path) & (path <= high) for path in paths.samples], axis=0)
        np.testing.assert_allclose(within, 0.8, atol=0.08)


def test_a_series_ends_where_it_has_probably_ended() -> None:
    """Without a draw that is at the median length; `min_length` and `max_length` bound it."""
    source, target = codecs(1)
    model = made(source, target, {"attention": "none"})
    assert model.head.stop is not None
    with torch.no_grad():
        model.head.stop.weight.zero_()
        model.head.stop.bias.fill_(float(torch.logit(torch.tensor(0.1))))  # 0.9^6 > 0.5 > 0.9^7
    reads, _ = rows_of(source, target)
    for least, most, expected in ((0, 50, 7), (0, 4, 4), (20, 50, 26)):
        lengths = {len(row[0]) for row in write_series(model, [reads], limits_of(target, least, most), CPU)}
        assert lengths == {expected}, "a series that may not stop before step 20 begins to count there"
    drawn = write_series(model, [reads.take([0])], limits_of(target, 0, 100), CPU, Sample(seed=1), paths=2000)[0]
    assert np.mean(list(map(len, drawn))) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("name", [name for name in ATTENTIONS if name != "none"])
def test_attention_is_that_of_the_steps_or_refused(name: str) -> None:
    source, target = codecs(segment=2)
    if name in ("hard", "hard_monotonic", "transducer"):
        with pytest.raises(ConfigError, match=f"model.attention: {name} attention is for symbols"):
            made(source, target, {"attention": name})
        return
    model = made(source, target, {"attention": name})
    reads, writes = (pad(rows, np.arange(len(SOURCES))) for rows in rows_of(source, target))
    weights = model.attention([reads], writes.values)
    assert weights is not None
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(weights[0].shape[:2]))
    assert (weights[0] * ~weights[1][:, None] == 0).all()
