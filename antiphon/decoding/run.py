"""From what `decode` says to outputs: a search is made for a model once, and then decodes batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon import metrics
from antiphon.common.symbols import EOS, UNK
from antiphon.config.schema import Decode, Mbr, Sample
from antiphon.data.batches import Examples, Ints, Sequences, collate, pad
from antiphon.data.codecs.text import SourceTextCodec, TextCodec
from antiphon.data.copying import Copying
from antiphon.data.load import Codecs
from antiphon.data.shortlist import Shortlist
from antiphon.decoding.beam import (
    Choose,
    Coverage,
    Extended,
    Hypothesis,
    Lanes,
    Limits,
    Rule,
    StepFunction,
    Together,
    beam,
    choices,
    greedy,
    sampler,
)
from antiphon.decoding.constraints import Diverse, Phrases
from antiphon.decoding.rules import RULES, Prefix, build_rules, ids_of
from antiphon.decoding.shortlist import Narrowed, OnlyOwn
from antiphon.devices import side_by_side
from antiphon.errors import ConfigError, SilentError, nearest
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Aligner, Input, LanguageModel, Model, Writer
from antiphon.model.parts import ctc
from antiphon.model.parts.heads import BLANK, Aligned, SoftmaxHead
from antiphon.model.state import Step

ROWS, TOKENS = 256, 16_384  # of one decoding batch: at most so many rows, and padded source steps
FEW = 16  # rows that are not worth a second thread
WORKERS = 4  # batches at once, at most: they share one interpreter

Speaker = Writer | LanguageModel | Ensemble | Aligner  # a model whose answer is a text
Tokens: TypeAlias = tuple[int, ...]
Utility: TypeAlias = Callable[[Tokens, Tokens], float]
Watch: TypeAlias = Callable[[Extended], None]


@dataclass(frozen=True)
class Search:
    """How outputs are looked for: what `decode` says, made for a model."""

    settings: Decode
    limits: Limits
    rules: tuple[Rule, ...]
    lanes: Lanes
    sample: Sample | None
    utility: Utility | None  # how much an output is worth if another is right: with `mbr`
    copies: bool = False  # whether sources bring symbols of their own
    shortlist: Shortlist | None = None

    @property
    def width(self) -> int:
        """Prefixes a lane holds; 1 without a beam."""
        if self.sample is not None:
            return 1
        return self.settings.beam // (self.lanes.count if isinstance(self.lanes, Diverse) else 1)


def check_names(decode: Decode) -> None:
    """Refuse keys of `decode` that are neither its own nor a rule."""
    for name in decode.options:
        if name not in RULES:
            known = nearest(name, {*decode.own_keys(), *RULES})
            raise ConfigError(f"decode.{name}", f"unknown key; {known}")


def plain(decode: Decode) -> Decode:
    """Greedy search within the same bounds, without rules: what a training watches."""
    return Decode(beam=1, min_length=decode.min_length, max_length=decode.max_length)


def plan(decode: Decode, model: Speaker, codecs: Codecs) -> Search:
    """The search that `decode` says; what cannot work is a `ConfigError`, a bad line of its files a `DataError`."""
    check_names(decode)
    if isinstance(model, Aligner):
        return _plan_alignment(decode)
    codec = written_side(model, codecs)
    assert decode.max_length is not None, "filled in before training"
    draws = decode.mbr is not None or decode.sample is not None
    for key, chosen in (("require", decode.require), ("diversity", decode.diversity)):
        if chosen and draws:
            raise ConfigError(f"decode.{key}", "is for a beam, and nothing is drawn in one; leave out sample and mbr")
    if decode.coverage_penalty and not model.attends:
        raise ConfigError("decode.coverage_penalty", NO_ATTENTION)
    if decode.mbr is not None and decode.mbr.metric == "chrf" and model.copies:
        reason = "chrf is of texts, and what is copied has none before it is read; choose token_error_rate"
        raise ConfigError("decode.mbr.metric", reason)
    if decode.replace_unknown:
        refuse_alignment(model, codecs, "decode.replace_unknown")
    rules = build_rules(decode.rules, codec=codec, max_length=decode.max_length)
    lanes: Lanes = Together()
    if decode.diversity is not None:
        lanes = _diverse(decode)
    if decode.require:
        lanes = _phrases(decode, codec)
        rules.append(lanes)
    limits = Limits(decode.max_length, min(decode.min_length, decode.max_length), decode.replace_unknown)
    sample = decode.sample or (None if decode.mbr is None else Sample())
    utility = None if decode.mbr is None else _utility(decode.mbr, codec)
    return Search(decode, limits, tuple(rules), lanes, sample, utility, model.copies, _shortlist(decode, model, codecs))


def _plan_alignment(decode: Decode) -> Search:
    """Labels are ranked by their score alone, and there are no more of them than steps."""
    for key in decode.model_dump(exclude_defaults=True):
        if key != "beam":
            raise ConfigError(f"decode.{key}", "is for models that write step by step; with ctc there is decode.beam")
    return Search(decode, Limits(0), (), Together(), None, None)


def refuse_shortlist(decode: Decode, model: Speaker, codecs: Codecs) -> None:
    """Refuse `decode.shortlist` where it cannot be, and what does not go with it."""
    if decode.shortlist is None:
        return
    reads = codecs.sources[0]
    plain = isinstance(reads, SourceTextCodec) and reads.spelling is None and len(codecs.sources) == 1
    if not plain or not isinstance(model, Writer) or not isinstance(model.head, SoftmaxHead):
        reason = "is for one model that reads one text (without characters) and writes another, and does not copy"
        raise ConfigError("decode.shortlist", reason)
    for key, chosen in (
        ("require", decode.require),
        ("lexicon", decode.lexicon),
        ("sample", decode.sample),
        ("mbr", decode.mbr),
    ):
        if chosen:
            reason = "goes by all symbols, of which decode.shortlist leaves most out; choose one of them"
            raise ConfigError(f"decode.{key}", reason)


def _shortlist(decode: Decode, model: Speaker, codecs: Codecs) -> Shortlist | None:
    refuse_shortlist(decode, model, codecs)
    if decode.shortlist is None:
        return None
    again = "give this key to antiphon train, with --resume for a model that is trained already"
    if codecs.shortlist is None:
        raise ConfigError("decode.shortlist", f"this model has none; {again}")
    try:
        return codecs.shortlist.cut(decode.shortlist.likely, decode.shortlist.common)
    except ConfigError as error:
        raise ConfigError(f"decode.shortlist.{error.key}", f"{error.reason}; for more {again}") from None


NO_ATTENTION = "needs the attention of each step, which this model has not; train with model.attention: general"


def written_side(model: Speaker, codecs: Codecs) -> TextCodec:
    """The codec of what the model writes: the target's, or the source's of a language model."""
    codec = codecs.sources[0] if model.goes_on else codecs.target
    assert isinstance(codec, TextCodec)
    return codec


def refuse_alignment(model: Model | Ensemble, codecs: Codecs, key: str) -> None:
    """Refuse what needs to know which source symbol each output symbol comes from."""
    if not isinstance(model, Speaker) or not model.attends:
        raise ConfigError(key, NO_ATTENTION)
    if len(codecs.sources) > 1 or not isinstance(codecs.sources[0], TextCodec):
        raise ConfigError(key, "needs one source of text, of which an output's symbols can come")


def _diverse(decode: Decode) -> Diverse:
    assert decode.diversity is not None
    groups = decode.diversity.groups
    if decode.require:
        raise ConfigError("decode.diversity", "divides a beam in another way than decode.require; choose one of them")
    if decode.beam % groups:
        reason = f"{groups} groups cannot share a beam of {decode.beam}; choose a multiple"
        raise ConfigError("decode.diversity.groups", reason)
    return Diverse(groups, decode.diversity.strength)


def _phrases(decode: Decode, codec: TextCodec) -> Phrases:
    try:
        found = Phrases([ids_of(phrase, codec) for phrase in decode.require], codec.size)
    except ConfigError as error:
        raise ConfigError("decode.require", error.reason) from None
    except ValueError as error:
        raise ConfigError("decode.require", str(error)) from None
    assert decode.max_length is not None
    if found.count - 1 > decode.max_length:
        reason = f"has {found.count - 1} tokens in all; decode.max_length is {decode.max_length}"
        raise ConfigError("decode.require", reason)
    return found


def _utility(mbr: Mbr, codec: TextCodec) -> Utility:
    if mbr.metric == "chrf":
        return lambda output, other: metrics.sentence_chrf(codec.decode(output), codec.decode(other))
    return lambda output, other: -metrics.token_edits([output], [[other]]).rate


def batches_by_length(lengths: Ints, width: int = 1, tokens: int = TOKENS, parts: int = 1) -> Iterator[Ints]:
    """Row numbers in batches of similar length, the longest first; `width` is the beam's.

    Of more than a few rows there are at least as many batches as `parts`.
    """
    order = np.argsort(-lengths, kind="stable")
    most = min(ROWS, max(FEW, width * -(-len(order) // parts)))  # decoder rows
    start = 0
    while start < len(order):
        rows = max(1, min(most, tokens // int(lengths[order[start]])) // width)
        yield order[start : start + rows]
        start += rows


def total_lengths(sources: Sequence[Sequences]) -> Ints:
    """Steps of all sources of every row together."""
    return Examples(tuple(sources), sources[0]).source_lengths


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
        return _aligned(model, sources, search.width, device)
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


def least_risk(drawn: Sequence[Hypothesis], utility: Utility) -> list[Hypothesis]:
    """The distinct outputs drawn, by the mean utility of each if any of those drawn is right, which is its rank score:
    an estimate of minimum Bayes risk (Eikema & Aziz 2020, arXiv 2005.10283)."""
    counts = Counter(one.tokens for one in drawn)
    scores = {one.tokens: one.score for one in drawn}
    worth = {
        tokens: sum(count * utility(tokens, other) for other, count in counts.items()) / len(drawn) for tokens in counts
    }
    ranked = sorted(counts, key=lambda tokens: (-worth[tokens], -scores[tokens], tokens))
    return [Hypothesis(tokens, scores[tokens], worth[tokens]) for tokens in ranked]


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


@torch.inference_mode()
def _aligned(model: Aligner, sources: Sequence[Sequences], width: int, device: torch.device) -> list[list[Hypothesis]]:
    """The labels that a beam over prefixes finds, with width 1 those of the best path; each with its whole log p."""
    results: list[list[Hypothesis]] = [[]] * len(sources[0])
    model.eval()
    for rows in batches_by_length(total_lengths(sources), width):
        features: Aligned = model([pad(source, rows).to(device) for source in sources])
        log_probs = model.head.log_probs(features)
        searched = log_probs.clone()
        searched[..., UNK] = -torch.inf
        if width == 1:
            found = [[tuple(labels)] for labels in ctc.best_path(searched, BLANK)]
        else:
            found = ctc.prefix_search(searched, BLANK, width)
        outputs = [(place, labels) for place, own in enumerate(found) for labels in own]
        places = torch.tensor([place for place, _ in outputs], device=device)
        said = pad(Sequences([[*labels, EOS] for _, labels in outputs]), np.arange(len(outputs))).to(device).values
        scores = iter(model.head.score(log_probs[places], features.frames[places], said).tolist())
        for row, own in zip(rows, found, strict=True):
            scored = [Hypothesis(labels, score, score) for labels, score in zip(own, scores, strict=False)]
            results[row] = sorted(scored, key=lambda one: -one.score)
    return results


def _sampler(settings: Sample, seeds: Sequence[Sequence[int]], padded: bool) -> Choose:
    noise = [np.random.default_rng([settings.seed, *seed]) for seed in seeds]
    return sampler(settings.temperature, settings.top_k, settings.top_p, noise, padded)


def best_of(hypotheses: Sequence[Hypothesis], where: str) -> Hypothesis:
    """The best output; where there is none, an error that names the input."""
    if not hypotheses:
        raise SilentError(f"{where}: the rules of decode leave nothing to say; loosen them, or widen the beam")
    return hypotheses[0]


@torch.inference_mode()
def attention_of(
    model: Speaker, sources: Sequence[Sequences], outputs: Sequence[Tokens], device: torch.device
) -> list[NDArray[np.float32]] | None:
    """Attention [symbols + 1, source steps] of every row's output; None if the model has none."""
    if isinstance(model, LanguageModel | Aligner) or not model.attends:
        return None
    examples = Examples(tuple(sources), Sequences([[*output, EOS] for output in outputs]))
    results: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(examples)
    for rows in batches_by_length(examples.source_lengths + examples.target.lengths):
        batch = collate(examples, rows).to(device)
        found = model.attention(batch.sources, batch.target.values)
        assert found is not None
        weights, mask = (values.cpu().numpy() for values in found)
        for row, own, inside in zip(rows, weights, mask, strict=True):
            results[row] = own[: examples.target.lengths[row], inside].astype(np.float32)
    return results


