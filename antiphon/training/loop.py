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
from antiphon.evaluation.samples import Sample, samples
from antiphon.evaluation.task import Task
from antiphon.files import remove_partial, writing
from antiphon.saved import calibration, examples
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.autotune import as_before, fastest_threads, fitted, use_threads
from antiphon.training.callbacks import METHODS, PROGRESS, Callbacks, Run
from antiphon.training.choice import Best, Judged, Verdict, after, verdict
from antiphon.training.clock import Clock, validation_cost, within
from antiphon.training.distributed import Ranks, joined
from antiphon.training.ends import finish, summary
from antiphon.training.folder import check_folder, clear_folder
from antiphon.training.health import cell_health, gradient_norms, warnings
from antiphon.training.interrupt import saved_on_bad_data, stop_asked
from antiphon.training.log import TrainingLog, output
from antiphon.training.plan import Place, Update, steps_per_epoch, total_steps, updates
from antiphon.training.prepare import (
    Prepared,
    as_the_first,
    check_names,
    differences,
    identity,
    prepare,
    refuse_other_rows,
)
from antiphon.training.resume import begun_by_this_job, claim, saved_codecs, saved_state
from antiphon.training.teachers import keep_outputs, load_teachers
from antiphon.training.update import Learner, apply, enough_memory

LOG = logging.getLogger("antiphon")
WARMUP = 0.1  # share of the updates, at most, where minutes do not allow all
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
    began: float | None = None,
) -> Path:
    """Train a model as configured, and return its folder `out`.

    An existing folder is an error without `resume` (continue its training) or `overwrite`. The first weights
    are those of the model in `init_from`, where they fit.
    `threads` is the number of CPU threads of torch; 0 measures which number is fastest, and keeps it. `about` has lines
    about what was chosen for the configuration, which are written first. `callbacks` have methods of `Callback`;
    `quiet` shows warnings alone. `train.minutes` are counted from `began`, in seconds of `time.monotonic` (None: now).
    Errors are `AntiphonError`s.
    """
    called = Callbacks(callbacks)
    began = time.monotonic() if began is None else began
    check_names(config)
    use_threads(threads)
    with output(quiet), joined(device) as ranks, enough_memory():
        config = as_the_first(config, ranks)
        restarted = ranks.agree(begun_by_this_job(out))
        if not restarted:  # by the first: others would see the first files of the new model
            ranks.by_first(lambda: check_folder(out, resume, overwrite))
        resume = resume or restarted
        state = saved_state(out, ranks, restarted, bool(init_from), vars(Progress()).keys()) if resume else None
        if state and not threads:
            torch.set_num_threads(state["threads"])
        config = as_before(config, state["identity"]) if state else config
        base = bundle.load(init_from, torch.device("cpu")) if init_from and not state else None
        teachers = load_teachers(config, ranks, out / bundle.TRAINING if resume else None)
        codecs = saved_codecs(out, config, ranks) if state else teachers.codecs if teachers else None
        prepared = fitted(prepare(config, ranks, codecs, base, state is not None, teachers), ranks)
        if threads == 0 and not state:
            LOG.info("%d thread(s) are fastest here", fastest_threads(prepared, ranks.device))
        refuse_other_rows(prepared, ranks)
        if state:
            other = differences(state["identity"], identity(prepared))
            if other:
                advice = "give the same, or train into another folder"
                raise TrainingError(f"{out}: its training had other settings: {'; '.join(other)}; {advice}")
        if ranks.first:
            if overwrite and not resume:
                clear_folder(out)
            claim(out)
            for folder in (out, out / bundle.TRAINING):
                remove_partial(folder)
            bundle.save_description(out, prepared.config, prepared.codecs)
            kept = examples.chosen(prepared.codecs, prepared.valid_rows, prepared.config.train.examples)
            examples.keep(out, kept)
            keep_outputs(teachers, out / bundle.TRAINING)
            if prepared.rate_curve:
                prepared.rate_curve.save(out)
            with writing(out / calibration.FILE):
                (out / calibration.FILE).unlink(missing_ok=True)  # it belongs to the old weights
        if about:
            about = [
                "settings chosen from the data (config.yaml has all; antiphon check --yaml shows them beforehand):",
                *(f"  {line}" for line in about),
            ]
        _run(prepared, out, state, ranks, command, about, called, began)
    return out


