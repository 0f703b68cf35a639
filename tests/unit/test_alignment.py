"""Hidden alignments: exact sums against every alignment written out, posteriors, slopes, and that no place is lost."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from models import SideSizes, assert_slopes
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, FIRST_OUTPUT, PAD, SPECIALS, UNK
from antiphon.config.schema import Model
from antiphon.errors import ConfigError
from antiphon.model.aligning import AligningWriter
from antiphon.model.build import many_to_many

KINDS = ["hard", "hard_monotonic", "transducer"]
COPIES = [False, True]
SYMBOLS = SPECIALS + 4


def made(kind: str, copies: bool, sources: int = 1, seed: int = 0, **keys: Any) -> AligningWriter:
    """An untrained model in float64 with weights so large that places and symbols differ."""
    torch.manual_seed(seed)
    settings = Model.model_validate(
        {
            "embedding": 5,
            "encoder": {"hidden": 3},
            "decoder": {"hidden": 6},
            "attention": kind,
            "copy": copies,
            "dropout": 0.0,
            "context": {"to": "every_step"},
            **keys,
        }
    )
    sides = [SideSizes("symbols", SYMBOLS)] * sources
    model = many_to_many(settings, sides, SideSizes("symbols", SYMBOLS))
    assert isinstance(model, AligningWriter)
    model.copied = (True, *[False] * (sources - 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.8)
    return model.double().eval()


def source(rows: list[list[int]], copies: bool, seed: int = 1) -> tuple[Tensor, Tensor]:
    """A batch of sources; a symbol's copy has its id, or one beyond the vocabulary for the first symbol of a row."""
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.full((len(rows), int(lengths.max())), PAD)
    copied = values.clone()
    for number, row in enumerate(rows):
        values[number, : len(row)] = torch.tensor(row)
        copied[number, : len(row)] = torch.tensor([SYMBOLS, *row[1:]])
    return (torch.stack([values, copied], -1) if copies else values), lengths


ROWS = [[SPECIALS, SPECIALS + 1, SPECIALS + 3, EOS], [SPECIALS + 2, EOS]]
TARGET = torch.tensor([[SPECIALS + 1, SPECIALS + 3, EOS], [SPECIALS + 2, EOS, PAD]])
POSITIONS = torch.tensor([0, 1, 2, 3, 4])


