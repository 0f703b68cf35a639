"""The largest batch that fits into memory, found by trying (`train.batch_tokens: auto`)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch

from antiphon.data.batch import collate
from antiphon.errors import TrainingError
from antiphon.training.prepare import Prepared
from antiphon.training.update import batch_loss, is_out_of_memory

LEAST, MOST = 512, 65_536  # padded source and target tokens; more makes an update no better
SHARE = 0.5  # of the memory that is free, at most


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
