"""The view of states and gates over time."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from antiphon.inspection.trace import Layer, Token, Trace
from antiphon.inspection.views.drawing import View, rightward, short_labels, side

MEANINGS = {
    "state": "state h",
    "cell": "cell c",
    "input": "input gate",
    "forget": "forget gate (1 keeps)",
    "output": "output gate",
    "reset": "reset gate",
    "update": "update gate (1 keeps)",
    "candidate": "candidate",
    "keep": "share of the states that stays",
}
GATES = ("input", "forget", "output", "reset", "update", "keep")


def states(trace: Trace) -> View | None:
    """Every layer's states and gates over time."""
    layers = [*(trace.encoder or []), *(trace.output.layers or [])]
    if not layers:
        return None
    across = max(len(layer.series) for layer in layers)
    longest = max(len(layer.tokens) for layer in layers)
    each = max(2.4, side(longest, 4.5, 0.2))

    def draw(figure: FigureBase) -> None:
        grid = figure.subplots(len(layers), across, squeeze=False)
        for row, layer in zip(grid, layers, strict=True):
            for axes in row[len(layer.series) :]:
                axes.axis("off")
            for axes, name in zip(row, layer.series, strict=False):
                _over_time(axes, layer, name)

    about = (
        "Each picture is a layer over time: a column is a step, with the symbol it has read; a row is a unit. "
        "States and candidates are blue above zero and red below; gates are dark where open (1), white where "
        "closed (0)."
    )
    return View("States and gates", about, (across * each, 2.3 * len(layers)), draw)


def _over_time(axes: Axes, layer: Layer, name: str) -> None:
    values = np.asarray(layer.series[name]).T
    if name in GATES:
        axes.imshow(values, vmin=0, vmax=1, cmap="Greys", aspect="auto", interpolation="nearest")
    else:
        most = max(1.0, float(np.abs(values).max()))
        axes.imshow(values, vmin=-most, vmax=most, cmap="RdBu", aspect="auto", interpolation="nearest")
    begins = layer.part == "decoder" or layer.tokens[0] is None
    tokens: list[Token] = ["▷", *layer.tokens[1:]] if begins else layer.tokens
    apart = math.ceil(len(tokens) / 24)
    axes.set_xticks(range(0, len(tokens), apart), short_labels(tokens, 6)[::apart], fontsize=7)
    if max(map(len, short_labels(tokens, 6))) > 2:
        axes.tick_params(axis="x", rotation=90)
    axes.set_yticks([])
    direction = ", backward" if layer.direction == "backward" else ""
    axes.set_title(f"{layer.part} {layer.depth + 1}{direction}: {MEANINGS.get(name, name)}", fontsize=8)
    if rightward(layer.tokens):
        axes.invert_xaxis()
