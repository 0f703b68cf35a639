"""The training loop, read from top to bottom: rows, codecs, model, updates, validations, a model folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.config.schema import Config
from antiphon.data.batches import collate
from antiphon.errors import TrainingError
from antiphon.evaluation.measure import validate
from antiphon.evaluation.metric_names import HIGHER_IS_BETTER, PERFECT
from antiphon.evaluation.task import Task
from antiphon.files import remove_partial, write_atomically, writing
from antiphon.model.build import structure_of
from antiphon.saved import calibration
from antiphon.saved import folder as bundle
from antiphon.saved.card import write_card
from antiphon.training import checkpoint
from antiphon.training.autotune import as_before, fastest_threads, fitted
from antiphon.training.callbacks import METHODS, Callbacks, Run
from antiphon.training.choice import Best, Judged, Verdict, after, verdict
from antiphon.training.distributed import Ranks, joined
from antiphon.training.folder import check_folder, clear_folder
from antiphon.training.health import at_the_end, cell_health, gradient_norms, warnings
from antiphon.training.interrupt import stop_asked
from antiphon.training.log import TrainingLog, draw_curves, output
from antiphon.training.plan import Update, steps_per_epoch, total_steps, updates
from antiphon.training.prepare import Prepared, check_names, differences, identity, prepare
from antiphon.training.update import Learner, apply, enough_memory

LOG = logging.getLogger("antiphon")
FAILED_UPDATES = 5  # so many in a row, and the training goes back to a saved state
SAMPLE = 1 << 15  # steps, with padding, of the rows that are used to look at the cells
GRACE = 3  # validations before the first warning
ROLLBACKS = 3  # without a validation between them, and the training gives up


def train(
    config: Config,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    command: str = "",
    init_from: Path | None = None,
    about: Sequence[str] = (),
    callbacks: Iterable[object] = (),
    quiet: bool = False,
) -> Path:
    """Train a model as configured, and return its folder `out`.

    An existing folder is an error without `resume` (continue its training) or `overwrite`. The first weights
    are those of the model in `init_from`, where they fit.
    `threads` is the number of CPU threads of torch; 0 measures which number is fastest, and keeps it. `about` has lines
    about what was chosen for the configuration, which are written first. `callbacks` have methods of `Callback`;
    `quiet` shows warnings alone.
    Errors are `AntiphonError`s.
    """
    called = Callbacks(callbacks)
    check_names(config)
    if threads:
        torch.set_num_threads(threads)
    with output(quiet), joined(device) as ranks, enough_memory():
        if ranks.first:  # other processes would see the first files of the new model
            check_folder(out, resume, overwrite)
        state = _state(out, init_from) if resume else None
        if state and not threads:
            torch.set_num_threads(state["threads"])
        config = as_before(config, state["identity"]) if state else config
        base = bundle.load(init_from, torch.device("cpu")) if init_from and not state else None
        prepared = prepare(config, ranks, bundle.load_codecs(out, config) if state else None, base)
        prepared = fitted(prepared, ranks)
        if threads == 0 and not state:
            LOG.info("%d thread(s) are fastest here", fastest_threads(prepared, ranks.device))
        if state:
            other = differences(state["identity"], identity(prepared))
            if other:
                advice = "give the same, or train into another folder"
                raise TrainingError(f"{out}: its training had other settings: {'; '.join(other)}; {advice}")
        if ranks.first:
            if overwrite and not resume:
                clear_folder(out)
            for folder in (out, out / bundle.TRAINING):
                remove_partial(folder)
            bundle.save_description(out, prepared.config, prepared.codecs)
            if prepared.rate_curve:
                prepared.rate_curve.save(out)
            with writing(out / calibration.FILE):
                (out / calibration.FILE).unlink(missing_ok=True)  # it belongs to the old weights
        if about:
            about = [
                "settings chosen from the data (config.yaml has all; antiphon check --yaml shows them beforehand):",
                *(f"  {line}" for line in about),
            ]
        _run(prepared, out, state, ranks, command, about, called)
    return out


def _state(out: Path, init_from: Path | None) -> dict[str, Any] | None:
    """The state to resume; None for a training that was stopped before it saved a state."""
    begun = (out / bundle.CONFIG).is_file() and not (out / bundle.WEIGHTS).exists()
    if begun and not checkpoint.states(out):
        bundle.refuse_strange_files(out)
        again = ", without --init-from unless it is given again" if not init_from else ""
        LOG.warning("%s: nothing was saved yet; the training starts from its first update%s", out, again)
        return None
    state, damaged = checkpoint.load(out)
    if state.get("progress", {}).keys() != vars(Progress()).keys():
        raise TrainingError(f"{out}: its training was saved by another version; train again")
    for message in damaged:
        LOG.warning("%s; going on from update %d", message, state["progress"]["step"])
    return state


@dataclass
class Progress:
    """The progress of a training; all of it is saved."""

    step: int = 0
    epoch: float = 0.0
    validated: int = -1  # the update of the last validation
    bad: float = 0.0  # validations since the best; those that are not clearly worse count half
    best: Best | None = None  # the best validation, known to the first process
    seconds: float = 0.0
    tokens: int = 0  # since the last validation
    loss: float = 0.0  # summed -log p of these tokens
    rate: float = 1.0  # a factor of the learning rate, lowered when updates fail
    parts: int = 1  # every batch is computed in so many parts, more when memory runs out
    failed: int = 0  # failed updates in a row: loss or gradient NaN or infinite; they change no weight
    skipped: int = 0  # all failed updates
    rollbacks: int = 0  # since the last validation
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """The progress in a saved state."""
        best = state["best"]
        return cls(**{**state, "best": None if best is None else Best.from_state(best)})


@dataclass
class Training:
    """A running training. `at` and the learner's state are saved; all else is created again when it is resumed."""

    prepared: Prepared
    out: Path
    ranks: Ranks
    learner: Learner
    at: Progress
    log: TrainingLog
    identity: dict[str, str]
    every: int  # updates between validations
    loss: Tensor  # summed -log p since the last validation, still on the device
    began: float  # when it began, with the time of pauses taken out
    saved: float  # when it was last saved
    mark: float  # the time from which `seen` target tokens are counted, moved on by the time of saving
    callbacks: Callbacks
    called: set[str]  # the methods that they have in the first process
    total: int  # updates at most
    seen: int = 0


