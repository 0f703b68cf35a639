"""The training loop, read from top to bottom: rows, codecs, model, updates, validations, a model folder."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon import bundle
from antiphon.config import Config
from antiphon.data.batch import Batch, collate, replace_unknown
from antiphon.errors import TrainingError
from antiphon.evaluation import HIGHER_IS_BETTER, validate
from antiphon.files import writing
from antiphon.model import Writer
from antiphon.training import checkpoint
from antiphon.training.average import Average
from antiphon.training.card import write_card
from antiphon.training.distributed import Ranks, joined
from antiphon.training.feeding import FEEDINGS
from antiphon.training.interrupt import stop_asked
from antiphon.training.log import TrainingLog, draw_curves
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES
from antiphon.training.plan import Update, steps_per_epoch, total_steps, updates
from antiphon.training.prepare import Prepared, check_names, fingerprint, prepare


def train(
    config: Config,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    command: str = "",
) -> Path:
    """Train a model as configured, and return its folder `out`.

    An existing folder is refused without `resume` (go on with its training) or `overwrite`.
    `threads` bounds the CPU threads of torch. Errors are `AntiphonError`s.
    """
    check_names(config)
    if threads:
        torch.set_num_threads(threads)
    with joined(device) as ranks, enough_memory():
        if ranks.first:  # the others would see what the first has begun to write
            _check_folder(out, resume, overwrite)
        state = checkpoint.load(out) if resume else None
        if state and not threads:
            torch.set_num_threads(state["threads"])
        prepared = prepare(config, ranks, bundle.load_codecs(out) if resume else None)
        if state and state["fingerprint"] != fingerprint(prepared):
            reason = "its training had other data or settings; give the same, or train into another folder"
            raise TrainingError(f"{out}: {reason}")
        if ranks.first:
            if overwrite and not resume:
                _clear_folder(out)
            bundle.save_description(out, prepared.config, prepared.codecs)
        _run(prepared, out, state, ranks, command)
    return out


@contextmanager
def enough_memory() -> Iterator[None]:
    """Within it, running out of memory is an error with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        advice = "set a smaller train.batch_size (with train.accumulate the result stays the same) or smaller widths"
        raise TrainingError(f"out of memory; {advice}") from None


