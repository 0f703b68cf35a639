"""The view of a series: its numbers behind the past they go on from, and how far they may be off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from antiphon.inspection.trace import Step, Trace
from antiphon.inspection.views.drawing import BLUE, GREEN, GREY, WIDEST, View, side

MOST = 6  # numbers of a step that are drawn, each by itself


def series(trace: Trace) -> View | None:
    """The numbers of a series over its steps, its quantiles as bands, and the reference."""
    steps = trace.output.steps
    if trace.context is None or not steps or steps[0].values is None:
        return None
    past = [] if trace.past is None else trace.past
    reference = [] if trace.reference is None else trace.reference.steps
    numbers = min(MOST, len(steps[0].values))

    def draw(figure: FigureBase) -> None:
        for number, axes in enumerate(figure.subplots(numbers, 1, sharex=True, squeeze=False)[:, 0]):
            _draw_number(axes, [row[number] for row in past], steps, reference, number)
            if numbers > 1:
                axes.set_ylabel(f"number {number + 1}", fontsize=8)

    parts = ["The numbers of each step"]
    if past:
        parts.append("grey before them is what was read")
    if steps[0].quantiles:
        parts.append(f"bands lie between the quantiles at {', '.join(steps[0].quantiles)}")
    if reference:
        parts.append("dashed is the reference")
    width = 1.6 + max(4.0, side(len(past) + len(steps), WIDEST - 2, 0.12))
    return View("Series", f"{'; '.join(parts)}.", (width, 0.6 + 1.9 * numbers), draw)


def _draw_number(
    axes: Axes, past: Sequence[float], steps: Sequence[Step], reference: Sequence[Step], number: int
) -> None:
    """One number over the steps, of which the first is 1 and the last of the past is 0."""
    places = np.arange(1, len(steps) + 1)
    if past:
        axes.plot(np.arange(1 - len(past), 1), past, color=GREY, linewidth=1.2)
    levels = list(steps[0].quantiles or {})
    for low, high in zip(levels[: len(levels) // 2], reversed(levels), strict=False):
        below, above = ([(step.quantiles or {})[level][number] for step in steps] for level in (low, high))
        axes.fill_between(places, below, above, color=BLUE, alpha=0.18, linewidth=0)
    marker = "." if len(steps) < 60 else None
    axes.plot(places, [_value(step, number) for step in steps], color=BLUE, marker=marker, linewidth=1.4)
    if reference:
        truth = [_value(step, number) for step in reference]
        axes.plot(np.arange(1, len(truth) + 1), truth, color=GREEN, linestyle="--", linewidth=1.2)
    if past:
        axes.axvline(0.5, color=GREY, linewidth=0.6, linestyle=":")
    axes.tick_params(labelsize=8)


def _value(step: Step, number: int) -> float:
    assert step.values is not None
    return step.values[number]
