"""What every way of decoding returns: a list of hypotheses for each source, the best first.

`score` is sum_t log p(y_t | y_<t, x) of the model itself in nats, the end symbol counted, whatever rules a search
keeps. `rank_score`, by which a beam is ordered, is score / |y|^length_penalty, |y| counting the end symbol (Wu et al.
2016, 1609.08144, has a related form), where what rules add to the score, and a coverage penalty, count too. An output
that reaches `max_length` must end there, so every score holds an end symbol.

A source for which the rules leave no output has no hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.common.symbols import EOS
from antiphon.errors import SilentError


@dataclass(frozen=True)
class Hypothesis:
    """An output: ids without the end symbol, its log-probability in nats, what it is ranked by."""

    tokens: tuple[int, ...]
    score: float
    rank_score: float


def content(row: Sequence[int]) -> tuple[int, ...]:
    """What stands before the end symbol."""
    return tuple(row[: row.index(EOS)])


def best_of(hypotheses: Sequence[Hypothesis], where: str) -> Hypothesis:
    """The best output; where there is none, an error that names the input."""
    if not hypotheses:
        raise no_output(where)
    return hypotheses[0]


def no_output(where: str) -> SilentError:
    """The error that a search has found nothing for the input of this name."""
    return SilentError(f"{where}: no output keeps all rules of decode; relax the rules, or widen the beam")
