"""The contracts for decoders that copy, over the covering set of parts that attend."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from models import NAMES, SCALES, Choice, SideSizes, assert_slopes, covering, name, settings
from torch import Tensor

from antiphon.common.symbols import EOS, PAD, SPECIALS, UNK
from antiphon.data.batches import Examples, Sequences, collate
from antiphon.decoding.beam import beam
from antiphon.decoding.greedy import greedy
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits
from antiphon.model.build import many_to_many
from antiphon.model.models import Input, Writer
from antiphon.model.parts.heads.mixture import MixtureHead

CPU = torch.device("cpu")
SYMBOLS, READ = 8, 9  # sizes of the target vocabulary and of the source vocabulary
CASES = [pytest.param(c, id=name(c)) for c in covering() if c[NAMES.index("attention")] not in ("none", "monotonic")]


def make(choice: Choice, seed: int = 0, symbols: int = SYMBOLS, characters: bool = False) -> Writer:
    """An untrained model that copies, with large weights."""
    torch.manual_seed(seed)
    spelling = {"characters": 9, "character_embedding": 3, "character_hidden": 2}
    source = SideSizes("spelled_words", READ, part_options=spelling) if characters else SideSizes("symbols", READ)
    chosen = settings(choice).model_copy(update={"copy_": True})
    model = many_to_many(chosen, [source], SideSizes("symbols", symbols))
    scale = SCALES.get(choice[NAMES.index("cell")], 0.6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
        model.embedding.weight[PAD] = 0
        gate = model.head.gate if isinstance(model.head, MixtureHead) else model.decoder.gate
        assert gate is not None
        gate.bias.fill_(-1.5)  # so that much is copied
    return model.eval()


def examples(count: int, seed: int = 0, characters: bool = False) -> Examples:
    """Sources of which each step has an id, perhaps letters, and its symbol; targets with some of them."""
    chance = random.Random(seed)
    sources, targets = [], []
    for _ in range(count):
        steps = chance.randint(1, 6)
        read = [chance.randrange(UNK, READ) for _ in range(steps)]
        symbols = [chance.choice([chance.randrange(SPECIALS, SYMBOLS), SYMBOLS + place]) for place in range(steps)]
        if steps > 1:
            symbols[-1] = symbols[0]  # a symbol that stands twice
        letters = [[chance.randrange(4, 9) for _ in range(3)] for _ in range(steps + 1)]
        columns = [[*read, EOS], *(zip(*letters, strict=True) if characters else ()), [*symbols, EOS]]
        sources.append(np.column_stack(columns))
        known = range(SPECIALS, SYMBOLS)
        targets.append([*(chance.choice([*symbols, *known]) for _ in range(chance.randint(0, 5))), EOS])
    return Examples((Sequences(sources),), Sequences(targets))


def given(data: Examples, rows: list[int], padding: int = 0) -> tuple[list[Input], Tensor, Tensor]:
    """The sources of some rows, wider by so much padding, their targets, and the positions of these."""
    batch = collate(data, rows)
    ((values, lengths),) = batch.sources
    wider = torch.cat([values, values.new_zeros(len(values), padding, values.shape[2])], 1)
    return [(wider, lengths)], batch.target.values, batch.positions


def log_p(model: Writer, data: Examples, rows: list[int], padding: int = 0) -> list[Tensor]:
    """log p of each target symbol, a tensor a row."""
    sources, target, positions = given(data, rows, padding)
    with torch.inference_mode():
        losses, _ = model.head.judge(model(sources, target), target, positions)
    return list((-losses).split(data.target.lengths[rows].tolist()))  # type: ignore[no-untyped-call]


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("characters", [False, True], ids=["plain", "spelled"])
@pytest.mark.parametrize("choice", CASES)
def test_contracts(choice: Choice, characters: bool) -> None:
    """Padding, batch and order change nothing; one call = step by step; every score is the same sum."""
    model, data = make(choice, characters=characters), examples(6, characters=characters)
    rows = list(range(6))
    together = log_p(model, data, rows)
    assert torch.cat(together).isfinite().all()
    assert torch.cat(together).std() > 1e-3
    order = [3, 0, 5, 1, 4, 2]
    padded, mixed = log_p(model, data, rows, padding=4), log_p(model, data, order)
    for row in rows:
        for computed in (log_p(model, data, [row])[0], padded[row], mixed[order.index(row)]):
            close(computed, together[row])
    sources, target, positions = given(data, rows)
    with torch.inference_mode():
        scores = forced(model.step, model.start(sources), target)
        close(scores.flatten()[positions], torch.cat(together))
        free = model(sources, target, 0.0)
        state, last, probabilities = model.start(sources), torch.full((6,), 1), model.head.log_probs(free)
        for step in range(target.shape[1]):
            answer = model.step(last, state)
            close(probabilities[:, step], answer.log_probs)
            last, state = answer.log_probs.argmax(-1), answer.state


@torch.inference_mode()
def that_copies(choice: Choice, data: Examples) -> Writer:
    """The first of several models whose most probable outputs hold symbols that only the source has."""
    sources, rows = given(data, list(range(len(data))))[0], len(data)
    for seed in range(10):
        model = make(choice, seed)
        hypotheses = greedy(model.step, model.start(sources), rows, CPU, Limits(6))
        if any(symbol >= SYMBOLS for (best,) in hypotheses for symbol in best.tokens):
            return model
    pytest.fail("no model copies")


@pytest.mark.parametrize("choice", CASES)
def test_what_is_decoded_depends_on_its_row_alone_and_scores_are_those_of_forced_scoring(choice: Choice) -> None:
    data, limits = examples(6), Limits(6)
    model, copied = that_copies(choice, data), 0
    with torch.inference_mode():
        for width in (1, 3):

            def search(sources: list[Input], rows: int, width: int = width) -> list[tuple[tuple[int, ...], float]]:
                state = model.start(sources)
                if width == 1:
                    hypotheses = greedy(model.step, state, rows, CPU, limits)
                else:
                    hypotheses = beam(model.step, state, rows, CPU, limits, width)
                return [(best.tokens, best.score) for best, *_ in hypotheses]

            together = search(given(data, list(range(6)))[0], 6)
            whole = Sequences([[*tokens, EOS] for tokens, _ in together])
            again = log_p(model, Examples(data.sources, whole), list(range(6)))
            for row, (tokens, score) in enumerate(together):
                copied += sum(symbol >= SYMBOLS for symbol in tokens)
                assert all(symbol in data.sources[0][row][:, -1] for symbol in tokens if symbol >= SYMBOLS)
                assert float(again[row].sum()) == pytest.approx(score, abs=1e-4)
                (alone,) = search(given(data, [row], padding=2)[0], 1)
                assert alone[1] == pytest.approx(score, abs=1e-4)
    assert copied, "no symbol of the source was said, so this shows little"


@pytest.mark.parametrize("choice", CASES)
def test_gradients_equal_finite_differences(choice: Choice) -> None:
    model, data = make(choice).double(), examples(4)
    sources, target, positions = given(data, [0, 1, 2, 3])

    def loss() -> Tensor:
        return model.head.objective(model(sources, target), target, positions, 0.1)[0]

    assert_slopes(model, loss)


def test_all_outputs_and_the_remaining_mass_sum_to_one() -> None:
    """Every output of at most 3 symbols, copied and unknown ones too, plus the mass of going on after 3."""
    base = next(c for c in covering() if c[NAMES.index("attention")] == "general")
    model = make(base, symbols=SPECIALS + 1)
    source = np.asarray([[4, SPECIALS + 1], [6, SPECIALS], [4, SPECIALS + 1], [EOS, EOS]])

    def outputs(length: int) -> Iterator[list[int]]:
        return map(list, itertools.product([UNK, SPECIALS, SPECIALS + 1], repeat=length))

    ended = going_on = 0.0
    with torch.inference_mode():
        for length in range(4):
            targets = Sequences([[*row, EOS] for row in outputs(length)])
            sources, target, _ = given(
                Examples((Sequences([source] * len(targets)),), targets), list(range(len(targets)))
            )
            log_probs = forced(model.step, model.start(sources), target).double()
            ended += float(log_probs.sum(1).exp().sum())
            if length == 3:
                going_on = float((log_probs[:, :3].sum(1).exp() * (1 - log_probs[:, 3].exp())).sum())
    assert 0.01 < ended < 0.999, "a trivial distribution would prove nothing"
    assert ended + going_on == pytest.approx(1.0, abs=1e-6)