@dataclass
class Progress:
    """The progress of a training; all of it is saved."""

    step: int = 0
    epoch: float = 0.0
    place: Place | None = None  # of a streamed table, where the last update's window begins
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
    checked: int | None = None  # validation inputs that are used, within minutes
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
    ceiling: int  # updates at most; the clock may leave time for fewer
    clock: Clock | None  # if it has to end within some minutes
    seen: int = 0
    shown: float = -math.inf  # when the callbacks last saw progress
    samples: tuple[Sample, ...] = ()  # what callbacks see of the last validation


def _run(
    prepared: Prepared, out: Path, state: dict[str, Any] | None, ranks: Ranks, command: str, about: Sequence[str],
    callbacks: Callbacks, began: float,
) -> None:  # fmt: skip
    settings, names = prepared.config.train, identity(prepared)
    total = total_steps(settings, prepared.learned)
    resumed = state is not None
    at = Progress.of(state["progress"]) if state else Progress()
    clock = None
    if settings.minutes is not None:
        [cost] = ranks.totals(validation_cost(prepared, ranks.device) / ranks.world if ranks.first else 0.0)
        prepared, at.checked, clock = within(
            prepared, time.monotonic() - at.seconds if state else began, cost, at.checked
        )
    learner = Learner.begin(prepared, ranks, total)
    if state:
        learner.restore(state["learner"], str(out))
        state.clear()  # as large as the learner itself
    every = settings.validate_every or min(max(steps_per_epoch(settings, prepared.learned), 200), 2000)
    log = TrainingLog(out, total, not ranks.first, settings.tensorboard, at.step, at.history)
    for line in [*about, *prepared.notes, summary(prepared, ranks, total, every)]:
        log.write(line)
    now = time.monotonic()
    loss = torch.full((), at.loss / ranks.world, device=ranks.device)
    training = Training(
        prepared, out, ranks, learner, at, log, names, every, loss, now - at.seconds, now, now,
        callbacks, {name for name in METHODS if ranks.agree(callbacks.have(name))}, total, clock,
    )  # fmt: skip
    try:
        with stop_asked() as stop_requested, saved_on_bad_data(lambda: _save(training, planned=False), ranks):
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
        finish(prepared, out, training.at.history, log, training.at.step >= learner.total, command)
    _call(training, "end")


def _reaches_end(training: Training, stop_requested: Callable[[], bool]) -> bool:
    """Updates and validations up to the end; False if too many updates fail before."""
    settings, ranks, log = training.prepared.config.train, training.ranks, training.log
    for update in updates(settings, training.prepared.learned, training.at.step, training.at.place):
        at = training.at
        if settings.patience is not None and at.bad >= settings.patience:
            break
        if update.step > training.learner.total:  # no time is left for it
            break
        stop, late, due = _learn(training, update, stop_requested())
        if at.failed >= FAILED_UPDATES:
            return False
        if log.wants_progress():
            loss = float(training.loss) * ranks.world / max(at.tokens, 1)
            log.progress(update.step, loss, training.seen / (time.monotonic() - training.mark))
        if update.step % training.every == 0 and not at.failed and _has_time(training):
            if not _validate(training):
                return False
        elif settings.save_every and update.step % settings.save_every == 0 and not at.failed:
            _save(training)
        elif stop or late:
            _save(training, planned=False)
        if due and not at.failed:
            _call(training, "progress")
        ended = not at.failed and _call(training, "update")
        ended = (at.validated == at.step and _call(training, "validation")) or ended
        if stop:
            raise KeyboardInterrupt(f"stopped at update {at.step} and saved; --resume (resume=True) goes on")
        if ended:
            break
    if training.at.validated != training.at.step:
        if not _validate(training):
            return False
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
        rate, norm = float(training.learner.optimizer.param_groups[0]["lr"]), float(training.learner.norm)
        run = Run(
            at.step, training.learner.total, loss, rate, (*at.history,), training.out, training.prepared.config,
            at.tokens, norm if math.isfinite(norm) and name != "begin" else None, training.samples,
        )  # fmt: skip
        try:
            stop = callbacks.call(name, run)
        except BaseException as raised:
            error = raised
    if ranks.agree(error is not None):
        if name != "end":
            _save(training, planned=False)
        raise error or TrainingError("a callback failed in the first process")
    return ranks.agree(stop)


