"""What fits this machine, found by trying: settings of `train` that are `auto`."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from antiphon.config import Config
from antiphon.data.batch import collate
from antiphon.errors import TrainingError
from antiphon.training.distributed import Ranks
from antiphon.training.prepare import Prepared
from antiphon.training.update import batch_loss, is_out_of_memory

LEAST, MOST = 512, 65_536  # padded source and target tokens; more makes an update no better
SHARE = 0.5  # of the memory that is free, at most
ROUNDS = 5  # of timing, each precision in turn
WORTH = 1.15  # times as fast, or float32 it stays


def fitted(prepared: Prepared, ranks: Ranks) -> Prepared:
    """With every setting that is `auto` found by the first process, for all of them."""
    for name, find in FOUND.items():
        if getattr(prepared.config.train, name) == "auto":
            found = ranks.share(json.dumps(find(prepared, ranks.device)) if ranks.first else "")
            prepared = replace(prepared, config=_with(prepared.config, name, json.loads(found)))
    return prepared


def as_before(config: Config, identity: Mapping[str, str]) -> Config:
    """A training that goes on keeps what was found for it when it began."""
    for name in FOUND:
        before = json.loads(identity[f"train.{name}"])
        if getattr(config.train, name) == "auto" and before is not None:
            config = _with(config, name, before)
    return config


def _with(config: Config, name: str, value: object) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={name: value})})


def faster_precision(prepared: Prepared, device: torch.device) -> str:
    """bfloat16 where the loss and gradients of a usual batch take clearly less time in it, as they do where the
    processor multiplies it natively; else float32. No weight changes."""
    model, settings = prepared.model.to(device), prepared.config.train
    order = np.argsort(prepared.train.source_lengths + prepared.train.target.lengths, kind="stable")
    middle = max(0, (len(order) - settings.batch_size) // 2)
    batch = collate(prepared.train, order[middle : middle + settings.batch_size]).to(device)
    seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    try:
        for _ in range(1 + ROUNDS):
            for precision, taken in seconds.items():
                began = time.perf_counter()
                loss, nll = batch_loss(model, batch, 1.0, settings.label_smoothing, precision)
                loss.backward()  # type: ignore[no-untyped-call]
                float(nll)  # a device that works on its own has to be waited for
                taken.append(time.perf_counter() - began)
                model.zero_grad(set_to_none=True)
    except (MemoryError, RuntimeError) as error:  # the training will compute such a batch in parts
        if not is_out_of_memory(error):
            raise
        return "float32"
    finally:
        model.zero_grad(set_to_none=True)
    plain, short = (statistics.median(taken[1:]) for taken in seconds.values())  # the first warms up
    return "bfloat16" if plain > WORTH * short else "float32"


def largest_batch(prepared: Prepared, device: torch.device) -> int:
    """The most padded tokens, doubling from `LEAST`, whose loss and gradients fit; no weight changes.

    Each trial takes the longest rows, which need the most. On a processor, where running out of memory may
    end other programs too, a trial is not made if it would take more than half of what is free.
    """
    model, settings = prepared.model.to(device), prepared.config.train
    lengths = prepared.train.source_lengths + prepared.train.target.lengths
    longest = np.argsort(-lengths, kind="stable")
    tokens, found = LEAST, 0
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
        found = tokens
        taken, before = _peak() - before, _peak()
        free = _free()
        if device.type == "cpu" and free is not None and 4 * taken > SHARE * free:  # the next takes twice as much again
            break
        if len(rows) == len(longest):
            break
        tokens *= 2
    if not found:
        raise TrainingError(f"out of memory with {LEAST} tokens a batch; set smaller widths")
    return found


def _forget_peak() -> None:
    """From here on `_peak` is about what comes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory this process had, in bytes; 0 where the system does not say."""
    return _bytes("/proc/self/status", "VmHWM:") or 0


def _free() -> int | None:
    """Memory that can be had, in bytes, where the system says so."""
    return _bytes("/proc/meminfo", "MemAvailable:")


def _bytes(path: str, name: str) -> int | None:
    """A figure of a file of Linux's, which counts in KiB."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


FOUND: dict[str, Callable[[Prepared, torch.device], object]] = {
    "precision": faster_precision,  # first: how much fits depends on it
    "batch_tokens": largest_batch,
}
