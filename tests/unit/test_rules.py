"""Rules and lanes of decoding against slow, obvious references, on hand-made Markov chains and small models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from chains import CPU, Chain
from hypothesis import given, settings
from hypothesis import strategies as st
from models import covering, make, name, pad_sources, sources
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, SPECIALS, UNK
from antiphon.decoding.beam import Coverage, beam
from antiphon.decoding.constraints import Diverse, Lanes, Phrases, Together
from antiphon.decoding.greedy import greedy
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.rules import Allowed, EndPenalty, Lexicon, NoRepeat, Prefix
from antiphon.decoding.scoring import forced
from antiphon.decoding.step import Limits, Rule
from antiphon.model.state import Step

WORDS, LONGEST = 3, 4
SYMBOLS = range(SPECIALS, SPECIALS + WORDS)
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """A rule, and a plain function that decides whether a whole output or a prefix keeps it."""

    name: str
    rule: Rule
    keeps: Callable[[int, Tokens, bool], bool]  # source, prefix, whether the output ends there
    adds: dict[int, float] = field(default_factory=dict)  # to the rank score, for each symbol of the output


@dataclass(frozen=True)
class Bonus:
    """A rule that likes some symbols better."""

    adds: dict[int, float]

    def __call__(self, ranked: Tensor, written: Tensor, sources: Tensor) -> Tensor:
        for symbol, bonus in self.adds.items():
            ranked[:, symbol] += bonus
        return ranked


def allowed(symbols: Sequence[int]) -> Allowed:
    rule = Allowed.__new__(Allowed)
    rule.forbidden = torch.ones(SPECIALS + WORDS, dtype=torch.bool)
    rule.forbidden[[EOS, UNK, *symbols]] = False
    return rule


def lexicon(outputs: Sequence[Tokens]) -> Lexicon:
    rule = Lexicon.__new__(Lexicon)
    rule.outputs, rule._after = sorted((*output, EOS) for output in outputs), {}
    return rule


def repeats(output: Tokens, size: int) -> bool:
    grams = [output[i : i + size] for i in range(len(output) - size + 1)]
    return len(set(grams)) < len(grams)


def holds(output: Tokens, phrase: Tokens) -> bool:
    return any(output[i : i + len(phrase)] == phrase for i in range(len(output)))


@dataclass(frozen=True)
class Walk:
    """Which chain a row follows, and how many symbols it has: chains that differ from step to step have no ties."""

    which: Tensor
    place: int = 0

    def expand(self, width: int) -> Walk:
        return Walk(self.which.repeat_interleave(width), self.place)

    def reorder(self, rows: Tensor) -> Walk:
        return Walk(self.which[rows], self.place)

    def select(self, sources: Tensor, width: int = 1) -> Walk:
        return Walk(self.which.view(-1, width)[sources].flatten(), self.place)


def random_tables(chains: int, seed: int) -> Tensor:
    """log p [chains, steps, last symbol, next symbol]."""
    size = SPECIALS + WORDS
    logits = torch.randn(chains, LONGEST + 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2
    logits[..., :EOS] = -torch.inf
    return torch.log_softmax(logits, -1)


def stepper(tables: Tensor) -> Callable[[Tensor, Walk], Step[Walk]]:
    return lambda tokens, state: Step(tables[state.which, state.place, tokens], Walk(state.which, state.place + 1))


def starts(chains: int) -> Walk:
    return Walk(torch.arange(chains))


outputs = st.lists(st.sampled_from(SYMBOLS), max_size=LONGEST).map(tuple)
phrases = st.lists(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=2).map(tuple), min_size=1, max_size=2)


def known_rules(sources: int) -> st.SearchStrategy[list[Known]]:
    """Some of the rules, each at most once."""
    repeat = st.integers(1, 3).map(lambda n: Known("repeat", NoRepeat(n), lambda _, output, __: not repeats(output, n)))
    end = st.sampled_from([-1.5, 0.7, 4.0]).map(lambda p: Known("end", EndPenalty(p), lambda *_: True, {EOS: -p}))
    liked = st.dictionaries(st.sampled_from(SYMBOLS), st.sampled_from([-2.0, 1.5]), min_size=1).map(
        lambda adds: Known("bonus", Bonus(adds), lambda *_: True, adds)
    )
    some = st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True).map(
        lambda few: Known("allowed", allowed(few), lambda _, output, __: set(output) <= set(few))
    )
    names = st.lists(outputs, min_size=1, max_size=12, unique=True).map(
        lambda all_: Known(
            "lexicon",
            lexicon(all_),
            lambda _, output, ends: output in all_ if ends else any(item[: len(output)] == output for item in all_),
        )
    )
    prefix = st.lists(outputs, min_size=sources, max_size=sources).map(
        lambda own: Known(
            "prefix",
            Prefix(own),
            lambda source, output, ends: (
                output[: len(own[source])] == own[source] if ends else all(a == b for a, b in zip(output, own[source]))  # noqa: B905
            ),
        )
    )
    return st.lists(st.one_of(repeat, end, liked, some, names, prefix), max_size=3, unique_by=lambda item: item.name)


@dataclass
class Plain:
    """A source's Markov chain with rules, and searches in it that are written down without a tensor."""

    table: list[list[list[float]]]
    source: int
    limits: Limits
    rules: Sequence[Known]
    penalty: float = 1.0
    required: Sequence[Tokens] = ()

    def log_p(self, prefix: Tokens, symbol: int) -> float:
        return self.table[len(prefix)][prefix[-1] if prefix else BOS][symbol]

    def added(self, *symbols: int) -> float:
        return sum(item.adds.get(symbol, 0.0) for item in self.rules for symbol in symbols)

    def may(self, prefix: Tokens) -> dict[int, float]:
        """What may follow, and what it adds to the rank."""
        rank_scores = {}
        if len(prefix) < self.limits.max_length:
            for symbol in SYMBOLS:
                if all(item.keeps(self.source, (*prefix, symbol), False) for item in self.rules):
                    rank_scores[symbol] = self.log_p(prefix, symbol) + self.added(symbol)
        if len(prefix) >= self.limits.min_length and all(
            [item.keeps(self.source, prefix, True) for item in self.rules]
            + [holds(prefix, item) for item in self.required]
        ):
            rank_scores[EOS] = self.log_p(prefix, EOS) + self.added(EOS)
        return rank_scores

    def greedy(self) -> list[tuple[Tokens, float]]:
        prefix: Tokens = ()
        score = 0.0
        while choices := self.may(prefix):
            best = max(choices, key=lambda symbol: choices[symbol])
            score += self.log_p(prefix, best)
            if best == EOS:
                return [(prefix, score)]
            prefix = (*prefix, best)
        return []

    def all(self) -> list[tuple[float, float, Tokens]]:
        """Every output that keeps the rules: rank, score, tokens, the best first."""
        outputs = []
        for length in range(self.limits.min_length, self.limits.max_length + 1):
            for output in itertools.product(SYMBOLS, repeat=length):
                if EOS in self.may(output) and all(output[i] in self.may(output[:i]) for i in range(length)):
                    score = sum(self.log_p(output[:i], output[i]) for i in range(length)) + self.log_p(output, EOS)
                    rank = (score + self.added(*output, EOS)) / (length + 1) ** self.penalty
                    outputs.append((rank, score, output))
        return sorted(outputs, reverse=True)

    def progress(self, prefix: Tokens) -> int:
        """Symbols of the required phrases that are in `prefix`, with those of one that `prefix` ends with."""
        missing = [phrase for phrase in self.required if not holds(prefix, phrase)]
        part = max((n for p in missing for n in range(len(p)) if n and prefix[-n:] == p[:n]), default=0)
        return sum(len(p) for p in set(self.required) - set(missing)) + part

    def beam(self, width: int, groups: int = 1, strength: float = 0.0) -> list[tuple[float, float, Tokens]]:
        """Beam search, diverse with groups, a grid with required phrases: each lane a list of (rank, score, prefix)."""
        grid = bool(self.required)
        lanes: list[list[tuple[float, float, Tokens]]] = [[(0.0, 0.0, ())] for _ in range(groups)]
        if grid:
            lanes = [[(0.0, 0.0, ())], *[[] for _ in range(sum(len(p) for p in set(self.required)))]]
        done: list[list[tuple[float, float, Tokens]]] = [[] for _ in lanes]
        surest, leading = [-math.inf for _ in lanes], [-math.inf for _ in lanes]
        while any(lanes):
            counts: dict[int, int] = {}
            after: list[list[tuple[float, float, Tokens]]] = []
            for number, lane in enumerate(lanes):
                candidates = []
                for rank, score, prefix in itertools.chain(*lanes) if grid else lane:
                    for symbol, adds in self.may(prefix).items():
                        if grid and number != self.progress(prefix if symbol == EOS else (*prefix, symbol)):
                            continue
                        chosen = rank + adds - strength * counts.get(symbol, 0)
                        candidates.append((chosen, rank + adds, score + self.log_p(prefix, symbol), prefix, symbol))
                candidates = sorted(candidates, reverse=True)[: 2 * width]
                for _, rank, score, prefix, symbol in candidates[:width]:
                    counts[symbol] = counts.get(symbol, 0) + 1
                    if symbol == EOS:
                        done[number].append((rank / (len(prefix) + 1) ** self.penalty, score, prefix))
                        surest[number] = max(surest[number], rank)
                leading[number] = max(
                    (rank for _, rank, _, _, symbol in candidates if symbol != EOS), default=-math.inf
                )
                after.append(
                    [(r, s, (*prefix, symbol)) for _, r, s, prefix, symbol in candidates if symbol != EOS][:width]
                )
            full = [len(item) >= width and leading[n] <= surest[n] for n, item in enumerate(done)]
            lanes = [[] if full[-1 if grid else number] else lane for number, lane in enumerate(after)]
        best = [item for lane in done for item in sorted(lane, reverse=True)[:width]]
        return sorted({prefix: (rank, score, prefix) for rank, score, prefix in sorted(best)}.values(), reverse=True)


