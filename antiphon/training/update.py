"""One update of the weights: what is drawn, the loss, its gradients, a step; what fails changes nothing."""

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
from antiphon.errors import TrainingError
from antiphon.model.models import LanguageModel, Model
from antiphon.model.parts.recurrent import dropped_weights
from antiphon.model.state import Layer
from antiphon.saved import folder as bundle
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
    weights: Tensor | None  # [symbols], of the target's classes
    norm: Tensor  # of the last update's whole gradient, before clipping
    layers: tuple[Layer, ...] | None = None  # of a long text: the states after this process's last pieces

    @classmethod
    def begin(cls, prepared: Prepared, ranks: Ranks, total: int) -> Learner:
        """Before the first update."""
        settings = prepared.config.train
        model = prepared.model.to(ranks.device)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        chosen, course, feeding = settings.optimizer, settings.schedule, settings.feeding
        weights = prepared.codecs.target.class_weights
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
        """Take back what `state` gave."""
        bundle.copy_weights(self.model, state["weights"], where)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.restore(state["average"])
        own, layers = slice(self.ranks.rank, None, self.ranks.world), state.get("layers")
        self.layers = None if layers is None else _map_layers(layers, lambda value: value[own].to(self.ranks.device))

    def _gathered(self, own: Tensor) -> Tensor:
        """Of every process's rows [B / processes, ...], dealt out in turn, all [B, ...]."""
        rows = int(self.ranks.totals(len(own))[0])
        whole = own.new_zeros(rows, *own.shape[1:])
        whole[self.ranks.rank :: self.ranks.world] = own
        return self.ranks.sum(whole)


class Applied(NamedTuple):
    """What came of an update."""

    nll: Tensor | None  # summed -log p of this process's tokens, on the device; None if the weights stayed as they were
    parts: int  # in which every batch was computed
    wishes: list[bool]  # those of any process


def apply(learner: Learner, update: Update, rate: float, parts: int, wishes: Sequence[bool] = ()) -> Applied:
    """Update the weights, unless the loss or a gradient is NaN or infinite: then they stay as they are.

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
            (nll, layers), full = _backward(learner, update, parts), False
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            nll, layers, full = torch.zeros((), device=ranks.device), None, True
        anywhere, *wished = ranks.totals(full, *wishes)
        if not anywhere:
            break
        if parts >= max(map(len, update.batches)):
            raise MemoryError
        parts *= 2
    ranks.sum_gradients(learner.parameters)
    learner.norm = nn.utils.clip_grad_norm_(learner.parameters, settings.clip or math.inf)
    sound = bool(torch.isfinite(learner.norm + ranks.sum(nll)))
    if sound:  # neither NaN nor infinite
        learner.layers = layers
        learner.optimizer.step()
        learner.average.update()
    return Applied(nll if sound else None, parts, list(map(bool, wished)))


def _backward(learner: Learner, update: Update, parts: int) -> tuple[Tensor, tuple[Layer, ...] | None]:
    """Add up the gradients of all micro-batches; the summed -log p, and of a long text the states after.

    The loss is divided by the tokens (or rows) of all micro-batches of all processes, so the split
    into them changes nothing.
    """
    settings, examples, ranks = learner.prepared.config.train, learner.prepared.train, learner.ranks
    layers = learner.layers
    if settings.normalize == "tokens":
        weight = sum(int(examples.target.lengths[rows].sum()) for rows in update.batches)
    else:
        weight = sum(map(len, update.batches))
    reference = learner.feeding(update.step - 1)
    nll_sum = torch.zeros((), device=ranks.device)
    generator = torch.Generator().manual_seed(_seed(settings.seed, update.step))
    torch.manual_seed(_seed(settings.seed, update.step, ranks.rank))
    copied = learner.prepared.codecs.target.size if learner.prepared.config.model.copy_ else None
    chosen = (settings.label_smoothing, settings.precision, learner.weights)
    for rows in update.batches:
        batch = replace_unknown(collate(examples, rows), settings.unknown, generator, copied)
        whole = batch.part(ranks.rank, ranks.world)
        if examples.lanes is not None and (layers is None or rows[0] == 0):  # an epoch begins: nothing was read yet
            assert isinstance(learner.model, LanguageModel)
            layers = learner.model.begin(len(whole.target.values))
        for number in range(parts):
            batch = whole.part(number, parts).to(ranks.device)
            if not len(batch.positions):
                continue
            if layers is None:
                objective, nll = batch_loss(learner.model, batch, reference, *chosen)
            else:
                mine = _map_layers(layers, itemgetter(slice(number, None, parts)))
                objective, nll, after = piece_loss(learner.model, batch, mine, *chosen)
                layers = _merged(layers, after, number, parts)
            (objective / weight).backward()  # type: ignore[no-untyped-call]
            nll_sum += nll
    return nll_sum, layers


def batch_loss(
    model: Model, batch: Batch, reference: float, smoothing: float, precision: str, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What training minimises and the loss (-log p in nats), each summed over the batch's target steps.

    `weights` [symbols] are those of the target's classes, where they differ.
    """
    target = batch.target.values
    with _lower_precision(target.device, precision):
        features = functional_call(model, dropped_weights(model), (batch.sources, target, reference))
        return model.head.objective(features, target, batch.positions, smoothing, weights)


def piece_loss(
    model: Model,
    batch: Batch,
    layers: tuple[Layer, ...],
    smoothing: float,
    precision: str,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Layer, ...]]:
    """As `batch_loss`, of pieces of a long text from the states after those before them; and the states after.

    No gradient goes from a piece to the one before it.
    """
    assert isinstance(model, LanguageModel)
    target, reader = batch.target.values, _ReadsOn(model)
    with _lower_precision(target.device, precision):
        features, after = functional_call(reader, dropped_weights(reader), (batch.sources[0].values, layers))
        return *model.head.objective(features, target, batch.positions, smoothing, weights), after


class _ReadsOn(nn.Module):
    """A language model's `run` as a module, so that weights can be put in the place of its own."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, layers: tuple[Layer, ...]) -> tuple[Tensor, tuple[Layer, ...]]:
        return self.model.run(ids, layers)


def _merged(layers: tuple[Layer, ...], after: tuple[Layer, ...], number: int, parts: int) -> tuple[Layer, ...]:
    """States of which every `parts`-th row from `number` on is replaced by those after."""
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
