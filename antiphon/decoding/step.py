"""What every search does at a step: what the model predicts, what may follow, and the most probable of it.

A step function maps (tokens [R], state) to the log-probabilities [R, symbols] of what comes next and
the state after. The state is any value with `expand`, `reorder` and `select` (see `State`).

A `Rule` limits what may follow a prefix, the same in every search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from antiphon.common.symbols import EOS, UNK
from antiphon.model.state import S, Step

StepFunction = Callable[[Tensor, S], Step[S]]


@dataclass(frozen=True)
class Limits:
    """Bounds of an output, in symbols without the end symbol, and whether it may hold UNK."""

    max_length: int
    min_length: int = 0
    unknown: bool = False


class Rule(Protocol):
    """What may follow a prefix: a function of the prefix alone, so that every search keeps it.

    Rows never depend on each other. See `antiphon/decoding/rules.py` for those that a user can choose.
    """

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor, /) -> Tensor:
        """ranked [R, symbols], by which the next symbols are chosen: log p, and what other rules made of it.

        Returns it with -inf for what may not follow the prefixes [R, length], or with something added. `sources` [R]
        are the places of the rows' sources in the batch.
        """


def allowed(
    log_probs: Tensor, prefixes: Tensor, sources: Tensor, width: int, limits: Limits, rules: Sequence[Rule]
) -> Tensor:
    """Log-probabilities [R, symbols] with -inf for what may not follow prefixes [R, length], and what the rules add.

    Without rules in the place of the log-probabilities: those of what may follow stay as they are.
    """
    ranked, length = log_probs.clone() if rules else log_probs, prefixes.shape[1]
    if not limits.unknown:
        ranked[:, UNK] = -torch.inf
    if length < limits.min_length:
        ranked[:, EOS] = -torch.inf
    if length >= limits.max_length:
        ranked[:, :EOS] = -torch.inf
        ranked[:, EOS + 1 :] = -torch.inf
    if rules:
        sources = sources.repeat_interleave(width)
        for rule in rules:
            ranked = rule(ranked, prefixes, sources)
    return ranked


BLOCK = 64  # symbols that `largest` looks at together


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest numbers of each row of values [R, n] in order, and their places: as `topk`, but faster.

    They lie in the `count` blocks of a row whose largest numbers are the largest, which one quick pass finds.
    """
    blocks, rest = divmod(values.shape[1], BLOCK)
    if blocks < 2 * count or values.device.type != "cpu":
        top, place = values.max(-1, keepdim=True) if count == 1 else values.topk(count, -1)
        return top, place
    whole, near = blocks * BLOCK, count * BLOCK
    parts = values[:, :whole].reshape(-1, blocks, BLOCK)
    chosen = parts.amax(-1).topk(count, -1, sorted=False).indices.sort(-1).values
    looked = parts[torch.arange(len(values))[:, None], chosen].flatten(1)
    top, place = (torch.cat([looked, values[:, whole:]], 1) if rest else looked).topk(count, -1)
    block = chosen.gather(1, (place // BLOCK).clamp(max=count - 1))
    return top, torch.where(place < near, block * BLOCK + place % BLOCK, place + (whole - near))
