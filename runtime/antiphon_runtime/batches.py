"""Inputs in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Array = NDArray[Any]
ROWS, TOKENS = 256, 16_384  # rows and padded source steps of a batch, at most
FEW = 16  # rows that are too few for a second thread


def batches_by_length(sources: Sequence[Sequence[Array]], width: int = 1, parts: int = 1) -> Iterator[Array]:
    """Rows of similar length, the longest first; unless the rows are few, at least `parts` batches."""
    if not sources:
        return
    lengths = [sum(map(len, arrays)) for arrays in zip(*sources, strict=True)]
    order = np.asarray(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
    most = min(ROWS, max(FEW, width * -(-len(order) // parts)))  # prefixes
    start = 0
    while start < len(order):
        rows = max(1, min(most, TOKENS // max(1, lengths[order[start]])) // width)
        yield order[start : start + rows]
        start += rows


def each_row(work: Callable[[Array], list[T]], sources: Sequence[Sequence[Array]], width: int, threads: int) -> list[T]:
    """What `work` makes of the rows of each batch, in the order of the rows; `threads` batches at once."""
    batches = list(batches_by_length(sources, width, threads)) if sources else []
    if threads == 1 or len(batches) <= 1:
        made = list(map(work, batches))
    else:
        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(work, batches))
    values = {
        int(row): value
        for rows, batch in zip(batches, made, strict=True)
        for row, value in zip(rows, batch, strict=True)
    }
    return [values[row] for row in sorted(values)]


def padded_rows(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Arrays [steps, ...] as one [rows, longest, ...] filled with zeros, and their lengths."""
    lengths = np.asarray([len(array) for array in arrays], np.int64)
    out = np.zeros((len(arrays), int(lengths.max()), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out, lengths
