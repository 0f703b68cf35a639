"""The options of every cell, and locked dropout: equations, what is drawn, and that use knows nothing of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import SideSizes, assert_slopes, pad_sources, sources, targets
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from antiphon.common.symbols import PAD
from antiphon.config.schema import Config, Model
from antiphon.data.batches import Batch, Padded
from antiphon.errors import ConfigError
from antiphon.model.build import many_to_many
from antiphon.model.models import Writer
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.dropout import Dropout, dropped
from antiphon.model.parts.encoders import RecurrentEncoder
from antiphon.model.parts.recurrent import Cell, dropped_weights
from antiphon.model.state import Layer
from antiphon.training.prepare import check_names
from antiphon.training.update import batch_loss

KINDS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
LINEAR = ["mingru", "minlstm", "selective"]
ALL = {"layer_norm": True, "zoneout": 0.3, "weight_drop": 0.4, "initial": "xavier"}


def cell(kind: str, inputs: int = 3, hidden: int = 4, **options: object) -> Cell:
    """A cell of random weights, in float64."""
    made = CELLS.build(kind, options, "cell", inputs=inputs, hidden=hidden).double()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return made


def steps(made: Cell, inputs: Tensor, state: Layer) -> Tensor:
    states = []
    for step in inputs.unbind(1):
        state = made.advance(step, state)
        states.append(state[0])
    return torch.stack(states, 1)


def random_steps(made: Cell, rows: int = 2, length: int = 6) -> tuple[Tensor, Layer]:
    return torch.randn(rows, length, 3).double(), tuple(torch.randn(rows, 4).double() for _ in range(made.parts))


def writer(seed: int = 1, **settings: object) -> Writer:
    """A writer in float64 with attention, of two layers a side."""
    tree: dict[str, object] = {
        "embedding": 5,
        "encoder": {"hidden": 3, "layers": 2},
        "decoder": {"hidden": 6, "layers": 2, "residual": True},
        "dropout": 0.5,
    }
    torch.manual_seed(seed)
    model = many_to_many(Model.model_validate(tree | settings), [SideSizes("symbols", 9)], SideSizes("symbols", 8))
    return model.double()


def run(model: Writer, seed: int, reference: float = 1.0) -> Tensor:
    torch.manual_seed(seed)
    outputs: Tensor = functional_call(
        model, dropped_weights(model), ([pad_sources(sources(4))], targets(4)[1], reference)
    )
    return outputs


# layer normalisation


def normalized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = np.sqrt(values.var(-1, keepdims=True) + 1e-5)
    return np.asarray((values - values.mean(-1, keepdims=True)) / spread)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


@pytest.mark.parametrize("kind", KINDS)
def test_layer_normalisation_equals_its_equations(kind: str) -> None:
    """In NumPy, step by step: both products normalised before the biases, and of an LSTM c before the output's tanh."""
    made = cell(kind, layer_norm=True)
    inputs, state = random_steps(made)
    at = {name: parameter.detach().numpy() for name, parameter in made.named_parameters()}
    h, *more = (part.numpy() for part in state)
    for t, computed in enumerate(made(inputs, state)[0].detach().unbind(1)):
        new = normalized(inputs[:, t].numpy() @ at["input_weight"].T) * at["input_norm.weight"] + at["input_bias"]
        old = normalized(h @ at["state_weight"].T) * at["state_norm.weight"] + at["state_bias"]
        if kind == "lstm":
            i, f, g, o = np.split(new + old, 4, -1)
            more = [sigmoid(f) * more[0] + sigmoid(i) * np.tanh(g)]
            h = sigmoid(o) * np.tanh(normalized(more[0]) * at["cell_norm.weight"] + at["cell_norm.bias"])
        elif kind == "gru":
            (r, z, n), (old_r, old_z, old_n) = np.split(new, 3, -1), np.split(old, 3, -1)
            n, z = np.tanh(n + sigmoid(r + old_r) * old_n), sigmoid(z + old_z)
            h = (1 - z) * n + z * h
        else:
            h = np.tanh(new + old) if kind == "rnn_tanh" else np.maximum(new + old, 0)
        np.testing.assert_allclose(computed.numpy(), h, atol=1e-12)


# zoneout


