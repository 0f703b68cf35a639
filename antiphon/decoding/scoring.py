"""Forced scoring: how probable an output is whose symbols are known."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, PAD
from antiphon.decoding.hypothesis import Hypothesis, content
from antiphon.decoding.step import StepFunction
from antiphon.model.state import S


def score(step: StepFunction[S], state: S, targets: Tensor, length_penalty: float = 1.0) -> list[list[Hypothesis]]:
    """Forced scoring: targets [B, T], each with EOS and then padding -> one hypothesis per source."""
    totals = forced(step, state, targets).sum(1).tolist()
    return [
        [Hypothesis(content(row), total, total / (row.index(EOS) + 1) ** length_penalty)]
        for row, total in zip(targets.tolist(), totals, strict=True)
    ]


def forced(step: StepFunction[S], state: S, targets: Tensor) -> Tensor:
    """log p of every symbol of targets [B, T] when they are written in turn: [B, T], zero at padding."""
    last = torch.full((len(targets),), BOS, dtype=torch.long, device=targets.device)
    columns = []
    for target in targets.unbind(1):
        answer = step(last, state)
        log_probs = answer.log_probs.gather(1, target[:, None]).squeeze(1)
        columns.append(log_probs.masked_fill(target == PAD, 0.0))
        last, state = target, answer.state
    return torch.stack(columns, 1)