def same(hypotheses: list[Hypothesis], expected: Sequence[tuple[float, float, Tokens]]) -> None:
    assert [item.tokens for item in hypotheses] == [tokens for _, _, tokens in expected]
    for item, (rank, score, _) in zip(hypotheses, expected, strict=True):
        assert item.score == pytest.approx(score, abs=1e-4)
        assert item.rank_score == pytest.approx(rank, abs=1e-4)


@given(st.integers(0, 10_000), known_rules(4), st.integers(0, 2))
def test_greedy_with_rules_is_the_plain_search(seed: int, rules: list[Known], shortest: int) -> None:
    tables, limits = random_tables(4, seed), Limits(LONGEST, shortest)
    results = greedy(stepper(tables), starts(4), 4, CPU, limits, rules=[item.rule for item in rules])
    item = beam(stepper(tables), starts(4), 4, CPU, limits, 1, rules=[item.rule for item in rules])
    for source, hypotheses in enumerate(results):
        expected = Plain(tables[source].tolist(), source, limits, rules).greedy()
        assert [h.tokens for h in hypotheses] == [h.tokens for h in item[source]] == [tokens for tokens, _ in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for _, score in expected], abs=1e-4)


@given(st.integers(0, 10_000), known_rules(3), st.sampled_from([0.0, 0.6, 1.0]), st.integers(0, 2))
def test_a_beam_wide_enough_finds_every_output_that_keeps_the_rules(
    seed: int, rules: list[Known], penalty: float, shortest: int
) -> None:
    tables, limits = random_tables(3, seed), Limits(LONGEST, shortest)
    width = sum(WORDS**n for n in range(LONGEST + 1))
    results = beam(stepper(tables), starts(3), 3, CPU, limits, width, penalty, rules=[item.rule for item in rules])
    for source, hypotheses in enumerate(results):
        same(hypotheses, Plain(tables[source].tolist(), source, limits, rules, penalty).all())


