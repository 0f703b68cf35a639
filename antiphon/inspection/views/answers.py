"""The views of a reader's answers: labels and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from antiphon.inspection.trace import Step, Token, Trace
from antiphon.inspection.views.drawing import (
    BLUE,
    GREEN,
    HIGHEST,
    LABELS,
    WIDEST,
    View,
    draw_grid,
    grid_size,
    short_labels,
    side,
    ticks,
)


def answers(trace: Trace) -> View | None:
    """The predictions of a reader: for each step the probabilities of labels, or numbers."""
    if trace.context is not None or trace.prompt is not None:
        return None
    many = trace.structure == "synchronous"
    read = trace.sources[0].tokens[: len(trace.output.steps)] if many else ["answer"]
    reference = None if trace.reference is None else trace.reference.steps
    if not many and trace.output.steps[0].values is None:
        return _one_answer(trace.output.steps[0], None if reference is None else reference[0].token)
    return _as_answers("Predictions of each step" if many else "Prediction", read, trace.output.steps, reference)


def _one_answer(step: Step, reference: Token) -> View:
    choices = step.top[:LABELS]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        shares = [math.exp(choice.log_prob) for choice in choices]
        axes.barh(range(len(choices)), shares, color=BLUE, alpha=0.35)
        for row, share in enumerate(shares):
            axes.text(0.01, row, f"{share:.1%}", va="center", fontsize=8)
        axes.set_yticks(range(len(choices)), short_labels([choice.token for choice in choices], 30))
        for label, choice in zip(axes.get_yticklabels(), choices, strict=True):
            label.set_color(GREEN if choice.token == reference else "black")
        axes.set(xlim=(0, 1), ylim=(len(choices) - 0.5, -0.5))
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    about = f"The probability of each label{'' if reference is None else '; the reference is green'}."
    return View("Prediction", about, (6.0, 0.4 + side(len(choices), HIGHEST, 0.3)), draw)


def beliefs(trace: Trace) -> View | None:
    """The answer after each prefix."""
    if trace.beliefs is None:
        return None
    read = trace.sources[0].tokens[: len(trace.beliefs)]
    reference = None if trace.reference is None else [trace.reference.steps[0]] * len(read)
    return _as_answers("Prediction after each step", read, trace.beliefs, reference, prefix=True)


def _as_answers(
    title: str, read: Sequence[Token], steps: Sequence[Step], reference: Sequence[Step] | None, prefix: bool = False
) -> View:
    """Probabilities of labels, or numbers, over what was read."""
    until = "; each column is the answer had the input ended there" if prefix else ""
    if steps[0].values is not None:
        about = f"The numbers{' of each step' if len(steps) > 1 else ''}{until}; dashed: the reference's."
        size = (1.6 + max(3.0, side(len(read), WIDEST)), 3.0)
        return View(title, about, size, lambda figure: _curves(figure.subplots(), read, steps, reference))
    best: dict[Token, float] = {}
    for step in steps:
        for choice in [*step.top]:
            best[choice.token] = max(best.get(choice.token, 0.0), math.exp(choice.log_prob))
    labels = sorted(best, key=lambda label: -best[label])[:LABELS]
    reference_tokens = [step.token for step in reference] if reference is not None else []
    values = np.zeros((len(labels), len(steps)))
    for column, step in enumerate(steps):
        for choice in step.top:
            if choice.token in labels:
                values[labels.index(choice.token), column] = math.exp(choice.log_prob)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        draw_grid(axes, values, read, labels)
        for column, step in enumerate(steps):
            for label, color, room in (
                (step.token, BLUE, 0.46),
                (reference_tokens[column] if reference_tokens else None, GREEN, 0.38),
            ):
                if label in labels:
                    corner = (column - room, labels.index(label) - room)
                    axes.add_patch(Rectangle(corner, 2 * room, 2 * room, fill=False, edgecolor=color, linewidth=1.6))

    green = ", green for the reference" if reference_tokens else ""
    about = f"The probability of each label in per cent, a frame for the prediction{green}{until}."
    return View(title, about, grid_size(read, labels), draw)


def _curves(axes: Axes, read: Sequence[Token], steps: Sequence[Step], reference: Sequence[Step] | None) -> None:
    values = np.asarray([step.values for step in steps])
    truth = None if reference is None else np.asarray([step.values for step in reference])
    for number in range(min(LABELS, values.shape[1])):
        (line,) = axes.plot(values[:, number], marker=".", label=f"number {number + 1}")
        if truth is not None:
            axes.plot(truth[:, number], color=line.get_color(), linestyle="--", marker="x", linewidth=1)
    ticks(axes, short_labels(read))
    if values.shape[1] > 1:
        axes.legend(fontsize=7, loc="best")