@pytest.mark.parametrize("kind", KINDS)
def test_zoneout_keeps_or_takes_every_unit_of_every_part(kind: str) -> None:
    """In training old or new, the share kept as configured; the mean over many draws is what is given in use."""
    made = cell(kind, zoneout=0.3)
    rows = 4000
    inputs, state = random_steps(made, rows=1, length=1)
    state = tuple(part.expand(rows, -1) for part in state)
    step = inputs[:, 0].expand(rows, -1)
    plain = made.step(step, state)
    drawn = made.advance(step, state)
    made.eval()
    for old, new, mixed, expected in zip(state, plain, drawn, made.advance(step, state), strict=True):
        kept = torch.isclose(mixed, old)
        assert (kept | torch.isclose(mixed, new)).all()
        torch.testing.assert_close(kept.double().mean(0), torch.full((4,), 0.3).double(), atol=0.04, rtol=0)
        torch.testing.assert_close(expected, 0.3 * old + 0.7 * new)
        torch.testing.assert_close(mixed.mean(0), expected.mean(0), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_options_that_are_off_are_not_there(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates of zero are the plain cell, bit for bit; nothing more is drawn, and the fused call is made."""
    torch.manual_seed(1)
    plain = CELLS.build(kind, {}, "cell", inputs=3, hidden=4)
    torch.manual_seed(1)
    off = CELLS.build(kind, {"layer_norm": False, "zoneout": 0.0, "weight_drop": 0.0}, "cell", inputs=3, hidden=4)
    inputs, state = torch.randn(2, 6, 3), plain.initial(torch.zeros(2))
    monkeypatch.delattr(type(off), "step")  # not needed: all steps are one call
    assert off(inputs, state)[0].equal(plain(inputs, state)[0])
    assert [name for name, _ in off.named_parameters()] == [name for name, _ in plain.named_parameters()]


@pytest.mark.parametrize("kind", LINEAR)
def test_zoneout_of_a_linear_cell_keeps_or_takes_every_unit(kind: str) -> None:
    """As above, of the state that is carried; and in use all steps at once are one after the other."""
    made = cell(kind, zoneout=0.3)
    rows = 4000
    inputs, start = torch.randn(1, 1, 3).double().expand(rows, -1, -1), torch.randn(1, 4).double().expand(rows, -1)
    state = made.begin((start,))
    place = -1 if kind == "selective" else 0
    old, plain = state[place], made.step(inputs[:, 0], state)[place]
    for drawn in (made.advance(inputs[:, 0], state)[place], made(inputs, state)[1][place]):
        kept = torch.isclose(drawn, old)
        assert (kept | torch.isclose(drawn, plain)).all()
        torch.testing.assert_close(kept.double().mean(0), torch.full_like(old[0], 0.3), atol=0.04, rtol=0)
    made.eval()
    torch.testing.assert_close(made.advance(inputs[:, 0], state)[place], 0.3 * old + 0.7 * plain)
    longer = torch.randn(2, 6, 3).double()
    state = made.begin((torch.randn(2, 4).double(),))
    torch.testing.assert_close(made(longer, state)[0], steps(made, longer, state))


@pytest.mark.parametrize("kind", LINEAR)
def test_layer_normalisation_of_a_linear_cell_is_that_of_its_product(kind: str) -> None:
    """With it, W x times any number is the same; without it, it is not."""
    for option in (True, False):
        made = cell(kind, layer_norm=option)
        inputs = torch.randn(2, 5, 3).double()
        before = made(inputs, made.initial(inputs))[0]
        with torch.no_grad():
            made.input_weight.mul_(1000)
        assert torch.allclose(before, made(inputs, made.initial(inputs))[0], atol=1e-3) == option


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("option", [{"weight_drop": 0.5}, {"initial": "uniform"}])
def test_options_of_recurrent_weights_need_recurrent_weights(kind: str, option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(ConfigError, match=rf"^model\.cell\.{name}: this cell has no recurrent weights; leave this"):
        CELLS.build(kind, option, "model.cell", inputs=3, hidden=4)


@pytest.mark.parametrize(
    ("kind", "option", "reason"),
    [
        ("mingru", {"kernel": 0}, "must lie between 1 and 64"),
        ("minlstm", {"horizon": 1}, "must lie between 2 and 1000000"),
        ("selective", {"state_size": 0}, "must lie between 1 and 256"),
        ("selective", {"expand": 9}, "must lie between 1 and 8"),
    ],
)
def test_sizes_of_a_linear_cell_are_checked(kind: str, option: dict[str, object], reason: str) -> None:
    (name,) = option
    with pytest.raises(ConfigError, match=rf"^model\.cell\.{name}: {reason}"):
        CELLS.build(kind, option, "model.cell", inputs=3, hidden=4)


# weight drop


def stepping(made: Cell) -> Cell:
    """The same cell without its fused call."""
    made.__class__ = type("Stepping", (type(made),), {"fused": None})
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_weights_dropped_once_are_dropped_at_all_steps(kind: str) -> None:
    """The fused call equals steps, and both a cell of the weights that were drawn, each zero or scaled up."""
    made = cell(kind, weight_drop=0.5)
    inputs, state = random_steps(made)
    torch.manual_seed(7)
    ((name, weight),) = dropped_weights(made).items()
    weights = {name.lstrip("."): weight.detach()}
    fused = functional_call(made, weights, (inputs, state))[0]
    torch.testing.assert_close(
        functional_call(stepping(cell(kind, weight_drop=0.5)), weights, (inputs, state))[0], fused
    )
    zero = weight == 0
    assert 0 < zero.sum() < zero.numel()
    torch.testing.assert_close(weight[~zero], 2 * made.state_weight[~zero])
    plain = cell(kind)
    with torch.no_grad():
        plain.state_weight.copy_(weight)
    torch.testing.assert_close(steps(plain, inputs, state), fused)
    assert not dropped_weights(made.eval())


# what dropout draws


@given(st.integers(1, 70), st.floats(0, 0.999), st.integers(0, 99))
def test_dropout_zeroes_or_scales_and_its_gradient_does_the_same(count: int, rate: float, seed: int) -> None:
    values = (torch.rand(count, dtype=torch.float64) + 0.5).requires_grad_()
    torch.manual_seed(seed)
    outputs = dropped(values, rate)
    share = outputs.detach() / values.detach()
    kept = torch.full_like(share, 1 / (1 - rate))
    assert (torch.isclose(share, kept) | (share == 0)).all()
    outputs.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(values.grad, torch.where(share == 0, share, kept))
    torch.manual_seed(seed)
    assert torch.equal(dropped(values, rate), outputs)  # the seed decides what is lost


@pytest.mark.parametrize("rate", [1e-7, 0.001, 0.2, 0.5, 0.9, 1 - 1e-7])
def test_dropout_loses_the_share_it_is_told_of_neighbours_on_their_own(rate: float) -> None:
    torch.manual_seed(3)
    lost = dropped(torch.ones(400_000), rate) == 0
    deviation = (rate * (1 - rate) / len(lost)) ** 0.5
    assert abs(float(lost.float().mean()) - rate) < 5 * deviation + 1 / (1 << 16)
    for away in (1, 2, 3, 4):  # four values share a drawn number
        both = float((lost[:-away] & lost[away:]).float().mean())
        assert abs(both - rate**2) < 10 * deviation * rate + 5 * deviation * rate**0.5 + 1 / (1 << 15)


# dropout that is the same at all steps


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.floats(0.05, 0.9), st.integers(0, 99))
def test_locked_dropout_is_constant_over_time(rows: int, length: int, width: int, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.rand(rows, length, width) + 0.5
    factors = Dropout(rate, locked=True)(values) / values
    assert (
        torch.isclose(factors, torch.zeros(())).logical_or(torch.isclose(factors, torch.tensor(1 / (1 - rate)))).all()
    )
    assert torch.isclose(factors, factors[:, :1]).all()


def test_locked_dropout_differs_from_row_to_row_and_keeps_the_mean() -> None:
    torch.manual_seed(1)
    factors = Dropout(0.3, locked=True)(torch.ones(2000, 3, 8))[:, 0]
    assert len(factors.unique(dim=0)) > 100
    torch.testing.assert_close(factors.mean(0), torch.ones(8), atol=0.06, rtol=0)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_layer_of_an_encoder_loses_the_same_at_all_steps(bidirectional: bool) -> None:
    """What cells are given, over what they would be given without: one factor a row and entry, in both directions."""
    seen: list[Tensor] = []
    encoder = RecurrentEncoder(
        3,
        lambda i, h: cell("lstm", i, h),
        hidden=4,
        layers=2,
        bidirectional=bidirectional,
        dropout=0.5,
        locked_dropout=True,
    )
    for part in encoder.modules():
        if isinstance(part, Cell):
            part.register_forward_pre_hook(lambda _, given: seen.append(given[0] == 0))
    encoder(torch.randn(3, 5, 3).double(), torch.tensor([5, 5, 5]))
    assert len(seen) == (4 if bidirectional else 2)
    assert any(zero.any() for zero in seen)
    for zero in seen:
        assert zero.equal(zero[:, :1].expand_as(zero))


ATTENTIONS: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "general"},
    {"kind": "additive", "query": "previous"},
    {"kind": "general", "input_feeding": True},
    {"kind": "additive", "layer": "first"},
    {"kind": "coverage"},
    {"kind": "location", "query": "previous"},
    {"kind": "monotonic", "noise": 0.0, "layer": "first"},
]


@pytest.mark.parametrize("attention", ATTENTIONS, ids=str)
def test_steps_equal_one_call_in_training_too(attention: dict[str, Any]) -> None:
    """What locked dropout draws is in the state, so both ways through a target lose the same."""
    model = writer(attention=attention, locked_dropout=True)
    state = model.start([pad_sources(sources(4))])
    inputs = model.embedding(targets(4)[0])
    whole = model.decoder.unroll(inputs, state).features
    assert whole.eq(0).any()
    assert whole.eq(0).equal(whole[:, :1].eq(0).expand_as(whole)), "the readout loses the same at all steps"
    after, stepped = state, []
    for step in inputs.unbind(1):
        decoded = model.decoder.step(step, after)
        after = decoded.state
        stepped.append(decoded.features)
    torch.testing.assert_close(torch.stack(stepped, 1), whole)
    assert not model.decoder.unroll(inputs, model.start([pad_sources(sources(4))])).features.equal(whole)


def test_what_is_drawn_goes_where_its_row_goes() -> None:
    model = writer(locked_dropout=True)
    state = model.start([pad_sources(sources(3))])
    assert state.drawn is not None
    for rows, moved in (
        ([0, 0, 1, 1, 2, 2], state.expand(2)),
        ([2, 1, 0], state.reorder(torch.tensor([2, 1, 0]))),
        ([1], state.select(torch.tensor([1]))),
        ([2, 2, 0, 0], state.expand(2).select(torch.tensor([2, 0]), 2)),
    ):
        assert moved.drawn is not None
        for own, after in zip(state.drawn, moved.drawn, strict=True):
            assert after.equal(own[rows])


# all together


def test_use_knows_nothing_of_what_training_draws() -> None:
    """With the same weights a model of every rate gives what a plain one gives, and draws nothing."""
    plain, drawing = writer(), writer(cell={"kind": "lstm", "weight_drop": 0.5}, locked_dropout=True)
    assert not run(drawing, 1).equal(run(drawing, 2))
    assert run(drawing, 1).equal(run(drawing, 1))
    expected = run(plain.eval(), 1)
    drawing.eval()
    assert drawing.start([pad_sources(sources(4))]).drawn is None
    for seed in (1, 2):
        assert run(drawing, seed).equal(expected)


@pytest.mark.parametrize(
    ("kind", "query", "reference"),
    [("rnn_tanh", "current", 1.0), ("rnn_relu", "previous", 1.0), ("gru", "previous", 1.0), ("lstm", "current", 0.5)],
)
def test_gradients_equal_finite_differences_in_training(kind: str, query: str, reference: float) -> None:
    """All of it at once, the draws held by the seed."""
    attention = {"kind": "additive", "query": query}
    model = writer(cell={"kind": kind, **ALL}, attention=attention, locked_dropout=True, dropout=0.2)
    target = targets(4)[1]
    kept = (target.flatten() != PAD).nonzero().flatten()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # a rectifier's bias of zero would be at its kink

    def loss() -> Tensor:
        return model.head.objective(run(model, 5, reference), target, kept, 0.1)[0]

    assert_slopes(model, loss)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("initial", ["orthogonal", "uniform", "xavier"])
def test_recurrent_weights_start_as_chosen(kind: str, initial: str) -> None:
    made = CELLS.build(kind, {"initial": initial}, "cell", inputs=3, hidden=50)
    for gate in made.state_weight.detach().chunk(made.gates):
        if initial == "orthogonal":
            torch.testing.assert_close(gate @ gate.T, torch.eye(50), atol=1e-5, rtol=0)
        else:
            bound = 50**-0.5 if initial == "uniform" else (6 / 100) ** 0.5
            assert 0.98 * bound < gate.abs().max() <= bound


def test_a_cell_of_ones_own_has_the_options_too() -> None:
    """A cell that uses `_gates` and knows of nothing; its own parameter goes before a common one of that name."""

    class Leaky(Cell):
        gates = 1

        def __init__(self, inputs: int, hidden: int, zoneout: int = 7) -> None:
            super().__init__(inputs, hidden)
            self.own = zoneout

        def step(self, inputs: Tensor, state: Layer) -> Layer:
            new, old = self._gates(inputs, state[0])
            return (0.5 * state[0] + 0.5 * torch.tanh(new + old),)

    table = type(CELLS)("cell", {"leaky": Leaky}, Cell.configure)
    made = table.build("leaky", {"layer_norm": True, "zoneout": 3, "initial": "uniform"}, "c", inputs=3, hidden=4)
    assert isinstance(made, Leaky)
    assert (made.own, made.zoneout) == (3, 0.0)
    assert isinstance(made.state_norm, nn.LayerNorm)
    with pytest.raises(
        ConfigError, match=r"^c\.weight_dropp: cell 'leaky' has no such option; did you mean 'weight_drop"
    ):
        table.build("leaky", {"weight_dropp": 0.5}, "c", inputs=3, hidden=4)


@pytest.mark.parametrize("option", ["zoneout", "weight_drop"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.5])
def test_rates_lie_between_zero_and_one(option: str, rate: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"^model\.cell\.{option}: must be at least 0 and less than 1 \(is {rate:g}\)$"
    ):
        CELLS.build("gru", {option: rate}, "model.cell", inputs=3, hidden=4)


# R-Drop


def two_rows() -> Batch:
    """Two rows of different lengths, as training has them."""
    values, lengths = targets(2)[1], torch.tensor([4, 2])
    values = values.masked_fill(torch.arange(values.shape[1]) >= lengths[:, None], PAD)
    target = Padded(values, lengths)
    return Batch((pad_sources(sources(2)),), target, target.positions)


@pytest.mark.parametrize("attention", ["general", "none"])
def test_r_drop_is_the_mean_loss_and_the_divergence_of_two_passes(attention: str) -> None:
    model = writer(attention=attention).train()
    batch = two_rows()
    torch.manual_seed(5)
    objective, nll = batch_loss(model, batch, 1.0, 0.1, "float32", r_drop=3.0)
    torch.manual_seed(5)
    whole = batch.twice()
    features = model(whole.sources, whole.target.values)
    first, second = (model.head.log_probs(model.head.kept(features, places)) for places in whole.positions.chunk(2))
    both = torch.distributions.kl_divergence
    p, q = (torch.distributions.Categorical(logits=values) for values in (first, second))
    divergence = (both(p, q) + both(q, p)).sum() / 2
    plain, loss = model.head.objective(features, whole.target.values, whole.positions, 0.1)
    assert divergence > 0
    torch.testing.assert_close(objective, plain / 2 + 3.0 * divergence)
    torch.testing.assert_close(nll, loss / 2)


def test_r_drop_without_dropout_changes_nothing() -> None:
    model = writer(dropout=0.0, attention="general").train()
    batch = two_rows()
    losses = [batch_loss(model, batch, 1.0, 0.1, "float32", r_drop=value) for value in (0.0, 3.0)]
    slopes = [torch.autograd.grad(objective, list(model.parameters())) for objective, _ in losses]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(slopes[0], slopes[1])


def test_the_gradient_of_the_divergence_is_its_slope() -> None:
    model = writer(attention="general").eval()
    batch = two_rows()

    def divergence() -> Tensor:
        features = model(batch.sources, batch.target.values)
        first = batch.positions
        return model.head.disagreement(features, first, first.roll(1))

    assert_slopes(model, divergence)


def test_r_drop_is_refused_where_no_step_has_a_distribution() -> None:
    sides = {"data": {"train": "rows.tsv"}, "target": {"kind": "number"}}
    config = Config.model_validate({**sides, "train": {"r_drop": 1.0}})
    with pytest.raises(
        ConfigError,
        match=r"^train.r_drop: needs rows whose target has a probability for each symbol or label at each step",
    ):
        check_names(config)