def _run(
    prepared: Prepared, out: Path, state: dict[str, Any] | None, ranks: Ranks, command: str, about: Sequence[str],
    callbacks: Callbacks,
) -> None:  # fmt: skip
    settings = prepared.config.train
    total = total_steps(settings, prepared.train)
    learner = Learner.begin(prepared, ranks, total)
    resumed = state is not None
    at = Progress.of(state["progress"]) if state else Progress()
    if state:
        learner.restore(state["learner"], str(out))
        state.clear()  # as large as the learner itself
    every = settings.validate_every or min(max(steps_per_epoch(settings, prepared.train), 200), 2000)
    log = TrainingLog(out, total, not ranks.first, settings.tensorboard, at.step, at.history)
    for line in [*about, *prepared.notes, _summary(prepared, ranks, total, every)]:
        log.write(line)
    now = time.monotonic()
    loss = torch.full((), at.loss / ranks.world, device=ranks.device)
    names = identity(prepared)
    training = Training(
        prepared, out, ranks, learner, at, log, names, every, loss, now - at.seconds, now, now,
        callbacks, {name for name in METHODS if ranks.agree(callbacks.have(name))}, total,
    )  # fmt: skip
    try:
        with stop_asked() as stop_requested:
            if not resumed:
                _save(training)
            _call(training, "begin")
            while not _reaches_end(training, stop_requested):
                _roll_back(training)
    finally:
        log.close()
    if ranks.first:
        if all(entry["train_loss"] is None for entry in training.at.history):
            raise TrainingError(
                "the loss was NaN or infinite in every update, so nothing was learned; lower train.learning_rate"
            )
        _finish(training, command)
    _call(training, "end")


def _reaches_end(training: Training, stop_requested: Callable[[], bool]) -> bool:
    """Updates and validations up to the end; False if too many updates fail before."""
    settings, ranks, log = training.prepared.config.train, training.ranks, training.log
    for update in updates(settings, training.prepared.train, training.at.step):
        at = training.at
        if settings.patience is not None and at.bad >= settings.patience:
            break
        stop, late = _learn(training, update, stop_requested())
        if at.failed >= FAILED_UPDATES:
            return False
        if log.wants_progress():
            loss = float(training.loss) * ranks.world / max(at.tokens, 1)
            log.progress(update.step, loss, training.seen / (time.monotonic() - training.mark))
        if update.step % training.every == 0 and not at.failed:
            if not _validate(training):
                return False
            _save(training)
        elif settings.save_every and update.step % settings.save_every == 0 and not at.failed:
            _save(training)
        elif stop or late:
            _save(training, planned=False)
        ended = not at.failed and _call(training, "update")
        ended = (at.validated == at.step and _call(training, "validation")) or ended
        if stop:
            raise KeyboardInterrupt(f"stopped at update {at.step} and saved; --resume (resume=True) goes on")
        if ended:
            break
    if training.at.validated != training.at.step:
        if not _validate(training):
            return False
        _save(training)
        _call(training, "validation")
    return True


