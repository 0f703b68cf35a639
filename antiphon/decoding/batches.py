"""Rows in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from antiphon.data.batches import Examples, Ints, Sequences

ROWS, TOKENS = 256, 16_384  # the most rows and padded source steps of a decoding batch
FEW = 16  # rows that are not worth a second thread


def batches_by_length(lengths: Ints, width: int = 1, tokens: int = TOKENS, parts: int = 1) -> Iterator[Ints]:
    """Row numbers in batches of similar length, the longest first; `width` is the beam's.

    With more than a few rows there are at least as many batches as `parts`.
    """
    order = np.argsort(-lengths, kind="stable")
    most = min(ROWS, max(FEW, width * -(-len(order) // parts)))  # decoder rows
    start = 0
    while start < len(order):
        rows = max(1, min(most, tokens // max(1, int(lengths[order[start]]))) // width)
        yield order[start : start + rows]
        start += rows


def total_lengths(sources: Sequence[Sequences]) -> Ints:
    """Steps of all sources of every row together."""
    return Examples(tuple(sources), sources[0]).source_lengths
