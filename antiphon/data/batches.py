"""Encoded rows to padded batches, and the order in which training visits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.common.symbols import PAD, SPECIALS, UNK

Ints = NDArray[np.int64]


class Sequences:
    """Many arrays [steps, ...] in one flat array: for ids 4 bytes per step and 8 bytes per sequence."""

    def __init__(self, sequences: Iterable[Sequence[int] | NDArray[Any]]) -> None:
        flat = [s if isinstance(s, np.ndarray) else np.asarray(s, dtype=np.int32) for s in sequences]
        self.values = np.concatenate(flat) if flat else np.zeros(0, np.int32)
        self.lengths: Ints = np.fromiter(map(len, flat), dtype=np.int64, count=len(flat))
        self.ends: Ints = np.cumsum(self.lengths, dtype=np.int64)

    @classmethod
    def joined(cls, parts: Sequence[Sequences]) -> Sequences:
        """All sequences of the parts, in order."""
        made = cls([])
        if parts:
            made.values = np.concatenate([part.values for part in parts])
            made.lengths = np.concatenate([part.lengths for part in parts])
            made.ends = np.cumsum(made.lengths, dtype=np.int64)
        return made

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.ends[row] - self.lengths[row] : self.ends[row]]

    def take(self, rows: Sequence[int] | Ints) -> Sequences:
        """Only these rows, in their order."""
        return Sequences([self[int(row)] for row in rows])

    def padded(self, rows: Sequence[int] | Ints) -> NDArray[Any]:
        """The rows as [len(rows), longest, ...], filled with zeros, which PAD is for ids."""
        lengths = self.lengths[rows]
        dtype = np.dtype(np.int64) if self.values.dtype.kind == "i" else self.values.dtype
        out = np.full((len(rows), int(lengths.max(initial=0)), *self.values.shape[1:]), PAD, dtype=dtype)
        mask = np.arange(out.shape[1]) < lengths[:, None]
        if len(rows):
            out[mask] = np.concatenate([self[int(row)] for row in rows])
        return out


class EncodedInput(NamedTuple):
    """An input as the model reads it: each source's value and array, the prefix of its outputs as ids, and how many
    of its symbols are not in the vocabulary."""

    values: Sequence[Any]
    arrays: list[Any]
    prefix: Sequence[int] = ()
    unknown: int = 0

    @property
    def sources(self) -> list[Sequences]:
        """The arrays as sequences of one row."""
        return [Sequences([array]) for array in self.arrays]


class Guide(NamedTuple):
    """What teachers predict at every step of every target: their most probable symbols and how probable these are.

    Of all rows they are `Sequences` of [steps, symbols], of a batch tensors [B, T, symbols], of N steps [N, symbols].
    """

    ids: Any
    probabilities: Any


@dataclass(frozen=True)
class Examples:
    """Encoded rows: one `Sequences` a source, the targets, and what teachers predict in their place, if there are any.

    With `lanes` they are pieces of one long text that is read in this many places at once: the first `lanes` rows, then
    the next `lanes` rows, and so on.
    """

    sources: tuple[Sequences, ...]
    target: Sequences
    lanes: int | None = None
    guide: Guide | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def source_lengths(self) -> Ints:
        """Steps of all sources of every row together."""
        total: Ints = np.sum([source.lengths for source in self.sources], axis=0, dtype=np.int64)
        return total


def only(examples: Examples, rows: Sequence[int]) -> Examples:
    """These of the examples, without a guide."""
    return Examples(tuple(source.take(rows) for source in examples.sources), examples.target.take(rows))


def in_lanes(examples: Examples, begin: int, lanes: int, steps: int) -> Examples:
    """Long texts as one, divided into `lanes` of equal length and cut into pieces of `steps` symbols, for truncated
    back-propagation through time. A piece's source is the symbol before each of its symbols; `begin` is the very first.

    The rest at the end, fewer symbols than lanes, is left out.
    """
    ids = examples.target.values
    length = len(ids) // lanes
    before = np.concatenate([np.asarray([begin], ids.dtype), ids[:-1]])
    sources, targets = (side[: lanes * length].reshape(lanes, length) for side in (before, ids))
    places = [(lane, start) for start in range(0, length, steps) for lane in range(lanes)]
    cut = (Sequences(side[lane, start : start + steps] for lane, start in places) for side in (sources, targets))
    return Examples((next(cut),), next(cut), lanes)


def cut_long(examples: Examples, least: int, most: int) -> Examples:
    """Long texts cut into at most `most` rows each, of at least `least` symbols, so that they are read side by side."""
    rows = [
        piece
        for row in range(len(examples))
        for piece in np.array_split(examples.target[row], max(1, min(most, len(examples.target[row]) // least)))
    ]
    cut = Sequences(rows)
    return Examples((cut,), cut)


class Padded(NamedTuple):
    """Rows as a tensor [B, steps, ...] padded with zeros, and their lengths [B]."""

    values: Tensor
    lengths: Tensor

    @property
    def positions(self) -> Tensor:
        """The flat indices of the steps that are not padding, row by row; waits for the device of the lengths."""
        inside = torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths[:, None]
        return inside.flatten().nonzero().flatten()

    def to(self, device: torch.device) -> Padded:
        return self if device.type == "cpu" else Padded(*(value.to(device, non_blocking=True) for value in self))


@dataclass(frozen=True)
class Batch:
    """Padded rows as tensors.

    A text target ends with EOS. `positions` are the flat indices of the N target steps that are not padding,
    computed here so that no training step has to wait for the device.
    """

    sources: tuple[Padded, ...]
    target: Padded
    positions: Tensor
    guide: Guide | None = None

    def part(self, number: int, parts: int) -> Batch:
        """Every `parts`-th row from `number` on, as wide as the whole."""
        if parts == 1:
            return self
        *sources, target = (
            Padded(values[number::parts], lengths[number::parts]) for values, lengths in (*self.sources, self.target)
        )
        guide = None if self.guide is None else Guide(*(values[number::parts] for values in self.guide))
        return Batch(tuple(sources), target, target.positions, guide)

    def twice(self) -> Batch:
        """All rows, and then all rows again."""
        *sources, target = (
            Padded(torch.cat([values, values]), torch.cat([lengths, lengths]))
            for values, lengths in (*self.sources, self.target)
        )
        guide = None if self.guide is None else Guide(*(torch.cat([values, values]) for values in self.guide))
        places = self.target.values.shape[0] * self.target.values.shape[1]
        positions = torch.cat([self.positions, self.positions + places])
        return Batch(tuple(sources), target, positions, guide)

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        *sources, target = (side.to(device) for side in (*self.sources, self.target))
        guide = None if self.guide is None else Guide(*(values.to(device, non_blocking=True) for values in self.guide))
        return Batch(tuple(sources), target, self.positions.to(device, non_blocking=True), guide)


def pad(sequences: Sequences, rows: Sequence[int] | Ints) -> Padded:
    """These rows as tensors."""
    return Padded(torch.from_numpy(sequences.padded(rows)), torch.from_numpy(sequences.lengths[rows]))


def collate(examples: Examples, rows: Sequence[int] | Ints) -> Batch:
    """These rows of `examples` as a padded batch."""
    target = pad(examples.target, rows)
    guide = None if examples.guide is None else Guide(*(pad(part, rows).values for part in examples.guide))
    return Batch(tuple(pad(source, rows) for source in examples.sources), target, target.positions, guide)


def replace_unknown(
    batch: Batch,
    share: float,
    generator: torch.Generator,
    symbols: int | None = None,
    copied: Sequence[bool] = (True,),
) -> Batch:
    """The batch with a share of its source symbols replaced by UNK, so that UNK is trained for.

    Special symbols stay, and sources without symbols stay as they are. The characters of a spelled word stay; only its
    first id, that of the word, is replaced.
    For a model that copies, `symbols` is the size of the target's vocabulary, and `copied` says which sources have copy
    ids: a hidden symbol of these is then hidden everywhere in its source, and in the target it gets the id that only
    copying can produce (see `antiphon/data/copying.py`).
    """
    if share <= 0:
        return batch
    sources, target = [], batch.target
    read = torch.zeros_like(target.lengths)  # symbols of the copied sources before
    for number, (values, lengths) in enumerate(batch.sources):
        if values.dtype == torch.int64:
            known = values >= SPECIALS
            if values.dim() == 3:
                known[..., 1:] = False
            chosen = torch.rand(values.shape[:2], generator=generator) < share
            hidden = known & chosen.view(*chosen.shape, *[1] * (values.dim() - 2))
            values = values.masked_fill(hidden, UNK)
            if symbols is not None and copied[number]:
                values, target_ids = _hide_copied(values, hidden[..., 0], target.values, symbols + read)
                target = Padded(target_ids, target.lengths)
                read = read + lengths
        sources.append(Padded(values, lengths))
    return replace(batch, sources=tuple(sources), target=target)


def _hide_copied(values: Tensor, hidden: Tensor, target: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """A source [B, S, ...] and its target [B, T] as if the symbols at hidden places [B, S] of the source were not in
    the target's vocabulary: each is unknown everywhere in it, and its copy id is `before` [B] plus its first place."""
    copy_ids, places = values[..., -1], torch.arange(values.shape[1])
    same = copy_ids[:, :, None] == copy_ids[:, None]  # [B, S, S]
    beyond = before[:, None] + torch.where(same, places, values.shape[1]).amin(2)
    hidden = (same & hidden[:, None]).any(2)
    matches = (target[:, :, None] == copy_ids[:, None]) & hidden[:, None]  # [B, T, S]
    target = torch.where(matches.any(2), torch.where(matches, beyond[:, None], 0).amax(2), target)
    values = values.clone()
    values[..., 0].masked_fill_(hidden, UNK)
    values[..., -1] = torch.where(hidden, beyond, copy_ids)
    return values, target


