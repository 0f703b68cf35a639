"""Encoded rows to padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.common.symbols import SPECIALS, UNK
from antiphon.data.encoded import (
    EncodedInput,
    Examples,
    Guide,
    Ints,
    Sequences,
    cut_long,
    epoch_batches,
    in_lanes,
    only,
)

__all__ = [
    "Batch",
    "EncodedInput",
    "Examples",
    "Guide",
    "Ints",
    "Padded",
    "Sequences",
    "collate",
    "cut_long",
    "epoch_batches",
    "in_lanes",
    "only",
    "pad",
    "replace_unknown",
]


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