def _learn(training: Training, update: Update, stop: bool) -> list[bool]:
    """One update; a failing one is skipped and counted. Whether any process has to stop, or to save as it is time, or
    callbacks are to see the progress."""
    at = training.at
    minutes = training.prepared.config.train.save_minutes
    began = time.monotonic()
    late = minutes is not None and began - training.saved > 60 * minutes
    due = training.ranks.first and "progress" in training.called and began - training.shown > PROGRESS
    if due:
        training.shown = began
    done = apply(training.learner, update, at.rate, at.parts, (stop, late, due))
    if training.clock:
        training.clock.ended_update(began)
        total = training.clock.total(update.step, training.ceiling) if training.ranks.first else 0
        total = int(training.ranks.totals(total)[0])
        training.learner.total = training.log.total = total
        training.learner.warmup = WARMUP if total < training.ceiling else 1.0
    if done.parts > at.parts:
        at.parts = done.parts
        training.log.write(
            f"out of memory at update {update.step}: from here on every batch is computed in {at.parts} parts"
        )
    at.step, at.epoch, at.place = update.step, update.epoch, update.place
    if done.nll is None:
        at.failed, at.skipped = at.failed + 1, at.skipped + 1
        return done.wishes
    at.failed = 0
    training.loss += done.nll
    at.tokens, training.seen = at.tokens + update.tokens, training.seen + update.tokens
    return done.wishes


def _has_time(training: Training) -> bool:
    """Whether there is time for a validation before the last."""
    return training.clock is None or training.ranks.agree(training.clock.allows_validation())


def _validate(training: Training) -> bool:
    """Measure the weights that would be shipped, keep them unless they are worse, and save the state; False if they
    fail."""
    at, ranks, learner, began = training.at, training.ranks, training.learner, time.monotonic()
    train_loss = float(ranks.sum(training.loss)) / at.tokens if at.tokens else None  # None: all updates failed
    learner.average.snapshot()
    judgement = Verdict(False, False, 0.0)
    gradients = gradient_norms(learner.model, float(learner.norm)) if ranks.first else {}
    with learner.average.shipped():
        entry, judged = _measured(training, train_loss)  # by all processes; the first decides
        healthy = math.isfinite(entry["loss"])
        if ranks.first and healthy:
            judgement = verdict(judged, entry["loss"], at.best)
            at.best = after(at.best, judgement, at.step, judged, entry["loss"])
            entry |= {"gradients": gradients, "best": judgement.best, "kept": judgement.kept}
            if judgement.kept:
                bundle.save_weights(training.out, bundle.parameters(learner.model))
    if ranks.first and healthy:
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
    if healthy:
        _save(training)
        if training.clock:
            training.clock.ended_validation(began)
    return healthy


def _measured(training: Training, train_loss: float | None) -> tuple[dict[str, Any], Judged]:
    """An entry of the history with validation metrics; and the watched metric, with the influence of each row."""
    prepared, at = training.prepared, training.at
    model, device, metric = training.learner.model, training.ranks.device, prepared.metric
    sharing = training.ranks.sharing
    task = Task(model, prepared.config, prepared.codecs, prepared.valid_rows, prepared.valid, device, sharing)
    metrics, influence, measured = validate(task, metric)
    training.samples = samples(task, measured, training.callbacks.samples if training.ranks.first else 0)
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
