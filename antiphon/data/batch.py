"""Encoded rows to padded batches, and the order in which training visits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.symbols import BOS, PAD, UNK

Ints = NDArray[np.int64]


class Sequences:
    """Many sequences of ids in one flat array: 4 bytes an id and 8 a sequence, however many there are."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        flat: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for sequence in sequences:
            flat.append(np.asarray(sequence, dtype=np.int32))
            lengths.append(len(sequence))
        self.ids = np.concatenate(flat) if flat else np.zeros(0, np.int32)
        self.ends: Ints = np.cumsum(np.asarray(lengths, dtype=np.int64), dtype=np.int64)
        self.lengths: Ints = np.asarray(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.ids[self.ends[row] - self.lengths[row] : self.ends[row]]

    def padded(self, rows: Sequence[int] | Ints) -> Ints:
        """The rows as [len(rows), longest], filled with PAD."""
        lengths = self.lengths[rows]
        out = np.full((len(rows), int(lengths.max(initial=0))), PAD, dtype=np.int64)
        mask = np.arange(out.shape[1]) < lengths[:, None]
        if len(rows):
            out[mask] = np.concatenate([self[int(row)] for row in rows])
        return out


@dataclass(frozen=True)
class Examples:
    """Encoded rows: sources and targets, each with its end symbol."""

    source: Sequences
    target: Sequences

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Batch:
    """Padded rows as tensors.

    source [B, S], source_lengths [B]; target_in [B, T] starts with BOS, target_out [B, T] ends with
    EOS; `positions` are the flat indices of the N target tokens that are not padding, made here so
    that no step of training has to ask the device.
    """

    source: Tensor
    source_lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    positions: Tensor

    def part(self, number: int, parts: int) -> Batch:
        """Every `parts`-th row from `number` on, as wide as the whole."""
        if parts == 1:
            return self
        source, lengths, target_in, target_out = (
            value[number::parts] for value in (self.source, self.source_lengths, self.target_in, self.target_out)
        )
        return Batch(source, lengths, target_in, target_out, (target_out != PAD).flatten().nonzero().flatten())

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        return Batch(*(value.to(device, non_blocking=True) for value in vars(self).values()))


def collate(examples: Examples, rows: Sequence[int] | Ints) -> Batch:
    """The given rows of `examples` as a padded batch."""
    source = examples.source.padded(rows)
    target = examples.target.padded(rows)
    first = np.full((len(rows), 1), BOS, dtype=np.int64)
    return Batch(
        source=torch.from_numpy(source),
        source_lengths=torch.from_numpy(examples.source.lengths[rows]),
        target_in=torch.from_numpy(np.concatenate([first, target[:, :-1]], axis=1)),
        target_out=torch.from_numpy(target),
        positions=torch.from_numpy(np.flatnonzero(target != PAD)),
    )


def replace_unknown(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """The batch with a share of its source symbols replaced by UNK, so that UNK is trained for.

    The end symbol, the last of every source, stays.
    """
    if share <= 0:
        return batch
    place = torch.arange(batch.source.shape[1])
    chosen = torch.rand(batch.source.shape, generator=generator) < share
    chosen &= place < (batch.source_lengths - 1)[:, None]
    return Batch(batch.source.masked_fill(chosen, UNK), *list(vars(batch).values())[1:])


def epoch_batches(examples: Examples, batch_size: int, batch_tokens: int | None, seed: int, epoch: int) -> list[Ints]:
    """Row numbers of every batch of an epoch: a pure function of its arguments.

    Rows are shuffled, sorted by length within pools of 100 batches, cut, and the batches shuffled.
    With `batch_tokens` a batch has as many rows as fit, counting padded source and target tokens.
    """
    order = np.random.default_rng([seed, epoch])
    rows = order.permutation(len(examples))
    mean = float(np.mean(examples.source.lengths + examples.target.lengths)) if len(examples) else 1.0
    pool = 100 * (batch_size if batch_tokens is None else max(1, int(batch_tokens / mean)))
    batches: list[Ints] = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        part = part[np.lexsort((examples.source.lengths[part], examples.target.lengths[part]))]
        batches.extend(_cut(part, examples, batch_size, batch_tokens))
    return [batches[i] for i in order.permutation(len(batches))]


def _cut(rows: Ints, examples: Examples, batch_size: int, batch_tokens: int | None) -> Iterator[Ints]:
    if batch_tokens is None:
        yield from (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
        return
    start = 0
    longest_source = longest_target = 0
    for end in range(len(rows)):
        source = max(longest_source, int(examples.source.lengths[rows[end]]))
        target = max(longest_target, int(examples.target.lengths[rows[end]]))
        if end > start and (source + target) * (end - start + 1) > batch_tokens:
            yield rows[start:end]
            start = end
            source, target = int(examples.source.lengths[rows[end]]), int(examples.target.lengths[rows[end]])
        longest_source, longest_target = source, target
    if start < len(rows):
        yield rows[start:]
