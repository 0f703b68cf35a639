"""A model and encoded rows to scores: likelihoods, outputs, metrics."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon import metrics
from antiphon.config.schema import Config, Decode
from antiphon.data.batches import Batch, Examples, Ints, Padded, Sequences, collate, pad
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.numbers import NumbersCodec, ScaledCodec
from antiphon.data.codecs.text import LabelCodec, LabelsCodec, NextCodec, TextCodec, turns_of
from antiphon.data.load import Codecs, group_references
from antiphon.data.rows import Row
from antiphon.decoding.alignment import written
from antiphon.decoding.batches import TOKENS, batches_by_length, total_lengths
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Speaker, plain, plan
from antiphon.decoding.run import decode_sources
from antiphon.errors import shown
from antiphon.evaluation.answering import Answer
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import LanguageModel, Model, Reader, Writer
from antiphon.model.parts.heads import Head
from antiphon.saved.calibration import Calibration, Judged, outcomes
from antiphon.symbols import EOS, SPECIALS, UNK

READ = 16_384  # symbols that a language model reads at once; it goes on from the state after them


@dataclass(frozen=True)
class RowScores:
    """Forced scoring of every row: the loss of each target step, and whether the best answer was the target."""

    losses: list[NDArray[np.float64]]
    correct: list[NDArray[np.bool_]]

    @property
    def totals(self) -> list[float]:
        """log p(y|x) of every row in nats, the end symbol counted; of numbers, the summed error with a minus."""
        return [-float(row.sum()) for row in self.losses]

    @property
    def mean(self) -> float:
        """The mean loss of all steps."""
        return -sum(self.totals) / max(sum(map(len, self.losses)), 1)


@torch.inference_mode()
def score_rows(model: Model | Ensemble, examples: Examples, device: torch.device) -> RowScores:
    """The losses of every row's target, teacher-forced where a decoder is fed, in float32."""
    losses: list[NDArray[np.float64]] = [np.empty(0)] * len(examples)
    correct: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)] * len(examples)
    model.eval()
    lengths = examples.source_lengths + examples.target.lengths
    any_length = model.goes_on  # a language model, which reads in pieces
    for rows in batches_by_length(lengths, tokens=sys.maxsize if any_length else TOKENS):
        batch = collate(examples, rows).to(device)
        loss, hit = _judged(model, batch)
        steps = examples.target.lengths[rows]
        for row, own, right in zip(rows, _cut(loss, steps), _cut(hit, steps), strict=True):
            losses[row], correct[row] = own.astype(np.float64), right
    return RowScores(losses, correct)


def symbol_scores(
    model: Speaker, sources: Sequence[Sequences], outputs: Sequence[Sequence[int]], device: torch.device
) -> list[list[float]]:
    """log p of each symbol of the outputs, one for each row, and of their end symbols."""
    prompts: list[list[int]] = [[]] * len(outputs)
    if model.goes_on:
        prompts = [sources[0][row].tolist() for row in range(len(outputs))]
    targets = Sequences([[*prompt, *output, EOS] for prompt, output in zip(prompts, outputs, strict=True)])
    given = (targets,) if model.goes_on else tuple(sources)
    losses = score_rows(model, Examples(given, targets), device).losses
    return [(-own[len(prompt) :]).tolist() for own, prompt in zip(losses, prompts, strict=True)]


def _cut(values: Tensor, lengths: Ints) -> list[NDArray[Any]]:
    """Values [N, ...] of rows of these lengths, one behind the other, as an array a row."""
    return np.split(values.cpu().numpy(), np.cumsum(lengths)[:-1])


