"""The sum of all processes' gradients, which begins while the backward pass still computes others.

Parameters are divided into buckets, from the last to the first, as the backward pass reaches them. As soon as the
gradients of a bucket are there, and all buckets before it are on their way, it is sent, in the background (Li et al.
2020, PyTorch Distributed: Experiences on accelerating data parallel training, arXiv 2006.15704). All processes send
every bucket once and in the same order, also where a parameter has no gradient, so no process waits for another that
has nothing to send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from antiphon.training.distributed import Ranks, connected

BUCKET = 1 << 20  # numbers; a larger parameter is a bucket alone
REDUCED = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # the values of train.reduce


class Bucket:
    """Parameters whose gradients are sent in one message."""

    def __init__(self, parameters: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        self.parameters = parameters
        self.message = torch.zeros(sum(sizes), dtype=dtype, device=parameters[0].device)
        parts = torch.split(self.message, sizes)
        self.parts = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
        self.awaited = len(parameters)  # parameters whose gradient is not computed yet

    def fill(self) -> None:
        """Copy the gradients into the message; a parameter without one has zeros."""
        for parameter, part in zip(self.parameters, self.parts, strict=True):
            if parameter.grad is None:
                part.zero_()
            else:
                part.copy_(parameter.grad)

    def copy_back(self, used: Iterator[bool]) -> None:
        """Make what the message holds the gradients; one that no process has stays None, as in a single process."""
        for parameter, part, anywhere in zip(self.parameters, self.parts, used, strict=False):
            if not anywhere:
                parameter.grad = None
            elif parameter.grad is None:
                parameter.grad = part.to(parameter.dtype, copy=True)
            else:
                parameter.grad.copy_(part)


class GradientSum:
    """Adds up every parameter's gradient over all processes, once an update: `begin`, backward passes, of which the
    last is announced by `last_pass`, and `finish`.

    `reduce` is the type of the numbers that are sent. With bfloat16 each process rounds its gradients to 8 bits of
    mantissa, and sums are rounded again on their way; all processes get the same sums, bit for bit. What rounding takes
    away is not added to the next update (no error feedback): it would be a state of each process, which could not be
    divided anew among another number of processes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], ranks: Ranks, reduce: str = "float32") -> None:
        self.ranks, self.buckets = ranks, list[Bucket]()
        self.works: list[Any] = []  # one for each bucket that is on its way
        self.passing = False  # whether gradients are final as soon as they are computed
        if ranks.world == 1:
            return
        for group in _grouped(parameters):
            bucket = Bucket(group, REDUCED[reduce])
            self.buckets.append(bucket)
            for parameter in group:
                parameter.register_post_accumulate_grad_hook(partial(self._computed, bucket))  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Before the first backward pass of an update, or of a new attempt at it."""
        self.works, self.passing = [], False
        for bucket in self.buckets:
            bucket.awaited = len(bucket.parameters)

    def last_pass(self) -> None:
        """Before the last backward pass of this process in this update."""
        self.passing = True

    def finish(self, numbers: Sequence[Tensor | float]) -> list[Any]:
        """Send what is not yet on its way, and wait for all; returns these `numbers` added up over all processes.

        A process whose backward pass failed calls it too: the others wait for it.
        """
        if self.ranks.world == 1:
            return [*numbers]
        while len(self.works) < len(self.buckets):
            self._send_next()
        has = [float(parameter.grad is not None) for bucket in self.buckets for parameter in bucket.parameters]
        device = self.ranks.device
        tail = torch.stack([torch.as_tensor(number, dtype=torch.float64, device=device) for number in numbers])
        tail = torch.cat([tail, torch.tensor(has, dtype=torch.float64, device=device)])
        with connected():
            works = [*self.works, dist.all_reduce(tail, group=self.ranks.group, async_op=True)]
            for work in works:
                work.wait()
        totals = tail.tolist()
        used = iter([count > 0 for count in totals[len(numbers) :]])
        for bucket in self.buckets:
            bucket.copy_back(used)
        return totals[: len(numbers)]

    def _computed(self, bucket: Bucket, parameter: Tensor) -> None:
        """A backward pass has computed the gradient of a parameter in this bucket."""
        if not self.passing:
            return
        bucket.awaited -= 1
        while len(self.works) < len(self.buckets) and not self.buckets[len(self.works)].awaited:
            self._send_next()

    @torch.no_grad()
    def _send_next(self) -> None:
        bucket = self.buckets[len(self.works)]
        bucket.fill()
        with connected():
            self.works.append(dist.all_reduce(bucket.message, group=self.ranks.group, async_op=True))


def _grouped(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in groups of at most `BUCKET` numbers, the last parameter first."""
    group: list[nn.Parameter] = []
    for parameter in reversed(parameters):
        if group and sum(p.numel() for p in group) + parameter.numel() > BUCKET:
            yield group
            group = []
        group.append(parameter)
    if group:
        yield group
