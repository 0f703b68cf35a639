"""What an output depends on: input x gradient, and how long the gradient is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

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


class Slopes(NamedTuple):
    """What each step [steps, S] of an output depends on, of a source: x * d output / d x, summed over the size of the
    vectors, and the Euclidean norm of d output / d x."""

    products: Grid
    norms: Grid


def input_x_gradient(
    vectors: Sequence[Input], steps: int, output: Callable[[list[Input], Tensor], Tensor]
) -> list[Slopes]:
    """The slopes by each source's vectors [1, S, size].

    `output` maps as many copies of the vectors [n, S, size] as there are steps in a tensor [n] to the output [n] of
    each copy's step: so each copy has the gradient of one step.
    """
    longest = max(steps, *(values.shape[1] for values, _ in vectors))
    products: list[list[Tensor]] = [[] for _ in vectors]
    norms: list[list[Tensor]] = [[] for _ in vectors]
    for rows in torch.split(torch.arange(steps, device=vectors[0][0].device), max(1, TOKENS // longest)):
        copies = [
            (values.expand(len(rows), -1, -1).clone().requires_grad_(), lengths.expand(len(rows)))
            for values, lengths in vectors
        ]
        leaves = [values for values, _ in copies]
        with _differentiable():
            slopes = torch.autograd.grad(output(copies, rows).sum(), leaves, allow_unused=True)
        for number, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
            gradient = torch.zeros_like(leaf) if slope is None else slope
            products[number].append((leaf.detach() * gradient).sum(-1))
            norms[number].append(gradient.norm(dim=-1))
    return [Slopes(rounded(torch.cat(x)), rounded(torch.cat(norm))) for x, norm in zip(products, norms, strict=True)]


def row_numbers(rows: Tensor) -> Tensor:
    """0, 1, ... for each of them."""
    return torch.arange(len(rows), device=rows.device)


def attributions(sources: Sequence[Source], slopes: Sequence[Slopes]) -> list[Attribution]:
    """The slopes by each source with its name and its tokens."""
    return [
        Attribution(source=source.name, tokens=source.tokens, values=products, norms=norms)
        for source, (products, norms) in zip(sources, slopes, strict=True)
    ]
