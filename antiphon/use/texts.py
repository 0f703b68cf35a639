"""The texts that a model writes: searched for many inputs at once, or shown for one input while they grow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from antiphon.common.answers import Candidate, Prediction, TextPrediction
from antiphon.data.batches import EncodedInput, Sequences
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.alignment import alignment, attention_of, written
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Speaker, plan, written_side
from antiphon.decoding.run import decode_sources, partial_hypotheses
from antiphon.errors import AntiphonError, ConfigError, ModelFolderError, SilentError
from antiphon.evaluation.answering import empty
from antiphon.evaluation.scores import symbol_scores
from antiphon.model.models import Aligner
from antiphon.use.encoding import encode
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options, Request, decode_of, prefixes_of

Where: TypeAlias = Callable[[int], str]  # what messages call an input by its number, from 1


def search_texts(
    loaded: Loaded, inputs: Sequence[EncodedInput], sources: Sequence[Sequences], request: Request,
    numbers: Sequence[int], where: Where,
) -> Iterator[Prediction | AntiphonError]:  # fmt: skip
    """The texts that answer `inputs`, whose arrays are `sources`; where the rules leave none, the error.

    What is drawn for an input depends on its number in `numbers`, from 0.
    """
    assert isinstance(loaded.model, Speaker)
    assert request.search is not None
    prefixes = [entry.prefix for entry in inputs] if any(entry.prefix for entry in inputs) else None
    hypotheses = decode_sources(loaded.model, sources, request.search, loaded.device, numbers, prefixes)
    return _predictions(loaded, inputs, sources, hypotheses, request, numbers, where)


def write(loaded: Loaded, value: Any, prefix: str | None, options: Options) -> Iterator[Prediction]:
    """The answer to one input after every symbol; see `Predictor.write`."""
    model = loaded.model
    decode = decode_of(loaded, 1, options.sample, options.settings)
    if not isinstance(model, Speaker) or isinstance(model, Aligner):
        raise ModelFolderError(f"{loaded.folder}: does not write symbol by symbol; use predict")
    search = plan(decode, model, loaded.codecs)
    for name in ("mbr", "require", "diversity", "coverage_penalty"):
        if getattr(decode, name):
            raise ConfigError(
                f"decode.{name}", "compares whole outputs, so it cannot be used to write symbol by symbol; leave it out"
            )
    request, first = Request(decode, search, scores=False), next(prefixes_of(loaded, prefix, decode))
    entry = encode(loaded, value, "input", first, loaded.exceptions, request.draws)
    if not isinstance(entry, EncodedInput):
        yield entry or empty(loaded.codecs.target)
        return
    sources = [Sequences([array]) for array in entry.arrays]
    for so_far in partial_hypotheses(model, sources, search, loaded.device, entry.prefix):
        for answer in _predictions(loaded, [entry], sources, [[so_far]], request, [0], lambda _: "input"):
            assert not isinstance(answer, AntiphonError)
            yield counting(answer, entry.unknown)


def _predictions(
    loaded: Loaded, inputs: Sequence[EncodedInput], sources: Sequence[Sequences],
    hypotheses: Sequence[Sequence[Hypothesis]], request: Request, numbers: Sequence[int], where: Where,
) -> Iterator[Prediction | AntiphonError]:  # fmt: skip
    """The hypotheses of every input as its prediction."""
    first = loaded.codecs.sources[0]
    reads = [first.split_turns(entry.values[0]) if isinstance(first, TextCodec) else [] for entry in inputs]
    kept = [best[: request.n_best] for best in hypotheses]
    candidates, weights = _candidates(loaded, inputs, sources, kept, reads, request)
    ends = itertools.accumulate(map(len, kept))
    for number, read, best, end in zip(numbers, reads, kept, ends, strict=True):
        try:
            best_of(best, where(number + 1))
        except SilentError as error:
            yield error
            continue
        place = end - len(best)
        answer = candidates[place]
        attention = None if weights is None or not request.attention else weights[place]
        confidence = None if loaded.calibration is None else loaded.calibration.of_text(answer.score)
        yield TextPrediction(
            answer.text, answer.tokens, answer.score, candidates[place:end], read, attention, confidence
        )  # fmt: skip


def _candidates(
    loaded: Loaded, inputs: Sequence[EncodedInput], sources: Sequence[Sequences], kept: Sequence[Sequence[Hypothesis]],
    reads: Sequence[list[str]], request: Request,
) -> tuple[list[Candidate], list[NDArray[np.float32]] | None]:  # fmt: skip
    """All hypotheses that are kept, one behind the other, in words, and the attention of each if it is needed."""
    model, search = loaded.model, request.search
    assert isinstance(model, Speaker)
    assert search is not None
    codec = written_side(model, loaded.codecs)
    rows = [row for row, hypotheses in enumerate(kept) for _ in hypotheses]  # the input of each
    outputs = [hypothesis for hypotheses in kept for hypothesis in hypotheses]
    tokens, repeated = [output.tokens for output in outputs], [source.take(rows) for source in sources]
    values = [inputs[row].values for row in rows]
    symbols = written(model, loaded.codecs, search, repeated, values, tokens, loaded.device)
    if model.goes_on:
        symbols = [[*reads[row], *behind] for row, behind in zip(rows, symbols, strict=True)]
    renewed = request.scores and search.shortlist is not None  # that of the search is over few symbols alone
    parts = symbol_scores(model, repeated, tokens, loaded.device) if request.token_scores or renewed else None
    looks = request.attention or request.align
    weights = attention_of(model, repeated, tokens, loaded.device) if looks else None
    candidates = [
        Candidate(
            codec.join(text),
            text,
            sum(parts[place]) if parts is not None and renewed else outputs[place].score,
            parts[place] if parts is not None and request.token_scores else None,
            None if weights is None or not request.align else alignment(weights[place], reads[rows[place]]),
        )
        for place, text in enumerate(symbols)
    ]
    return candidates, weights


def counting(answer: Any, unknown: int) -> Any:
    """An answer with the number of symbols of its input that are not known, if there are any."""
    return replace(answer, unknown=unknown) if unknown and not isinstance(answer, AntiphonError) else answer
