"""A GRU over rows of unequal lengths, forward and backward in float32: ours (padded, masked) and torch.nn.GRU over
packed sequences, as recurrent tools drive it. The states of both agree before anything is timed.

python benchmarks/gru.py [--widths 128 256 512] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from measure import write
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from antiphon.model.parts.encoders import RecurrentEncoder
from antiphon.model.parts.recurrent import GruCell

ROWS, LONGEST = 64, 24


class Packed(nn.Module):
    """torch's GRU with the weights of `like`."""

    def __init__(self, like: RecurrentEncoder, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        weights = [w for cells in (like.forward_cells, like.backward_cells) for cell in cells for w in cell.weights]
        for own, given in zip(self.gru.parameters(), weights, strict=True):
            own.data.copy_(given)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states: Tensor = pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]
        return states


class Padded(nn.Module):
    """Our encoder, its states alone."""

    def __init__(self, encoder: RecurrentEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        states: Tensor = self.encoder(inputs, lengths).states
        return states


def seconds(module: nn.Module, inputs: Tensor, lengths: Tensor, times: int) -> float:
    """A forward and a backward pass, on average."""
    began = time.perf_counter()
    for _ in range(times):
        module.zero_grad()
        module(inputs, lengths).sum().backward()
    return (time.perf_counter() - began) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    rows = {}
    for width in given.widths:
        lengths = torch.randint(LONGEST // 3, LONGEST + 1, (ROWS,))
        lengths[0] = LONGEST
        inputs = torch.randn(ROWS, LONGEST, width, requires_grad=True)
        encoder = RecurrentEncoder(width, GruCell, width)
        sides = {"ours": Padded(encoder), "packed": Packed(encoder, width)}
        torch.testing.assert_close(*(side(inputs, lengths) for side in sides.values()))
        work = 3 * 2 * 2 * 2 * 3 * width * width * int(lengths.sum())  # 2 directions, 2 products, forward and backward
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds + 1):  # the first warms up
            for name, side in sides.items():
                times[name].append(seconds(side, inputs, lengths, given.times))
        own, other = (statistics.median(values[1:]) for values in times.values())
        rates = (f"{work / own / 1e9:,.0f}", f"{work / other / 1e9:,.0f}")
        rows[f"{width} units"] = [f"{own * 1e3:.1f}", f"{other * 1e3:.1f}", f"{other / own:.2f}", *rates]
    about = (
        f"One layer in both directions, {ROWS} rows of {LONGEST // 3} to {LONGEST} steps; medians of {given.rounds} "
        "interleaved rounds."
    )
    heads = ("GRU", "ours, ms", "packed, ms", "ratio", "ours, GFLOP/s", "packed, GFLOP/s")
    write("gru", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
