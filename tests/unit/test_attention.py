"""Attentions against their equations, written down step by step and pair by pair in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from models import AXES, cell_of, make, pad_sources, sources, targets
from numpy.typing import NDArray
from torch import Tensor, nn

from antiphon.common.symbols import EOS
from antiphon.decoding.beam import beam
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits
from antiphon.errors import ConfigError
from antiphon.model.parts.attention.base import Attention, masked_softmax
from antiphon.model.parts.attention.soft import AdditiveAttention, DotAttention
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.decoders import RecurrentDecoder
from antiphon.model.parts.recurrent import Cell
from antiphon.model.state import Memory, State

Array = NDArray[np.float64]
WIDTH = 4  # width of queries and of states
HIDDEN = {"hard", "hard_monotonic", "transducer"}  # see tests/unit/test_alignment.py
REMEMBER = {"location", "coverage", "monotonic"}
OPTIONS: dict[str, dict[str, Any]] = {
    "multi_head": {"heads": 3},
    "local": {"window": 3},
    "location": {"filters": 2, "width": 3, "size": 5},
    "coverage": {"size": 5},
    "additive": {"size": 5},
    "monotonic": {"size": 5, "noise": 0.0},
}


def made(kind: str, seed: int = 3, **options: Any) -> Attention:
    """An attention in float64 with random weights, as it is in use."""
    attention = ATTENTIONS.build(kind, OPTIONS.get(kind, {}) | options, "attention", query=WIDTH, memory=WIDTH)
    assert attention is not None
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return attention.double().eval()


def memory(attention: Attention, states: Tensor, mask: Tensor) -> Memory:
    return Memory(states, attention.keys(states), mask)


def until(lengths: list[int]) -> Tensor:
    """The mask of rows of these lengths."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def looks(attention: Attention, queries: Tensor, read: Memory) -> tuple[Tensor, Tensor]:
    """What queries [B, T, query] read and their weights, one step after the other."""
    before = attention.initial(read)
    attended = None if before is None else before[:, None]
    all_looks = []
    for query in queries.split(1, 1):  # type: ignore[no-untyped-call]
        all_looks.append(attention(query, read, attended))
        attended = all_looks[-1].attended
    return torch.cat([look.read for look in all_looks], 1), torch.cat([look.weights for look in all_looks], 1)


# --- the equations, of one row without padding: queries [T, query], states [S, memory] ------------------


def softmax(scores: Any) -> Array:
    shares = np.exp(np.asarray(scores) - np.max(scores))
    return np.asarray(shares / shares.sum())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


Weights = dict[str, Array]
Rows = Iterator[Array]


def dot(w: Weights, queries: Array, states: Array) -> Rows:
    for s in queries:
        yield softmax([s @ h for h in states])


def general(w: Weights, queries: Array, states: Array) -> Rows:
    for s in queries:
        yield softmax([s @ (w["key.weight"] @ h) for h in states])


def sums(w: Weights, s: Array, h: Array) -> Array:
    return np.asarray(w["query.weight"] @ s + w["key.weight"] @ h + w["key.bias"])


def additive(w: Weights, queries: Array, states: Array) -> Rows:
    for s in queries:
        yield softmax([w["value"] @ np.tanh(sums(w, s, h)) for h in states])


def local(w: Weights, queries: Array, states: Array) -> Rows:
    for s in queries:
        place = len(states) * sigmoid((w["position.2.weight"] @ np.tanh(w["position.0.weight"] @ s))[0])
        content = softmax([s @ (w["key.weight"] @ h) for h in states])
        near = [math.exp(-((number - place) ** 2) / (2 * 1.5**2)) for number in range(1, len(states) + 1)]
        yield content * near / (content @ near)


def location(w: Weights, queries: Array, states: Array) -> Rows:
    before = np.zeros(len(states))
    for s in queries:
        scores = []
        for j, h in enumerate(states):
            seen = np.zeros(2)
            for offset in (-1, 0, 1):
                if 0 <= j + offset < len(states):
                    seen += w["filters.weight"][:, 0, offset + 1] * before[j + offset]
            scores.append(w["value"] @ np.tanh(sums(w, s, h) + w["recall.weight"] @ seen))
        before = softmax(scores)
        yield before


