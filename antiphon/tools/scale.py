"""What several machines would make of a training: a cost model, and the constants that a machine has in it.

An update of B rows on N machines is forward and backward passes of B / N rows, while the sums of gradients are on their
way, and then what every machine does alike. Time in seconds:

    update = fixed + reading B + forward B/N + max(backward B/N, all messages but the last) + last message + answer
    messages = 2 (N - 1) / N bytes / bandwidth + 2 (N - 1) latency, for each bucket, two of them at once

The first term of messages is what a ring needs at least (Patarasu & Yuan 2009, Bandwidth optimal all-reduce algorithms
for clusters of workstations).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from antiphon.data.batches import Ints, collate
from antiphon.devices import processor
from antiphon.tools.bench import REFERENCES, ROUNDS, prepared
from antiphon.training.distributed import Ranks, joined
from antiphon.training.gradients import BUCKET
from antiphon.training.plan import Update
from antiphon.training.prepare import Prepared
from antiphon.training.update import Learner, apply, batch_loss

FEW, MANY = 16, 64  # rows of a batch whose updates are timed
MACHINES = (1, 2, 4, 8, 16, 32, 64)
TOGETHER = 2  # messages that gloo sends at once
BYTES = {"float32": 4, "bfloat16": 2}
LARGE = 1 << 22  # numbers of the message that measures the bandwidth


@dataclass(frozen=True)
class Costs:
    """What an update of a model costs on a machine; rows have about `tokens` target tokens."""

    parameters: int
    tokens: float
    fixed: float  # seconds of an update, whatever its rows: clipping, the optimizer, Python
    reading: float  # seconds a row for making the batch, which every process makes whole
    forward: float  # seconds a row
    backward: float  # seconds a row


@dataclass(frozen=True)
class Link:
    """A connection between machines: bytes per second in each direction, and seconds until a small message is there."""

    name: str
    bandwidth: float
    latency: float


LINKS = (Link("1 Gbit/s, 0.2 ms", 1e9 / 8, 2e-4), Link("10 Gbit/s, 0.05 ms", 1e10 / 8, 5e-5))


def messages(costs: Costs, link: Link, machines: int, reduce: str = "float32") -> float:
    """Seconds in which the gradients of an update are summed, if nothing else is done."""
    if machines == 1:
        return 0.0
    count = math.ceil(costs.parameters / BUCKET)
    volume = 2 * (machines - 1) / machines * costs.parameters * BYTES[reduce] / link.bandwidth
    return volume + math.ceil(count / TOGETHER) * 2 * (machines - 1) * link.latency


def seconds_of_update(
    costs: Costs, link: Link, machines: int, rows: int, reduce: str = "float32", overlapped: bool = True
) -> float:
    """Seconds of an update of `rows` rows that `machines` machines divide."""
    forward, backward = (part * rows / machines for part in (costs.forward, costs.backward))
    alike, sums = costs.fixed + costs.reading * rows, messages(costs, link, machines, reduce)
    answer = 2 * (machines - 1) * link.latency  # the loss, and whether all gradients are numbers
    if not overlapped:
        return alike + forward + backward + sums + answer
    last = sums / math.ceil(costs.parameters / BUCKET)  # the last bucket waits for the end of the backward pass
    return alike + forward + max(backward, sums - last) + last + answer


def limit(costs: Costs, link: Link, machines: int, rows: int, reduce: str = "float32") -> str:
    """What takes the most time of such an update: computation, gradients, or what every machine does alike."""
    sums = messages(costs, link, machines, reduce) + 2 * (machines - 1) * link.latency
    parts = {
        "computation": (costs.forward + costs.backward) * rows / machines,
        "gradients": sums,
        "fixed": costs.fixed,
        "reading": costs.reading * rows,
    }
    return max(parts, key=lambda name: parts[name])


def predicted(costs: Costs, link: Link, reduce: str, grows: bool, rows: int = MANY) -> list[tuple[int, float, str]]:
    """For each number of machines: target tokens per second, and what limits them. The batch has `rows` rows; if it
    `grows`, each machine has so many."""
    lines = []
    for machines in MACHINES:
        batch = rows * machines if grows else rows
        seconds = seconds_of_update(costs, link, machines, batch, reduce)
        lines.append((machines, batch * costs.tokens / seconds, limit(costs, link, machines, batch, reduce)))
    return lines


def table(costs: Costs, links: Sequence[Link], rows: int = MANY) -> list[str]:
    """The predictions as a table of Markdown: target tokens per second, and how many times as fast as one machine."""
    heads = ["machines", *(f"{link.name}, {reduce}" for link in links for reduce in BYTES)]
    lines = []
    for grows in (False, True):
        batch = f"{rows} rows on each machine" if grows else f"{rows} rows on all machines together"
        lines += [f"A batch of {batch}:", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        columns = [predicted(costs, link, reduce, grows, rows) for link in links for reduce in BYTES]
        for number, machines in enumerate(MACHINES):
            cells = [
                f"{column[number][1]:,.0f} ({column[number][1] / column[0][1]:.1f}x; {column[number][2]})"
                for column in columns
            ]
            lines.append(f"| {machines} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def measured(setup: Prepared, seconds: float) -> Costs:
    """The constants of this machine for a model and its rows, each measured for about so many seconds."""
    learner = Learner.begin(setup, Ranks(0, 1, torch.device("cpu")), 1 << 20)
    order = np.argsort(setup.train.source_lengths + setup.train.target.lengths, kind="stable")
    middle = len(order) // 2
    batches = {size: order[middle - size // 2 : middle - size // 2 + size] for size in (FEW, MANY)}
    steps = iter(range(1, 1 << 20))
    settings = setup.config.train

    def passes() -> float:
        batch = collate(setup.train, batches[MANY])
        began = time.perf_counter()
        objective, _ = batch_loss(learner.model, batch, 1.0, 0.0, settings.precision)
        between = time.perf_counter()
        objective.backward()  # type: ignore[no-untyped-call]
        shares.append((between - began) / (time.perf_counter() - began))
        return shares[-1]

    shares: list[float] = []
    share = seconds / ROUNDS
    learner.model.train()

    def update(rows: Ints) -> object:
        return apply(learner, Update(next(steps), 0, [rows], setup.train), 1.0, 1)

    updates = {size: _least(partial(update, rows), share) for size, rows in batches.items()}
    reading = _least(lambda: collate(setup.train, batches[MANY]), share / 4) / MANY
    _least(passes, share)
    row = max(0.0, (updates[MANY] - updates[FEW]) / (MANY - FEW) - reading)
    forward = statistics.median(shares) * row
    fixed = max(0.0, updates[MANY] - MANY * (row + reading))
    tokens = float(setup.train.target.lengths[batches[MANY]].mean())
    size = sum(parameter.numel() for parameter in learner.parameters)
    return Costs(size, tokens, fixed, reading, forward, row - forward)


def _least(call: Callable[[], object], seconds: float) -> float:
    """The least seconds of a call, after one that warms up: other programs can only add to it."""
    call()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < ROUNDS:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def measured_link(ranks: Ranks, seconds: float) -> Link:
    """The connection between the processes: of a small message and of a large one."""
    small = _timed(ranks, 1, seconds)
    large = _timed(ranks, LARGE, seconds)
    volume = 2 * (ranks.world - 1) / ranks.world * 4 * LARGE
    return Link("this connection", volume / max(large - small, 1e-9), small / (2 * (ranks.world - 1)))


def _timed(ranks: Ranks, numbers: int, seconds: float) -> float:
    """Median seconds of a sum of so many numbers; every process makes the same number of sums."""
    values, taken = torch.zeros(numbers, device=ranks.device), list[float]()
    while True:
        began = time.perf_counter()
        ranks.sum(values)
        taken.append(time.perf_counter() - began)
        if ranks.agree(len(taken) > ROUNDS and sum(taken) > seconds):
            return statistics.median(taken[1:])


def run(show: Callable[[str], None], threads: int | None, seconds: float) -> dict[str, Any]:
    """Measure the constants and report them and what they predict, line by line; returns the same as values.

    Under torchrun the connection between its processes is measured too.
    """
    if threads:
        torch.set_num_threads(threads)
    with joined("cpu") as ranks:
        report = show if ranks.first else lambda line: None
        reference = REFERENCES["sentences"]
        costs = measured(prepared(reference), seconds)
        links = (measured_link(ranks, seconds),) if ranks.world > 1 else LINKS
    report(f"{processor()}; {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    report(f"{reference.about}; {costs.parameters:,} parameters, {costs.tokens:.1f} target tokens a row")
    report(
        f"an update: {1e3 * costs.fixed:.1f} ms, and for each row {1e3 * costs.forward:.2f} ms forward, "
        f"{1e3 * costs.backward:.2f} ms backward, {1e6 * costs.reading:.0f} us reading"
    )
    if ranks.world > 1:
        link = links[0]
        report(f"this connection: {8e-9 * link.bandwidth:.2f} Gbit/s, {1e3 * link.latency:.2f} ms a message")
    report("predicted target tokens/s, how many times as fast as one machine, and what takes the most time:")
    for line in table(costs, links):
        report(line)
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "costs": asdict(costs),
        "links": [asdict(link) for link in links],
    }
