"""A few rows with their references and what a model predicts for them, as plain values that a page can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.common.answers import LabelPrediction, LabelsPrediction
from antiphon.data.batches import pad
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.nothing import NextCodec
from antiphon.data.codecs.numbers import NumbersCodec, ScaledCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.alignment import attention_of
from antiphon.decoding.plan import Speaker
from antiphon.evaluation.answering import answered
from antiphon.evaluation.reading import grid_of, tokens_read
from antiphon.evaluation.task import Measured, Task, grouped_rows
from antiphon.model.models import Model

STEPS = 80  # the most steps of a sequence that are shown
SHORT = 60  # steps of source and target together: rows that are no longer are chosen first
LABELS = 5  # the most probable labels of a row


@dataclass(frozen=True)
class Sample:
    """A row whose reference is known, and what the model predicts for it.

    `row` is its place among the rows. `sources` by name, `references` and `output` are each a line of text; `right` is
    whether they agree (None: of numbers and of the next symbol). Sequences end after `STEPS` steps:

    `read` names the encoder's states (None: the end of the source or of a turn), `written` the symbols of the output
    (None: its end) or its label for each step, `expected` those of the (first) reference. `attention` is
    [written, read]. `probabilities` has one for each of `written`; for a language model `written` is the row itself.
    `labels` are the most probable labels of a classifier with their probabilities; `numbers` and `expected_numbers`
    [steps, size] are those of a model that predicts numbers.
    """

    row: int
    sources: dict[str, str]
    references: list[str]
    output: str
    right: bool | None = None
    read: list[str | None] = field(default_factory=list)
    written: list[str | None] = field(default_factory=list)
    expected: list[str | None] = field(default_factory=list)
    attention: list[list[float]] | None = None
    probabilities: list[float] | None = None
    labels: list[tuple[str, float]] | None = None
    numbers: list[list[float]] | None = None
    expected_numbers: list[list[float]] | None = None


def samples(task: Task, measured: Measured, count: int) -> tuple[Sample, ...]:
    """`count` rows (fewer if there are no more), the same ones at every call, with what was `measured` for them.

    Nothing is decoded again; only the attention of the outputs is computed. It takes no random number.
    """
    if not count:
        return ()
    groups = grouped_rows(task)
    chosen = _chosen(task, groups, count)
    codec = task.codecs.target
    if isinstance(codec, TextCodec):
        return _texts(task, measured, groups, chosen)
    if isinstance(codec, NextCodec):
        return tuple(_next(task, measured, place) for place in chosen)
    return tuple(_answer(task, measured, place) for place in chosen)


def _chosen(task: Task, groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """The places of some groups: evenly spread over the short ones, or the shortest."""
    firsts = [group[0] for group in groups]
    steps = (task.examples.source_lengths + task.examples.target.lengths)[firsts]
    short = np.flatnonzero(steps <= SHORT)
    if len(short) < count:
        return sorted(np.argsort(steps, kind="stable")[:count].tolist())
    return [int(short[number * len(short) // count]) for number in range(count)]


def _begun(task: Task, rows: Sequence[int]) -> Sample:
    """The sample of a group of rows without a prediction."""
    row, codecs = task.rows[rows[0]], task.codecs
    *sources, _ = codecs.named.items()
    shown = {name: codec.shown(value) for (name, codec), value in zip(sources, row.sources, strict=True) if codec.reads}
    references = [codecs.target.shown(task.rows[number].target) for number in rows]
    return Sample(rows[0], shown, references, "", read=_read(task, rows[0]))


def _read(task: Task, row: int) -> list[str | None]:
    """The tokens that the states of all sources of a row stand for."""
    assert isinstance(task.model, Model)
    tokens: list[str | None] = []
    parts = (part for part, _ in task.model.channels)
    sides = zip(task.codecs.sources, task.rows[row].sources, task.examples.sources, parts, strict=True)
    for codec, value, arrays, part in sides:
        tokens += tokens_read(codec, value, arrays[row], grid_of(part, pad(arrays, [row]).to(task.device)))[0]
    return tokens[:STEPS]


def _texts(
    task: Task, measured: Measured, groups: Sequence[Sequence[int]], chosen: Sequence[int]
) -> tuple[Sample, ...]:
    codec, model = task.codecs.target, task.model
    assert isinstance(codec, TextCodec)
    assert isinstance(model, Speaker)
    firsts = [groups[place][0] for place in chosen]
    sources = [source.take(firsts) for source in task.examples.sources]
    attention = attention_of(model, sources, [measured.computed[place] for place in chosen], task.device)
    made = []
    for number, place in enumerate(chosen):
        sample = _begun(task, groups[place])
        symbols = measured.outputs[place]
        output = codec.join(symbols)
        weights = None if attention is None else _rounded(attention[number][:STEPS, : len(sample.read)], 3)
        made.append(
            replace(
                sample,
                output=output,
                right=any(output == codec.truth(task.rows[row].target) for row in groups[place]),
                written=[*symbols, None][:STEPS],
                expected=[*measured.references[place][0], None][:STEPS],
                attention=weights,
            )
        )
    return tuple(made)


def _next(task: Task, measured: Measured, row: int) -> Sample:
    """Of a language model the row's own symbols with their probabilities."""
    codec = task.codecs.sources[0]
    assert isinstance(codec, TextCodec)
    written = [codec.vocabulary.symbol(int(number)) for number in task.examples.target[row][:STEPS]]
    shares = _rounded(np.exp(-measured.rows.losses[row][:STEPS]), 4)
    text = codec.join([symbol for symbol in written if symbol is not None])
    return Sample(row, {"source": text}, [], "", written=written, probabilities=shares)


def _answer(task: Task, measured: Measured, row: int) -> Sample:
    """Of a model with one prediction for each row or step."""
    codec, answer, sample = task.codecs.target, measured.computed[row], _begun(task, [row])
    expected = task.examples.target[row]
    if isinstance(codec, LabelCodec):
        prediction = answered(codec, answer)
        reference: list[str | None] = [*codec.names(map(int, expected))]
        if isinstance(prediction, LabelsPrediction):
            return replace(
                sample, output=prediction.text, right=prediction.labels == reference,
                written=list[str | None](prediction.labels[:STEPS]), expected=reference[:STEPS],
                probabilities=_rounded(np.asarray(prediction.probabilities[:STEPS]), 4),
            )  # fmt: skip
        assert isinstance(prediction, LabelPrediction)
        best = [(label, round(share, 4)) for label, share in [*prediction.probabilities.items()][:LABELS]]
        return replace(sample, output=prediction.text, right=[prediction.label] == reference, labels=best)
    assert isinstance(codec, ScaledCodec)
    bits = isinstance(codec, NumbersCodec) and codec.bits
    numbers, wanted = ((values if bits else codec.restored(values)) for values in (answer.predicted, expected))
    return replace(
        sample,
        output=answered(codec, answer).text[:STEPS],
        references=[reference[:STEPS] for reference in sample.references],
        numbers=_rounded(np.asarray(numbers)[:STEPS], 6),
        expected_numbers=_rounded(np.asarray(wanted)[:STEPS], 6),
    )


def _rounded(values: NDArray[Any], decimals: int) -> Any:
    return np.round(values.astype(np.float64), decimals).tolist()