def _judged(model: Model | Ensemble, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of every target step that is not padding and whether the answer is right, each [N]."""
    target = batch.target.values
    if not model.goes_on:
        return model.head.judge(model(batch.sources, target), target, batch.positions)
    assert isinstance(model, LanguageModel | Ensemble)
    layers: Any = model.begin(len(target))
    head: Head[Any] = model.head
    found = []
    steps = max(1, READ // len(target))
    for read, said in zip(torch.split(model.read(target), steps, 1), torch.split(target, steps, 1), strict=True):
        features, layers = model.run(read, layers)
        judged = head.judge(features, said, torch.arange(said.numel(), device=said.device))
        found.append([values.view_as(said) for values in judged])
    losses, hits = (torch.cat(pieces, 1).flatten()[batch.positions] for pieces in zip(*found, strict=True))
    return losses, hits


@torch.inference_mode()
def read_sources(model: Reader, sources: Sequence[Sequences], ends: int, device: torch.device) -> list[Answer]:
    """The answers to every row, in order; the last `ends` steps have none."""
    results: list[Answer] = [Answer(np.empty(0), np.empty((0, 0), np.float32))] * len(sources[0])
    model.eval()
    for rows in batches_by_length(total_lengths(sources)):
        features = model.features([pad(source, rows).to(device) for source in sources])
        lengths = np.ones_like(rows) if model.pooling is not None else sources[0].lengths[rows] - ends
        positions = Padded(features, torch.from_numpy(lengths)).positions.to(device)
        said, values = model.head.answer(features, positions)
        for row, *found in zip(rows, _cut(said, lengths), _cut(values.float(), lengths), strict=True):
            results[row] = Answer(*found)
    return results


def token_rate(scores: RowScores, groups: Sequence[Sequence[int]]) -> float:
    """The teacher-forced token error rate.

    It counts the steps at which the most probable symbol is not the reference's (the end symbol's
    step in), over the references' lengths, as `token_error_rate` counts edits; of several references
    the one with the lowest rate counts.
    """
    pairs = [_teacher_errors(scores, rows) for rows in groups]
    return sum(wrong for wrong, _ in pairs) / max(sum(length for _, length in pairs), 1)


def _teacher_errors(scores: RowScores, rows: Sequence[int]) -> tuple[int, int]:
    """Wrong steps and the length of the best of several references."""
    found = [(int((~scores.correct[row]).sum()), len(scores.correct[row]) - 1) for row in rows]
    return min(found, key=lambda item: (item[0] / max(item[1], 1), item[0]))


def output_metrics(
    codec: TextCodec, outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`token_error_rate` and `exact_match` of outputs, as symbols, against reference texts."""
    wanted = [[codec.split(text) for text in choices] for choices in references]
    texts = [codec.join(row) for row in outputs]
    truths = [[codec.truth(text) for text in choices] for choices in references]
    rate = metrics.token_edits(outputs, wanted).rate
    return {"token_error_rate": rate, "exact_match": metrics.exact_match(texts, truths)}


@dataclass(frozen=True)
class Task:
    """All that measuring takes: a model, its configuration and codecs, rows and their arrays."""

    model: Model | Ensemble
    config: Config
    codecs: Codecs
    rows: Sequence[Row]
    examples: Examples
    device: torch.device


@dataclass(frozen=True)
class Measured:
    """Scores, sacreBLEU's signatures, what was said and wanted, as symbols, where that is symbols; and how probable
    each row's target was."""

    scores: dict[str, float]
    signatures: dict[str, str]
    outputs: list[list[str]]
    references: list[list[list[str]]]
    rows: RowScores


def validate(task: Task, metric: str) -> tuple[dict[str, float], NDArray[np.float64]]:
    """What a training watches: likelihood, and greedy outputs fed with themselves (never sampled ones); and of each
    row by how much it moves the watched `metric`.

    `exposure_gap` is the free-running token error rate less the teacher-forced one. The rest tells what
    outputs and rows are like: the share of the commonest output (and reference), the outputs' length over the
    references', and the shares of symbols that the training rows did not have.
    """
    found = _measure(task, plain(task.config.decode), metric in CORPUS)
    scores = dict(found.scores)
    if metric == "bleu":
        scores.setdefault("bleu", 0.0)  # of an untrained model, whose outputs are short
    if "token_error_rate" in scores:
        if "token_error_rate_teacher" in scores:
            scores["exposure_gap"] = scores["token_error_rate"] - scores["token_error_rate_teacher"]
        scores["length_ratio"] = metrics.length_ratio(found.outputs, found.references)
        scores["unknown_target"] = float((task.examples.target.values == UNK).mean())
    if found.outputs:
        scores["commonest_output"] = metrics.commonest(found.outputs)
        scores["commonest_reference"] = metrics.commonest([choices[0] for choices in found.references])
    symbols = [  # spelled words are never wholly unknown
        source.values for source in task.examples.sources if source.values.dtype.kind == "i" and source.values.ndim == 1
    ]
    if symbols:
        scores["unknown_source"] = float((np.concatenate(symbols) == UNK).mean())
    return scores, influences(task, found, metric)


