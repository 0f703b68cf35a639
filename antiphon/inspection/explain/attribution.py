"""What an output depends on: input x gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from antiphon.decoding.batches import TOKENS
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Attribution, Grid, Source
from antiphon.model.models import Input


@contextmanager
def _differentiable() -> Iterator[None]:
    """Within it gradients are kept; cuDNN has none for a recurrent call that does not train."""
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        yield


def input_x_gradient(
    vectors: Sequence[Input], steps: int, output: Callable[[list[Input], Tensor], Tensor]
) -> list[Grid]:
    """For each source's vectors [1, S, size] the grid [steps, S] of x * d output / d x, summed over the size.

    `output` maps as many copies of the vectors [n, S, size] as there are steps in a tensor [n] to the output [n] of
    each copy's step: so each copy has the gradient of one step.
    """
    longest = max(steps, *(values.shape[1] for values, _ in vectors))
    grids: list[list[Tensor]] = [[] for _ in vectors]
    for rows in torch.split(torch.arange(steps, device=vectors[0][0].device), max(1, TOKENS // longest)):
        copies = [
            (values.expand(len(rows), -1, -1).clone().requires_grad_(), lengths.expand(len(rows)))
            for values, lengths in vectors
        ]
        leaves = [values for values, _ in copies]
        with _differentiable():
            slopes = torch.autograd.grad(output(copies, rows).sum(), leaves, allow_unused=True)
        for grid, leaf, slope in zip(grids, leaves, slopes, strict=True):
            grid.append(leaf.new_zeros(leaf.shape[:2]) if slope is None else (leaf.detach() * slope).sum(-1))
    return [rounded(torch.cat(grid)) for grid in grids]


def row_numbers(rows: Tensor) -> Tensor:
    """0, 1, ... for each of them."""
    return torch.arange(len(rows), device=rows.device)


def attributions(sources: Sequence[Source], grids: Sequence[Grid]) -> list[Attribution]:
    """The grid of each source with its name and its tokens."""
    return [
        Attribution(source=source.name, tokens=source.tokens, values=grid)
        for source, grid in zip(sources, grids, strict=True)
    ]
