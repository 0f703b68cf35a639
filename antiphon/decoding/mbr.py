"""Minimum Bayes risk: from outputs that were drawn, the one that is nearest to the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from antiphon import metrics
from antiphon.common.options import Mbr
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.hypothesis import Hypothesis

Tokens: TypeAlias = tuple[int, ...]
Utility: TypeAlias = Callable[[Tokens, Tokens], float]


def utility_of(mbr: Mbr, codec: TextCodec) -> Utility:
    """How much an output is worth if another is right."""
    if mbr.metric == "chrf":
        return lambda output, other: metrics.sentence_chrf(codec.decode(output), codec.decode(other))
    return lambda output, other: -metrics.token_edits([output], [[other]]).rate


def least_risk(drawn: Sequence[Hypothesis], utility: Utility) -> list[Hypothesis]:
    """The distinct outputs drawn, by the mean utility of each if any of those drawn is right, which is its rank score:
    an estimate of minimum Bayes risk (Eikema & Aziz 2020, arXiv 2005.10283)."""
    counts = Counter(hypothesis.tokens for hypothesis in drawn)
    scores = {hypothesis.tokens: hypothesis.score for hypothesis in drawn}
    worth = {
        tokens: sum(count * utility(tokens, other) for other, count in counts.items()) / len(drawn) for tokens in counts
    }
    ranked = sorted(counts, key=lambda tokens: (-worth[tokens], -scores[tokens], tokens))
    return [Hypothesis(tokens, scores[tokens], worth[tokens]) for tokens in ranked]
