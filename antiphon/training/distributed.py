"""Several processes as one: each takes a part of every batch's rows, gradients are summed.

`torchrun --nproc-per-node N -m antiphon train ...` is detected from the environment; a single process runs the same
code with N = 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from antiphon.devices import pick_device


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

    def sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Add up every parameter's gradient over all processes, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def sum(self, value: Tensor) -> Tensor:
        """A value added up over all processes."""
        if self.world == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def totals(self, *values: float) -> list[float]:
        """Numbers added up over all processes; a single process does not use the device."""
        if self.world == 1:
            return list(values)
        box = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(box)
        summed: list[float] = box.tolist()
        return summed

    def share(self, text: str) -> str:
        """The first process's text, for all."""
        if self.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def agree(self, decision: bool) -> bool:
        """The first process's decision, for all."""
        if self.world == 1:
            return decision
        box = torch.tensor([int(decision)], device=self.device)
        dist.broadcast(box, 0)
        return bool(box.item())


ALONE = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def joined(device_name: str | None) -> Iterator[Ranks]:
    """This process's place, from torchrun's environment; the group is left at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(0, 1, pick_device(device_name))
        return
    if device_name in (None, "cuda") and torch.cuda.is_available():
        device_name = f"cuda:{os.environ['LOCAL_RANK']}"
    device = pick_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield Ranks(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