def epoch_batches(examples: Examples, batch_size: int, batch_tokens: int | None, seed: int, epoch: int) -> list[Ints]:
    """Row numbers of every batch of an epoch: a pure function of its arguments.

    Pieces of a long text are visited in their order. Other rows are shuffled, sorted by length within pools of 100
    batches (by the target's, then by the source's, up and down in turn, so that neighbours are alike), cut, and the
    batches shuffled.
    With `batch_tokens` a batch has as many rows as fit, counting padded source and target tokens.
    """
    if examples.lanes is not None:
        return [np.arange(first, first + examples.lanes) for first in range(0, len(examples), examples.lanes)]
    order = np.random.default_rng([seed, epoch])
    rows = order.permutation(len(examples))
    sources, targets = examples.source_lengths, examples.target.lengths
    mean = float(np.mean(sources + targets)) if len(examples) else 1.0
    pool = 100 * (batch_size if batch_tokens is None else max(1, int(batch_tokens / mean)))
    batches: list[Ints] = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        turned = np.where(targets[part] % 2, -sources[part], sources[part])
        part = part[np.lexsort((turned, targets[part]))]
        batches.extend(_cut(part, sources, targets, batch_size, batch_tokens))
    return [batches[i] for i in order.permutation(len(batches))]


def _cut(rows: Ints, sources: Ints, targets: Ints, batch_size: int, batch_tokens: int | None) -> Iterator[Ints]:
    if batch_tokens is None:
        yield from (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
        return
    start = 0
    longest_source = longest_target = 0
    for end in range(len(rows)):
        source = max(longest_source, int(sources[rows[end]]))
        target = max(longest_target, int(targets[rows[end]]))
        if end > start and (source + target) * (end - start + 1) > batch_tokens:
            yield rows[start:end]
            start = end
            source, target = int(sources[rows[end]]), int(targets[rows[end]])
        longest_source, longest_target = source, target
    if start < len(rows):
        yield rows[start:]