def coverage(w: Weights, queries: Array, states: Array) -> Rows:
    read = np.zeros(len(states))
    for s in queries:
        weights = softmax(
            [w["value"] @ np.tanh(sums(w, s, h) + w["recall.weight"][:, 0] * read[j]) for j, h in enumerate(states)]
        )
        read = read + weights
        yield weights


def energies(w: Weights, s: Array, states: Array) -> list[float]:
    own = {name.removeprefix("energy."): value for name, value in w.items()}
    return [float(own["value"] @ np.tanh(sums(own, s, h)) + w["offset"][0]) for h in states]


def walks(w: Weights, queries: Array, states: Array) -> Rows:
    """The walk itself: hard choices."""
    place = 0
    for s in queries:
        values = energies(w, s, states)
        while place < len(states) - 1 and sigmoid(values[place]) <= 0.5:
            place += 1
        yield np.eye(len(states))[place]


def expected(w: Weights, queries: Array, states: Array) -> Rows:
    """The sum over all ways to come to a place and to stop there (Raffel et al. 2017, eq. 9)."""
    before = np.eye(len(states))[0]
    for s in queries:
        stops = [sigmoid(energy) for energy in energies(w, s, states)]
        stops[-1] = 1.0
        after = np.zeros(len(states))
        for start, share in enumerate(before):
            for place in range(start, len(states)):
                after[place] += share * math.prod(1 - p for p in stops[start:place]) * stops[place]
        before = after
        yield after


EQUATIONS: dict[str, Callable[[Weights, Array, Array], Rows]] = {
    "dot": dot,
    "general": general,
    "additive": additive,
    "local": local,
    "location": location,
    "coverage": coverage,
    "monotonic": walks,
}


def assert_equals(attention: Attention, equation: Callable[[Weights, Array, Array], Rows]) -> None:
    """On rows of several lengths, one after the other and, where nothing is kept, all at once."""
    weights = {name: value.detach().numpy() for name, value in attention.named_parameters()}
    lengths = [6, 2, 1]
    states, queries = torch.randn(3, 6, WIDTH).double(), torch.randn(3, 5, WIDTH).double()
    given = memory(attention, states, until(lengths))
    with torch.no_grad():
        read, looked = looks(attention, queries, given)
        if attention.initial(given) is None:
            torch.testing.assert_close(attention(queries, given).weights, looked)
    for row, length in enumerate(lengths):
        own = states[row, :length].numpy()
        reference = np.stack(list(equation(weights, queries[row].numpy(), own)))
        np.testing.assert_allclose(looked[row, :, :length], reference, atol=1e-9)
        np.testing.assert_allclose(read[row], reference @ own, atol=1e-9)
        assert not looked[row, :, length:].any()


@pytest.mark.parametrize("kind", EQUATIONS)
@pytest.mark.parametrize("seed", [1, 2])
def test_an_attention_equals_its_equation(kind: str, seed: int) -> None:
    assert_equals(made(kind, seed), EQUATIONS[kind])


def test_every_attention_has_its_equation_here() -> None:
    assert {*EQUATIONS, *HIDDEN, "multi_head", "none"} == set(ATTENTIONS)


@pytest.mark.parametrize("seed", [1, 2])
def test_monotonic_attention_is_in_training_the_expectation_over_walks(seed: int) -> None:
    assert_equals(made("monotonic", seed).train(), expected)


def test_sure_walks_are_their_own_expectation() -> None:
    """Where every p is near 0 or 1, training and use are one."""
    attention = made("monotonic")
    with torch.no_grad():
        attention.energy.value *= 1e4  # type: ignore[operator, union-attr]
    states, queries = torch.randn(4, 7, WIDTH).double(), torch.randn(4, 5, WIDTH).double()
    given = memory(attention, states, until([7, 5, 3, 1]))
    with torch.no_grad():
        hard = looks(attention, queries, given)[1]
        torch.testing.assert_close(looks(attention.train(), queries, given)[1], hard)
    places = hard.argmax(-1)
    assert (places.diff(dim=1) >= 0).all()
    assert (places[:, 0] < places[:, -1]).any()


