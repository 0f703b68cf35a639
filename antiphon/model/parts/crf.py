"""Linear-chain conditional random fields (Lafferty et al. 2001), exact and in logarithms.

A labelling y of T steps scores sum_t potentials[t, y_t] + sum_t transitions[y_t, y_t+1], and p(y) is proportional to
its exponential. `potentials` are [B, T, K] for K labels and `transitions` [K, K], from row to column; `mask` [B, T] is
true at a row's own steps, of which there is at least one and which come first. What stands at padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Over = Callable[[Tensor, int], Tensor]


def forward(potentials: Tensor, transitions: Tensor, mask: Tensor, over: Over = torch.logsumexp) -> Tensor:
    """The scores [B, T, K] of all ways to reach a label at a step, taken together by `over` (Rabiner 1989).

    A row's last scores are carried on over its padding.
    """
    scores = [potentials[:, 0]]
    for step in range(1, potentials.shape[1]):
        reached = over(scores[-1][:, :, None] + transitions, 1) + potentials[:, step]
        scores.append(torch.where(mask[:, step, None], reached, scores[-1]))
    return torch.stack(scores, 1)


def log_partition(potentials: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """log Z [B]: the logarithm of the exponential scores of all labellings, added up."""
    return forward(potentials, transitions, mask)[:, -1].logsumexp(-1)


def log_marginals(potentials: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """log p(y_t) [B, T, K], from behind: p(y_t) = sum over y_t+1 of p(y_t | y_t+1) p(y_t+1)."""
    reached = forward(potentials, transitions, mask)
    marginals = [reached[:, -1].log_softmax(-1)]
    for step in range(potentials.shape[1] - 1, 0, -1):
        joint = (reached[:, step - 1, :, None] + transitions).log_softmax(1) + marginals[-1][:, None]
        marginals.append(torch.where(mask[:, step, None], joint.logsumexp(2), marginals[-1]))
    return torch.stack(marginals[::-1], 1)


def viterbi(potentials: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """The labelling [B, T] of the highest score (Viterbi 1967); at padding it repeats a row's last label."""
    reached = forward(potentials, transitions, mask, torch.amax)
    labels = [reached[:, -1].argmax(-1)]
    for step in range(potentials.shape[1] - 1, 0, -1):
        before = (reached[:, step - 1] + transitions.T[labels[-1]]).argmax(-1)
        labels.append(torch.where(mask[:, step], before, labels[-1]))
    return torch.stack(labels[::-1], 1)
