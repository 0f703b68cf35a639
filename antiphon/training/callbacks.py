"""What a program does while a training runs: callbacks, which see it as a `Run` and can stop it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.config.schema import Config
from antiphon.errors import TrainingError
from antiphon.evaluation.samples import Sample

PROGRESS = 0.5  # seconds between two calls of `progress`, at least
METHODS = ("begin", "update", "progress", "validation", "end")


@dataclass(frozen=True)
class Run:
    """A training as a callback sees it.

    `updates` are done, of at most `total`. `loss` is the mean training loss in nats per token since the last validation
    (at a validation: up to it), None before the first update. `history` has an entry for each validation, as
    `log.jsonl` has, with its metrics by name. `folder` is the folder of the model. `loss` is a mean over `tokens`.
    `gradient_norm` is the norm of the last update's whole gradient before clipping; None if that update failed, and
    before the first.
    `samples` are validation rows with what the weights that would be shipped predict for them (see `Callback.samples`).
    """

    updates: int
    total: int
    loss: float | None
    learning_rate: float
    history: tuple[Mapping[str, Any], ...]
    folder: Path
    config: Config
    tokens: int = 0
    gradient_norm: float | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def validation(self) -> Mapping[str, Any] | None:
        """The entry of the last validation; None before the first."""
        return self.history[-1] if self.history else None


class Callback:
    """What a training calls. A callback has some of these methods; it need not be a subclass.

    If `update` or `validation` returns True the training ends there as one that has come to its end: the best weights
    are kept and the card is written. An exception stops it too: its state is saved, to go on with `resume`, and the
    exception is raised. Of several processes (`torchrun`) the first calls, and all stop with it.

    `samples` is the number of validation rows whose present output the callback wants to see in `Run.samples`.
    """

    samples: int = 0

    def begin(self, run: Run) -> None:
        """Before the first update, or the first after a training is resumed."""

    def update(self, run: Run) -> bool | None:
        """After every update that changed the weights; the loss is then read from the device, which takes time."""

    def progress(self, run: Run) -> None:
        """After an update, every `PROGRESS` seconds at most: for those who need not see every update."""

    def validation(self, run: Run) -> bool | None:
        """After every validation."""

    def end(self, run: Run) -> None:
        """After the end, when the model folder is complete; not if the training was interrupted or failed."""


class Callbacks:
    """The callbacks of a training, called one after the other."""

    def __init__(self, callbacks: Iterable[object]) -> None:
        self.methods: dict[str, list[Any]] = {name: [] for name in METHODS}
        self.samples = 0  # the most that any of them wants
        if not isinstance(callbacks, Iterable):
            raise TrainingError(f"callbacks: must be a list of callbacks, but is {callbacks!r}")
        for callback in callbacks:
            names = [name for name in METHODS if callable(getattr(callback, name, None))]
            if not names or isinstance(callback, type):
                what = "is a class; give an object of it" if names else f"has none of {', '.join(METHODS)}"
                raise TrainingError(f"callbacks: {callback!r} {what}")
            samples = getattr(callback, "samples", 0)  # an object of the user's may have this name for something else
            self.samples = max(self.samples, samples if isinstance(samples, int) else 0)
            for name in names:
                if getattr(type(callback), name, None) is not getattr(Callback, name):  # which does nothing
                    self.methods[name].append(getattr(callback, name))

    def have(self, name: str) -> bool:
        """Whether any callback has this method."""
        return bool(self.methods[name])

    def call(self, name: str, run: Run) -> bool:
        """Call this method of every callback; whether any asks to stop."""
        answers = [method(run) for method in self.methods[name]]  # all of them, also after one that stops
        return True in answers
