"""Metrics against plain definitions written here, and against sacreBLEU called directly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from antiphon import metrics
from antiphon.metrics import EditCount, corpus_scores, distinct, exact_match, token_edits

symbols = st.lists(st.sampled_from(["a", "b", "cc", "AH0"]), max_size=8)
OUTPUTS = ["the cat sat on the mat .", "a dog runs , fast", "it is raining today", "hello there"]
REFERENCES = [
    ["the cat sat on a mat .", "a cat was sitting on the mat ."],
    ["a dog is running fast"],
    ["today it rains", "it is raining today", "rain today"],
    ["hello", "hi there"],
]


def plain_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Levenshtein's distance, by the textbook's table."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@given(st.lists(st.tuples(symbols, symbols), max_size=6))
def test_edits_are_levenshteins(pairs: list[tuple[list[str], list[str]]]) -> None:
    counted = token_edits([output for output, _ in pairs], [[reference] for _, reference in pairs])
    assert counted.edits == sum(plain_distance(output, reference) for output, reference in pairs)
    assert counted.length == sum(len(reference) for _, reference in pairs)


@given(symbols, st.lists(symbols, min_size=1, max_size=4))
def test_the_nearest_reference_counts(output: list[str], choices: list[list[str]]) -> None:
    counted = token_edits([output], [choices])
    rates = [plain_distance(output, choice) / max(len(choice), 1) for choice in choices]
    assert counted.edits / max(counted.length, 1) == min(rates)
    assert (counted.edits, counted.length) in [(plain_distance(output, choice), len(choice)) for choice in choices]


@given(symbols, st.lists(symbols, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_references_does_not_matter(output: list[str], choices: list[list[str]], chance: object) -> None:
    mixed = list(choices)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert token_edits([output], [choices]).rate == token_edits([output], [mixed]).rate


@given(symbols, st.lists(symbols, max_size=3))
def test_an_output_among_its_references_has_no_edits(output: list[str], others: list[list[str]]) -> None:
    assert token_edits([output], [[*others, output]]).edits == 0


def test_symbols_are_compared_whole() -> None:
    assert token_edits([["AH0", "K"]], [[["AH1", "K"]]]).edits == 1
    assert token_edits([["AH", "0"]], [[["AH0"]]]).edits == 2


def test_a_rate_is_over_all_rows_not_a_mean_of_rates() -> None:
    assert token_edits([["a"], list("bbbb")], [[["x"]], [list("bbbb")]]).rate == 1 / 5


def test_a_rate_without_reference_symbols_is_one_if_anything_was_written() -> None:
    assert EditCount(0, 0).rate == 0.0
    assert EditCount(3, 0).rate == 1.0


def test_a_row_without_its_references_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        token_edits([["a"], ["b"]], [[["a"]]])


@given(st.lists(st.tuples(st.text("ab", max_size=2), st.lists(st.text("ab", max_size=2), min_size=1)), max_size=6))
def test_exact_match_is_the_share_of_right_rows(rows: list[tuple[str, list[str]]]) -> None:
    share = exact_match([output for output, _ in rows], [choices for _, choices in rows])
    right = [output for output, choices in rows if output in choices]
    assert share == (len(right) / len(rows) if rows else 0.0)


# --- sacreBLEU ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenize", ["none", "13a", "char", "intl"])
def test_corpus_scores_are_sacrebleus_own(tokenize: str) -> None:
    single = [choices[:1] for choices in REFERENCES]
    stream = [[choices[0] for choices in REFERENCES]]
    scores, signatures = corpus_scores(OUTPUTS, single, tokenize)
    assert scores["bleu"] == sacrebleu.corpus_bleu(OUTPUTS, stream, tokenize=tokenize).score
    assert scores["chrf"] == sacrebleu.corpus_chrf(OUTPUTS, stream).score
    assert scores["ter"] == sacrebleu.corpus_ter(OUTPUTS, stream).score
    assert f"tok:{tokenize}|" in signatures["bleu"]
    assert all(f"version:{sacrebleu.__version__}" in signature for signature in signatures.values())


def test_rows_may_differ_in_their_number_of_references() -> None:
    streams = [[choices[i] if i < len(choices) else None for choices in REFERENCES] for i in range(3)]
    scores, signatures = corpus_scores(OUTPUTS, REFERENCES, "13a")
    assert scores["bleu"] == sacrebleu.corpus_bleu(OUTPUTS, streams).score  # type: ignore[arg-type]
    assert scores["chrf"] == sacrebleu.corpus_chrf(OUTPUTS, streams).score  # type: ignore[arg-type]
    assert scores["ter"] == sacrebleu.corpus_ter(OUTPUTS, streams).score  # type: ignore[arg-type]
    assert "nrefs:var" in signatures["bleu"]


def test_every_reference_is_used() -> None:
    first = [choices[:1] for choices in REFERENCES]
    assert corpus_scores(OUTPUTS, REFERENCES, "13a")[0]["bleu"] > corpus_scores(OUTPUTS, first, "13a")[0]["bleu"]


def test_perfect_outputs_score_perfectly() -> None:
    scores, _ = corpus_scores(OUTPUTS[:2], [[text] for text in OUTPUTS[:2]], "13a")
    assert scores == pytest.approx({"bleu": 100.0, "chrf": 100.0, "ter": 0.0})


def test_outputs_of_nothing_are_scored() -> None:
    scores, _ = corpus_scores(["", ""], [["a b c d"], ["e f g h"]], "13a")
    assert scores == {"bleu": 0.0, "chrf": 0.0, "ter": 100.0}


def test_there_is_no_bleu_of_texts_without_four_tokens() -> None:
    scores, signatures = corpus_scores(["a b c", "d"], [["a b c"], ["d"]], "13a")
    assert scores == {"chrf": 100.0, "ter": 0.0}
    assert scores.keys() == signatures.keys()
    assert corpus_scores(["a b c", "d"], [["a b c"], ["d e f g"]], "13a")[0]["bleu"] == 0.0


# --- distinct -----------------------------------------------------------------------------------------


@given(st.lists(symbols, max_size=5), st.integers(1, 3))
def test_distinct_is_the_share_of_different_n_grams(outputs: list[list[str]], size: int) -> None:
    grams = [tuple(o[i + k] for k in range(size)) for o in outputs for i in range(len(o)) if i + size <= len(o)]
    different: list[tuple[str, ...]] = []
    for gram in grams:
        if gram not in different:
            different.append(gram)
    assert distinct(outputs, size) == (len(different) / len(grams) if grams else None)


def test_n_grams_do_not_cross_rows() -> None:
    assert distinct([["a"], ["b"]], 2) is None
    assert distinct([["a", "b"], ["a", "b"]], 2) == 0.5


labels = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abc")), min_size=1, max_size=30)


@given(labels)
def test_label_metrics_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    predicted, truth = [a for a, _ in pairs], [b for _, b in pairs]
    assert metrics.accuracy(predicted, truth) == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert metrics.macro_f1(predicted, truth) == pytest.approx(
        sklearn.f1_score(truth, predicted, average="macro", zero_division=0.0)
    )
    names = [*"abcd"]
    table = metrics.confusion(predicted, truth)
    counts = [[table.get(row, {}).get(column, 0) for column in names] for row in names]
    assert counts == sklearn.confusion_matrix(truth, predicted, labels=names).tolist()


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=20))
def test_number_metrics_are_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    predicted, truth = (np.asarray(side) for side in zip(*pairs, strict=True))
    assert metrics.mse(predicted, truth) == pytest.approx(sklearn.mean_squared_error(truth, predicted))
    assert metrics.mae(predicted, truth) == pytest.approx(sklearn.mean_absolute_error(truth, predicted))


# --- spans --------------------------------------------------------------------------------------------


def plain_spans(labels: list[str]) -> list[tuple[int, int, str]]:
    """By conlleval's two questions, asked of every pair of neighbours: does a span end between them, does one begin?"""

    def begins(before: str, now: str) -> bool:
        return now != "O" and (now[0] == "B" or before == "O" or before[2:] != now[2:])

    def ends(now: str, after: str) -> bool:
        return now != "O" and (after == "O" or after[0] == "B" or after[2:] != now[2:])

    wide = ["O", *labels, "O"]
    firsts = [i for i in range(len(labels)) if begins(wide[i], wide[i + 1])]
    lasts = [i for i in range(len(labels)) if ends(wide[i + 1], wide[i + 2])]
    return [(a, b + 1, labels[a][2:]) for a, b in zip(firsts, lasts, strict=True)]