def test_noise_moves_the_expectation_in_training_alone() -> None:
    attention = made("monotonic", noise=1.0)
    states, queries = torch.randn(2, 5, WIDTH).double(), torch.randn(2, 3, WIDTH).double()
    given = memory(attention, states, until([5, 4]))
    with torch.no_grad():
        assert looks(attention, queries, given)[1].equal(looks(attention, queries, given)[1])
        attention.train()
        first, second = (looks(attention, queries, given)[1] for _ in range(2))
    assert not first.allclose(second)
    torch.testing.assert_close(first.sum(-1), torch.ones(2, 3).double())


def test_heads_equal_torchs() -> None:
    """`nn.MultiheadAttention` with the same weights, its weights averaged over heads."""
    attention = made("multi_head", heads=2, size=2)
    native = nn.MultiheadAttention(WIDTH, 2, bias=False, batch_first=True).double().eval()
    names = ("query", "key", "value", "output")
    query, key, value, output = (attention.get_parameter(f"{name}.weight") for name in names)
    with torch.no_grad():
        native.in_proj_weight.copy_(torch.cat([query, key, value]))
        native.out_proj.weight.copy_(output)
        states, queries, mask = torch.randn(2, 5, WIDTH).double(), torch.randn(2, 3, WIDTH).double(), until([5, 2])
        reference, weights = native(queries, states, states, key_padding_mask=~mask)
        look = attention(queries, memory(attention, states, mask))
    torch.testing.assert_close(look.read, reference)
    torch.testing.assert_close(look.weights, weights)


def test_heads_have_their_share_of_the_width() -> None:
    """Rounded up, so that every width may have every number of heads."""
    attention = made("multi_head", heads=3)
    assert attention.get_parameter("query.weight").shape == (6, WIDTH)
    w = {name: value.detach().numpy() for name, value in attention.named_parameters()}
    states, queries = torch.randn(1, 5, WIDTH).double(), torch.randn(1, 1, WIDTH).double()
    parts, shares = [], []
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        q, k, v = (w[f"{name}.weight"][own] for name in ("query", "key", "value"))
        arguments = q @ queries[0, 0].numpy()
        shares.append(softmax([arguments @ (k @ h) / math.sqrt(2) for h in states[0].numpy()]))
        parts.append(shares[-1] @ states[0].numpy() @ v.T)
    with torch.no_grad():
        look = attention(queries, memory(attention, states, until([5])))
    np.testing.assert_allclose(look.weights[0, 0], np.mean(shares, 0), atol=1e-9)
    np.testing.assert_allclose(look.read[0, 0], w["output.weight"] @ np.concatenate(parts), atol=1e-9)


# --- state -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in ATTENTIONS if kind != "none"])
@pytest.mark.parametrize("training", [False, True])
def test_padding_between_two_sources_changes_nothing(kind: str, training: bool) -> None:
    """Several sources are side by side in memory, the first with its padding behind it."""
    attention = made(kind).train(training)
    states, queries = torch.randn(1, 6, WIDTH).double(), torch.randn(1, 4, WIDTH).double()
    gaps = torch.tensor([[True, True, False, False, True, True, False, True, True, False]])
    spread = torch.randn(1, 10, WIDTH).double()
    spread[gaps] = states[0]
    with torch.no_grad():
        read, weights = looks(attention, queries, memory(attention, states, until([6])))
        own_read, own_weights = looks(attention, queries, memory(attention, spread, gaps))
    torch.testing.assert_close(own_read, read)
    torch.testing.assert_close(own_weights[:, :, gaps[0]], weights)


@pytest.mark.parametrize("kind", [kind for kind in ATTENTIONS if kind != "none"])
def test_each_row_of_a_source_goes_by_its_own_looks(kind: str) -> None:
    """A beam's rows, side by side, are what each is alone."""
    attention = made(kind)
    states = torch.randn(2, 5, WIDTH).double()
    queries = torch.randn(3, 2, 4, WIDTH).double()  # 3 beams, 2 sources, 4 steps
    given = memory(attention, states, until([5, 3]))
    before = attention.initial(given)
    attended = None if before is None else before[:, None].expand(-1, 3, -1)
    with torch.no_grad():
        alone = torch.stack([looks(attention, beam, given)[1] for beam in queries])
        for step in range(4):
            looked = attention(queries[:, :, step].transpose(0, 1), given, attended)
            torch.testing.assert_close(looked.weights.transpose(0, 1), alone[:, :, step])
            attended = looked.attended


