"""A model and encoded rows to metrics: the measuring of each kind of target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon import metrics
from antiphon.common.symbols import UNK
from antiphon.config.decode import Decode
from antiphon.data.codecs.labels import LabelCodec, LabelsCodec
from antiphon.data.codecs.nothing import NextCodec
from antiphon.data.codecs.numbers import NumbersCodec, ScaledCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.decoding.plan import Speaker, plain
from antiphon.errors import DataError
from antiphon.evaluation.answering import Answer
from antiphon.evaluation.influences import Sums, influences, quotients
from antiphon.evaluation.metric_names import CORPUS
from antiphon.evaluation.outputs import best_outputs, output_metrics
from antiphon.evaluation.scores import RowScores, read_sources, score_rows, token_rate
from antiphon.evaluation.series import measure_series
from antiphon.evaluation.task import Measured, Task, grouped_rows
from antiphon.evaluation.windows import window_scores
from antiphon.model.models import Reader


class Validation(NamedTuple):
    """The scores of a validation; by how much each row moves the watched metric; and all that was measured."""

    scores: dict[str, float]
    influence: NDArray[np.float64]
    measured: Measured


def validate(task: Task, metric: str) -> Validation:
    """What a training watches: likelihood, and greedy outputs fed with themselves (never sampled ones); and by
    how much each row moves the watched `metric`.

    `exposure_gap` is the free-running token error rate less the teacher-forced one. The rest describes
    outputs and rows: the share of the commonest output (and reference), the outputs' length over the
    references', and the shares of symbols that the training rows did not have.
    """
    measured = _measure(task, plain(task.config.decode), metric in CORPUS)
    scores = dict(measured.scores)
    if metric == "bleu":
        scores.setdefault("bleu", 0.0)  # missing for an untrained model, whose outputs are short
    if "token_error_rate" in scores:
        if "token_error_rate_teacher" in scores:
            scores["exposure_gap"] = scores["token_error_rate"] - scores["token_error_rate_teacher"]
        scores["length_ratio"] = metrics.length_ratio(measured.outputs, measured.references)
        scores["unknown_target"] = float((task.examples.target.values == UNK).mean())
    if measured.outputs:
        scores["commonest_output"] = metrics.commonest(measured.outputs)
        scores["commonest_reference"] = metrics.commonest([choices[0] for choices in measured.references])
    symbols = [  # spelled words are never wholly unknown
        source.values for source in task.examples.sources if source.values.dtype.kind == "i" and source.values.ndim == 1
    ]
    if symbols:
        scores["unknown_source"] = float((np.concatenate(symbols) == UNK).mean())
    return Validation(scores, influences(task, measured, metric), measured)


def evaluate(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics for the kind of target, with the configured beam, and sacreBLEU's signatures; metrics that
    these rows do not allow are left out."""
    measured = _measure(task, task.config.decode, corpus=True)
    return _all_scores(task, measured), measured.signatures


def _all_scores(task: Task, measured: Measured) -> dict[str, float]:
    scores = dict(measured.scores)
    if isinstance(task.rows, Windows):
        scores |= window_scores(task, measured)
    if isinstance(task.codecs.target, TextCodec):
        if all(isinstance(row.sources[0], str) and len(row.sources[0].split()) == 1 for row in task.rows):
            scores["wer"] = 1.0 - scores["exact_match"]
        several = {f"distinct_{n}": metrics.distinct(measured.outputs, n) for n in (1, 2)}
        scores |= {name: value for name, value in several.items() if value is not None}
    return scores | {"rows": len(measured.outputs) or len(task.rows)}


def row_sums(task: Task) -> tuple[list[Row], dict[str, Sums]]:
    """A task's rows (for several references of one input the first), and the metrics of `evaluate` that are quotients
    of sums over rows."""
    return _row_sums(task, _measure(task, task.config.decode, corpus=False))


def _row_sums(task: Task, measured: Measured) -> tuple[list[Row], dict[str, Sums]]:
    groups = grouped_rows(task)
    return [task.rows[rows[0]] for rows in groups], quotients(task, measured, groups)


def evaluate_with_rows(task: Task) -> tuple[dict[str, float], list[Row], dict[str, Sums]]:
    """The metrics of `evaluate`, and what `row_sums` returns, decoded once for both."""
    measured = _measure(task, task.config.decode, corpus=True)
    return _all_scores(task, measured), *_row_sums(task, measured)


def _measure(task: Task, decode: Decode, corpus: bool) -> Measured:
    codec = task.codecs.target
    if isinstance(codec, TextCodec):
        return _measure_text(task, codec, decode, corpus)
    if isinstance(codec, NextCodec):
        return _measure_next(task)
    scores = score_rows(task.model, task.examples, task.device)
    if isinstance(codec, SeriesCodec):
        return measure_series(task, codec, scores)
    assert isinstance(task.model, Reader)
    answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device, task.sharing)
    if isinstance(codec, LabelCodec):
        return _measure_labels(task, codec, scores, answers)
    assert isinstance(codec, ScaledCodec)
    return _measure_numbers(task, codec, scores, answers)