@given(st.integers(0, 10_000), known_rules(3), st.integers(1, 6), st.sampled_from([0.0, 1.0]))
def test_a_beam_with_rules_is_the_plain_search(seed: int, rules: list[Known], width: int, penalty: float) -> None:
    tables, limits = random_tables(3, seed), Limits(LONGEST)
    results = beam(stepper(tables), starts(3), 3, CPU, limits, width, penalty, rules=[item.rule for item in rules])
    for source, hypotheses in enumerate(results):
        same(hypotheses, Plain(tables[source].tolist(), source, limits, rules, penalty).beam(width))


@given(st.integers(0, 10_000), known_rules(3), st.integers(1, 3), st.integers(2, 4), st.sampled_from([0.01, 0.5, 3.0]))
def test_diverse_groups_are_the_plain_search(
    seed: int, rules: list[Known], width: int, groups: int, strength: float
) -> None:
    tables, limits = random_tables(3, seed), Limits(LONGEST)
    lanes, chosen = Diverse(groups, strength), [item.rule for item in rules]
    results = beam(stepper(tables), starts(3), 3, CPU, limits, width, rules=chosen, lanes=lanes)
    for source, hypotheses in enumerate(results):
        same(hypotheses, Plain(tables[source].tolist(), source, limits, rules).beam(width, groups, strength))