def _call(training: Training, name: str) -> bool:
    """Call the callbacks in the first process; whether any asks to stop. An exception ends all, and the state is saved.

    Without callbacks nothing is read from the device.
    """
    at, ranks, callbacks = training.at, training.ranks, training.callbacks
    if name not in training.called:
        return False
    stop, error = False, None
    if ranks.first:
        last = at.history[-1]["train_loss"] if at.history else None
        loss = float(training.loss) * ranks.world / at.tokens if at.tokens else last
        rate = float(training.learner.optimizer.param_groups[0]["lr"])
        config = training.prepared.config
        try:
            stop = callbacks.call(name, Run(at.step, training.total, loss, rate, (*at.history,), training.out, config))
        except BaseException as raised:
            error = raised
    if ranks.agree(error is not None):
        if name != "end":
            _save(training, planned=False)
        raise error or TrainingError("a callback failed in the first process")
    return ranks.agree(stop)


def _learn(training: Training, update: Update, stop: bool) -> list[bool]:
    """One update; a failing one is skipped and counted. Whether any process has to stop, or to save as it is time."""
    at = training.at
    minutes = training.prepared.config.train.save_minutes
    late = minutes is not None and time.monotonic() - training.saved > 60 * minutes
    done = apply(training.learner, update, at.rate, at.parts, (stop, late))
    if done.parts > at.parts:
        at.parts = done.parts
        training.log.write(
            f"out of memory at update {update.step}: from here on every batch is computed in {at.parts} parts"
        )
    at.step, at.epoch = update.step, update.epoch
    if done.nll is None:
        at.failed, at.skipped = at.failed + 1, at.skipped + 1
        return done.wishes
    at.failed = 0
    training.loss += done.nll
    tokens = sum(int(training.prepared.train.target.lengths[rows].sum()) for rows in update.batches)
    at.tokens, training.seen = at.tokens + tokens, training.seen + tokens
    return done.wishes


def _validate(training: Training) -> bool:
    """Measure the weights that would be shipped, and keep them unless they are worse; False if they fail."""
    at, ranks, learner, began = training.at, training.ranks, training.learner, time.monotonic()
    train_loss = float(ranks.sum(training.loss)) / at.tokens if at.tokens else None  # None: all updates failed
    learner.average.snapshot()
    judgement, healthy = Verdict(False, False, 0.0), False
    if ranks.first:
        gradients = gradient_norms(learner.model, float(learner.norm))
        with learner.average.shipped():
            entry, judged = _measured(training, train_loss)
            healthy = math.isfinite(entry["loss"])
            if healthy:
                judgement = verdict(judged, entry["loss"], at.best)
                at.best = after(at.best, judgement, at.step, judged, entry["loss"])
                entry |= {"gradients": gradients, "best": judgement.best, "kept": judgement.kept}
                if judgement.kept:
                    bundle.save_weights(training.out, bundle.parameters(learner.model))
        if healthy:
            at.history.append(entry)
            training.log.validation(entry)
            messages = warnings(entry)
            training.log.warn(
                messages if len(at.history) >= GRACE else {k: v for k, v in messages.items() if k == "skipped"}
            )
    best, worse, healthy = ranks.agree(judgement.best), ranks.agree(judgement.impatience == 1), ranks.agree(healthy)
    doubtful = ranks.agree(judgement.impatience == 0.5)
    if healthy:
        at.bad = 0.0 if best else at.bad + (1.0 if worse else 0.5 if doubtful else 0.0)
        at.rollbacks = at.tokens = 0
        at.validated = at.step
        training.loss.zero_()
    now = time.monotonic()
    training.log.started += now - began
    training.mark, training.seen = now, 0
    return healthy


