"""Settings of `train` that are `auto`: measured on this machine."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from antiphon.config.schema import Config
from antiphon.config.sections import Choice
from antiphon.data.batches import collate, only
from antiphon.data.encode import encode_rows
from antiphon.data.load import train_codecs
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.devices import pick_device
from antiphon.errors import TrainingError
from antiphon.training.distributed import Ranks
from antiphon.training.plan import updates
from antiphon.training.prepare import Parts, Prepared, assemble
from antiphon.training.rate_curve import RateCurve
from antiphon.training.update import Learner, apply, batch_loss, is_out_of_memory

LEAST, MOST = 512, 65_536  # padded source and target tokens; more makes an update no better
SHARE = 0.5  # the share of the free memory that may be used
ROUNDS = 5  # timings of each way, in turn
LOWEST, HIGHEST, TRIALS = 1e-5, 10.0, 100  # learning rates and updates of a range test
SMOOTH, FAR = 0.8, 3.0  # its loss is smoothed by this decay; so many times the lowest is too high
WORTH = 1.15  # a way must be so many times as fast, or the setting stays as it is
WARM, FEWEST, MANY = 3, 6, 60  # updates of a timing: those that warm up, at least, at most
Way = TypeVar("Way", str, int)


def use_threads(threads: int | None) -> None:
    """Let torch use this number of threads, before anything is measured; None and 0 leave it as it is."""
    if threads:
        torch.set_num_threads(threads)


def fitted(prepared: Prepared, ranks: Ranks) -> Prepared:
    """The same with a value for every setting that is `auto`: the first process measures it for all."""
    for name, find in TUNED.items():
        if getattr(prepared.config.train, name) == "auto":
            shared = ranks.share(json.dumps(find(prepared, ranks.device)) if ranks.first else "")
            prepared = replace(prepared, config=_with(prepared.config, name, json.loads(shared)))
    if prepared.config.train.learning_rate != "auto":
        return prepared
    curve = RateCurve(
        **json.loads(ranks.share(json.dumps(vars(rate_curve(prepared, ranks.device))) if ranks.first else ""))
    )
    config = _with(prepared.config, "learning_rate", curve.chosen)
    return replace(prepared, config=config, rate_curve=curve, notes=[*prepared.notes, curve.line()])


def as_before(config: Config, identity: Mapping[str, str]) -> Config:
    """A resumed training keeps the values that were measured when it began."""
    for name in (*TUNED, "learning_rate"):
        before = json.loads(identity[f"train.{name}"])
        if getattr(config.train, name) == "auto" and before is not None:
            config = _with(config, name, before)
    return config


def _with(config: Config, name: str, value: object) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={name: value})})


def faster_precision(prepared: Prepared, device: torch.device) -> str:
    """bfloat16 if the loss and gradients of a usual batch take clearly less time in it (the processor must have
    instructions for it); else float32. No weight changes."""
    seconds = _seconds(prepared, device, {name: partial(str, name) for name in ("float32", "bfloat16")})
    return "bfloat16" if seconds and seconds["float32"] > WORTH * seconds["bfloat16"] else "float32"


def fastest_threads(prepared: Prepared, device: torch.device) -> int:
    """The number of threads with the least time for the loss and gradients of a usual batch: all, or a half, a quarter
    and so on where that is clearly faster, as for small models. Torch is set to this number; no weight changes."""
    most = torch.get_num_threads()
    counts = [most >> halves for halves in range(most.bit_length())] if device.type == "cpu" else [most]

    def way(count: int) -> str:
        torch.set_num_threads(count)
        return prepared.config.train.precision

    seconds = _seconds(prepared, device, {count: partial(way, count) for count in counts}) or {most: 0.0}
    best = min(seconds, key=lambda count: seconds[count])
    chosen = best if seconds[most] > WORTH * seconds[best] else most
    torch.set_num_threads(chosen)
    return chosen


def _seconds(
    prepared: Prepared, device: torch.device, ways: Mapping[Way, Callable[[], str]]
) -> dict[Way, float] | None:
    """The seconds for the loss and gradients of a usual batch in several ways, in turn. Calling a way sets it up and
    returns its precision. None if memory runs out: the training will compute such a batch in parts."""
    model, settings = prepared.model.to(device), prepared.config.train
    order = np.argsort(prepared.train.source_lengths + prepared.train.target.lengths, kind="stable")
    middle = max(0, (len(order) - settings.batch_size) // 2)
    batch = collate(prepared.train, order[middle : middle + settings.batch_size]).to(device)
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    try:
        for _ in range(1 + ROUNDS):
            for way, taken in seconds.items():
                precision = ways[way]()
                began = time.perf_counter()
                loss, nll = batch_loss(model, batch, 1.0, settings.label_smoothing, precision)
                loss.backward()  # type: ignore[no-untyped-call]
                float(nll)  # waits for a device that computes asynchronously
                taken.append(time.perf_counter() - began)
                model.zero_grad(set_to_none=True)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        model.zero_grad(set_to_none=True)
    return {way: statistics.median(taken[1:]) for way, taken in seconds.items()}  # the first warms up


def parts_to_time(config: Config, rows: Sequence[Row]) -> Parts:
    """Some rows of a table, encoded, with which `seconds_of_update` measures."""
    codecs = train_codecs(config, rows)
    kept, examples = encode_rows(config, codecs, rows, Problems(skip=True))
    return Parts(codecs, kept, examples, kept[:1], only(examples, [0]))


def seconds_of_update(config: Config, parts: Parts, limit: float) -> float:
    """The mean seconds of an update with these rows, on the CPU or GPU that will train; measured for about `limit`
    seconds."""
    settings = config.train.model_copy(update={"max_steps": None, "epochs": 1 << 20})
    ranks = Ranks(0, 1, pick_device(None))
    prepared = fitted(assemble(config.model_copy(update={"train": settings}), parts), ranks)
    learner = Learner.begin(prepared, ranks, 1 << 20)
    taken: list[float] = []
    for update in updates(prepared.config.train, prepared.train, 0):
        began = time.perf_counter()
        apply(learner, update, 0.0, 1)
        taken.append(time.perf_counter() - began)
        if len(taken) >= FEWEST and (sum(taken) > limit or len(taken) >= MANY):
            break
    return statistics.mean(taken[WARM:])


def rate_curve(prepared: Prepared, device: torch.device) -> RateCurve:
    """A range test (Smith 2017, Cyclical learning rates for training neural networks, arXiv 1506.01186).

    On a copy of the model, the rate rises exponentially from `LOWEST` to `HIGHEST` within `TRIALS` updates, or until
    the smoothed loss is `FAR` times as high as its lowest, or is NaN. The choice is a tenth of the rate at which
    the smoothed loss is lowest, to two digits: there training is fast and still far from where it diverges.
    """
    settings = prepared.config.train.model_copy(
        update={
            "learning_rate": 1.0, "schedule": Choice(kind="constant"), "max_steps": TRIALS, "epochs": TRIALS,
            "ema": None, "average": 1,
        }
    )  # fmt: skip
    config = prepared.config.model_copy(update={"train": settings})
    trial = replace(prepared, config=config, model=copy.deepcopy(prepared.model))
    learner = Learner.begin(trial, Ranks(0, 1, device), TRIALS)
    rates: list[float] = []
    losses: list[float] = []
    mean, parts = 0.0, 1
    for update in updates(settings, prepared.train, 0):
        rate = LOWEST * (HIGHEST / LOWEST) ** ((update.step - 1) / (TRIALS - 1))
        done = apply(learner, update, rate, parts)
        loss, parts = math.nan if done.nll is None else float(done.nll) / update.tokens, done.parts
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        smoothed = mean / (1 - SMOOTH ** len([*losses, loss]))
        if not math.isfinite(smoothed) or smoothed > FAR * min([*losses, smoothed]):
            break
        rates.append(rate)
        losses.append(smoothed)
    if not rates:
        raise TrainingError("the loss is NaN or infinite at the first update of the range test; is the data right?")
    return RateCurve(rates, losses, float(f"{rates[int(np.argmin(losses))] / 10:.2g}"))


def largest_batch(prepared: Prepared, device: torch.device) -> int:
    """The most padded tokens, doubling from `LEAST`, whose loss and gradients fit; no weight changes.

    Each trial takes the longest rows, which need the most. On a processor, where running out of memory may
    end other programs too, a trial is not made if it would take more than half of what is free.
    """
    model, settings = prepared.model.to(device), prepared.config.train
    lengths = prepared.train.source_lengths + prepared.train.target.lengths
    longest = np.argsort(-lengths, kind="stable")
    tokens, largest = LEAST, 0
    _forget_peak()
    before = _peak()
    while tokens <= MOST:
        rows = longest[: max(1, tokens // int(lengths[longest[0]]))]
        try:
            batch = collate(prepared.train, rows).to(device)
            loss, _ = batch_loss(model, batch, 1.0, settings.label_smoothing, settings.precision)
            loss.backward()  # type: ignore[no-untyped-call]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            break
        finally:
            model.zero_grad(set_to_none=True)
        largest = tokens
        taken, before = _peak() - before, _peak()
        free = _free()
        if device.type == "cpu" and free is not None and 4 * taken > SHARE * free:  # the next takes twice as much again
            break
        if len(rows) == len(longest):
            break
        tokens *= 2
    if not largest:
        raise TrainingError(f"out of memory with {LEAST} tokens per batch; set smaller widths")
    return largest


def _forget_peak() -> None:
    """Reset `_peak`."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process had, in bytes; 0 if the system does not show it."""
    return _bytes("/proc/self/status", "VmHWM:") or 0


def _free() -> int | None:
    """The available memory in bytes; None if the system does not show it."""
    return _bytes("/proc/meminfo", "MemAvailable:")


def _bytes(path: str, name: str) -> int | None:
    """A number, in bytes, from a file of Linux that counts in KiB."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


TUNED: dict[str, Callable[[Prepared, torch.device], object]] = {
    "precision": faster_precision,  # first: how much fits depends on it
    "batch_tokens": largest_batch,
}