@given(st.integers(0, 10_000), known_rules(3), phrases, st.integers(1, 3))
def test_required_phrases_are_the_plain_grid(seed: int, rules: list[Known], required: list[Tokens], width: int) -> None:
    tables, limits = random_tables(3, seed), Limits(LONGEST)
    grid = Phrases(required, SPECIALS + WORDS)
    chosen = [*(item.rule for item in rules), grid]
    results = beam(stepper(tables), starts(3), 3, CPU, limits, width, rules=chosen, lanes=grid)
    for source, hypotheses in enumerate(results):
        same(hypotheses, Plain(tables[source].tolist(), source, limits, rules, required=required).beam(width))
        assert all(holds(item.tokens, phrase) for item in hypotheses for phrase in required)
        if not rules and sum(map(len, set(required))) <= LONGEST:
            assert hypotheses, "a phrase can always be said"


@given(st.integers(0, 10_000), phrases)
def test_a_wide_grid_finds_every_output_with_the_phrases(seed: int, required: list[Tokens]) -> None:
    tables, limits = random_tables(2, seed), Limits(LONGEST)
    grid = Phrases(required, SPECIALS + WORDS)
    width = sum(WORDS**n for n in range(LONGEST + 1))
    results = beam(stepper(tables), starts(2), 2, CPU, limits, width, rules=[grid], lanes=grid)
    for source, hypotheses in enumerate(results):
        same(hypotheses, Plain(tables[source].tolist(), source, limits, [], required=required).all())


@given(st.lists(st.sampled_from(SYMBOLS), max_size=7).map(tuple), phrases)
def test_the_machine_counts_what_has_been_said(prefix: Tokens, required: list[Tokens]) -> None:
    grid = Phrases(required, SPECIALS + WORDS)
    plain = Plain([], 0, Limits(9), [], required=required)
    state = grid._states(torch.tensor([prefix], dtype=torch.long).view(1, -1))
    assert int(grid.progress[state]) == plain.progress(prefix)
    assert (int(grid.progress[state]) == grid.count - 1) == all(holds(prefix, phrase) for phrase in required)


def test_too_many_phrases_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 1 to 8 phrases of at least one symbol"):
        Phrases([(SPECIALS,) * n for n in range(1, 10)], 9)
    with pytest.raises(ValueError, match="of at least one symbol"):
        Phrases([()], 9)


def lanes_of(kind: str) -> Lanes:
    phrase = [(SPECIALS, SPECIALS + 1), (SPECIALS + 2,)]
    kinds: dict[str, Lanes] = {"together": Together(), "diverse": Diverse(2, 0.7), "phrases": Phrases(phrase, 8)}
    return kinds[kind]


@torch.inference_mode()
def covered_by(model: Any, row: Any, tokens: Tokens) -> float:
    """sum_i log min(sum_t a_ti, 1) over the symbols of a source; 0 without attention."""
    state, last, looked = model.start([pad_sources([row])]), torch.tensor([BOS]), torch.zeros(1, len(row))
    for token in (*tokens, EOS):
        answer = model.step(last, state)
        if answer.attention is None:
            return 0.0
        looked, state, last = looked + answer.attention, answer.state, torch.tensor([token])
    return float(looked.clamp(torch.finfo(looked.dtype).tiny, 1).log().sum())


@pytest.mark.parametrize("kind", ["together", "diverse", "phrases"])
@pytest.mark.parametrize("choice", covering()[::6], ids=name)
def test_company_and_padding_change_nothing(choice: Any, kind: str) -> None:
    """A model's outputs with rules, of a row alone and of the row among others, in every kind of lane."""
    model, rows, lanes = make(choice), sources(7, seed=3), lanes_of(kind)
    starting = [(SPECIALS + row % 3,) * (row % 2) for row in range(len(rows))]

    def search(chosen: Sequence[int]) -> list[list[Hypothesis]]:
        ids, lengths = pad_sources([rows[row] for row in chosen])
        rules: list[Rule] = [NoRepeat(2), EndPenalty(0.3), Prefix([starting[row] for row in chosen])]
        rules += [lanes] if isinstance(lanes, Phrases) else []
        with torch.inference_mode():
            state = model.start([(ids, lengths)])
            coverage = None if state.memory is None else Coverage(0.4, state.memory.mask)
            return beam(model.step, state, len(chosen), CPU, Limits(6), 3, rules=rules, lanes=lanes, coverage=coverage)

    together = search(range(len(rows)))
    for row in range(len(rows)):
        (alone,) = search([row])
        assert [item.tokens for item in alone] == [item.tokens for item in together[row]]
        for a, b in zip(alone, together[row], strict=True):
            assert (a.score, a.rank_score) == pytest.approx((b.score, b.rank_score), abs=1e-4)
        assert all(item.tokens[: len(starting[row])] == starting[row] for item in alone)
        for item in alone:
            covered = 0.4 * covered_by(model, rows[row], item.tokens)
            expected = (item.score - 0.3) / (len(item.tokens) + 1) + covered
            assert item.rank_score == pytest.approx(expected, abs=1e-4)


