"""Single parts against their equations or against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from models import cell_of
from torch import nn

from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS
from antiphon.errors import ConfigError
from antiphon.model.parts.bridges import Last, ProjectedAll, ProjectedLast
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.encoders import RecurrentEncoder, reverse_within
from antiphon.model.parts.heads.softmax import LabelHead, SoftmaxHead
from antiphon.model.parts.recurrent import LstmCell, _runs_lowered
from antiphon.model.parts.sources import ImageSource, jittered
from antiphon.model.state import Encoded, Memory, State

NATIVE = {
    "rnn_tanh": (nn.RNNCell, nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (nn.RNNCell, nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRUCell, nn.GRU, {}),
    "lstm": (nn.LSTMCell, nn.LSTM, {}),
}


def randomize(module: nn.Module) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)


@pytest.mark.parametrize("kind", NATIVE)
def test_cells_equal_those_of_torch_with_the_same_weights(kind: str) -> None:
    """A step equals torch.nn's cell, a sequence torch.nn's layer, in values and final states."""
    make_cell, make_layer, options = NATIVE[kind]
    cell = cell_of(kind, 3, 4)
    randomize(cell)
    native, layer = make_cell(3, 4, **options), make_layer(3, 4, batch_first=True, **options)
    with torch.no_grad():
        for target in (native, layer):
            for parameter, own in zip(target.parameters(), cell.weights, strict=True):
                parameter.copy_(own)
    inputs = torch.randn(5, 7, 3)
    start = tuple(torch.randn(5, 4) for _ in range(cell.parts))

    reference = native(inputs[:, 0], start if cell.parts > 1 else start[0])
    for left, right in zip(cell.step(inputs[:, 0], start), reference if cell.parts > 1 else (reference,), strict=True):
        torch.testing.assert_close(left, right)

    lifted = tuple(value[None] for value in start)
    output, final = layer(inputs, lifted if cell.parts > 1 else lifted[0])
    own_output, own_final = cell(inputs, start)
    torch.testing.assert_close(own_output, output)
    for left, right in zip(own_final, final if cell.parts > 1 else (final,), strict=True):
        torch.testing.assert_close(left, right[0])


@pytest.mark.parametrize("kind", NATIVE)
def test_a_processor_without_a_fused_call_in_bfloat16_goes_step_by_step(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    cell, inputs = cell_of(kind, 3, 4), torch.randn(5, 7, 3)
    exact = cell(inputs, cell.initial(inputs))[0]
    monkeypatch.setattr(type(cell), "fused", staticmethod(refused))
    _runs_lowered.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        output = cell(inputs, cell.initial(inputs))[0]
    _runs_lowered.cache_clear()
    torch.testing.assert_close(output.float(), exact, rtol=0.05, atol=0.05)
    with pytest.raises(RuntimeError, match="primitive"):
        cell(inputs, cell.initial(inputs))  # in float32 there is no other way


def test_a_rank_needs_rounds() -> None:
    with pytest.raises(ConfigError, match=r"^model\.cell\.mogrifier_rank: needs mogrifier, the number of rounds$"):
        CELLS.build("lstm", {"mogrifier_rank": 2}, "model.cell", inputs=3, hidden=4)


@pytest.mark.parametrize("kind", list(CELLS))
def test_a_sequence_equals_its_steps(kind: str) -> None:
    cell = cell_of(kind, 3, 4)
    randomize(cell)
    inputs = torch.randn(2, 6, 3)
    state = cell.initial(inputs)
    whole, final = cell(inputs, state)
    for t in range(6):
        state = cell.step(inputs[:, t], state)
        torch.testing.assert_close(whole[:, t], state[0])
    for left, right in zip(final, state, strict=True):
        torch.testing.assert_close(left, right)


def test_forget_gates_start_open() -> None:
    cell = LstmCell(3, 4, forget_bias=2.0)
    assert cell.input_bias.detach().chunk(4)[1].tolist() == [2.0] * 4
    assert sum(cell.input_bias.detach().chunk(4)[i].abs().sum() for i in (0, 2, 3)) == 0


@pytest.mark.parametrize("rank", [None, 2])
def test_mogrifier_rounds_are_their_equations_at_every_step(rank: int | None) -> None:
    """The cell with rounds equals the plain one on inputs and states that were scaled before."""
    options = {} if rank is None else {"mogrifier_rank": rank}
    cell = CELLS.build("lstm", {"mogrifier": 3, **options}, "cell", inputs=3, hidden=4)
    plain = cell_of("lstm", 3, 4)
    randomize(cell)
    plain.load_state_dict({name: value for name, value in cell.state_dict().items() if "rounds" not in name})
    assert isinstance(cell, LstmCell)
    inputs = torch.randn(2, 6, 3)
    state = cell.initial(inputs)
    whole, final = cell(inputs, state)
    q1, r, q2 = cell.rounds
    for step, output in zip(inputs.unbind(1), whole.unbind(1), strict=True):
        h, c = state
        x = 2 * torch.sigmoid(q1(h)) * step
        h = 2 * torch.sigmoid(r(x)) * h
        x = 2 * torch.sigmoid(q2(h)) * x
        state = plain.step(x, (h, c))
        torch.testing.assert_close(output, state[0])
    torch.testing.assert_close(final, state)
    if rank is not None:
        assert cell.get_parameter("rounds.0.0.weight").shape == (2, 4)


def test_reversal_stays_within_each_length_and_undoes_itself() -> None:
    values = torch.arange(12.0).view(2, 6, 1)
    lengths = torch.tensor([4, 6])
    turned = reverse_within(values, lengths)
    assert turned[0, :, 0].tolist() == [3, 2, 1, 0, 4, 5]
    assert turned[1, :, 0].tolist() == [11, 10, 9, 8, 7, 6]
    assert reverse_within(turned, lengths).equal(values)


@pytest.mark.parametrize("kind", NATIVE)
def test_a_bidirectional_encoder_equals_torchs_packed_one(kind: str) -> None:
    """Masks and reversal within the length give what packing gives: all states, and the last of both directions."""
    _, make_layer, options = NATIVE[kind]
    encoder = RecurrentEncoder(3, lambda i, h: cell_of(kind, i, h), hidden=4, layers=2)
    randomize(encoder)
    native = make_layer(3, 4, num_layers=2, bidirectional=True, batch_first=True, **options)
    own = [
        w for pair in zip(encoder.forward_cells, encoder.backward_cells, strict=True) for c in pair for w in c.weights
    ]
    with torch.no_grad():
        for parameter, weight in zip(native.parameters(), own, strict=True):
            parameter.copy_(weight)
    inputs, lengths = torch.randn(3, 6, 3), torch.tensor([6, 1, 4])
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    output, final = native(packed)
    reference, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    encoded = encoder(inputs, lengths)
    torch.testing.assert_close(encoded.states, reference)
    last = final[0] if isinstance(final, tuple) else final
    torch.testing.assert_close(encoded.last, torch.cat([last[-2], last[-1]], -1))


def encoded(lengths: list[int], width: int) -> Encoded:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    states = torch.randn(len(lengths), max(lengths), width) * mask[..., None]
    return Encoded(states, mask, torch.stack([row[n - 1] for row, n in zip(states, lengths, strict=True)]))


def test_contexts_equal_their_equations() -> None:
    encoding = encoded([4, 2], 3)
    last = Last(3, 3, 3, layers=2, state_parts=2)
    assert last.context(encoding).equal(encoding.last)
    for h, c in last.start(encoding.last):
        assert h.equal(encoding.last)
        assert c.abs().sum() == 0

    projected = ProjectedLast(3, 3, 5, layers=2, state_parts=2)
    torch.testing.assert_close(projected.context(encoding), torch.tanh(projected.project(encoding.last)))
    starts = projected.start(projected.context(encoding))
    assert len(starts) == 2
    assert not starts[0][0].equal(starts[1][0]), "each layer has its own map"

    pools = {
        "mean": [encoding.states[0, :4].mean(0), encoding.states[1, :2].mean(0)],
        "max": [encoding.states[0, :4].amax(0), encoding.states[1, :2].amax(0)],
    }
    for pool, reference in pools.items():
        bridge = ProjectedAll(3, 3, 5, layers=1, state_parts=1, pool=pool)  # type: ignore[arg-type]
        torch.testing.assert_close(bridge.context(encoding), torch.tanh(bridge.project(torch.stack(reference))))
    bridge = ProjectedAll(3, 3, 5, layers=1, state_parts=1, pool="attention")
    assert bridge.score is not None
    row = encoding.states[1, :2]
    wanted_row = torch.softmax(row @ bridge.score.weight[0], 0) @ row
    torch.testing.assert_close(bridge.context(encoding)[1], torch.tanh(bridge.project(wanted_row)))


def test_dropout_works_with_one_layer_and_only_in_training() -> None:
    encoder = RecurrentEncoder(3, lambda i, h: cell_of("lstm", i, h), hidden=4, dropout=0.5)
    inputs, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
    assert not encoder(inputs, lengths).states.equal(encoder(inputs, lengths).states)
    encoder.eval()
    assert encoder(inputs, lengths).states.equal(encoder(inputs, lengths).states)


def test_the_head_gives_no_probability_to_padding_and_begin() -> None:
    head = SoftmaxHead(3, 9)
    features = torch.randn(4, 3)
    log_probs = head.log_probs(features)
    assert log_probs[:, [PAD, BOS]].eq(-math.inf).all()
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(4))
    targets = torch.tensor([EOS, 5, 3, 8])
    torch.testing.assert_close(head.nll(features, targets), -log_probs.gather(1, targets[:, None])[:, 0])
    assert head.best(features).equal(log_probs.argmax(1))
    nll = head.nll(features, targets)
    given = features[None], targets[None], torch.arange(4)
    torch.testing.assert_close(head.judge(*given)[0], nll)
    smooth = 0.9 * nll - 0.1 * log_probs[:, EOS:].mean(1)
    objective, summed = head.objective(*given, smoothing=0.1)
    torch.testing.assert_close(objective, smooth.sum())
    torch.testing.assert_close(summed, nll.sum())
    torch.testing.assert_close(head.objective(*given, smoothing=0.0)[0], nll.sum())
    torch.testing.assert_close(
        objective,
        torch.nn.functional.cross_entropy(log_probs[:, EOS:], targets - EOS, reduction="sum", label_smoothing=0.1),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("product", [1, 30, 1 << 23])
@pytest.mark.parametrize("piece", [1, 20, 1 << 18])
def test_the_objective_in_pieces_has_the_gradients_of_the_whole(
    smoothing: float, piece: int, product: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.model.parts.heads.cross_entropy.CrossEntropy.PIECE", piece)
    monkeypatch.setattr("antiphon.model.parts.heads.cross_entropy.CrossEntropy.PRODUCT", product)
    head = SoftmaxHead(3, 9).double()
    features = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([EOS, 5, 3, 8, 5, 4, EOS])
    leaves = [features, head.weight, head.bias]
    plain = torch.nn.functional.cross_entropy(
        head.log_probs(features)[:, EOS:], targets - EOS, reduction="sum", label_smoothing=smoothing
    )
    expected = torch.autograd.grad(3 * plain, leaves)
    objective, nll = head.objective(features[None], targets[None], torch.arange(7), smoothing)
    torch.testing.assert_close(objective, plain)
    assert not nll.requires_grad
    for gradient, slope in zip(torch.autograd.grad(3 * objective, leaves), expected, strict=True):
        torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_class_that_weighs_three_is_as_if_its_steps_stood_there_three_times(smoothing: float) -> None:
    head = LabelHead(3, SPECIALS + 3).double()
    features = torch.randn(2, 3, 3, dtype=torch.float64)
    targets = torch.tensor([[4, 5, 6], [5, 5, 4]])
    positions = torch.tensor([0, 1, 2, 3, 4])
    weights = torch.ones(SPECIALS + 3, dtype=torch.float64)
    weights[5], weights[6] = 3, 0
    repeated = torch.tensor([0, 1, 1, 1, 3, 3, 3, 4, 4, 4])
    leaves = list(head.parameters())
    weighed, nll = head.objective(features, targets, positions, smoothing, weights)
    plain, _ = head.objective(features, targets, repeated, smoothing)
    torch.testing.assert_close(weighed, plain)
    torch.testing.assert_close(torch.autograd.grad(weighed, leaves), torch.autograd.grad(plain, leaves))
    torch.testing.assert_close(nll, head.judge(features, targets, positions)[0].sum().detach())


def test_states_expand_reorder_and_select() -> None:
    h = torch.arange(6.0).view(3, 2)
    keys = torch.arange(3.0).view(3, 1, 1)
    state = State(((h,),), keys[:, 0], Memory(keys, keys, torch.ones(3, 1, dtype=torch.bool)), h)
    wide = state.expand(2)
    assert wide.layers[0][0][:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    moved = wide.reorder(torch.tensor([1, 0, 2, 2, 5, 4]))
    assert moved.rows == 6
    assert moved.memory is wide.memory, "what a beam never changes is not copied"
    chosen = wide.select(torch.tensor([2, 0]), 2)
    assert chosen.layers[0][0][:, 0].tolist() == [4, 4, 0, 0]
    assert chosen.fed is not None
    assert chosen.memory is not None
    assert chosen.memory.keys.flatten().tolist() == [2, 0]
    assert chosen.context is not None
    assert chosen.context.flatten().tolist() == [2, 0]


def test_jitter_changes_pictures_in_training_alone() -> None:
    source = ImageSource(3, 5, [4], jitter=0.2)
    pictures, lengths = torch.randint(0, 256, (2, 1, 12, 10, 3), dtype=torch.uint8), torch.ones(2, dtype=torch.long)
    plain = source.eval()(pictures, lengths)[0]
    assert torch.equal(plain, source(pictures, lengths)[0])
    source.train()
    assert not torch.allclose(plain, source(pictures, lengths)[0])
    source.jitter = 0.0
    assert torch.equal(plain, source(pictures, lengths)[0])


def test_half_of_the_pictures_are_mirrored_in_training_alone() -> None:
    source = ImageSource(3, 5, [4], mirror=True)
    pictures = torch.randint(0, 256, (1, 1, 12, 10, 3), dtype=torch.uint8)
    rows, lengths = pictures.repeat(40, 1, 1, 1, 1), torch.ones(40, dtype=torch.long)
    plain, turned = (source.eval()(item, lengths[:1])[0] for item in (pictures, pictures.flip(3)))
    states = source.train()(rows, lengths)[0]
    kinds = [[torch.allclose(row, item[0], atol=1e-4) for item in (plain, turned)] for row in states]
    assert all(any(kind) for kind in kinds)
    assert 0 < sum(kind[1] for kind in kinds) < 40


def test_a_picture_keeps_its_brightness_without_normalisation() -> None:
    dark = torch.full((1, 1, 8, 8, 1), 90, dtype=torch.uint8)
    for norm, alike in (("group", True), ("none", False)):
        torch.manual_seed(0)
        source = ImageSource(1, 5, [4], norm=norm)  # type: ignore[arg-type]
        states = [source(picture, torch.ones(1, dtype=torch.long))[0][0, 5] for picture in (dark, dark + 20)]
        assert torch.allclose(states[0], states[1], atol=0.05) == alike


def test_jitter_is_one_for_all_steps_of_a_row_and_bounded() -> None:
    picture = torch.rand(1, 3, 9, 9) * 2 - 1
    changed = jittered(picture.repeat(8, 1, 1, 1), 0.1, steps=4)
    assert torch.equal(changed[:4], changed[:1].repeat(4, 1, 1, 1))
    assert not torch.allclose(changed[0], changed[4])
    flat = torch.full((50, 3, 8, 8), 0.5)  # moving changes nothing: contrast and brightness alone
    jittered_flat = jittered(flat, 0.1)
    assert jittered_flat.min() >= 0.5 * 0.9 - 0.1 - 1e-5
    assert jittered_flat.max() <= 0.5 * 1.1 + 0.1 + 1e-5
    assert torch.equal(jittered(picture, 0.0), jittered(picture, 0.0))
    assert torch.allclose(jittered(picture, 0.0), picture, atol=1e-5)
