"""Rows in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from antiphon.data.batches import Examples, Ints, Sequences

ROWS, TOKENS = 256, 16_384  # the most rows and padded source steps of a decoding batch
FEW = 16  # rows that are not worth a second thread
T = TypeVar("T")
Compute = Callable[[Ints], Sequence[T]]  # from the rows of a batch to a result for each


class Sharing(NamedTuple):
    """How several processes divide batches: this is process `place` of `processes`; `gather` returns the lists of all
    of them, in order."""

    place: int = 0
    processes: int = 1
    gather: Callable[[list[Any]], list[list[Any]]] = lambda results: [results]


ALONE = Sharing()


def by_row(
    batches: Iterable[Ints],
    compute: Compute[T],
    sharing: Sharing = ALONE,
    run: Callable[[Compute[T], list[Ints]], Iterable[Sequence[T]]] = map,
) -> list[T]:
    """What `compute` returns for each row, in the order of the rows, of which each is in one of the `batches`.

    The batches are the same however many processes share them, and so is each result, bit for bit. `run` calls
    `compute` for this process's batches.
    """
    batches = list(batches)
    parts = sharing.gather(list(run(compute, batches[sharing.place :: sharing.processes])))
    results: dict[int, T] = {}
    for number, part in enumerate(parts):
        for rows, values in zip(batches[number :: sharing.processes], part, strict=True):
            results.update(zip(rows.tolist(), values, strict=True))
    return [results[row] for row in range(len(results))]


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
