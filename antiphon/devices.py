"""The devices on which tensors are computed."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from antiphon.errors import TrainingError

T = TypeVar("T")
R = TypeVar("R")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the GPU if there is one, else the CPU; a device that cannot be used is an error.

    TF32 is switched off: with it, one fused call and the same steps one by one would differ by more
    than rounding, and so would a row alone and in a batch.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if name is not None and not re.fullmatch(r"(cpu|mps|cuda(:\d+)?)", name):
        raise TrainingError(f"--device {name}: unknown; choose cpu, cuda, cuda:1, ... or mps")
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # each build of PyTorch has another message
        reason = "cannot be used here: PyTorch finds no such device; choose cpu, or leave it out"
        raise TrainingError(f"--device {name}: {reason}") from None
    return device


def side_by_side(work: Callable[[T], R], pieces: Sequence[T], workers: int) -> list[R]:
    """The results of `work` for every piece, in order, `workers` at once, each with its share of torch's threads.

    `work` itself has to set the modes of torch that belong to a thread (inference, autocast). The first error of a
    piece is raised, and pieces that have not begun are skipped.
    """
    threads, workers = torch.get_num_threads(), min(workers, len(pieces))
    if workers < 2:
        return [work(piece) for piece in pieces]
    try:
        with ThreadPoolExecutor(workers, "piece", torch.set_num_threads, (max(1, threads // workers),)) as pool:
            return list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(threads)  # which is also what later threads begin with


def processor() -> str:
    """How many cores of which processor, and which wide and bfloat16 instructions it has, where the system shows it."""
    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    entries = dict(line.replace("\t", "").partition(":")[::2] for line in lines if ":" in line)
    if "model name" in entries:
        name = entries["model name"].strip()
    flags = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in entries.get("flags", "").split()
    ]
    has = f" ({', '.join(flags)})" if flags else ""
    return f"{os.cpu_count()} cores of {name}{has}"