@torch.no_grad()
def enumerated(model: AligningWriter, sources: Any, target: list[int], row: int) -> tuple[float, Tensor]:
    """log p(y | x) of a row, and the posterior of each step's place, summed over all alignments one by one."""
    state = model.start(sources)
    memory = state.memory
    assert memory is not None
    assert state.attended is not None
    fed = torch.full((len(memory.mask), len(target)), BOS)
    fed[:, 1:] = torch.tensor(target[:-1]).where(torch.tensor(target[:-1]) < SYMBOLS, UNK)
    queries = model.decoder.unroll(model.embedding(fed), state).features
    features = model.alignment.features(queries, memory)
    moves, places, ends = model.alignment.moves(queries, memory, features)[row], features[row], None
    if (last := model.alignment.ends(memory)) is not None:
        ends = last[row]
    length = int(memory.mask[row].sum())
    total, posterior = 0.0, torch.zeros(len(target), memory.mask.shape[1], dtype=torch.float64)
    for path in itertools.product(range(length), repeat=len(target)):
        p, before = 1.0, 0
        for step, (place, symbol) in enumerate(zip(path, target, strict=True)):
            feature = places[step, place]
            logits = model.head.weight @ feature + model.head.bias
            logits[:FIRST_OUTPUT] = -math.inf
            if ends is not None and not ends[place]:
                logits[EOS] = -math.inf
            strange = int(model.head.gate is not None)  # each row has one symbol that is not in the vocabulary
            written = float(logits.softmax(0)[symbol if symbol < SYMBOLS else UNK])
            written /= 1 + strange if symbol in (UNK, SYMBOLS) else 1
            if model.head.gate is not None:
                assert memory.copy_ids is not None
                gate = float(torch.sigmoid(model.head.gate(feature)))
                written = gate * written + (1 - gate) * (int(memory.copy_ids[row, place]) == symbol)
            p *= float(moves[step, before if moves.shape[1] > 1 else 0, place].exp()) * written
            before = place
        total += p
        for step, place in enumerate(path):
            posterior[step, place] += p
    return math.log(total), posterior / total


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_the_posteriors_are_those_of_all_alignments(kind: str, copies: bool) -> None:
    model = made(kind, copies)
    sources = [source(ROWS, copies)]
    target = TARGET.clone()
    if copies:
        target[0, 0] = SYMBOLS  # a symbol that only the source has
    nll, _ = model.head.judge(model(sources, target), target, POSITIONS)
    weights, mask = model.attention(sources, target)
    for row, length in enumerate([3, 2]):
        log_p, posterior = enumerated(model, sources, target[row, :length].tolist(), row)
        assert -nll[[0, 1, 2] if row == 0 else [3, 4]].sum().item() == pytest.approx(log_p, abs=1e-5)
        torch.testing.assert_close(weights[row, :length].double(), posterior, atol=1e-6, rtol=1e-4)
    assert not weights[1, :2, 2:].any()
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_a_distribution_and_equals_the_unrolled(kind: str, copies: bool) -> None:
    model = made(kind, copies)
    sources = [source(ROWS, copies)]
    state = model.start(sources)
    unrolled = model.head.log_probs(model(sources, TARGET))
    tokens = torch.full((2,), BOS)
    for step in range(3):
        answer = model.step(tokens, state)
        torch.testing.assert_close(answer.log_probs.exp().sum(1), torch.ones(2, dtype=torch.float64))
        if step < 2:
            torch.testing.assert_close(answer.log_probs, unrolled[:, step])
        assert answer.log_probs[:, :FIRST_OUTPUT].max() == -torch.inf
        tokens, state = TARGET[:, step], answer.state


