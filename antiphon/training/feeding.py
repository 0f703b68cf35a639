"""What the decoder reads in training: the reference or its own output, and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from antiphon.errors import ConfigError
from antiphon.registry import Table

Feeding = Callable[[int], float]
"""The update's number (from 0) -> the probability, for each token, of feeding the reference."""


def teacher() -> Feeding:
    """Always the reference (teacher forcing, Williams & Zipser 1989)."""
    return lambda step: 1.0


def free() -> Feeding:
    """Always the model's own most probable symbol of the step before."""
    return lambda step: 0.0


def scheduled(
    decay: Literal["constant", "linear", "exponential", "inverse_sigmoid"] = "inverse_sigmoid",
    start: float = 1.0,
    end: float = 0.0,
    steps: int = 3000,
) -> Feeding:
    """Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099, section 2.4).

    The probability of the reference at update i is never below `end`, and `start` times
    constant: 1; linear: a straight line that reaches `end` at i = `steps`;
    exponential: k^i with k = exp(-3 / steps), so 5% are left at `steps`;
    inverse_sigmoid: k / (k + exp(i / k)), with the k that makes it 1/2 at i = `steps` / 2.
    """
    for name, value in (("start", start), ("end", end)):
        if not 0 <= value <= 1:
            raise ConfigError(name, f"must be a probability, from 0 to 1 (is {value})")
    if end > start:
        raise ConfigError("end", f"must not be above start ({end} > {start})")
    if steps < 1:
        raise ConfigError("steps", f"must be at least 1 (is {steps})")
    k = _half_at(steps / 2)

    def probability(step: int) -> float:
        match decay:
            case "constant":
                return start
            case "linear":
                return max(end, start - (start - end) * step / steps)
            case "exponential":
                return max(end, start * math.exp(-3.0 * step / steps))
        return max(end, start * k / (k + math.exp(min(step / k, 700.0))))

    return probability


def _half_at(middle: float) -> float:
    """The k with k = exp(middle / k), that is k ln k = middle, by bisection."""
    low, high = 1.0, max(3.0, middle)
    for _ in range(100):
        k = (low + high) / 2
        low, high = (k, high) if k * math.log(k) < middle else (low, k)
    return low


FEEDINGS: Table[Feeding] = Table("feeding", {"teacher": teacher, "free": free, "scheduled": scheduled})
