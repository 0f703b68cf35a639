"""One layer of every cell, forward and backward in float32, beside torch's fused LSTM; and one step, as in decoding.

python benchmarks/cells.py [--width 128] [--lengths 16 128 784 2048 8192] [--rounds 3] [--threads 1]

A batch has about `--values` steps in all, at most 64 rows. The rounds of all cells are interleaved. Every cell is first
compared with its own steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from measure import write
from torch import Tensor, nn

from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.recurrent import Cell

MOST_ROWS = 64
TORCH = "torch.nn.LSTM"
STEP_ROWS = (1, 64)


def made(kind: str, width: int) -> Cell:
    """A cell whose inputs are as wide as its state."""
    torch.manual_seed(1)
    return CELLS.build(kind, {}, "cell", inputs=width, hidden=width)


def check(cell: Cell, width: int) -> None:
    """All steps at once are one after the other."""
    inputs = torch.randn(2, 20, width)
    state, steps = cell.initial(inputs), []
    for step in inputs.unbind(1):
        state = cell.step(step, state)
        steps.append(state[0])
    torch.testing.assert_close(cell(inputs, cell.initial(inputs))[0], torch.stack(steps, 1), rtol=1e-5, atol=1e-5)


def layer(module: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """A forward and a backward pass over all steps."""

    def run() -> None:
        module.zero_grad()
        inputs.grad = None
        outputs = module(inputs, module.initial(inputs))[0] if isinstance(module, Cell) else module(inputs)[0]
        outputs.backward(torch.ones_like(outputs))

    return run


def step(module: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """One step without gradients, a hundred times."""

    def run() -> None:
        with torch.inference_mode():
            state: Any = module.initial(inputs) if isinstance(module, Cell) else None
            for _ in range(100):
                state = module.advance(inputs, state) if isinstance(module, Cell) else module(inputs[:, None], state)[1]

    return run


def medians(sides: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each side, the median of interleaved rounds; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def shown(seconds: float, reference: float, scale: float) -> str:
    """A time, and how many times as fast as the reference that is."""
    return f"{seconds * scale:,.1f} ({reference / seconds:.2f}x)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 128, 784, 2048, 8192])
    parser.add_argument("--values", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    modules: dict[str, nn.Module] = {TORCH: nn.LSTM(given.width, given.width, batch_first=True)}
    modules |= {kind: made(kind, given.width) for kind in CELLS}
    rows: dict[str, list[str]] = {name: [] for name in modules}
    heads = ["cell"]
    for module in modules.values():
        if isinstance(module, Cell):
            check(module, given.width)
    for length in given.lengths:
        count = max(1, min(MOST_ROWS, given.values // length))
        inputs = torch.randn(count, length, given.width, requires_grad=True)
        seconds = medians({name: layer(module, inputs) for name, module in modules.items()}, given.rounds)
        heads.append(f"{count} rows of {length:,} steps, ms")
        for name, value in seconds.items():
            rows[name].append(shown(value, seconds[TORCH], 1e3))
    for count in STEP_ROWS:
        inputs = torch.randn(count, given.width)
        seconds = medians({name: step(module, inputs) for name, module in modules.items()}, given.rounds)
        heads.append(f"a step of {count} rows, us")
        for name, value in seconds.items():
            rows[name].append(shown(value, seconds[TORCH], 1e4))
    about = (
        f"One layer of {given.width} units whose inputs are as wide, forward and backward; medians of {given.rounds} "
        f"interleaved rounds, and in brackets how many times as fast as `{TORCH}`."
    )
    write("cells", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