def evaluate(task: Task) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics for the kind of target, with the configured beam, and sacreBLEU's signatures; what cannot be said of
    these rows is left out."""
    found = _measure(task, task.config.decode, corpus=True)
    scores = dict(found.scores)
    if isinstance(task.codecs.target, TextCodec):
        if all(isinstance(row.sources[0], str) and len(row.sources[0].split()) == 1 for row in task.rows):
            scores["wer"] = 1.0 - scores["exact_match"]
        several = {f"distinct_{n}": metrics.distinct(found.outputs, n) for n in (1, 2)}
        scores |= {name: value for name, value in several.items() if value is not None}
    return scores | {"rows": len(found.outputs) or len(task.rows)}, found.signatures


@dataclass(frozen=True)
class Sums:
    """A metric that is one sum over rows by another: what each row adds to both."""

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    @property
    def total(self) -> float:
        """The metric."""
        return float(self.above.sum() / max(self.below.sum(), 1e-300))

    @property
    def influences(self) -> NDArray[np.float64]:
        """By how much each row moves the metric, as far as it is linear."""
        found: NDArray[np.float64] = (self.above - self.total * self.below) / max(self.below.sum(), 1e-300)
        return found


def row_sums(task: Task) -> tuple[list[Row], dict[str, Sums]]:
    """A task's rows (of those that are references of one input the first), and of the metrics that `evaluate` gives
    those that are quotients of sums over rows."""
    found = _measure(task, task.config.decode, corpus=False)
    groups = _groups(task)
    return [task.rows[rows[0]] for rows in groups], _sums(task, found, groups)


def _groups(task: Task) -> list[list[int]]:
    """Rows that are measured together: references of one input, of a text; else each alone."""
    if isinstance(task.codecs.target, TextCodec):
        return group_references(task.config, task.codecs, task.rows)
    return [[row] for row in range(len(task.examples))]


def _sums(task: Task, found: Measured, groups: Sequence[Sequence[int]]) -> dict[str, Sums]:
    codec = task.codecs.target
    losses, hits = found.rows.losses, found.rows.correct

    def sums(pairs: Iterable[tuple[float, float]]) -> Sums:
        return Sums(*np.asarray(list(pairs), np.float64).reshape(-1, 2).T)

    joined = [np.concatenate([losses[row] for row in rows]) for rows in groups]
    kept = {"loss": sums((float(row.sum()), len(row)) for row in joined)}
    pairs = list(zip(found.outputs, found.references, strict=True))
    if isinstance(codec, TextCodec):
        edits = [metrics.token_edits([said], [choices]) for said, choices in pairs]
        kept["token_error_rate"] = sums((one.edits, one.length) for one in edits)
        truths = ([codec.truth(task.rows[row].target) for row in rows] for rows in groups)
        texts = [codec.join(said) for said in found.outputs]
        kept["exact_match"] = sums((float(said in right), 1) for said, right in zip(texts, truths, strict=True))
    if "accuracy" in found.scores:
        kept["accuracy"] = sums((float(row.sum()), len(row)) for row in hits)
        if "exact_match" in found.scores:
            kept["exact_match"] = sums((float(row.all()), 1) for row in hits)
    return kept


def influences(task: Task, found: Measured, metric: str) -> NDArray[np.float64]:
    """Of each row (of references of one input together) by how much it moves a metric; they add up to 0.

    A metric that is no sum over rows (BLEU, chrF, TER) is that of each output alone here, and its mean.
    """
    groups = _groups(task)
    if metric == "macro_f1":
        return _class_influences(found.outputs, [choices[0] for choices in found.references])
    named = {"perplexity": "loss", "nll_per_frame": "loss"}.get(metric, metric)
    sums = _sums(task, found, groups)
    if named == "token_error_rate_teacher":
        pairs = [_teacher_errors(found.rows, rows) for rows in groups]
        sums[named] = Sums(*np.asarray(pairs, np.float64).reshape(-1, 2).T)
    elif named in CORPUS:
        codec = task.codecs.target
        assert isinstance(codec, TextCodec)
        texts = [codec.tokenizer.join(symbols) for symbols in found.outputs]
        references = [[codec.normalize(task.rows[row].target) for row in rows] for rows in groups]
        scores = metrics.sentence_scores(named, texts, references, task.config.evaluate.bleu_tokenize)
        sums[named] = Sums(np.asarray(scores), np.ones(len(scores)))
    elif named == "span_f1":
        pairs = [
            metrics.span_counts(said, choices[0]) for said, choices in zip(found.outputs, found.references, strict=True)
        ]
        sums[named] = Sums(*np.asarray(pairs, np.float64).reshape(-1, 2).T)
    elif named in ("mse", "mae"):
        number = task.codecs.target
        assert isinstance(number, ScaledCodec)
        squares = np.asarray([float(row.sum()) for row in found.rows.losses]) * float(number.deviation[0]) ** 2
        sums[named] = Sums(squares if named == "mse" else np.sqrt(squares), np.ones(len(squares)))
    return sums[named].influences


def _class_influences(said: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """How far each row moves the mean of all labels' F1 = 2 hits / (said + wanted)."""
    labels = sorted({label for rows in (said, truth) for row in rows for label in row})
    above, below = np.zeros((2, len(said), len(labels)))
    place = {label: number for number, label in enumerate(labels)}
    for row, (ours, theirs) in enumerate(zip(said, truth, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            above[row, place[one]] += 2 * (one == other)
            below[row, place[one]] += 1
            below[row, place[other]] += 1
    rates = above.sum(0) / below.sum(0)
    found: NDArray[np.float64] = ((above - rates * below) / below.sum(0)).mean(1)
    return found


def _measure(task: Task, decode: Decode, corpus: bool) -> Measured:
    codec = task.codecs.target
    if isinstance(codec, TextCodec):
        return _measure_text(task, codec, decode, corpus)
    if isinstance(codec, NextCodec):
        return _measure_next(task)
    assert isinstance(task.model, Reader)
    answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    scores = score_rows(task.model, task.examples, task.device)
    if isinstance(codec, LabelCodec):
        return _measure_labels(task, codec, scores, answers)
    assert isinstance(codec, ScaledCodec)
    return _measure_numbers(task, codec, scores, answers)


def _measure_text(task: Task, codec: TextCodec, decode: Decode, corpus: bool) -> Measured:
    """Likelihoods, outputs decoded and compared."""
    assert isinstance(task.model, Speaker)
    groups = group_references(task.config, task.codecs, task.rows)
    references = [[task.rows[row].target for row in group] for group in groups]
    scores = score_rows(task.model, task.examples, task.device)
    found = _likelihood(scores)
    if codec.form == "any":  # nothing is fed to a reader
        found["token_error_rate_teacher"] = token_rate(scores, groups)
    _, outputs = _said(task, groups, decode)
    found |= output_metrics(codec, outputs, references)
    signatures: dict[str, str] = {}
    if corpus:
        texts = [codec.tokenizer.join(symbols) for symbols in outputs]
        normal = [[codec.normalize(text) for text in choices] for choices in references]
        bleu, signatures = metrics.corpus_scores(texts, normal, task.config.evaluate.bleu_tokenize)
        found |= bleu
    wanted = [[codec.split(text) for text in choices] for choices in references]
    return Measured(found, signatures, outputs, wanted, scores)


def _said(task: Task, groups: Sequence[Sequence[int]], decode: Decode) -> tuple[list[Hypothesis], list[list[str]]]:
    """The best output for the input of each group of rows, and its symbols."""
    assert isinstance(task.model, Speaker)
    firsts = [group[0] for group in groups]
    rows, sources = [task.rows[row] for row in firsts], [source.take(firsts) for source in task.examples.sources]
    search = plan(decode, task.model, task.codecs)
    found = decode_sources(task.model, sources, search, task.device)
    best = [best_of(hypotheses, f"{row.file}:{row.line}") for row, hypotheses in zip(rows, found, strict=True)]
    values, tokens = [row.sources for row in rows], [one.tokens for one in best]
    return best, written(task.model, task.codecs, search, sources, values, tokens, task.device)


def judged(task: Task) -> Judged:
    """What is said to every input of a task whose target is text, a label or labels, and whether it is right."""
    codec = task.codecs.target
    if isinstance(codec, TextCodec):
        groups = group_references(task.config, task.codecs, task.rows)
        best, outputs = _said(task, groups, task.config.decode)
        references = [[codec.truth(task.rows[row].target) for row in group] for group in groups]
        texts = map(codec.join, outputs)
        wrong = np.asarray([text not in choices for text, choices in zip(texts, references, strict=True)], np.int64)
        scores = [one.score for one in best]
        if task.config.decode.shortlist is not None:  # those of its search are of the symbols listed alone
            assert isinstance(task.model, Writer)
            sources = [source.take([group[0] for group in groups]) for source in task.examples.sources]
            scores = list(map(sum, symbol_scores(task.model, sources, [one.tokens for one in best], task.device)))
        log_probs = outcomes(scores)
        return Judged(log_probs, np.zeros_like(wrong), wrong, np.ones_like(wrong))
    assert isinstance(codec, LabelCodec)
    assert isinstance(task.model, Reader)
    answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    target = task.examples.target
    return Judged(
        np.concatenate([answer.values for answer in answers])[:, SPECIALS:].astype(np.float64),
        np.concatenate([answer.said for answer in answers]) - SPECIALS,
        target.values.astype(np.int64) - SPECIALS,
        target.lengths,
    )


def surest(task: Task, calibration: Calibration, below: float) -> tuple[Task, float]:
    """The rows of a task to which no answer (of labels none of them) is less sure than `below`; and their share."""
    found = judged(task)
    sure = np.asarray(calibration.of_labels(found.log_probs, found.said))
    least = np.minimum.reduceat(sure, np.cumsum(found.lengths) - found.lengths)
    groups = [[row] for row in range(len(task.rows))]
    if isinstance(task.codecs.target, TextCodec):
        groups = group_references(task.config, task.codecs, task.rows)
    kept = [row for group, one in zip(groups, least, strict=True) if one >= below for row in group]
    sources = tuple(source.take(kept) for source in task.examples.sources)
    examples = Examples(sources, task.examples.target.take(kept))
    part = replace(task, rows=[task.rows[row] for row in kept], examples=examples)
    return part, float((least >= below).mean())


def _likelihood(scores: RowScores) -> dict[str, float]:
    """`loss` (nats a target token, end symbol in) and `perplexity`."""
    return {"loss": scores.mean, "perplexity": float(np.exp(min(scores.mean, 700.0)))}


def _measure_next(task: Task) -> Measured:
    """Of a language model: the likelihood, the share of symbols it would have said, bits a character."""
    scores = score_rows(task.model, task.examples, task.device)
    found = _likelihood(scores) | {"accuracy": float(np.concatenate(scores.correct).mean())}
    source = task.codecs.sources[0]
    if isinstance(source, TextCodec) and source.tokens == "chars":
        found["bits_per_char"] = scores.mean / float(np.log(2))
    return Measured(found, {}, [], [], scores)


def _measure_labels(task: Task, codec: LabelCodec, scores: RowScores, answers: Sequence[Answer]) -> Measured:
    """Accuracy and mean F1 of all labels; of a label a step the share of rows wholly right, and the F1 of spans."""
    outputs = [codec.names(map(int, answer.said)) for answer in answers]
    wanted = [codec.names(map(int, task.examples.target[row])) for row in range(len(task.rows))]
    said, truth = ([label for row in rows for label in row] for rows in (outputs, wanted))
    found = _likelihood(scores) | {
        "accuracy": metrics.accuracy(said, truth),
        "macro_f1": metrics.macro_f1(said, truth),
    }
    if isinstance(codec, LabelsCodec):
        found["exact_match"] = float(np.mean([row.all() for row in scores.correct]))
        if codec.bio:
            found["span_f1"] = metrics.span_f1(outputs, wanted)
    return Measured(found, {}, outputs, [[row] for row in wanted], scores)


def _measure_numbers(task: Task, codec: ScaledCodec, scores: RowScores, answers: Sequence[Answer]) -> Measured:
    """Of numbers the errors, in their own unit; of bits the negative log-likelihood a frame."""
    if isinstance(codec, NumbersCodec) and codec.bits:
        hits = np.concatenate(scores.correct)
        figures = {"loss": scores.mean, "nll_per_frame": scores.mean, "accuracy": float(hits.mean())}
        return Measured(figures, {}, [], [], scores)
    said = codec.restored(np.concatenate([answer.said for answer in answers]))
    truth = codec.restored(np.concatenate([task.examples.target[row] for row in range(len(task.rows))]))
    figures = {"loss": scores.mean, "mse": metrics.mse(said, truth), "mae": metrics.mae(said, truth)}
    return Measured(figures, {}, [], [], scores)


def baselines(
    config: Config, codecs: Codecs, train: Sequence[Row], valid: Sequence[Row]
) -> dict[str, dict[str, float]]:
    """What no effort scores on validation rows, by its name: the most frequent training target, and the input itself.

    Of texts and labels; of numbers and of the next symbol there is none.
    """
    codec = codecs.target
    if isinstance(codec, TextCodec):
        groups = group_references(config, codecs, valid)
        references = [[valid[row].target for row in group] for group in groups]
        frequent = Counter(row.target for row in train).most_common(1)[0][0]
        said = {f"always {frequent!r}": [frequent] * len(groups)}
        if isinstance(codecs.sources[0], TextCodec):
            said = {"copy the input": [turns_of(valid[group[0]].sources[0])[-1] for group in groups]} | said
        return {name: output_metrics(codec, [*map(codec.split, texts)], references) for name, texts in said.items()}
    if isinstance(codec, LabelCodec):
        frequent = Counter(label for row in train for label in _labels(codec, row)).most_common(1)[0][0]
        truth = [label for row in valid for label in _labels(codec, row)]
        always = [frequent] * len(truth)
        figures = {"accuracy": metrics.accuracy(always, truth), "macro_f1": metrics.macro_f1(always, truth)}
        return {f"always {frequent!r}": figures}
    return {}


def _labels(codec: LabelCodec, row: Row) -> Sequence[str]:
    return row.target if codec.steps else [row.target]


def constant_target(codecs: Codecs, train: Sequence[Row]) -> str | None:
    """What to say of targets that are all the same, if they are."""
    codec = codecs.target
    if not train or not codec.reads:
        return None
    first = codec.key_of(train[0].target)
    if len(train) < 2 or any(codec.key_of(row.target) != first for row in train):
        return None
    return f"every target is {shown(codec.shown(train[0].target))}: there is nothing to learn; is it the right column?"


def confusion(task: Task) -> dict[str, dict[str, int]]:
    """For every label that was wanted, how often each label was said."""
    codec, model = task.codecs.target, task.model
    assert isinstance(codec, LabelCodec)
    assert isinstance(model, Reader)
    answers = read_sources(model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    said = [label for answer in answers for label in codec.names(map(int, answer.said))]
    truth = [label for row in range(len(task.rows)) for label in codec.names(map(int, task.examples.target[row]))]
    return metrics.confusion(said, truth)


CORPUS = ("bleu", "chrf", "ter")
HIGHER_IS_BETTER = {"exact_match", "bleu", "chrf", "accuracy", "macro_f1", "span_f1"}
PERFECT = dict.fromkeys(("exact_match", "accuracy", "macro_f1", "span_f1"), 1.0)
PERFECT |= {"token_error_rate": 0.0, "token_error_rate_teacher": 0.0, "ter": 0.0}


def metrics_of(target: Codec) -> set[str]:
    """The metrics that can choose the best model for a kind of target."""
    if isinstance(target, TextCodec):
        fed = {"token_error_rate_teacher"} if target.form == "any" else set[str]()
        return {"loss", "perplexity", "token_error_rate", "exact_match", *fed, *CORPUS}
    if isinstance(target, LabelCodec):
        return {"loss", "perplexity", "accuracy", "macro_f1"} | ({"exact_match", "span_f1"} if target.steps else set())
    if isinstance(target, NextCodec):
        return {"loss", "perplexity", "accuracy"}
    return {"loss"} if target.steps else {"loss", "mse", "mae"}