@given(st.sampled_from(covering()[::5]), st.integers(0, 1000), known_rules(2), st.booleans(), phrases)
@settings(max_examples=25)
def test_of_a_model_every_output_that_keeps_the_rules_is_found(
    choice: Any, seed: int, rules: list[Known], grid: bool, required: list[Tokens]
) -> None:
    """Small random models; all outputs are written down, and scored by force."""
    model, rows = make(choice, target_symbols=SPECIALS + WORDS, seed=seed), sources(2, seed)
    required = required if grid else []
    lanes = Phrases(required, SPECIALS + WORDS) if grid else Together()
    chosen = [*(item.rule for item in rules), *([lanes] if isinstance(lanes, Phrases) else [])]
    every = [output for length in range(4) for output in itertools.product(SYMBOLS, repeat=length)]
    with torch.inference_mode():
        state = model.start([pad_sources(rows)])
        results = beam(model.step, state, 2, CPU, Limits(3), len(every), 0.7, rules=chosen, lanes=lanes)
        for source, hypotheses in enumerate(results):
            kept = [
                output
                for output in every
                if all(item.keeps(source, output, True) for item in rules)
                and all(holds(output, item) for item in required)
            ]
            scores = {}
            for output in kept:
                state = model.start([pad_sources([rows[source]])])
                scores[output] = float(forced(model.step, state, torch.tensor([[*output, EOS]])).sum())
            added = Plain([], source, Limits(3), rules).added
            ranks = {output: (scores[output] + added(*output, EOS)) / (len(output) + 1) ** 0.7 for output in kept}
            assert {item.tokens for item in hypotheses} == set(kept)
            assert [item.score for item in hypotheses] == pytest.approx(
                [scores[h.tokens] for h in hypotheses], abs=1e-3
            )
            assert [h.rank_score for h in hypotheses] == pytest.approx(sorted(ranks.values(), reverse=True), abs=1e-3)


def test_coverage_is_equation_14() -> None:
    """Two symbols of a source: an output that reads both is ranked above a likelier one that reads only the first."""
    a, b = SPECIALS, SPECIALS + 1
    log_probs = torch.log_softmax(torch.tensor([-math.inf] * EOS + [1.0, -math.inf, 0.9, 0.2]), 0)
    looks = torch.zeros(SPECIALS + 2, 3)  # after a symbol, where the model looks; the third place is padding
    looks[BOS], looks[a], looks[b] = (torch.tensor(x) for x in ((1.0, 0.0, 0.0), (0.9, 0.1, 0.0), (0.2, 0.8, 0.0)))

    def step(tokens: Tensor, state: Chain) -> Step[Chain]:
        return Step(log_probs.repeat(len(tokens), 1), state, looks[tokens])

    mask = torch.tensor([[True, True, False]])
    hypotheses = beam(
        step, Chain(torch.zeros(1, dtype=torch.long)), 1, CPU, Limits(1), 3, 1.0, coverage=Coverage(2.0, mask)
    )[0]
    assert {item.tokens for item in hypotheses} == {(), (a,), (b,)}
    for item in hypotheses:
        path = [BOS, *item.tokens]
        attended = [min(float(sum(looks[symbol, place] for symbol in path)), 1.0) for place in (0, 1)]
        penalty = 2.0 * sum(math.log(max(value, torch.finfo(torch.float32).tiny)) for value in attended)
        score = sum(float(log_probs[symbol]) for symbol in (*item.tokens, EOS))
        assert item.score == pytest.approx(score, abs=1e-5)
        assert item.rank_score == pytest.approx(score / len(path) + penalty, abs=1e-3)
    assert [item.tokens for item in hypotheses] == [(b,), (a,), ()]
