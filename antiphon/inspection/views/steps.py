"""The views of how probable symbols were, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from antiphon.inspection.trace import Run, Trace
from antiphon.inspection.views.drawing import BLUE, HIGHEST, RED, WIDEST, View, short_labels, side, spelled
from antiphon.inspection.views.texts import nats


def steps(trace: Trace) -> View | None:
    """The most probable symbols at each step, free-running beside teacher-forced."""
    if (trace.context is None and trace.prompt is None) or any(step.values is not None for step in trace.output.steps):
        return None
    runs = [("free-running: fed its own output", trace.output)]
    if trace.reference is not None:
        runs.append(("teacher-forced: fed with the reference", trace.reference))
    about = "At each step the most probable symbols; bars are probabilities, and the symbol of the output has a frame."
    if trace.divergence is not None:
        about += f" Step {trace.divergence + 1}, in red, is the first at which output and reference differ."
    return _as_steps("Probabilities at each step", about, runs, trace.divergence)


def prompt(trace: Trace) -> View | None:
    """What a language model expected while it read."""
    if trace.prompt is None or not trace.prompt.steps:
        return None
    about = "The most probable symbols before each symbol of the input was read; that symbol has a frame."
    return _as_steps("Predictions while reading", about, [("the input", trace.prompt)], None)


def _as_steps(title: str, about: str, runs: Sequence[tuple[str, Run]], marked: int | None) -> View:
    ranks = max((len(step.top) for _, run in runs for step in run.steps), default=1)
    longest = max(len(run.steps) for _, run in runs)

    def draw(figure: FigureBase) -> None:
        for axes, (name, run) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
            _step_bars(axes, run, ranks, longest, marked)
            axes.set_title(f"{name}, log p = {nats(run.score)}", fontsize=10, loc="left")

    width = len(runs) * (1.2 + 1.25 * ranks)
    return View(title, about, (min(WIDEST, width), 0.9 + side(longest, HIGHEST, 0.3)), draw)


def _step_bars(axes: Axes, run: Run, ranks: int, longest: int, marked: int | None) -> None:
    axes.set(xlim=(0, ranks), ylim=(longest - 0.5, -0.5))
    if marked is not None:
        axes.axhspan(marked - 0.5, marked + 0.5, color=RED, alpha=0.15)
    for row, step in enumerate(run.steps):
        for rank, choice in enumerate(step.top):
            share, is_output = math.exp(choice.log_prob), choice.token == step.token
            axes.add_patch(Rectangle((rank, row - 0.4), 0.96 * share, 0.8, color=BLUE, alpha=0.35, linewidth=0))
            if is_output:
                axes.add_patch(Rectangle((rank, row - 0.42), 0.96, 0.84, fill=False, edgecolor=BLUE, linewidth=1.2))
            name = short_labels([choice.token], 9)[0]
            axes.text(rank + 0.04, row, f"{name}  {share:.0%}", va="center", fontsize=8)
    names = [f"{spelled(step.token)}  {math.exp(step.log_prob or 0):.0%}" for step in run.steps]
    axes.set_yticks(range(len(run.steps)), [f"{text}  {row}" for row, text in enumerate(names, 1)])
    axes.set_xticks([rank + 0.5 for rank in range(ranks)], [f"{rank + 1}." for rank in range(ranks)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
