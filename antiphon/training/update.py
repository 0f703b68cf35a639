"""One update of the weights: what is drawn, the loss, its gradients, a step; what fails changes nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from antiphon import bundle
from antiphon.data.batch import Batch, collate, replace_unknown
from antiphon.errors import TrainingError
from antiphon.model import Model
from antiphon.training.average import Average
from antiphon.training.distributed import Ranks
from antiphon.training.feeding import FEEDINGS, Feeding
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES, Schedule
from antiphon.training.plan import Update
from antiphon.training.prepare import Prepared

OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")  # as torch's parts say it


@dataclass
class Learner:
    """What updates change, and by which rules: weights, the optimizer's moments, the shipped average."""

    prepared: Prepared
    ranks: Ranks
    total: int  # updates in all
    model: Model
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    feeding: Feeding
    average: Average
    norm: Tensor  # of the last update's whole gradient, before clipping

    @classmethod
    def begin(cls, prepared: Prepared, ranks: Ranks, total: int) -> Learner:
        """Before the first update."""
        settings = prepared.config.train
        model = prepared.model.to(ranks.device)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        chosen, course, feeding = settings.optimizer, settings.schedule, settings.feeding
        optimizer = OPTIMIZERS.build(
            chosen.kind, chosen.options, "train.optimizer", parameters=parameters, learning_rate=settings.learning_rate
        )
        return cls(
            prepared,
            ranks,
            total,
            model,
            parameters,
            optimizer,
            SCHEDULES.build(course.kind, course.options, "train.schedule"),
            FEEDINGS.build(feeding.kind, feeding.options, "train.feeding"),
            Average(parameters, settings.ema, settings.average),
            torch.zeros(()),
        )

    def state(self) -> dict[str, Any]:
        """All that updates have changed, as plain values and tensors."""
        return {
            "weights": bundle.parameters(self.model),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state(),
        }

    def restore(self, state: dict[str, Any], where: str) -> None:
        """Take back what `state` gave."""
        bundle.copy_weights(self.model, state["weights"], where)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.restore(state["average"])


class Applied(NamedTuple):
    """What came of an update."""

    nll: Tensor | None  # summed -log p of this process's tokens, on the device; None if the weights stayed as they were
    parts: int  # in which every batch was computed
    wishes: list[bool]  # those of any process


def apply(learner: Learner, update: Update, rate: float, parts: int, wishes: Sequence[bool] = ()) -> Applied:
    """Update the weights, unless the loss or a gradient is not finite.

    `rate` is a factor of the learning rate. Every batch is computed in `parts` parts, and in twice as many
    where that takes more memory than there is; the result is the same but for rounding and what dropout
    draws. `wishes` are passed among the processes. What is drawn (dropout, feeding, unknown symbols) depends
    on the seed, the update and the process's number alone, so a resumed training draws the same.
    """
    settings, ranks = learner.prepared.config.train, learner.ranks
    for group in learner.optimizer.param_groups:
        group["lr"] = settings.learning_rate * rate * learner.schedule(update.step - 1, learner.total)
    learner.model.train()
    while True:
        learner.optimizer.zero_grad(set_to_none=True)
        try:
            nll, full = _backward(learner, update, parts), False
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            nll, full = torch.zeros((), device=ranks.device), True
        anywhere, *wished = ranks.totals(full, *wishes)
        if not anywhere:
            break
        if parts >= max(map(len, update.batches)):
            raise MemoryError
        parts *= 2
    ranks.sum_gradients(learner.parameters)
    learner.norm = nn.utils.clip_grad_norm_(learner.parameters, settings.clip or math.inf)
    sound = bool(torch.isfinite(learner.norm + ranks.sum(nll)))
    if sound:
        learner.optimizer.step()
        learner.average.update()
    return Applied(nll if sound else None, parts, list(map(bool, wished)))


def _backward(learner: Learner, update: Update, parts: int) -> Tensor:
    """Add up the gradients of all micro-batches; the summed -log p.

    The loss is divided by the tokens (or rows) of all micro-batches of all processes, so the split
    into them changes nothing.
    """
    settings, examples, ranks = learner.prepared.config.train, learner.prepared.train, learner.ranks
    if settings.normalize == "tokens":
        weight = sum(int(examples.target.lengths[rows].sum()) for rows in update.batches)
    else:
        weight = sum(map(len, update.batches))
    reference = learner.feeding(update.step - 1)
    nll_sum = torch.zeros((), device=ranks.device)
    generator = torch.Generator().manual_seed(_seed(settings.seed, update.step))
    torch.manual_seed(_seed(settings.seed, update.step, ranks.rank))
    for rows in update.batches:
        batch = replace_unknown(collate(examples, rows), settings.unknown, generator)
        whole = batch.part(ranks.rank, ranks.world)
        for number in range(parts):
            batch = whole.part(number, parts).to(ranks.device)
            if not len(batch.positions):
                continue
            objective, nll = batch_loss(learner.model, batch, reference, settings.label_smoothing, settings.precision)
            (objective / weight).backward()  # type: ignore[no-untyped-call]
            nll_sum += nll
    return nll_sum


def batch_loss(model: Model, batch: Batch, reference: float, smoothing: float, precision: str) -> tuple[Tensor, Tensor]:
    """What training minimises and the loss (-log p in nats), each summed over the batch's target steps."""
    target = batch.target.values
    with torch.autocast(target.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        kept = model(batch.sources, target, reference).flatten(0, 1)[batch.positions]
        return model.head.objective(kept, target.flatten(0, 1)[batch.positions], smoothing)


def _seed(*numbers: int) -> int:
    """One seed from several numbers; neighbours give seeds that have nothing in common."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the processor's or a GPU's, is used up."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
    )


@contextmanager
def enough_memory() -> Iterator[None]:
    """Within it, running out of memory is an error with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "set a smaller train.batch_size (with train.accumulate the result stays the same) or smaller widths"
        raise TrainingError(f"out of memory; {advice}") from None
