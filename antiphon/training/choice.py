"""Which weights are kept: the latest that are not shown to be worse than the best by the validation rows.

A metric over few rows varies by more than checkpoints differ, and its best value is partly luck. With a learning
rate that falls, later weights are usually better; so a checkpoint takes the place of the one before unless a paired
test over the rows shows it to be worse than the best. The test is a normal approximation: it uses how much each row
moves the metric (the delta method, Efron & Tibshirani 1993, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SURE = 1.645  # standard errors: by chance an equally good checkpoint is called worse in 1 of 20 tests


@dataclass(frozen=True)
class Judged:
    """A metric's value, lower is better, and by how much each validation row moves it; these numbers add up to 0.

    `perfect`: no value can be better.
    """

    value: float
    influence: NDArray[np.float64]
    perfect: bool = False

    def difference(self, other: Judged) -> float:
        """How many standard errors this is worse than `other`, on the same rows."""
        error = float(np.sqrt(((self.influence - other.influence) ** 2).sum()))
        worse = self.value - other.value
        return worse / error if error else np.inf * np.sign(worse) if worse else 0.0

    def worse_than(self, other: Judged) -> bool:
        """Whether this is worse than `other` by more than chance."""
        return self.difference(other) > SURE


@dataclass(frozen=True)
class Best:
    """The best validation so far: its update, its metric, and the lowest loss of all validations."""

    step: int
    judged: Judged
    loss: float

    def to_state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "value": self.judged.value,
            "influence": torch.from_numpy(self.judged.influence),
            "loss": self.loss,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Best:
        return cls(state["step"], Judged(state["value"], state["influence"].numpy()), state["loss"])


@dataclass(frozen=True)
class Verdict:
    """The result of a validation: whether it is the `best` so far, whether its weights are `kept`, and how much of the
    patience it uses."""

    best: bool
    kept: bool
    impatience: (
        float  # 0: it gets better; 0.5: not worse than the best by more than chance; 1: worse, or it is perfect already
    )


def verdict(judged: Judged, loss: float, best: Best | None) -> Verdict:
    """Compare a validation with the best before it.

    A loss that still falls uses no patience: the metric may follow later, or is too coarse to show it. Once the metric
    is perfect, there is nothing to wait for.
    """
    if best is None or judged.value < best.judged.value:
        return Verdict(best=True, kept=True, impatience=0.0)
    if judged.perfect:
        return Verdict(best=False, kept=True, impatience=1.0)
    worse = judged.worse_than(best.judged)
    return Verdict(best=False, kept=not worse, impatience=0.0 if loss < best.loss else 1.0 if worse else 0.5)


def after(best: Best | None, judgement: Verdict, step: int, judged: Judged, loss: float) -> Best:
    """The best validation, with that at `step` included."""
    if best is None or judgement.best:
        return Best(step, judged, loss if best is None else min(loss, best.loss))
    return Best(best.step, best.judged, min(loss, best.loss))