@pytest.mark.parametrize("kind", list(ATTENTIONS))
def test_only_a_kind_that_goes_by_its_looks_keeps_them_and_cells_never_wait_for_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `query: current` the cells of a known target run in one call, whatever attention keeps."""
    model = make(tuple(kind if axis == "attention" else values[0] for axis, values in AXES.items()))
    state = model.start([pad_sources(sources(3))])
    assert (state.attended is not None) == (kind in REMEMBER | HIDDEN)
    inputs = model.embedding(targets(3)[0])
    stepped = state
    for step in inputs.unbind(1):
        stepped = model.decoder.step(step, stepped).state
    monkeypatch.setattr(Cell, "advance", lambda *_: pytest.fail("one step alone"))
    after = model.decoder.unroll(inputs, state).state
    torch.testing.assert_close(after.layers, stepped.layers)
    if kind not in HIDDEN:  # their places are followed by the writer, not by the decoder
        torch.testing.assert_close(after.attended, stepped.attended)


def test_what_is_kept_goes_where_its_row_goes() -> None:
    rows = torch.arange(6.0).view(3, 2)
    state = State(((rows,),), attended=rows)
    for moved in (
        state.expand(2),
        state.reorder(torch.tensor([2, 0, 1])),
        state.select(torch.tensor([1])),
        state.expand(2).select(torch.tensor([2, 0]), 2),
    ):
        assert moved.attended is not None
        assert moved.attended.equal(moved.layers[0][0])


class Fresh(DotAttention):
    """score = s . h - 2 times how much of h has been read: of a user's own."""

    def initial(self, memory: Memory) -> Tensor:
        return memory.mask.to(memory.states.dtype) * 0

    def kept(self, attended: Tensor | None, weights: Tensor) -> Tensor:
        assert attended is not None
        return attended + weights

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        assert attended is not None
        return super().scores(queries, memory) - 2 * attended


@pytest.mark.parametrize("query", ["current", "previous"])
def test_an_attention_of_ones_own_that_keeps_its_looks_is_one_definition_and_one_row(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTENTIONS._rows, "fresh", Fresh)
    at = {axis: values[0] for axis, values in AXES.items()} | {"attention": "fresh", "query": query}
    model, (read, written) = make(tuple(at.values())), targets(4)
    given = [pad_sources(sources(4))]
    with torch.inference_mode():
        looked = model.attention(given, written)
        assert looked is not None
        state, seen = model.start(given), torch.zeros_like(looked[0][:, 0])
        for step in range(read.shape[1]):
            answer = model.step(read[:, step], state)
            torch.testing.assert_close(answer.attention, looked[0][:, step])
            state, seen = answer.state, seen + looked[0][:, step]
            torch.testing.assert_close(state.attended, seen)
        hypotheses = beam(model.step, model.start(given), 4, torch.device("cpu"), Limits(6), 3)
        outputs, _ = pad_sources([[*best.tokens, EOS] for best, *_ in hypotheses])
        scores = forced(model.step, model.start(given), outputs).sum(1)
    torch.testing.assert_close(scores, torch.tensor([best.score for best, *_ in hypotheses]), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(REMEMBER))
