"""From a search to outputs: of many rows batch by batch, of one row symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from antiphon.common.symbols import EOS
from antiphon.data.batches import Ints, Padded, Sequences, pad
from antiphon.decoding.batches import ALONE, Sharing, batches_by_length, by_row, total_lengths
from antiphon.decoding.beam import Coverage, Extended, beam
from antiphon.decoding.ctc import search_labels
from antiphon.decoding.greedy import Choose, choices, greedy, sampler
from antiphon.decoding.hypothesis import Hypothesis, no_output
from antiphon.decoding.mbr import Utility, least_risk
from antiphon.decoding.plan import Search
from antiphon.decoding.rules import Prefix
from antiphon.decoding.shortlist import Narrowed, OnlyShortlist
from antiphon.decoding.step import Rule, StepFunction
from antiphon.devices import side_by_side
from antiphon.model.models import Aligner, Input, Writer
from antiphon.model.state import Step

WORKERS = 4  # batches at once, at most: they share one interpreter
Watch: TypeAlias = Callable[[Extended], None]


class Writes(Protocol):
    """What decoding needs of a model."""

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
    sharing: Sharing = ALONE,
) -> list[list[Hypothesis]]:
    """The best outputs of every row, in order, or sampled ones. Batches and padding do not change them.

    What a row draws when it is sampled depends on the seed and on its number in `numbers` (by default its place).
    A language model's sources are prompts; its outputs go on behind them. `prefixes` are the prefixes of each row's
    outputs, as ids. A row for which the rules leave nothing has no output. `watch` is called at every step of a beam
    (a greedy search is one of width 1). Of several processes each searches for a share of the batches.
    """
    if isinstance(model, Aligner):
        return search_labels(model, sources, search.width, device, sharing)
    numbers = range(len(sources[0])) if numbers is None else numbers
    if search.utility is not None:
        return _least_risk_of_draws(model, sources, search, device, numbers, prefixes, search.utility, sharing)
    return _decode(model, sources, search, device, [[number] for number in numbers], prefixes, watch, sharing)


def _least_risk_of_draws(
    model: Writes,
    sources: Sequence[Sequences],
    search: Search,
    device: torch.device,
    numbers: Sequence[int],
    prefixes: Sequence[Sequence[int]] | None,
    utility: Utility,
    sharing: Sharing,
) -> list[list[Hypothesis]]:
    """Several outputs are drawn for every row; the best first is that of least risk."""
    assert search.settings.mbr is not None
    draws = search.settings.mbr.samples
    rows = np.repeat(np.arange(len(numbers)), draws)
    sources = [source.take(rows) for source in sources]
    seeds = [[number, draw] for number in numbers for draw in range(draws)]
    prefixes = None if prefixes is None else [prefixes[row] for row in rows.tolist()]
    drawn = _decode(model, sources, search, device, seeds, prefixes, None, sharing)
    return [
        least_risk([hypothesis for hypotheses in drawn[start : start + draws] for hypothesis in hypotheses], utility)
        for start in range(0, len(rows), draws)
    ]


def _decode(
    model: Writes,
    sources: Sequence[Sequences],
    search: Search,
    device: torch.device,
    seeds: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]] | None,
    watch: Watch | None,
    sharing: Sharing,
) -> list[list[Hypothesis]]:
    """The outputs of every row, searched for batch by batch. `seeds` are those of each row's draws."""

    def decode_batch(rows: Ints) -> list[list[Hypothesis]]:
        inputs = [pad(source, rows).to(device) for source in sources]
        begun = None if prefixes is None else [prefixes[row] for row in rows.tolist()]
        return _decode_batch(model, inputs, search, device, [seeds[row] for row in rows.tolist()], begun, watch)

    model.eval()
    # on the CPU one batch per thread: small products gain more from standing beside others than from being divided
    workers = min(torch.get_num_threads(), WORKERS) if device.type == "cpu" and watch is None else 1
    batches = batches_by_length(total_lengths(sources), search.width * search.lanes.count, parts=workers)
    return by_row(batches, decode_batch, sharing, partial(side_by_side, workers=workers))