def _measure_text(task: Task, codec: TextCodec, decode: Decode, corpus: bool) -> Measured:
    """Likelihoods, outputs decoded and compared."""
    assert isinstance(task.model, Speaker)
    groups = grouped_rows(task)
    references = [[task.rows[row].target for row in group] for group in groups]
    scores = score_rows(task.model, task.examples, task.device, task.sharing)
    figures = _likelihood(scores)
    if codec.form == "any":  # nothing is fed to a reader
        figures["token_error_rate_teacher"] = token_rate(scores, groups)
    best, outputs = best_outputs(task, groups, decode)
    figures |= output_metrics(codec, outputs, references)
    signatures: dict[str, str] = {}
    if corpus:
        texts = [codec.tokenizer.join(symbols) for symbols in outputs]
        normal = [[codec.normalize(text) for text in choices] for choices in references]
        bleu, signatures = metrics.corpus_scores(texts, normal, task.config.evaluate.bleu_tokenize)
        figures |= bleu
    reference_tokens = [[codec.split(text) for text in choices] for choices in references]
    return Measured(figures, signatures, outputs, reference_tokens, scores, [output.tokens for output in best])


def _likelihood(scores: RowScores) -> dict[str, float]:
    """`loss` (nats per target token, end symbol in) and `perplexity`."""
    return {"loss": scores.mean, "perplexity": float(np.exp(min(scores.mean, 700.0)))}


def _measure_next(task: Task) -> Measured:
    """For a language model the likelihood, the share of symbols it predicts, bits per character."""
    scores = score_rows(task.model, task.examples, task.device, task.sharing)
    figures = _likelihood(scores) | {"accuracy": float(np.concatenate(scores.correct).mean())}
    source = task.codecs.sources[0]
    if isinstance(source, TextCodec) and source.tokens == "chars":
        figures["bits_per_char"] = scores.mean / float(np.log(2))
    return Measured(figures, {}, [], [], scores)


def _measure_labels(task: Task, codec: LabelCodec, scores: RowScores, answers: Sequence[Answer]) -> Measured:
    """Accuracy and mean F1 of all labels; with a label per step the share of rows wholly right, and the F1 of spans."""
    outputs = [codec.names(map(int, answer.predicted)) for answer in answers]
    references = [codec.names(map(int, task.examples.target[row])) for row in range(len(task.rows))]
    predicted, expected = ([label for row in rows for label in row] for rows in (outputs, references))
    figures = _likelihood(scores) | {
        "accuracy": metrics.accuracy(predicted, expected),
        "macro_f1": metrics.macro_f1(predicted, expected),
    }
    if isinstance(codec, LabelsCodec):
        figures["exact_match"] = float(np.mean([row.all() for row in scores.correct]))
        if codec.bio:
            figures["span_f1"] = metrics.span_f1(outputs, references)
    return Measured(figures, {}, outputs, [[row] for row in references], scores, answers)


def _measure_numbers(task: Task, codec: ScaledCodec, scores: RowScores, answers: Sequence[Answer]) -> Measured:
    """For numbers the errors, in their own unit; for bits the negative log-likelihood per frame."""
    if isinstance(codec, NumbersCodec) and codec.bits:
        hits = np.concatenate(scores.correct)
        figures = {"loss": scores.mean, "nll_per_frame": scores.mean, "accuracy": float(hits.mean())}
        return Measured(figures, {}, [], [], scores, answers)
    predicted = codec.restored(np.concatenate([answer.predicted for answer in answers]))
    expected = codec.restored(np.concatenate([task.examples.target[row] for row in range(len(task.rows))]))
    figures = {"loss": scores.mean, "mse": metrics.mse(predicted, expected), "mae": metrics.mae(predicted, expected)}
    return Measured(figures, {}, [], [], scores, answers)


def confusion(task: Task) -> dict[str, dict[str, int]]:
    """For every reference label, how often each label was predicted; other targets than labels are a `DataError`."""
    codec, model = task.codecs.target, task.model
    if not isinstance(codec, LabelCodec):
        raise DataError(f"confusion needs a target of the kind label or labels, but this model has {codec.kind}")
    assert isinstance(model, Reader)
    answers = read_sources(model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    predicted = [label for answer in answers for label in codec.names(map(int, answer.predicted))]
    expected = [label for row in range(len(task.rows)) for label in codec.names(map(int, task.examples.target[row]))]
    return metrics.confusion(predicted, expected)