bio = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=8)


@given(bio)
def test_spans_are_conllevals(labels: list[str]) -> None:
    assert sorted(metrics.spans(labels)) == plain_spans(labels)


@given(st.lists(st.tuples(bio, bio), max_size=4))
def test_span_f1_is_the_harmonic_mean_of_precision_and_recall(pairs: list[tuple[list[str], list[str]]]) -> None:
    predicted, truth = (
        [(row, *span) for row, pair in enumerate(pairs) for span in plain_spans(pair[i])] for i in (0, 1)
    )
    hits = len(set(predicted) & set(truth))
    precision, recall = hits / max(len(predicted), 1), hits / max(len(truth), 1)
    expected = 2 * precision * recall / (precision + recall) if hits else 0.0
    assert metrics.span_f1([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "truth", "score"),
    [
        ("O B-X I-X O", "O B-X I-X O", 1.0),
        ("O B-X I-X O", "O B-X O O", 0.0),  # the last step differs
        ("B-X I-X I-X", "B-X I-X B-X", 0.0),
        ("B-X B-X", "B-X I-X", 0.0),
        ("B-Y I-Y", "B-X I-X", 0.0),  # the type differs
        ("I-X I-X O B-Y", "B-X I-X O I-Y", 1.0),  # an I- after O begins a span
        ("B-X I-Y", "B-X B-Y", 1.0),  # and one after another type
        ("B-X O B-Y", "B-X O O", 2 / 3),
        ("O O", "O O", 0.0),
        ("B-A-1 I-A-1 I-A-2", "B-A-1 I-A-1 B-A-2", 1.0),  # a type may hold hyphens
    ],
)
def test_span_f1_of_cases_by_hand(predicted: str, truth: str, score: float) -> None:
    assert metrics.span_f1([predicted.split()], [truth.split()]) == pytest.approx(score)


def test_spans_do_not_cross_rows() -> None:
    assert metrics.span_f1([["B-X"], ["I-X"]], [["B-X"], ["B-X"]]) == 1.0
