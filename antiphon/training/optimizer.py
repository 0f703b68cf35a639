"""Optimizers, and schedules of their learning rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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


def sgd(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, or Nesterov's (Sutskever et al. 2013, Proc. ICML).

    Its learning rate is of another size than Adam's: with `train.learning_rate: auto` it is measured.
    """
    if not 0 <= momentum < 1:
        raise ConfigError("momentum", f"must be at least 0 and below 1 (is {momentum})")
    return torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


def asgd(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    start: int = 1000,
    decay: float = 0.0,
    power: float = 0.75,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Averaged stochastic gradient descent (Polyak & Juditsky 1992, SIAM J. Control Optim. 30(4)).

    The weights that are validated and shipped are the mean of those after every update, from update `start` on (Merity
    et al. 2018, arXiv 1708.02182), unless `train.ema` or `train.average` says otherwise. At update t the rate is
    learning_rate / (1 + decay * learning_rate * t) ** power, times the schedule.
    """
    if start < 1:
        raise ConfigError("start", f"is the number of an update, from 1 (is {start})")
    if decay < 0:
        raise ConfigError("decay", f"must not be negative (is {decay})")
    return torch.optim.ASGD(
        parameters, lr=learning_rate, t0=start - 2, lambd=decay, alpha=power, weight_decay=weight_decay
    )


def muon(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    momentum: float = 0.95,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Muon for weights that are matrices, AdamW for all others (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    The updates of matrices are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that
    one learning rate is right for both.
    """
    _check_eps(eps)
    make = getattr(torch.optim, "Muon", None)
    if make is None:
        raise ConfigError("", f"muon is not part of PyTorch {torch.__version__}; install 2.9 or newer, or choose adamw")
    every = list(parameters)
    matrices, others = [p for p in every if p.ndim == 2], [p for p in every if p.ndim != 2]
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(
            make(
                matrices,
                lr=learning_rate,
                momentum=momentum,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        parts.append(adamw(others, learning_rate, weight_decay, beta1, beta2, eps))
    return _Together(every, learning_rate, parts)


class _Together(torch.optim.Optimizer):
    """Several optimizers as one, each of its own parameters."""

    def __init__(
        self, parameters: list[nn.Parameter], learning_rate: float, parts: Sequence[torch.optim.Optimizer]
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self.parts = parts
        self._join()

    def _join(self) -> None:
        """The groups are those of the parts, the same objects: a rate that is set here is set there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._join()


def averaged(optimizer: torch.optim.Optimizer) -> dict[Tensor, Tensor]:
    """The means of parameters that an optimizer keeps; only `asgd` does, after its first update."""
    if not isinstance(optimizer, torch.optim.ASGD):
        return {}
    return {parameter: state["ax"] for parameter, state in optimizer.state.items()}


OPTIMIZERS: Table[torch.optim.Optimizer] = Table(
    "optimizer", {"adamw": adamw, "adam": adam, "sgd": sgd, "asgd": asgd, "muon": muon}
)
UNSCALED = ("sgd", "asgd")  # their steps are as large as the gradients, so no learning rate suits most tables


class Schedule(ABC):
    """The learning rate as a factor of `train.learning_rate`; the first `warmup` updates rise linearly."""

    def __init__(self, warmup: int = 0) -> None:
        if warmup < 0:
            raise ConfigError("warmup", f"must not be negative (is {warmup})")
        self.warmup = warmup

    @abstractmethod
    def after(self, step: int, total: int) -> float:
        """The factor after the warm-up, at `step` of the `total` updates after it."""

    def __call__(self, step: int, total: int, most: float = 1.0) -> float:
        """The factor for update `step` (from 0) of `total`; the warm-up takes at most the share `most` of them, unless
        that is 1."""
        warmup = self.warmup if most == 1 else min(self.warmup, int(most * total))
        if step < warmup:
            return (step + 1) / warmup
        return self.after(step - warmup, max(1, total - warmup))


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
