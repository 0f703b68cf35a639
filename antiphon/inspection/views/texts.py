"""The views that are tables of texts: input and output, with another context, with forced symbols."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Sequence

from matplotlib.axes import Axes

from antiphon.inspection.trace import Trace
from antiphon.inspection.views.drawing import END, WIDEST, View, cut, spelled

LONGEST = 600  # characters of an input that are shown


def _lines_of(text: str, width: int) -> list[str]:
    """A text in lines of so many characters, of half as many where they are wide (Chinese, Japanese, Korean)."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return textwrap.wrap(text, width if wide * 2 < len(text) else width // 2) or [""]


def _table(axes: Axes, rows: Sequence[Sequence[str]], widths: Sequence[int], head: bool) -> None:
    """Texts in columns, so many characters wide; longer ones in several lines."""
    axes.axis("off")
    wrapped = [[_lines_of(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    heights = [max(map(len, row)) for row in wrapped]
    axes.set(xlim=(0, sum(widths)), ylim=(sum(heights) + 0.4 * len(rows), 0))
    down = 0.0
    for number, (row, height) in enumerate(zip(wrapped, heights, strict=True)):
        across = 0
        for lines, width in zip(row, widths, strict=True):
            bold = "bold" if (head and number == 0) or (not head and across == 0) else "normal"
            axes.text(across, down, "\n".join(lines), va="top", fontsize=9, fontweight=bold)
            across += width
        down += height + 0.4
        axes.axhline(down - 0.25, color="#dddddd", linewidth=0.5)


def _as_table(title: str, about: str, rows: Sequence[Sequence[str]], widths: Sequence[int], head: bool = True) -> View:
    lines = sum(max(len(_lines_of(cell, width)) for cell, width in zip(row, widths, strict=True)) for row in rows)
    size = (min(WIDEST, sum(widths) * 0.085), 0.17 * lines + 0.07 * len(rows))
    return View(title, about, size, lambda figure: _table(figure.subplots(), rows, widths, head))


def nats(value: float | None) -> str:
    """A log-probability in figures."""
    return "" if value is None else f"{value:.4f}"


def _chance(value: float | None) -> str:
    return "" if value is None else f" ({math.exp(value):.2%})"


def summary(trace: Trace) -> View:
    """The input and the output."""
    rows = [[source.name, cut(source.text, LONGEST)] for source in trace.sources]
    labels = trace.output.steps and trace.output.steps[0].values is None
    unit = "log p" if labels else "minus squared error"
    for name, run in (("output", trace.output), ("reference", trace.reference)):
        if run is not None:
            rows.append([name, run.text])
        if run is not None and run.score is not None:
            rows.append([f"{unit} of {name}", f"{nats(run.score)}{_chance(run.score) if labels else ''}"])
    if trace.reference is not None and labels:
        place = trace.divergence
        where = "nowhere" if place is None else f"step {place + 1}"
        rows.append(["they first differ at", where])
    unknown = [
        spelled(source.tokens[place]) for source in trace.sources for place in source.unknown
    ]  # which the model has read as one and the same symbol
    if unknown:
        rows.append(["not in the vocabulary", " ".join(unknown)])
    about = f"A model of the structure {trace.structure}. Log-probabilities are in nats; {END} is the end symbol."
    return _as_table("Input and output", about, rows, (24, 96), head=False)


def ablation(trace: Trace) -> View | None:
    """What another context changes."""
    if trace.ablation is None:
        return None
    compared = trace.reference is not None
    rows = [["context C", "the output then", "log p of the output", *(["log p of the reference"] if compared else [])]]

    def row(name: str, text: str, output: float | None, reference: float | None) -> None:
        rows.append([name, text, nats(output), *([nats(reference)] if compared else [])])

    row("the input's own", trace.output.text, trace.output.score, trace.reference.score if trace.reference else None)
    for ablated in trace.ablation:
        name = "zero" if ablated.context == "zero" else f"that of {ablated.other}"
        row(name, ablated.run.text, ablated.output_score, ablated.reference_score)
    about = (
        "The decoder starts from the context, a vector made of the whole input. If little changes without it, the "
        "output depends on attention; output and reference are those above."
    )
    return _as_table("Without its context", about, rows, (24, 60, 22, *([24] if compared else [])))


def forced(trace: Trace) -> View | None:
    """What would have followed other symbols."""
    if trace.forced is None:
        return None
    rows = [["step", "forced", "what follows", "log p"]]
    rows += [[str(case.step + 1), spelled(case.token), case.run.text, nats(case.run.score)] for case in trace.forced]
    about = "The best output with another symbol at one step; before that step stand the symbols of the model's output."
    return _as_table("Another symbol at one step", about, rows, (8, 16, 72, 14))
