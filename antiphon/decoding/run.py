"""From a search to outputs: of many rows batch by batch, of one row symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from antiphon.config.schema import Sample
from antiphon.data.batches import Ints, Sequences, pad
from antiphon.decoding.batches import batches_by_length, total_lengths
from antiphon.decoding.beam import Coverage, Extended, beam
from antiphon.decoding.ctc import search_labels
from antiphon.decoding.greedy import Choose, choices, greedy, sampler
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.mbr import least_risk
from antiphon.decoding.plan import Search
from antiphon.decoding.rules import Prefix
from antiphon.decoding.shortlist import Narrowed, OnlyOwn
from antiphon.decoding.step import Rule, StepFunction
from antiphon.devices import side_by_side
from antiphon.model.models import Aligner, Input, Writer
from antiphon.model.state import Step
from antiphon.symbols import EOS

WORKERS = 4  # batches at once, at most: they share one interpreter
Watch: TypeAlias = Callable[[Extended], None]


class Writes(Protocol):
    """What decoding asks of a model."""

    def eval(self) -> object: ...

    def start(self, sources: Sequence[Input]) -> Any: ...

    def first_read(self, sources: Sequence[Input]) -> Tensor | None: ...

    def step(self, tokens: Tensor, state: Any) -> Step[Any]: ...


def decode_sources(
    model: Writes | Aligner,
    sources: Sequence[Sequences],
    search: Search,
    device: torch.device,
    numbers: Sequence[int] | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """The best outputs of every row, in order, or sampled ones. Batches and padding do not change them.

    What a row draws when it is sampled depends on the seed and on its number in `numbers` (by default its place).
    A language model's sources are prompts; its outputs go on behind them. `prefixes` are ids that each row's outputs
    begin with. A row for which the rules leave nothing has no output. `watch` is told of every step of a beam (a
    greedy search is one of width 1).
    """
    count = len(sources[0])
    seeds = [[number] for number in (numbers if numbers is not None else range(count))]
    if isinstance(model, Aligner):
        return search_labels(model, sources, search.width, device)
    if search.utility is None:
        return _decode(model, sources, search, device, seeds, prefixes, watch)
    assert search.settings.mbr is not None
    draws = search.settings.mbr.samples
    rows = np.repeat(np.arange(count), draws)
    repeated = None if prefixes is None else [prefixes[int(row)] for row in rows]
    seeds = [[*seeds[row], draw] for row in range(count) for draw in range(draws)]
    drawn = _decode(model, [source.take(rows) for source in sources], search, device, seeds, repeated)
    return [
        least_risk([one for found in drawn[start : start + draws] for one in found], search.utility)
        for start in range(0, len(rows), draws)
    ]


def _decode(
    model: Writes,
    sources: Sequence[Sequences],
    search: Search,
    device: torch.device,
    seeds: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]] | None,
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    results: list[list[Hypothesis]] = [[]] * len(sources[0])
    settings, limits, lanes, width = search.settings, search.limits, search.lanes, search.width
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
    model.eval()

    def searched(
        step: StepFunction[Any],
        state: Any,
        rows: Ints,
        first: Tensor | None,
        rules: Sequence[Rule],
        watch: Watch | None,
    ) -> list[list[Hypothesis]]:
        count = len(rows)
        if search.sample is not None:
            choose = _sampler(search.sample, [seeds[int(row)] for row in rows], search.copies)
            return greedy(step, state, count, device, limits, first, choose, rules)
        if settings.beam == 1 and lanes.count == 1 and watch is None:
            return greedy(step, state, count, device, limits, first, rules=rules)
        memory = state.memory if settings.coverage_penalty else None
        coverage = None if memory is None else Coverage(settings.coverage_penalty, memory.mask)
        penalty = settings.length_penalty
        return beam(step, state, count, device, limits, width, penalty, first, rules, lanes, coverage, watch)

    @torch.inference_mode()
    def decoded(rows: Ints) -> list[list[Hypothesis]]:
        with precision():
            given = [pad(source, rows).to(device) for source in sources]
            state, first, rules = model.start(given), model.first_read(given), list(search.rules)
            begun = [] if prefixes is None else [prefixes[int(row)] for row in rows]
            if begun:
                rules.append(Prefix(begun))
            if search.shortlist is None or not isinstance(model, Writer):  # one with another context may say anything
                return searched(model.step, state, rows, first, rules, watch)
            few = Narrowed(model, search.shortlist.own(given[0].values, begun))
            told = None if watch is None else few.watch(watch)
            return few.hypotheses(searched(few.step, few.state(state), rows, first, list(map(few.rule, rules)), told))

    # on the CPU a batch a thread: small products gain more from standing beside others than from being divided
    parts = min(torch.get_num_threads(), WORKERS) if device.type == "cpu" and watch is None else 1
    batches = list(batches_by_length(total_lengths(sources), width * lanes.count, parts=parts))
    for rows, found in zip(batches, side_by_side(decoded, batches, parts), strict=True):
        for row, hypotheses in zip(rows, found, strict=True):
            results[row] = hypotheses
    return results


@torch.inference_mode()
def spoken(
    model: Writes, sources: Sequence[Sequences], search: Search, device: torch.device, prefix: Sequence[int] = ()
) -> Iterator[Hypothesis]:
    """What is said to the one row of `sources`, greedily or drawn, after every symbol; the last is the whole output."""
    model.eval()
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=search.settings.precision == "bfloat16")

    def step(tokens: Tensor, state: Any) -> Step[Any]:
        with precision():  # not around the loop, which others may interrupt
            return model.step(tokens, state)

    given = [pad(source, np.zeros(1, np.int64)).to(device) for source in sources]
    with precision():
        state, first = model.start(given), model.first_read(given)
    rules = [*search.rules, *([Prefix([prefix])] if prefix else [])]
    if search.shortlist is not None:
        rules.append(OnlyOwn(search.shortlist.own(given[0].values, [prefix])))
    choose = None if search.sample is None else _sampler(search.sample, [[0]], search.copies)
    tokens: list[int] = []
    score = 0.0
    for chosen in choices(step, state, 1, device, search.limits, first, choose, rules):
        symbol, score = int(chosen.symbols[0]), score + float(chosen.log_probs[0])
        if score == -torch.inf:
            best_of([], "input")
        tokens.extend([symbol] if symbol != EOS else [])
        yield Hypothesis(tuple(tokens), score, score)


def _sampler(settings: Sample, seeds: Sequence[Sequence[int]], padded: bool) -> Choose:
    noise = [np.random.default_rng([settings.seed, *seed]) for seed in seeds]
    return sampler(settings.temperature, settings.top_k, settings.top_p, noise, padded)