def batch_loss(
    model: Writer, batch: Batch, reference: float, smoothing: float, precision: str
) -> tuple[Tensor, Tensor]:
    """What training minimises and -log p in nats, each summed over the batch's target tokens."""
    with torch.autocast(batch.source.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        features = model(batch.source, batch.source_lengths, batch.target_in, reference)
        kept = features.flatten(0, 1)[batch.positions]
        return model.head.objective(kept, batch.target_out.flatten()[batch.positions], smoothing)


@dataclass
class Progress:
    """Where a training is; all of it is saved."""

    step: int = 0
    bad: int = 0  # validations since the best
    seconds: float = 0.0
    tokens: int = 0  # since the last validation
    loss: float = 0.0  # summed -log p of those
    history: list[dict[str, Any]] = field(default_factory=list)


def _run(prepared: Prepared, out: Path, state: dict[str, Any] | None, ranks: Ranks, command: str) -> None:
    settings = prepared.config.train
    model = prepared.model.to(ranks.device)
    parameters = list(model.parameters())
    chosen = settings.optimizer
    optimizer = OPTIMIZERS.build(
        chosen.kind, chosen.options, "train.optimizer", parameters=parameters, learning_rate=settings.learning_rate
    )
    schedule = SCHEDULES.build(settings.schedule.kind, settings.schedule.options, "train.schedule")
    feeding = FEEDINGS.build(settings.feeding.kind, settings.feeding.options, "train.feeding")
    average = Average(parameters, settings.ema, settings.average)
    total = total_steps(settings, prepared.train)
    every = settings.validate_every or min(max(steps_per_epoch(settings, prepared.train), 200), 2000)
    identity = fingerprint(prepared)

    at = Progress(**state["progress"]) if state else Progress()
    if state:
        bundle.copy_weights(model, state["weights"], str(out))
        optimizer.load_state_dict(state["optimizer"])
        average.restore(state["average"])

    def save() -> None:
        if ranks.first:
            at.seconds = time.monotonic() - clock
            checkpoint.save(
                out,
                {
                    "fingerprint": identity,
                    "weights": bundle.parameters(model),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state(),
                    "threads": torch.get_num_threads(),
                    "progress": vars(at),
                },
            )

    log = TrainingLog(out, total, not ranks.first, settings.tensorboard, at.step, at.history)
    log.say(_summary(prepared, ranks, total, every))
    clock = time.monotonic() - at.seconds
    loss_sum = torch.full((), at.loss, device=ranks.device)
    mark, seen = time.monotonic(), 0
    stop = settings.patience is not None and at.bad >= settings.patience
    try:
        with stop_asked() as asked:
            for update in updates(settings, prepared.train, at.step):
                if stop:
                    break
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * schedule(update.step - 1, total)
                loss_sum += _update(model, optimizer, prepared, update, feeding(update.step - 1), ranks, parameters)
                average.update()
                tokens = sum(int(prepared.train.target.lengths[rows].sum()) for rows in update.batches)
                at.step, at.tokens, seen = update.step, at.tokens + tokens, seen + tokens
                if log.wants_progress():
                    log.progress(
                        update.step, float(loss_sum) * ranks.world / at.tokens, seen / (time.monotonic() - mark)
                    )
                if update.step % every == 0 or update.step == total:
                    at.loss = float(ranks.sum(loss_sum))
                    average.snapshot()
                    if ranks.first:
                        with average.shipped():
                            entry = _validation(prepared, ranks, update, at)
                            entry["tokens_per_second"] = seen / (time.monotonic() - mark)
                            entry["minutes"] = (time.monotonic() - clock) / 60
                            if entry["best"]:
                                bundle.save_weights(out, bundle.parameters(model))
                        at.history.append(entry)
                        at.bad = 0 if entry["best"] else at.bad + 1
                        log.validation(entry)
                        stop = settings.patience is not None and at.bad >= settings.patience
                    stop = ranks.agree(stop)
                    loss_sum.zero_()
                    at.tokens, at.loss = 0, 0.0
                    save()
                    mark, seen = time.monotonic(), 0
                if asked() and ranks.world == 1:
                    at.loss = float(loss_sum)
                    save()
                    raise KeyboardInterrupt(f"stopped at update {at.step} and saved; go on with --resume")
    finally:
        log.close()
    if ranks.first:
        _finish(prepared, out, at.history, log, command)


def _summary(prepared: Prepared, ranks: Ranks, total: int, every: int) -> str:
    source, target = (len(side.vocabulary) for side in (prepared.codecs.source, prepared.codecs.target))
    size = sum(p.numel() for p in prepared.model.parameters())
    return (
        f"{len(prepared.train):,} training rows, {len(prepared.valid):,} validation rows, {source:,} source and "
        f"{target:,} target symbols, {size:,} parameters, {ranks.device}, at most {total:,} updates, "
        f"validation every {every:,}"
    )


def _update(
    model: Writer,
    optimizer: torch.optim.Optimizer,
    prepared: Prepared,
    update: Update,
    reference: float,
    ranks: Ranks,
    parameters: list[nn.Parameter],
) -> Tensor:
    """One update of the weights; the summed -log p of this process's tokens, still on the device.

    The loss is divided by the tokens (or rows) of all micro-batches of all processes, so the split
    into them changes nothing. What is drawn (dropout, feeding, unknown symbols) depends on the seed, the
    update and the process's number alone, so a resumed training draws the same.
    """
    settings, examples = prepared.config.train, prepared.train
    if settings.normalize == "tokens":
        weight = sum(int(examples.target.lengths[rows].sum()) for rows in update.batches)
    else:
        weight = sum(map(len, update.batches))
    model.train()
    optimizer.zero_grad(set_to_none=True)
    nll_sum = torch.zeros((), device=ranks.device)
    generator = torch.Generator().manual_seed(_seed(settings.seed, update.step))
    torch.manual_seed(_seed(settings.seed, update.step, ranks.rank))
    for rows in update.batches:
        whole = replace_unknown(collate(examples, rows), settings.unknown, generator)
        batch = whole.part(ranks.rank, ranks.world).to(ranks.device)
        if not len(batch.positions):
            continue
        objective, nll = batch_loss(model, batch, reference, settings.label_smoothing, settings.precision)
        (objective / weight).backward()  # type: ignore[no-untyped-call]
        nll_sum += nll
    ranks.sum_gradients(parameters)
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(parameters, settings.clip)
    optimizer.step()
    return nll_sum


def _seed(*numbers: int) -> int:
    """One seed from several numbers; neighbours give seeds that have nothing in common."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest())


def _validation(prepared: Prepared, ranks: Ranks, update: Update, at: Progress) -> dict[str, Any]:
    """An entry of the history: validation metrics, and whether the watched one is the best so far."""
    config = prepared.config
    found = validate(prepared.model, config, prepared.codecs.target, prepared.valid_rows, prepared.valid, ranks.device)
    if not math.isfinite(found["loss"]) or not math.isfinite(at.loss):
        raise TrainingError(
            f"the loss is no longer a number at update {update.step}; set a lower train.learning_rate or a train.clip"
        )
    metric = config.train.metric
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    best = all(sign * found[metric] > sign * entry[metric] for entry in at.history)
    epoch, train_loss = round(update.epoch, 4), at.loss / max(at.tokens, 1)
    return {"step": update.step, "epoch": epoch, "train_loss": train_loss, **found, "best": best}


def _finish(prepared: Prepared, out: Path, history: list[dict[str, Any]], log: TrainingLog, command: str) -> None:
    """Metrics, curves and the card, beside the best weights."""
    best = [entry for entry in history if entry["best"]][-1]
    metrics = {"valid": best, "updates": history[-1]["step"], "minutes": history[-1]["minutes"]}
    bundle.save_metrics(out, metrics)
    with writing(out / "curves.png"):
        draw_curves(history, out / "curves.png")
    write_card(out, prepared.config, prepared.codecs, best, history[-1], len(prepared.train), prepared.model, command)
    metric = prepared.config.train.metric
    log.say(f"done: best {metric} {best[metric]:.4f} at update {best['step']}; the model is in {out}")


def _check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it is a model's and may be gone on with or replaced."""
    if resume or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise TrainingError(f"{out}: exists; go on with --resume, replace it with --overwrite, or name another --out")
    if out.is_symlink() or not (out / bundle.CONFIG).is_file():
        raise TrainingError(f"{out}: is not a model folder, so --overwrite leaves it alone; name another --out")


def _clear_folder(out: Path) -> None:
    """Remove the old model: only now, when the new one's data has been read and found right."""
    try:
        if out.exists():
            shutil.rmtree(out)
    except OSError as error:
        raise TrainingError(f"{out}: cannot be replaced: {error.strerror or error}") from None
