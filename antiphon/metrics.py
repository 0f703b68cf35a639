"""Metrics as pure functions of outputs and references. JSON keeps fractions, except BLEU, chrF and TER (0-100)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

Symbols = Sequence[str]
Tokens = Sequence[Hashable]
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class EditCount:
    """Edits to the nearest reference, and that reference's length, summed over rows."""

    edits: int
    length: int

    @property
    def rate(self) -> float:
        return self.edits / self.length if self.length else float(self.edits > 0)


def token_edits(outputs: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> EditCount:
    """Insertions, deletions and substitutions; with several references the one with the lowest rate counts."""
    edits = length = 0
    for output, choices in zip(outputs, references, strict=True):
        counts = [(Levenshtein.distance(output, choice), len(choice)) for choice in choices]
        best = min(counts, key=lambda item: (item[0] / max(item[1], 1), item[0]))
        edits += best[0]
        length += best[1]
    return EditCount(edits, length)


def exact_match(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of outputs that equal one of their references."""
    hits = sum(output in choices for output, choices in zip(outputs, references, strict=True))
    return hits / len(outputs) if outputs else 0.0


def corpus_scores(
    outputs: Sequence[str], references: Sequence[Sequence[str]], bleu_tokenize: str
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU, chrF and TER by sacreBLEU (0-100), and their signatures. Rows may differ in their number of references.

    Where neither outputs nor references have four tokens there is no BLEU: it is left out.
    """
    most = max(map(len, references), default=0)
    streams = [[choices[i] if i < len(choices) else None for choices in references] for i in range(most)]
    scorers = {"bleu": BLEU(tokenize=bleu_tokenize, force=True), "chrf": CHRF(), "ter": TER()}
    scores, signatures = {}, {}
    for name, scorer in scorers.items():
        measured = scorer.corpus_score(list(outputs), streams)  # type: ignore[arg-type]
        if name == "bleu" and not measured.totals[-1]:
            perfect = scorer.corpus_score([choices[0] for choices in references], streams)  # type: ignore[arg-type]
            if not perfect.totals[-1]:
                continue
        scores[name], signatures[name] = float(measured.score), str(scorer.get_signature())
    return scores, signatures


def sentence_scores(
    metric: str, outputs: Sequence[str], references: Sequence[Sequence[str]], bleu_tokenize: str
) -> list[float]:
    """BLEU (for short outputs of the n-grams that exist), chrF or TER of each output alone, by sacreBLEU (0-100)."""
    scorer = (
        BLEU(tokenize=bleu_tokenize, effective_order=True) if metric == "bleu" else {"chrf": CHRF, "ter": TER}[metric]()
    )
    pairs = zip(outputs, references, strict=True)
    return [float(scorer.sentence_score(output, list(choices)).score) for output, choices in pairs]


def sentence_chrf(output: str, reference: str) -> float:
    """chrF of one output by sacreBLEU (0-100)."""
    return float(CHRF().sentence_score(output, [reference]).score)


def accuracy(predictions: Sequence[str], references: Sequence[str]) -> float:
    """The share of labels that are right."""
    return sum(a == b for a, b in zip(predictions, references, strict=True)) / len(references) if references else 0.0


def macro_f1(predictions: Sequence[str], references: Sequence[str]) -> float:
    """The mean of F1 = 2 hits / (predicted + expected) over all labels of predictions and references."""
    predicted, expected = Counter(predictions), Counter(references)
    hits = Counter(a for a, b in zip(predictions, references, strict=True) if a == b)
    labels = predicted.keys() | expected.keys()
    return sum(2 * hits[label] / (predicted[label] + expected[label]) for label in sorted(labels)) / max(len(labels), 1)


def spans(labels: Symbols) -> set[tuple[int, int, str]]:
    """The spans (first step, step behind the last, type) that a row's labels O, B-TYPE and I-TYPE mark.

    As conlleval reads them (Tjong Kim Sang & De Meulder 2003): an I- continues a span of its type, else it begins a
    span.
    """
    marked: set[tuple[int, int, str]] = set()
    start, current = 0, None
    for place, label in enumerate([*labels, "O"]):
        prefix, _, kind = label.partition("-")
        if current is not None and (prefix != "I" or kind != current):
            marked.add((start, place, current))
            current = None
        if current is None and prefix != "O":
            start, current = place, kind
    return marked


def span_f1(predictions: Sequence[Symbols], references: Sequence[Symbols]) -> float:
    """F1 = 2 hits / (predicted + expected) over the spans of all rows; a hit is equal in first step, last and type."""
    counts = [span_counts(a, b) for a, b in zip(predictions, references, strict=True)]
    return sum(hits for hits, _ in counts) / max(sum(both for _, both in counts), 1)


def span_counts(prediction: Symbols, reference: Symbols) -> tuple[int, int]:
    """Twice the hits of a row, and the number of its predicted and expected spans together."""
    predicted, expected = spans(prediction), spans(reference)
    return 2 * len(predicted & expected), len(predicted) + len(expected)


def confusion(predictions: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, int]]:
    """For every reference label, how often each label was predicted for it."""
    pairs = Counter(zip(references, predictions, strict=True))
    rows, columns = sorted(set(references)), sorted(set(predictions) | set(references))
    return {row: {column: pairs[row, column] for column in columns} for row in rows}


def mse(predictions: Numbers, references: Numbers) -> float:
    """The mean squared error, over all numbers."""
    return float(np.mean((predictions.astype(np.float64) - references) ** 2))


def mae(predictions: Numbers, references: Numbers) -> float:
    """The mean absolute error, over all numbers."""
    return float(np.mean(np.abs(predictions.astype(np.float64) - references)))


def distinct(outputs: Sequence[Symbols], size: int) -> float | None:
    """Distinct n-grams of `size` over all n-grams of the outputs (Li et al. 2016, arXiv 1510.03055); None: no output
    has one."""
    grams = [tuple(output[i : i + size]) for output in outputs for i in range(len(output) - size + 1)]
    return len(set(grams)) / len(grams) if grams else None


def commonest(outputs: Sequence[Symbols]) -> float:
    """The share of rows that have the most frequent output."""
    return max(Counter(map(tuple, outputs)).values(), default=0) / max(len(outputs), 1)


def length_ratio(outputs: Sequence[Symbols], references: Sequence[Sequence[Symbols]]) -> float:
    """The outputs' symbols over those of their first references."""
    return sum(map(len, outputs)) / max(sum(len(choices[0]) for choices in references), 1)