def _measured(training: Training, train_loss: float | None) -> tuple[dict[str, Any], Judged]:
    """An entry of the history with validation metrics; and the watched metric, with the influence of each row."""
    prepared, at = training.prepared, training.at
    model, device, metric = training.learner.model, training.ranks.device, prepared.metric
    task = Task(model, prepared.config, prepared.codecs, prepared.valid_rows, prepared.valid, device)
    metrics, influence = validate(task, metric)
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    few = max(1, min(64, SAMPLE // int(prepared.valid.source_lengths.max())))
    sample = collate(prepared.valid, range(min(len(prepared.valid), few))).to(device)
    now = time.monotonic()
    entry = {
        "step": at.step,
        "epoch": round(at.epoch, 4),
        "train_loss": train_loss,
        **metrics,
        "cells": cell_health(model, sample),
        "skipped": at.skipped,
        "rate": at.rate,
        "learning_rate": float(training.learner.optimizer.param_groups[0]["lr"]),
        "tokens_per_second": training.seen / (now - training.mark),
        "minutes": (now - training.began) / 60,
    }
    return entry, Judged(sign * metrics[metric], sign * influence, metrics[metric] == PERFECT.get(metric))


def _save(training: Training, planned: bool = True) -> None:
    """Save the state for resuming; `planned` if every such training saves a state at this update."""
    at, ranks, began = training.at, training.ranks, time.monotonic()
    at.loss = float(ranks.sum(training.loss))
    at.seconds = time.monotonic() - training.began
    learned = training.learner.state()  # in every process: each has a part
    if ranks.first:
        state = {
            "identity": training.identity,
            "threads": torch.get_num_threads(),
            "progress": {**vars(at), "best": at.best.to_state() if at.best else None},
            "learner": learned,
        }
        checkpoint.save(training.out, at.step, state, training.prepared.config.train.keep, planned)
    training.saved = now = time.monotonic()
    training.mark, training.log.started = training.mark + now - began, training.log.started + now - began


def _roll_back(training: Training) -> None:
    """Back to a saved state with half the learning rate; to an older one if that did not help."""
    before = training.at
    if before.rollbacks >= ROLLBACKS:
        raise TrainingError(
            f"the loss is NaN or infinite at update {before.step}, and half the learning rate from a saved state, "
            f"tried {ROLLBACKS} times, does not help; set a lower train.learning_rate or train.clip, or a longer warmup"
        )
    state, _ = checkpoint.load(training.out, back=before.rollbacks)
    training.learner.restore(state["learner"], str(training.out))
    training.at = replace(
        Progress.of(state["progress"]),
        bad=before.bad,
        best=before.best,
        rate=before.rate / 2,
        parts=before.parts,
        skipped=before.skipped,
        rollbacks=before.rollbacks + 1,
        history=before.history,
        failed=0,
    )
    training.loss.fill_(training.at.loss / training.ranks.world)
    training.mark, training.seen = time.monotonic(), 0
    training.log.back_to(training.at.step)
    training.log.write(
        f"the loss is NaN or infinite at update {before.step}: back to update {training.at.step}, "
        f"with {training.at.rate:g} times the learning rate"
    )
    _save(training)


def _summary(prepared: Prepared, ranks: Ranks, total: int, every: int) -> str:
    sides = ", ".join(f"{name}: {codec.about()}" for name, codec in prepared.codecs.named.items())
    size = sum(p.numel() for p in prepared.model.parameters())
    whole = prepared.train.lanes is not None
    counts = [len(part.target.values) if whole else len(part) for part in (prepared.train, prepared.valid)]
    what = "symbols" if whole else "rows"
    return (
        f"{counts[0]:,} training {what}, {counts[1]:,} validation {what}; {sides}; "
        f"{structure_of(prepared.config)}, {size:,} parameters, {ranks.device}, at most {total:,} updates, "
        f"validation every {every:,}"
    )


def _finish(training: Training, command: str) -> None:
    """Write metrics, curves and the card, beside the weights that are kept; log warnings and the result."""
    prepared, out, history, log = training.prepared, training.out, training.at.history, training.log
    kept = [entry for entry in history if entry["kept"]][-1]
    bundle.save_metrics(out, {"valid": kept, "updates": history[-1]["step"], "minutes": history[-1]["minutes"]})
    picture = draw_curves(history)
    write_atomically(out / bundle.CURVES, lambda file: file.write(picture))
    write_card(out, prepared.config, prepared.codecs, kept, history[-1], len(prepared.train), prepared.model, command)
    log.warn(at_the_end(prepared, history, kept, training.at.step >= training.total))
    log.write(f"done: {_why_kept(prepared, history, kept)}; the model is in {out}")


def _why_kept(prepared: Prepared, history: list[dict[str, Any]], kept: dict[str, Any]) -> str:
    """Which weights are kept, and why."""
    best, name = next((entry for entry in reversed(history) if entry["best"]), kept), prepared.metric
    value = f"{name} {kept[name]:.4f} at update {kept['step']:,}"
    if kept is best:
        return f"{value}, the best of {len(history)} validations"
    return (
        f"{value}, the latest that {len(prepared.valid_rows):,} validation rows do not show to be worse than the best "
        f"({best[name]:.4f} at update {best['step']:,})"
    )