@torch.inference_mode()
def _decode_batch(
    model: Writes,
    inputs: Sequence[Padded],
    search: Search,
    device: torch.device,
    seeds: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]] | None,
    watch: Watch | None,
) -> list[list[Hypothesis]]:
    """The outputs of one batch, over all symbols or over those of a shortlist."""
    rules = list(search.rules) if prefixes is None else [*search.rules, Prefix(prefixes)]
    with _precision(search, device):
        state, first = model.start(inputs), model.first_read(inputs)
        # a model with another context may write any symbol
        if search.shortlist is None or not isinstance(model, Writer):
            return _search(model.step, state, search, device, seeds, first, rules, watch)
        narrowed = Narrowed(model, search.shortlist.allowed(inputs[0].values, prefixes or ()))
        state, rules = narrowed.state(state), [narrowed.rule(rule) for rule in rules]
        watch = None if watch is None else narrowed.watch(watch)
        return narrowed.hypotheses(_search(narrowed.step, state, search, device, seeds, first, rules, watch))


def _search(
    step: StepFunction[Any],
    state: Any,
    search: Search,
    device: torch.device,
    seeds: Sequence[Sequence[int]],
    first: Tensor | None,
    rules: Sequence[Rule],
    watch: Watch | None,
) -> list[list[Hypothesis]]:
    """The outputs over a step function: drawn, greedy, or a beam's."""
    settings, limits, lanes = search.settings, search.limits, search.lanes
    choose = _chooser(search, seeds)
    if choose is not None or (settings.beam == 1 and lanes.count == 1 and watch is None):
        return greedy(step, state, len(seeds), device, limits, first, choose, rules)
    coverage = Coverage(settings.coverage_penalty, state.memory.mask) if settings.coverage_penalty else None
    penalty, width = settings.length_penalty, search.width
    return beam(step, state, len(seeds), device, limits, width, penalty, first, rules, lanes, coverage, watch)


@torch.inference_mode()
def partial_hypotheses(
    model: Writes, sources: Sequence[Sequences], search: Search, device: torch.device, prefix: Sequence[int] = ()
) -> Iterator[Hypothesis]:
    """The output of the only row of `sources` as it grows, greedy or drawn: after every symbol the output so far.

    The last is the whole output.
    """

    def step(tokens: Tensor, state: Any) -> Step[Any]:
        with _precision(search, device):  # not around the loop, which others may interrupt
            return model.step(tokens, state)

    model.eval()
    inputs = [pad(source, np.zeros(1, np.int64)).to(device) for source in sources]
    with _precision(search, device):
        state, first = model.start(inputs), model.first_read(inputs)
    rules = [*search.rules, Prefix([prefix])] if prefix else list(search.rules)
    if search.shortlist is not None:
        rules.append(OnlyShortlist(search.shortlist.allowed(inputs[0].values, [prefix])))
    tokens: tuple[int, ...] = ()
    score = 0.0
    for chosen in choices(step, state, 1, device, search.limits, first, _chooser(search, [[0]]), rules):
        symbol, score = int(chosen.symbols[0]), score + float(chosen.log_probs[0])
        if score == -torch.inf:
            raise no_output("input")
        if symbol != EOS:
            tokens = (*tokens, symbol)
        yield Hypothesis(tokens, score, score)


def _precision(search: Search, device: torch.device) -> torch.autocast:
    """The precision of the model's products."""
    return torch.autocast(device.type, torch.bfloat16, enabled=search.settings.precision == "bfloat16")


def _chooser(search: Search, seeds: Sequence[Sequence[int]]) -> Choose | None:
    """The function that draws each row's symbols by its own seed; None where nothing is drawn."""
    sample = search.sample
    if sample is None:
        return None
    noise = [np.random.default_rng([sample.seed, *seed]) for seed in seeds]
    return sampler(sample.temperature, sample.top_k, sample.top_p, noise, padded=search.copies)
