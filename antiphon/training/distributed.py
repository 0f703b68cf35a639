"""Several processes as one: each takes a part of every batch's rows, gradients are summed.

`torchrun --nproc-per-node N -m antiphon train ...` is detected from the environment; one process is
the case N = 1 of the same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from antiphon.data.batch import Ints
from antiphon.errors import TrainingError


@dataclass(frozen=True)
class Ranks:
    """This process's number among all, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process validates, prints and writes."""
        return self.rank == 0

    def own(self, rows: Ints) -> Ints:
        """This process's part of a batch's rows."""
        return rows[self.rank :: self.world]

    def sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Add up every parameter's gradient over all processes, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def agree(self, decision: bool) -> bool:
        """The first process's decision, for all."""
        if self.world == 1:
            return decision
        box = torch.tensor([int(decision)], device=self.device)
        dist.broadcast(box, 0)
        return bool(box.item())


def pick_device(name: str | None) -> torch.device:
    """The named device, or the GPU if there is one, else the CPU."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"--device {name}: cannot be used here: {str(error).splitlines()[0]}") from None
    return device


@contextmanager
def joined(device_name: str | None) -> Iterator[Ranks]:
    """This process's place, from torchrun's environment; the group is left at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(0, 1, pick_device(device_name))
        return
    device = pick_device(device_name)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
