"""Several processes as one: each takes a part of every batch's rows, gradients are summed (`gradients.py`).

`torchrun --nproc-per-node N -m antiphon train ...` is detected from the environment; a single process runs the same
code with N = 1. The processes may be on several machines, which need not share a disk: the first process alone reads
and writes the model folder.
"""

from __future__ import annotations

import io
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from antiphon.decoding.batches import Sharing
from antiphon.devices import pick_device
from antiphon.errors import AntiphonError, TrainingError

T = TypeVar("T")
WAIT = timedelta(hours=2)  # for the first process, which alone learns vocabularies or measures settings
LOST = timedelta(minutes=10)  # an update in which another process is silent for so long has lost it


@dataclass(frozen=True)
class Ranks:
    """This process's number among all, and its device."""

    rank: int
    world: int
    device: torch.device
    group: Any = None  # of torch.distributed, for the messages of updates

    @property
    def first(self) -> bool:
        """Whether this process validates, prints and writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """A value added up over all processes."""
        if self.world == 1:
            return value
        value = value.clone()
        with connected():
            dist.all_reduce(value)
        return value

    def totals(self, *values: float) -> list[float]:
        """Numbers added up over all processes; a single process does not use the device."""
        if self.world == 1:
            return list(values)
        box = torch.tensor(values, dtype=torch.float64, device=self.device)
        with connected():
            dist.all_reduce(box)
        summed: list[float] = box.tolist()
        return summed

    def share(self, text: str) -> str:
        """The first process's text, for all."""
        if self.world == 1:
            return text
        box = [text]
        with connected():
            dist.broadcast_object_list(box, 0)
        return box[0]

    def by_first(self, work: Callable[[], T]) -> T | None:
        """What `work` returns in the first process, None in the others. If it fails there, all end with status 1; the
        first alone says why."""
        result, error = None, None
        if self.first:
            try:
                result = work()
            except AntiphonError as raised:
                error = raised
        failed = self.agree(error is not None)
        if error is not None:
            raise error
        if failed:
            raise SystemExit(1)
        return result

    def share_state(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """The first process's plain values and tensors, for all; the tensors are on the CPU."""
        if self.world == 1:
            return state
        content = io.BytesIO()
        if self.first:
            torch.save(state, content)
        [size] = self.totals(len(content.getbuffer()))
        box = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.first:
            box.copy_(torch.frombuffer(content.getbuffer(), dtype=torch.uint8))
        with connected():
            dist.broadcast(box, 0)
        if not self.first:
            state = torch.load(io.BytesIO(box.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
        return state

    def all_of(self, values: list[Any]) -> list[list[Any]]:
        """The values of every process, in the order of the processes."""
        if self.world == 1:
            return [values]
        parts: list[list[Any]] = [[]] * self.world
        with connected():
            dist.all_gather_object(parts, values)
        return parts

    @property
    def sharing(self) -> Sharing:
        """How the batches of a validation are divided among the processes."""
        return Sharing(self.rank, self.world, self.all_of)

    def agree(self, decision: bool) -> bool:
        """The first process's decision, for all."""
        if self.world == 1:
            return decision
        box = torch.tensor([int(decision)], device=self.device)
        with connected():
            dist.broadcast(box, 0)
        return bool(box.item())


ALONE = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def connected(problem: str = "the connection to another process is lost") -> Iterator[None]:
    """Within it, a message that does not arrive is a `TrainingError` that names the problem, with advice."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of gloo; those of torch.distributed are RuntimeErrors too
        reason = re.sub(r"\[[^\]]*\.cc:\d+\] ", "", str(error).strip().splitlines()[0]).partition(". This is ")[0]
        advice = "with torchrun --max-restarts the training goes on by itself, and otherwise with --resume"
        raise TrainingError(f"{problem} ({reason}); {advice}") from None


def _met(store: Store, rank: int, world: int) -> Store:
    """The part of torchrun's store that belongs to these processes alone.

    After a restart the store may still hold the addresses of the processes before, and whoever reads these connects to
    nobody. So the first process draws a number, and answers whoever asks for it under a name that was never used.
    """
    if rank:
        name = uuid.uuid4().hex
        store.set(f"antiphon/asks/{rank}", name)
        number = store.get(f"antiphon/answer/{name}").decode()
        store.set(f"antiphon/knows/{number}/{rank}", "")
        return PrefixStore(f"antiphon/{number}", store)
    number = str(store.add("antiphon/number", 1))
    missing, ends = set(range(1, world)), time.monotonic() + LOST.total_seconds()
    while missing:
        if time.monotonic() > ends:
            raise RuntimeError(f"process {min(missing)} of {world} does not answer")
        for other in sorted(missing):
            if store.check([f"antiphon/asks/{other}"]):  # it may be what a process before this one has asked
                store.set(f"antiphon/answer/{store.get(f'antiphon/asks/{other}').decode()}", number)
            if store.check([f"antiphon/knows/{number}/{other}"]):
                missing.remove(other)
        time.sleep(0.02)
    return PrefixStore(f"antiphon/{number}", store)


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
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    with connected(f"the other processes are not reached at {place}; is a firewall between the machines?"):
        store, rank, world = next(rendezvous("env://", timeout=LOST))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=_met(store, rank, world), rank=rank, world_size=world, timeout=WAIT)
        group = dist.new_group(timeout=LOST)
    try:
        yield Ranks(dist.get_rank(), world, device, group)
    finally:
        dist.destroy_process_group()