@pytest.mark.parametrize("kind", ["hard_monotonic", "transducer"])
@torch.no_grad()
def test_a_monotonic_alignment_never_goes_back(kind: str) -> None:
    model = made(kind, False)
    sources = [source(ROWS, False)]
    queries = torch.randn(2, 3, 6, dtype=torch.float64)
    memory = model.start(sources).memory
    assert memory is not None
    moves = model.alignment.moves(queries, memory, model.alignment.features(queries, memory)).exp()
    torch.testing.assert_close(moves[0].sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert not moves[0].tril(-1).any()
    assert all(float(moves[0, step, j, i]) > 0 for step in range(3) for j in range(4) for i in range(j, 4))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_equal_finite_differences(kind: str, copies: bool, smoothing: float) -> None:
    model = made(kind, copies, embedding=3, encoder={"hidden": 2}, decoder={"hidden": 4})
    sources, target = [source(ROWS, copies)], TARGET.clone()
    if copies:
        target[0, 0] = SYMBOLS
    chosen = [*model.alignment.parameters(), *model.head.parameters()]

    def loss() -> Tensor:
        return model.head.objective(model(sources, target), target, POSITIONS, smoothing)[0]

    slopes = torch.autograd.grad(loss(), chosen)
    assert all(slope.isfinite().all() for slope in slopes)
    assert_slopes(torch.nn.ParameterList(chosen), loss)


def test_other_sources_are_read_but_not_stood_in() -> None:
    model = made("hard", True, sources=2)
    sources = [source(ROWS, True), source([[SPECIALS, EOS], [SPECIALS + 1, SPECIALS, EOS]], False)]
    answer = model.step(torch.full((2,), BOS), model.start(sources))
    assert answer.attention is not None
    assert answer.attention.shape == (2, 7)
    assert not answer.attention[:, 4:].any()
    other = [sources[0], source([[SPECIALS + 3, EOS], [SPECIALS + 1, SPECIALS, EOS]], False)]
    changed = model.step(torch.full((2,), BOS), model.start(other))
    assert not torch.equal(answer.log_probs[0], changed.log_probs[0])
    torch.testing.assert_close(answer.log_probs[1], changed.log_probs[1])
    torch.testing.assert_close(answer.log_probs.exp().sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("wish", [{"query": "previous"}, {"input_feeding": True}, {"layer": "first"}])
def test_what_the_decoder_would_read_of_attention_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model\.attention: hard attention is not read by the decoder"):
        made("hard", False, attention={"kind": "hard", **wish}, decoder={"hidden": 6, "layers": 2})


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many places the softmaxes are computed piece by piece, and again in the backward pass."""
    from antiphon.model.parts.heads.cross_entropy import CrossEntropy

    model, sources = made("hard_monotonic", True), [source(ROWS, True)]

    def outcome() -> list[Tensor]:
        objective, nll = model.head.objective(model(sources, TARGET), TARGET, POSITIONS, 0.1)
        return [objective, nll, *torch.autograd.grad(objective, list(model.parameters()))]

    whole = outcome()
    monkeypatch.setattr(CrossEntropy, "PRODUCT", 1)
    for value, expected in zip(outcome(), whole, strict=True):
        torch.testing.assert_close(value, expected)


# --- transducers --------------------------------------------------------------------------------------


@torch.no_grad()
def enumerated_paths(model: AligningWriter, sources: Any, target: list[int], row: int) -> float:
    """p(y | x) of a row as Graves defines it: over all ways to order symbols and blanks, each step's read from the
    lattice of places and symbols written so far."""
    state = model.start(sources)
    memory = state.memory
    assert memory is not None
    fed = torch.full((len(memory.mask), len(target)), BOS)
    fed[:, 1:] = torch.tensor(target[:-1])
    queries = model.decoder.unroll(model.embedding(fed), state).features
    features = model.alignment.features(queries, memory)[row]  # [T, S, features]
    blank = torch.sigmoid(model.alignment.blank(features).squeeze(-1))  # type: ignore[operator]
    length, total = int(memory.mask[row].sum()), 0.0
    written = len(target) - 1  # symbols before the end
    for where in itertools.combinations(
        range(written + length - 1), written
    ):  # the steps that write; others are blanks
        p, place, count = 1.0, 0, 0
        for step in range(written + length - 1):
            last = place == length - 1
            b = 0.0 if last else float(blank[count, place])
            if step in where:
                logits = model.head.weight @ features[count, place] + model.head.bias
                logits[:FIRST_OUTPUT] = -math.inf
                if not last:
                    logits[EOS] = -math.inf
                p, count = p * (1 - b) * float(logits.softmax(0)[target[count]]), count + 1
            else:
                p, place = p * b, place + 1
        logits = model.head.weight @ features[count, place] + model.head.bias
        logits[:FIRST_OUTPUT] = -math.inf
        total += p * float(logits.softmax(0)[EOS])
    return total


def test_a_transducer_is_the_sum_over_all_paths_of_symbols_and_blanks() -> None:
    model = made("transducer", False)
    sources, target = [source(ROWS, False)], TARGET.clone()
    nll, _ = model.head.judge(model(sources, target), target, POSITIONS)
    for row, places in enumerate([[0, 1, 2], [3, 4]]):
        p = enumerated_paths(model, sources, target[row, : len(places)].tolist(), row)
        assert -nll[places].sum().item() == pytest.approx(math.log(p), abs=1e-5)


def test_what_a_transducer_writes_needs_no_later_places() -> None:
    """Without a context and with a one-way encoder, log p of the symbols written by then is the same whatever follows:
    forward variables of a beginning do not depend on the rest."""
    keys: dict[str, Any] = {"context": "none", "encoder": {"hidden": 3, "bidirectional": False}}
    model = made("transducer", False, **keys)
    short, long = [SPECIALS, SPECIALS + 1, SPECIALS + 3], [SPECIALS, SPECIALS + 1, SPECIALS + 3, SPECIALS + 2, EOS]
    queries = torch.randn(1, 2, 6, dtype=torch.float64)
    kept = []
    for row in (short, long):
        memory = model.start([source([row], False)]).memory
        assert memory is not None
        places = model.alignment.features(queries, memory)
        kept.append((places[:, :, :2], model.alignment.moves(queries, memory, places)[..., :2, :2]))
    for left, right in zip(*kept, strict=True):
        torch.testing.assert_close(left, right)
