"""Connectionist temporal classification (Graves et al. 2006, ICML), in logarithms.

Each frame predicts a symbol or the blank; a path of T frames stands for the labels that are left when one of equal
neighbours is kept and then the blanks are dropped. p(labels) is the sum of p over all their paths. `log_probs` are
[B, T, K] for K symbols, the blank among them; a frame that is padding is a blank with probability 1, which changes no
labelling's probability.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def log_likelihood(log_probs: Tensor, frames: Tensor, labels: Tensor, sizes: Tensor, blank: int) -> Tensor:
    """log p [B] of labels [B, L], of which the first `sizes` [B] count, over the first `frames` [B] frames."""
    loss = functional.ctc_loss(log_probs.transpose(0, 1), labels, frames, sizes, blank, reduction="none")
    return -loss


def best_path(log_probs: Tensor, blank: int) -> list[list[int]]:
    """The labels of every row's most probable path, which need not be the most probable labels."""
    path = log_probs.argmax(-1)
    new = torch.cat([torch.ones_like(path[:, :1], dtype=torch.bool), path[:, 1:] != path[:, :-1]], 1)
    return [row[keep].tolist() for row, keep in zip(path, new & (path != blank), strict=True)]


def prefix_search(log_probs: Tensor, blank: int, width: int) -> list[list[tuple[int, ...]]]:
    """The labellings of every row that a beam of `width` prefixes finds, the most probable first.

    A prefix has the probabilities of its paths so far that end with a blank, and of those that end with its last label;
    paths that lead to one prefix are added up (Hannun et al. 2014, arXiv 1408.2873). A beam as wide as there are
    prefixes finds all labellings.
    """
    rows, _, symbols = log_probs.shape
    prefixes = torch.full((rows, width, 0), blank, device=log_probs.device)  # [rows, width, frames so far], then blanks
    sizes = prefixes.new_zeros(rows, width)
    nothing = log_probs.new_full((rows, width), -torch.inf)
    on_blank, on_label = nothing.clone(), nothing  # log p of the paths of a prefix, by how they end
    on_blank[:, 0] = 0.0
    for frame in log_probs.unbind(1):
        whole = torch.logaddexp(on_blank, on_label)
        last = _last(prefixes, sizes, blank)
        longer = whole[..., None].expand(-1, -1, symbols)
        longer = longer.scatter(2, last[..., None], on_blank[..., None]) + frame[:, None]  # after its own last label
        longer[..., blank] = -torch.inf
        stays = on_label + frame.gather(1, last).masked_fill(sizes == 0, -torch.inf)
        # a prefix of the beam that is another one and a label more: both ways to it are one
        parent = _is_parent(prefixes, sizes, whole > -torch.inf)  # [rows, prefix, longer one]
        label = last[:, None].expand_as(parent)
        came = longer.gather(2, label).masked_fill(~parent, -torch.inf)
        stays = torch.logaddexp(stays, came.logsumexp(1))
        gone = torch.zeros_like(longer).scatter_add(2, label, parent.to(longer.dtype)) > 0
        longer = longer.masked_fill(gone, -torch.inf)

        blanks = whole + frame[:, blank, None]
        total = torch.cat([torch.logaddexp(blanks, stays), longer.flatten(1)], 1)
        place = total.topk(width, 1).indices
        stay, ext = place < width, (place - width).clamp(min=0)
        origin = torch.where(stay, place, ext // symbols)
        on_blank = blanks.gather(1, origin).masked_fill(~stay, -torch.inf)
        on_label = torch.cat([stays, longer.flatten(1)], 1).gather(1, place)
        prefixes = functional.pad(
            prefixes.gather(1, origin[..., None].expand(-1, -1, prefixes.shape[2])), (0, 1), value=blank
        )
        sizes = sizes.gather(1, origin)
        prefixes = prefixes.scatter(2, sizes[..., None], torch.where(stay, blank, ext % symbols)[..., None])
        sizes = sizes + (~stay).long()
    total, order = torch.logaddexp(on_blank, on_label).sort(dim=1, descending=True, stable=True)
    prefixes = prefixes.gather(1, order[..., None].expand_as(prefixes))
    ranked = zip(total.tolist(), sizes.gather(1, order).tolist(), prefixes.tolist(), strict=True)
    return [
        [tuple(labels[:size]) for score, size, labels in zip(*row, strict=True) if score > -torch.inf] for row in ranked
    ]


def _last(prefixes: Tensor, sizes: Tensor, blank: int) -> Tensor:
    """The last labels [rows, width] of prefixes, the blank where there is none."""
    return functional.pad(prefixes, (1, 0), value=blank).gather(2, sizes[..., None])[..., 0]


def _is_parent(prefixes: Tensor, sizes: Tensor, alive: Tensor) -> Tensor:
    """[rows, width, width]: whether the second prefix is the first and a label more, and has a probability."""
    place = torch.arange(prefixes.shape[2], device=prefixes.device)
    inside = (place < sizes[..., None])[:, :, None]
    same = ((prefixes[:, :, None] == prefixes[:, None]) | ~inside).all(-1)
    return same & (sizes[:, None] == sizes[..., None] + 1) & alive[:, None]