@pytest.mark.parametrize("training", [False, True])
def test_what_is_kept_is_exact_where_products_are_not(kind: str, training: bool) -> None:
    attention = made(kind).float().train(training)
    states, queries = torch.randn(2, 5, WIDTH).bfloat16().requires_grad_(), torch.randn(2, 3, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        given = memory(attention, states, until([5, 3]))
        before = attention.initial(given)
        assert before is not None
        look = attention(queries[:, :1], given, before[:, None])
        look.read.sum().backward()
    assert (look.weights.dtype, look.attended.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(look.attended.sum(-1), torch.ones(2, 1))


# --- cost ------------------------------------------------------------------------------------------------


def test_additive_attention_in_pieces_equals_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients do not depend on the piece size."""
    attention = made("additive")
    states, queries = torch.randn(2, 5, WIDTH).double(), torch.randn(2, 7, WIDTH).double()
    computed = []
    for piece in (1 << 22, 1, 120):
        monkeypatch.setattr(AdditiveAttention, "PIECE", piece)
        attention.zero_grad()
        inputs = queries.clone().requires_grad_()
        scores = attention.scores(inputs, memory(attention, states, until([5, 5])))
        scores.square().sum().backward()  # type: ignore[no-untyped-call]
        computed.append(
            [scores.detach(), inputs.grad, *(p.grad.clone() for p in attention.parameters() if p.grad is not None)]
        )
    for other in computed[1:]:
        for left, right in zip(computed[0], other, strict=True):
            torch.testing.assert_close(left, right)


def test_additive_attention_keeps_little_for_the_backward_pass() -> None:
    """64 rows of 200 steps against 200: all pairs at width 256 would keep 2.6 GB; less than 200 MB are kept."""
    attention = AdditiveAttention(8, 8, size=256)
    rows = 2  # the bound is on pieces, so two rows show it: all pairs would be 82 MB
    states, queries = torch.randn(rows, 200, 8), torch.randn(rows, 200, 8, requires_grad=True)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * 4)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        attention.scores(queries, memory(attention, states, until([200] * rows)))
    all_pairs = rows * 200 * 200 * 256 * 4
    assert sum(kept) < all_pairs / 20


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "key", "reason"),
    [
        ("multi_head", {"heads": 0}, "heads", "must lie between 1 and 65,536 (is 0)"),
        ("multi_head", {"size": -1}, "size", "must lie between 1 and 65,536 (is -1)"),
        ("additive", {"size": 1 << 20}, "size", "must lie between 1 and 65,536 (is 1,048,576)"),
        ("local", {"window": 0}, "window", "must lie between 1 and 65,536 (is 0)"),
        ("location", {"filters": 0}, "filters", "must lie between 1 and 65,536 (is 0)"),
        (
            "location",
            {"width": 4},
            "width",
            "must be odd, so that the filter reaches equally far in both directions (is 4)",
        ),
        ("coverage", {"size": 0}, "size", "must lie between 1 and 65,536 (is 0)"),
        ("monotonic", {"noise": -1.0}, "noise", "must lie between 0 and 100 (is -1)"),
        ("coverage", {"filters": 3}, "filters", "attention 'coverage' has no such option; known: size"),
    ],
)
def test_wrong_options_are_told_by_their_key(kind: str, options: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        ATTENTIONS.build(kind, options, "model.attention", query=WIDTH, memory=WIDTH)
    assert (error.value.key, error.value.reason) == (f"model.attention.{key}", reason)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"input_feeding": True}, "attention.kind"),
        ({"query": "previous"}, "attention.kind"),
        ({"layer": "first", "layers": 2}, "attention.kind"),
    ],
)
def test_a_decoder_refuses_what_needs_attention(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        RecurrentDecoder(3, lambda i, h: cell_of("gru", i, h), hidden=4, features=4, **options)  # type: ignore[arg-type]
    assert error.value.key == key
    assert "choose general" in error.value.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1.0, 30.0, 300.0])
def test_a_sharp_softmax_holds_no_number_that_a_processor_is_slow_with(spread: float, dtype: torch.dtype) -> None:
    """It is the plain softmax to within rounding, in values and gradients, of which none is nearly zero but not."""
    torch.manual_seed(4)
    mask = until([9, 40, 1, 25])[:, None]
    scores = (spread * torch.randn(4, 30, 40, dtype=dtype)).requires_grad_()
    above = torch.randn(4, 30, 40, dtype=dtype)
    masked, plain = masked_softmax(scores, mask), torch.softmax(scores.masked_fill(~mask, -torch.inf), -1)
    slopes = [torch.autograd.grad(value, scores, above)[0] for value in (masked, plain)]
    torch.testing.assert_close(masked, plain, atol=1e-19, rtol=1e-6)
    torch.testing.assert_close(*slopes, atol=1e-19, rtol=1e-6)
    for values in (masked, slopes[0]):
        assert not ((values != 0) & (values.abs() < torch.finfo(torch.float32).tiny)).any()
    assert (masked.sum(-1) - 1).abs().max() < 1e-6