def alignment(weights: NDArray[np.float32], source: Sequence[str]) -> list[int]:
    """The place of the source symbol that each output symbol has looked at most; the ends of turns are none.

    `weights` [symbols + 1, source steps] are an output's attention; `source` are the source's symbols, "" at ends.
    """
    ends = [not symbol for symbol in (*source, "")]
    return [int(place) for place in np.where(ends, -1.0, weights[:-1, : len(ends)]).argmax(1)]


def written(
    model: Speaker,
    codecs: Codecs,
    search: Search,
    sources: Sequence[Sequences],
    values: Sequence[Sequence[Any]],
    outputs: Sequence[Tokens],
    device: torch.device,
) -> list[list[str]]:
    """The symbols of every row's output; with `replace_unknown`, the aligned source symbol for an unknown one.

    `values` are what each row's sources hold, `sources` their arrays.
    """
    codec = written_side(model, codecs)
    if model.copies:
        copying = Copying.between(codecs.sources, codecs.target)
        named = [copying.symbols(output, own) for output, (own,) in zip(outputs, values, strict=True)]
    else:
        named = [list(map(codec.vocabulary.symbol, output)) for output in outputs]
    symbols = [[name for name in names if name is not None] for names in named]
    unknown = [row for row, output in enumerate(outputs) if UNK in output]
    if not unknown or not search.settings.replace_unknown:
        return symbols
    reading = codecs.sources[0]
    assert isinstance(reading, TextCodec)
    some = [source.take(unknown) for source in sources]
    weights = attention_of(model, some, [outputs[row] for row in unknown], device)
    assert weights is not None
    for row, own in zip(unknown, weights, strict=True):
        read = reading.split_turns(values[row][0])
        places = alignment(own, read)
        pairs = zip(named[row], places, strict=True)
        symbols[row] = [read[place] if name is None else name for name, place in pairs]
    return symbols
