"""One update of the weights: random draws, the loss, its gradients, a step; a failing update changes nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from antiphon.data.batches import Batch, collate, replace_unknown
from antiphon.data.load import copying_of
from antiphon.errors import TrainingError
from antiphon.model.models import LanguageModel, Model
from antiphon.model.parts.heads.base import SymbolHead, at_positions
from antiphon.model.parts.recurrent import dropped_weights
from antiphon.model.state import Layer
from antiphon.saved import folder as bundle
from antiphon.training.average import Average
from antiphon.training.distributed import Ranks
from antiphon.training.feeding import FEEDINGS, Feeding
from antiphon.training.gradients import GradientSum
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES, Schedule
from antiphon.training.plan import Update
from antiphon.training.prepare import Prepared

OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")  # in messages of torch


@dataclass
class Learner:
    """All that updates change (weights, the optimizer's moments, the shipped average), and the rules of the change."""

    prepared: Prepared
    ranks: Ranks
    total: int  # updates in all
    model: Model
    parameters: list[nn.Parameter]
    gradients: GradientSum
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    feeding: Feeding
    average: Average
    weights: Tensor | None  # [symbols], of the target's classes
    norm: Tensor  # the norm of the last update's whole gradient, before clipping
    warmup: float = 1.0  # the share of the updates that the warm-up may take
    layers: tuple[Layer, ...] | None = None  # long text only: the states after this process's last pieces

    @classmethod
    def begin(cls, prepared: Prepared, ranks: Ranks, total: int) -> Learner:
        """A learner before the first update."""
        settings = prepared.config.train
        model = prepared.model.to(ranks.device)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        chosen, course, feeding = settings.optimizer, settings.schedule, settings.feeding
        weights = prepared.codecs.target.class_weights
        optimizer = OPTIMIZERS.build(
            chosen.kind, chosen.options, "train.optimizer", parameters=parameters, learning_rate=settings.rate
        )
        return cls(
            prepared,
            ranks,
            total,
            model,
            parameters,
            GradientSum(parameters, ranks, settings.reduce),
            optimizer,
            SCHEDULES.build(course.kind, course.options, "train.schedule"),
            FEEDINGS.build(feeding.kind, feeding.options, "train.feeding"),
            Average(parameters, settings.ema, settings.average, optimizer),
            weights if weights is None else torch.tensor(weights, device=ranks.device),
            torch.zeros(()),
        )

    def state(self) -> dict[str, Any]:
        """All that updates have changed, as plain values and tensors."""
        return {
            "weights": bundle.parameters(self.model),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state(),
            "layers": None if self.layers is None else _map_layers(self.layers, self._gathered),
        }

    def restore(self, state: dict[str, Any], where: str) -> None:
        """Restore the value of `state`."""
        bundle.copy_weights(self.model, state["weights"], where)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.restore(state["average"])
        rows, layers = slice(self.ranks.rank, None, self.ranks.world), state.get("layers")
        self.layers = None if layers is None else _map_layers(layers, lambda value: value[rows].to(self.ranks.device))

    def _gathered(self, part: Tensor) -> Tensor:
        """All rows [B, ...] from the `part` [B / processes, ...] of every process, where rows were divided in turn."""
        rows = int(self.ranks.totals(len(part))[0])
        whole = part.new_zeros(rows, *part.shape[1:])
        whole[self.ranks.rank :: self.ranks.world] = part
        return self.ranks.sum(whole)


class Applied(NamedTuple):
    """The result of an update."""

    nll: Tensor | None  # summed -log p of this process's tokens, on the device; None if the weights stayed as they were
    parts: int  # every batch was computed in so many parts
    wishes: list[bool]  # whether any process has each of them


def apply(learner: Learner, update: Update, rate: float, parts: int, wishes: Sequence[bool] = ()) -> Applied:
    """Update the weights, unless the loss or a gradient is NaN or infinite: then they stay as they are.

    `rate` is a factor of the learning rate. Every batch is computed in `parts` parts, and in twice as many
    where memory runs out; the result is the same except for rounding and the draws of dropout. `wishes` are
    shared by the processes. Random draws (dropout, feeding, unknown symbols) depend only on the seed, the
    update and the process's number, so a resumed training draws the same.
    """
    settings, ranks = learner.prepared.config.train, learner.ranks
    for group in learner.optimizer.param_groups:
        group["lr"] = settings.rate * rate * learner.schedule(update.step - 1, learner.total, learner.warmup)
    learner.model.train()
    while True:
        learner.optimizer.zero_grad(set_to_none=True)
        learner.gradients.begin()
        try:
            (nll, layers), full = _backward(learner, update, parts), False
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            nll, layers, full = torch.zeros((), device=ranks.device), None, True
        total, anywhere, *wished = learner.gradients.finish((nll, full, *wishes))
        if not anywhere:
            break
        if parts >= max(map(len, update.batches)):
            raise MemoryError
        parts *= 2
    learner.norm = nn.utils.clip_grad_norm_(learner.parameters, settings.clip or math.inf)
    sound = bool(torch.isfinite(learner.norm + total))
    if sound:  # neither NaN nor infinite
        learner.layers = layers
        learner.optimizer.step()
        learner.average.update()
    return Applied(nll if sound else None, parts, list(map(bool, wished)))


def _backward(learner: Learner, update: Update, parts: int) -> tuple[Tensor, tuple[Layer, ...] | None]:
    """Add up the gradients of all micro-batches; returns the summed -log p, and for a long text the states after it.

    The loss is divided by the tokens (or rows) of all micro-batches of all processes, so it does not
    depend on how they are split.
    """
    settings, examples, ranks = learner.prepared.config.train, update.examples, learner.ranks
    layers = learner.layers
    weight = update.tokens if settings.normalize == "tokens" else sum(map(len, update.batches))
    reference = learner.feeding(update.step - 1)
    nll_sum = torch.zeros((), device=ranks.device)
    generator = torch.Generator().manual_seed(_seed(settings.seed, update.step))
    torch.manual_seed(_seed(settings.seed, update.step, ranks.rank))
    copying = copying_of(learner.prepared.config, learner.prepared.codecs)
    hides = copying is not None and examples.guide is None  # the ids of a guide must stay as they are
    size = copying.target.size if copying is not None and hides else None
    copied = () if copying is None else [source is not None for source in copying.sources]
    chosen = (settings.label_smoothing, settings.precision, learner.weights, settings.teacher_share)
    for rows in update.batches:
        batch = replace_unknown(collate(examples, rows), settings.unknown, generator, size, copied)
        whole = batch.part(ranks.rank, ranks.world)
        if examples.lanes is not None and (layers is None or rows[0] == 0):  # an epoch begins with empty states
            assert isinstance(learner.model, LanguageModel)
            layers = learner.model.begin(len(whole.target.values))
        for number in range(parts):
            batch = whole.part(number, parts).to(ranks.device)
            if not len(batch.positions):
                continue
            if layers is None:
                objective, nll = batch_loss(learner.model, batch, reference, *chosen, settings.r_drop)
            else:
                part_layers = _map_layers(layers, itemgetter(slice(number, None, parts)))
                objective, nll, after = piece_loss(learner.model, batch, part_layers, *chosen)
                layers = _merged(layers, after, number, parts)
            if rows is update.batches[-1] and number == parts - 1:
                learner.gradients.last_pass()
            (objective / weight).backward()  # type: ignore[no-untyped-call]
            nll_sum += nll
    return nll_sum, layers


def batch_loss(
    model: Model,
    batch: Batch,
    reference: float,
    smoothing: float,
    precision: str,
    weights: Tensor | None = None,
    teacher_share: float = 0.0,
    r_drop: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The training objective and the loss (-log p in nats), each summed over the batch's target steps.

    `weights` [symbols] are those of the target's classes, if they differ. `teacher_share` of the objective is that of
    the batch's guide, if it has one. With `r_drop` all rows pass twice, each time with other dropout; both losses are
    the means of both passes, and `r_drop` times their disagreement is added to the objective.
    """
    whole = batch.twice() if r_drop else batch
    target = whole.target.values
    with _lower_precision(target.device, precision):
        features = functional_call(model, dropped_weights(model), (whole.sources, target, reference))
        objective, nll = _objective(model, features, whole, smoothing, weights, teacher_share)
        if not r_drop:
            return objective, nll
        assert isinstance(model.head, SymbolHead)
        differ = model.head.disagreement(features, *whole.positions.chunk(2))
        return objective / 2 + r_drop * differ, nll / 2


def _objective(
    model: Model, features: Any, batch: Batch, smoothing: float, weights: Tensor | None, teacher_share: float
) -> tuple[Tensor, Tensor]:
    head, positions = model.head, batch.positions
    objective, nll = head.objective(features, batch.target.values, positions, smoothing, weights)
    if batch.guide is not None:
        assert isinstance(head, SymbolHead)
        ids, probabilities = (at_positions(values, positions) for values in batch.guide)
        guided = head.towards(features, positions, ids, probabilities)
        objective = (1 - teacher_share) * objective + teacher_share * guided
    return objective, nll


def piece_loss(
    model: Model,
    batch: Batch,
    layers: tuple[Layer, ...],
    smoothing: float,
    precision: str,
    weights: Tensor | None = None,
    teacher_share: float = 0.0,
) -> tuple[Tensor, Tensor, tuple[Layer, ...]]:
    """As `batch_loss`, for pieces of a long text from the states after the pieces before; and the states after them.

    No gradient goes from a piece to the one before it.
    """
    assert isinstance(model, LanguageModel)
    target, reader = batch.target.values, _ReadsOn(model)
    with _lower_precision(target.device, precision):
        features, after = functional_call(reader, dropped_weights(reader), (batch.sources[0].values, layers))
        return *_objective(model, features, batch, smoothing, weights, teacher_share), after


class _ReadsOn(nn.Module):
    """A language model's `run` as a module, so that its weights can be replaced in a call."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, layers: tuple[Layer, ...]) -> tuple[Tensor, tuple[Layer, ...]]:
        return self.model.run(ids, layers)


def _merged(layers: tuple[Layer, ...], after: tuple[Layer, ...], number: int, parts: int) -> tuple[Layer, ...]:
    """States in which every `parts`-th row from `number` on is replaced by the state after."""
    merged = _map_layers(layers, Tensor.clone)
    for whole, part in zip(merged, after, strict=True):
        for value, new in zip(whole, part, strict=True):
            value[number::parts] = new.detach()
    return merged


def _map_layers(layers: tuple[Layer, ...], change: Callable[[Tensor], Tensor]) -> tuple[Layer, ...]:
    return tuple(tuple(map(change, layer)) for layer in layers)


def _lower_precision(device: torch.device, precision: str) -> torch.autocast:
    """Within it, products are computed in `train.precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _seed(*numbers: int) -> int:
    """One seed from several numbers; neighbours give seeds that have nothing in common."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the processor or of a GPU is used up."""
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
