"""Optimizers, and schedules of their learning rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from antiphon.errors import ConfigError
from antiphon.registry import Table


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    _check_eps(eps)
    betas = (beta1, beta2)
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980)."""
    _check_eps(eps)
    return torch.optim.Adam(parameters, lr=learning_rate, betas=(beta1, beta2), eps=eps, fused=True)


def _check_eps(eps: float) -> None:
    if eps <= 0:
        raise ConfigError("eps", f"must be above 0, since it keeps a division finite (is {eps})")


OPTIMIZERS: Table[torch.optim.Optimizer] = Table("optimizer", {"adamw": adamw, "adam": adam})


class Schedule(ABC):
    """The learning rate as a factor of `train.learning_rate`; the first `warmup` updates rise linearly."""

    def __init__(self, warmup: int = 0) -> None:
        if warmup < 0:
            raise ConfigError("warmup", f"must not be negative (is {warmup})")
        self.warmup = warmup

    @abstractmethod
    def after(self, step: int, total: int) -> float:
        """The factor after the warm-up, at `step` of the `total` updates after it."""

    def __call__(self, step: int, total: int) -> float:
        """The factor for update `step` (from 0) of `total`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.after(step - self.warmup, max(1, total - self.warmup))


class Constant(Schedule):
    """The same rate throughout."""

    def after(self, step: int, total: int) -> float:
        return 1.0


class _Falling(Schedule):
    """A schedule that ends at the factor `end`."""

    def __init__(self, warmup: int = 0, end: float = 0.0) -> None:
        super().__init__(warmup)
        if not 0 <= end <= 1:
            raise ConfigError("end", f"must be a factor of the learning rate, from 0 to 1 (is {end})")
        self.end = end


class Linear(_Falling):
    """A straight line down to `end`."""

    def after(self, step: int, total: int) -> float:
        return self.end + (1 - self.end) * (1 - min(1.0, step / total))


class Cosine(_Falling):
    """Half a cosine down to `end` (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)."""

    def after(self, step: int, total: int) -> float:
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


class InverseSqrt(Schedule):
    """One over the root of the number of updates since the warm-up (Vaswani et al. 2017, arXiv 1706.03762)."""

    def after(self, step: int, total: int) -> float:
        start = max(1, self.warmup)
        return math.sqrt(start / (start + step))


SCHEDULES: Table[Schedule] = Table(
    "schedule", {"constant": Constant, "linear": Linear, "cosine": Cosine, "inverse_sqrt": InverseSqrt}
)
