"""The views of where in the input the model looked, and what its output depends on."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray
from PIL import Image

from antiphon.inspection.trace import Source, Token, Trace
from antiphon.inspection.views.drawing import RED, WIDEST, View, draw_grid, grid_size, side, spelled


def _read(sources: Sequence[Source]) -> list[Token]:
    return [token for source in sources for token in source.tokens]


def _between(axes: Axes, sources: Sequence[Source]) -> None:
    """Lines between the sources."""
    for place in np.cumsum([len(source.tokens) for source in sources])[:-1]:
        axes.axvline(place - 0.5, color=RED, linewidth=1)


def attention(trace: Trace) -> View | None:
    """Where in the input each output symbol looked."""
    weights = trace.output.attention
    if weights is None:
        return None
    values, columns, rows = np.asarray(weights), _read(trace.sources), trace.output.tokens
    title = "Where it looked (attention)"
    if trace.sources[0].grid is not None and len(trace.sources) == 1:
        return _over_picture(title, trace.sources[0], values, rows)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        draw_grid(axes, values, columns, rows)
        _between(axes, trace.sources)
        axes.set(xlabel="source", ylabel="output")

    about = (
        "Each row is a symbol that was written, each column one that was read; the darker a cell, the more the model "
        "looked there while it wrote. Numbers are per cent; a row adds up to 100."
    )
    return View(title, about, grid_size(columns, rows), draw)


def _over_picture(title: str, source: Source, values: NDArray[Any], rows: Sequence[Token]) -> View:
    """The picture once for each symbol, with light where the model looked."""
    grid_shape = source.grid or (1, values.shape[1])
    picture = Image.open(io.BytesIO(base64.b64decode(source.picture or ""))).convert("L")
    across = min(8, len(rows))
    down = math.ceil(len(rows) / across)

    def draw(figure: FigureBase) -> None:
        grid = np.atleast_1d(figure.subplots(down, across, squeeze=False)).flatten()
        for axes in grid:
            axes.axis("off")
        extent = (0, picture.width, picture.height, 0)
        for axes, token, weights in zip(grid, rows, values, strict=False):
            light = np.zeros((*grid_shape, 4))
            light[..., 0], light[..., 3] = 1.0, 0.75 * weights.reshape(grid_shape) / values.max()
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
            axes.imshow(light, extent=extent)
            axes.set_title(spelled(token), fontsize=10)

    about = "The picture once for each symbol that was written: the redder, the more the model looked there."
    return View(title, about, (1.6 * across, 1.9 * down), draw)


def attribution(trace: Trace) -> View | None:
    """What each output symbol depends on."""
    parts = trace.attribution
    if not parts or not any(len(part.tokens) > 1 for part in parts):
        return None
    values = np.concatenate([np.asarray(part.values) for part in parts], 1)
    columns = [token for part in parts for token in part.tokens]
    if trace.prompt is not None:
        columns = ["▷", *columns[1:]]
    rows = trace.output.tokens
    if trace.output.steps[0].values is not None:
        rows = [str(step) for step in range(1, len(rows) + 1)] if len(rows) > 1 else ["number"]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        draw_grid(axes, values, columns, rows, signed=True)
        if trace.prompt is None:
            _between(axes, trace.sources)
        axes.set(xlabel="source", ylabel="output")

    about = (
        "Input x gradient: blue symbols raise the probability of the output, red ones lower it. "
        "It holds for small changes only, and is a hint where there is no attention, not a proof."
    )
    return View("What the output depends on (attribution)", about, grid_size(columns, rows), draw)


def pooling(trace: Trace) -> View | None:
    """What share each state has in the pool."""
    if trace.pooling is None:
        return None
    values, columns = np.asarray([trace.pooling]), _read(trace.sources)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        draw_grid(axes, values, columns, [""], most=float(values.max()))
        axes.set_yticks([])
        _between(axes, trace.sources)

    about = "The share of each symbol's state in the one vector that is made of all of them, in per cent."
    return View("Shares of the pooled vector (pooling)", about, (1.6 + side(len(columns), WIDEST), 1.3), draw)
