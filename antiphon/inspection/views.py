"""The views of a trace: what each shows, how it is read, and how Matplotlib draws it.

A view is a row of `VIEWS`: a function from a trace to a `View`, or to None where the trace has nothing to show.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from antiphon.inspection.trace import Beam, Layer, Node, Run, Source, Step, Token, Trace

END = "⏎"  # how the end symbol is shown
SPELLED = {" ": "␣", "\n": "↵", "\t": "⇥", "": "∅"}
BLUE, RED, GREEN, GREY = "#2166ac", "#b2182b", "#1b7837", "#888888"
CELL = 0.36  # inches
WIDEST, HIGHEST = 24.0, 100.0  # inches of a view
LONGEST = 600  # characters of an input that are shown
LABELS = 12  # rows of a picture of labels, or lines of one of numbers
WRITTEN = 900  # cells of a grid that are small enough a number to hold their values as text
LEAVES = 120  # of a beam's tree: with more, what was pruned is left out

Draw = Callable[[FigureBase], None]


@dataclass(frozen=True)
class View:
    """A picture: its title, one sentence on how it is read, its size in inches, and what draws it."""

    title: str
    about: str
    size: tuple[float, float]
    draw: Draw


def spelled(token: Token) -> str:
    """A token as a picture shows it: spaces are seen, and a mark that stands on a letter has something to stand on."""
    if token is None:
        return END
    if token in SPELLED:
        return SPELLED[token]
    return f"◌{token}" if unicodedata.category(token[0]).startswith("M") else token


def _labels(tokens: Sequence[Token], longest: int = 14) -> list[str]:
    return [_cut(spelled(token), longest) for token in tokens]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _rightward(tokens: Sequence[Token]) -> bool:
    """Whether most letters are of a script that is read from right to left."""
    letters = [character for token in tokens if token for character in token if character.isalpha()]
    return sum(unicodedata.bidirectional(letter) in ("R", "AL") for letter in letters) * 2 > len(letters)


def _side(count: float, most: float, cell: float = CELL) -> float:
    """Inches for so many cells."""
    return min(most, cell * count)


def _ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str] | None = None) -> None:
    """Name columns and rows, of too many for their room every second, third, ... alone."""
    turned = max(map(len, columns), default=0) > 2
    apart = math.ceil(len(columns) * 0.2 / WIDEST)
    shown = columns[::apart]
    axes.set_xticks(
        range(0, len(columns), apart), shown, rotation=60 if turned else 0, ha="left" if turned else "center"
    )
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    if rows is not None:
        apart = math.ceil(len(rows) * 0.15 / HIGHEST)
        axes.set_yticks(range(0, len(rows), apart), rows[::apart])
    axes.tick_params(length=0)
    for label, column in zip(axes.get_xticklabels(), shown, strict=True):
        label.set_color(GREY if column == END else "black")


def _grid(
    axes: Axes,
    values: NDArray[Any],
    columns: Sequence[Token],
    rows: Sequence[Token],
    signed: bool = False,
    most: float = 1.0,
) -> None:
    """A grid of numbers with a token on each column and row: from 0 to `most`, or `signed`, around 0."""
    most = float(np.abs(values).max(initial=1e-9)) if signed else most
    axes.imshow(values, vmin=-most if signed else 0, vmax=most, cmap="RdBu" if signed else "Blues", aspect="auto")
    _ticks(axes, _labels(columns), _labels(rows))
    if values.size <= WRITTEN and values.shape[1] * 0.26 <= WIDEST and most >= 0.01:
        for (row, column), value in np.ndenumerate(values):
            share = abs(value) / most
            if share >= (0.15 if signed else 0.05) and abs(value) >= 0.005:
                text = f"{value:.2f}" if signed else f"{value:.0%}".rstrip("%")
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=_ink(share))
    if _rightward(columns):
        axes.invert_xaxis()


def _ink(share: float) -> str:
    return "white" if share > 0.6 else "black"


# --- in words -----------------------------------------------------------------------------------------


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


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _chance(value: float | None) -> str:
    return "" if value is None else f" ({math.exp(value):.2%})"


def summary(trace: Trace) -> View:
    """What was read and what was said."""
    rows = [[source.name, _cut(source.text, LONGEST)] for source in trace.sources]
    labels = trace.output.steps and trace.output.steps[0].values is None
    unit = "log p" if labels else "minus squared error"
    for name, run in (("output", trace.output), ("reference", trace.reference)):
        if run is not None:
            rows.append([name, run.text])
        if run is not None and run.score is not None:
            rows.append([f"{unit} of {name}", f"{_nats(run.score)}{_chance(run.score) if labels else ''}"])
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
    return _as_table("What it read and what it said", about, rows, (24, 96), head=False)


def ablation(trace: Trace) -> View | None:
    """What another context changes."""
    if trace.ablation is None:
        return None
    told = trace.reference is not None
    rows = [["context C", "what it says then", "log p of the output", *(["log p of the reference"] if told else [])]]

    def row(name: str, text: str, output: float | None, reference: float | None) -> None:
        rows.append([name, text, _nats(output), *([_nats(reference)] if told else [])])

    row("the input's own", trace.output.text, trace.output.score, trace.reference.score if trace.reference else None)
    for one in trace.ablation:
        name = "zero" if one.context == "zero" else f"that of {one.other}"
        row(name, one.run.text, one.output_score, one.reference_score)
    about = (
        "The context is the summary of the input that the decoder starts from. If little changes without it, the "
        "model lives from its attention; output and reference are those above."
    )
    return _as_table("Without its context", about, rows, (24, 60, 22, *([24] if told else [])))


def forced(trace: Trace) -> View | None:
    """What would have followed other symbols."""
    if trace.forced is None:
        return None
    rows = [["step", "forced", "what follows", "log p"]]
    rows += [[str(one.step + 1), spelled(one.token), one.run.text, _nats(one.run.score)] for one in trace.forced]
    about = "The best output with another symbol at one step; before it stands what the model had said itself."
    return _as_table("Had it said something else", about, rows, (8, 16, 72, 14))


# --- where it looked ----------------------------------------------------------------------------------


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
        _grid(axes, values, columns, rows)
        _between(axes, trace.sources)
        axes.set(xlabel="what it read", ylabel="what it wrote")

    about = (
        "Each row is a symbol that was written, each column one that was read; the darker a cell, the more the model "
        "looked there while it wrote. Numbers are per cent; a row adds up to 100."
    )
    return View(title, about, _grid_size(columns, rows), draw)


def _grid_size(columns: Sequence[Token], rows: Sequence[Token]) -> tuple[float, float]:
    return 1.6 + _side(len(columns), WIDEST), 1.5 + _side(len(rows), HIGHEST, 0.3)


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
    """What each output symbol hangs on."""
    found = trace.attribution
    if not found or not any(len(one.tokens) > 1 for one in found):
        return None
    values = np.concatenate([np.asarray(one.values) for one in found], 1)
    columns = [token for one in found for token in one.tokens]
    if trace.prompt is not None:
        columns = ["▷", *columns[1:]]
    rows = trace.output.tokens
    if trace.output.steps[0].values is not None:
        rows = [str(step) for step in range(1, len(rows) + 1)] if len(rows) > 1 else ["number"]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        _grid(axes, values, columns, rows, signed=True)
        if trace.prompt is None:
            _between(axes, trace.sources)
        axes.set(xlabel="what it read", ylabel="what it said")

    about = (
        "Input x gradient: blue symbols speak for what was said, red ones against it. It holds for small changes only, "
        "and is a hint where there is no attention, not a proof."
    )
    return View("What it hangs on (attribution)", about, _grid_size(columns, rows), draw)


def pooling(trace: Trace) -> View | None:
    """What share each state has in the pool."""
    if trace.pooling is None:
        return None
    values, columns = np.asarray([trace.pooling]), _read(trace.sources)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        _grid(axes, values, columns, [""], most=float(values.max()))
        axes.set_yticks([])
        _between(axes, trace.sources)

    about = "The share of each symbol's state in the one vector that is made of all of them, in per cent."
    return View("What it pooled", about, (1.6 + _side(len(columns), WIDEST), 1.3), draw)


# --- how sure it was ----------------------------------------------------------------------------------


def steps(trace: Trace) -> View | None:
    """The most probable symbols at each step, free-running beside teacher-forced."""
    if trace.context is None and trace.prompt is None:
        return None
    runs = [("free-running: fed its own output", trace.output)]
    if trace.reference is not None:
        runs.append(("teacher-forced: told the reference", trace.reference))
    about = "At each step the most probable symbols; bars are probabilities, and the symbol that was said has a frame."
    if trace.divergence is not None:
        about += f" Step {trace.divergence + 1}, in red, is the first at which output and reference differ."
    return _as_steps("How sure it was, step by step", about, runs, trace.divergence)


def prompt(trace: Trace) -> View | None:
    """What a language model expected while it read."""
    if trace.prompt is None or not trace.prompt.steps:
        return None
    about = "What the model held most probable before it read each symbol of the input, which has a frame."
    return _as_steps("What it expected while it read", about, [("the input", trace.prompt)], None)


def _as_steps(title: str, about: str, runs: Sequence[tuple[str, Run]], marked: int | None) -> View:
    ranks = max((len(step.top) for _, run in runs for step in run.steps), default=1)
    longest = max(len(run.steps) for _, run in runs)

    def draw(figure: FigureBase) -> None:
        for axes, (name, run) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
            _step_bars(axes, run, ranks, longest, marked)
            axes.set_title(f"{name}, log p = {_nats(run.score)}", fontsize=10, loc="left")

    width = len(runs) * (1.2 + 1.25 * ranks)
    return View(title, about, (min(WIDEST, width), 0.9 + _side(longest, HIGHEST, 0.3)), draw)


def _step_bars(axes: Axes, run: Run, ranks: int, longest: int, marked: int | None) -> None:
    axes.set(xlim=(0, ranks), ylim=(longest - 0.5, -0.5))
    if marked is not None:
        axes.axhspan(marked - 0.5, marked + 0.5, color=RED, alpha=0.15)
    for row, step in enumerate(run.steps):
        for rank, choice in enumerate(step.top):
            share, said = math.exp(choice.log_prob), choice.token == step.token
            axes.add_patch(Rectangle((rank, row - 0.4), 0.96 * share, 0.8, color=BLUE, alpha=0.35, linewidth=0))
            if said:
                axes.add_patch(Rectangle((rank, row - 0.42), 0.96, 0.84, fill=False, edgecolor=BLUE, linewidth=1.2))
            name = _labels([choice.token], 9)[0]
            axes.text(rank + 0.04, row, f"{name}  {share:.0%}", va="center", fontsize=8)
    told = [f"{spelled(step.token)}  {math.exp(step.log_prob or 0):.0%}" for step in run.steps]
    axes.set_yticks(range(len(run.steps)), [f"{text}  {row}" for row, text in enumerate(told, 1)])
    axes.set_xticks([rank + 0.5 for rank in range(ranks)], [f"{rank + 1}." for rank in range(ranks)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def answers(trace: Trace) -> View | None:
    """What a reader says: of each step the probabilities of labels, or numbers."""
    if trace.context is not None or trace.prompt is not None:
        return None
    many = trace.structure == "synchronous"
    read = trace.sources[0].tokens[: len(trace.output.steps)] if many else ["answer"]
    reference = None if trace.reference is None else trace.reference.steps
    if not many and trace.output.steps[0].values is None:
        return _one_answer(trace.output.steps[0], None if reference is None else reference[0].token)
    return _as_answers("What it said of each step" if many else "What it said", read, trace.output.steps, reference)


def _one_answer(said: Step, reference: Token) -> View:
    choices = said.top[:LABELS]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        shares = [math.exp(choice.log_prob) for choice in choices]
        axes.barh(range(len(choices)), shares, color=BLUE, alpha=0.35)
        for row, share in enumerate(shares):
            axes.text(0.01, row, f"{share:.1%}", va="center", fontsize=8)
        axes.set_yticks(range(len(choices)), _labels([choice.token for choice in choices], 30))
        for label, choice in zip(axes.get_yticklabels(), choices, strict=True):
            label.set_color(GREEN if choice.token == reference else "black")
        axes.set(xlim=(0, 1), ylim=(len(choices) - 0.5, -0.5))
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    about = f"The probability of each label{'' if reference is None else '; the reference is green'}."
    return View("What it said", about, (6.0, 0.4 + _side(len(choices), HIGHEST, 0.3)), draw)


def beliefs(trace: Trace) -> View | None:
    """The answer after each prefix."""
    if trace.beliefs is None:
        return None
    read = trace.sources[0].tokens[: len(trace.beliefs)]
    reference = None if trace.reference is None else [trace.reference.steps[0]] * len(read)
    return _as_answers("What it believed after each step", read, trace.beliefs, reference, prefix=True)


def _as_answers(
    title: str, read: Sequence[Token], said: Sequence[Step], reference: Sequence[Step] | None, prefix: bool = False
) -> View:
    """Probabilities of labels, or numbers, over what was read."""
    until = "; each column is the answer had the input ended there" if prefix else ""
    if said[0].values is not None:
        about = f"The numbers{' of each step' if len(said) > 1 else ''}{until}; dashed: the reference's."
        size = (1.6 + max(3.0, _side(len(read), WIDEST)), 3.0)
        return View(title, about, size, lambda figure: _curves(figure.subplots(), read, said, reference))
    best: dict[Token, float] = {}
    for step in said:
        for choice in [*step.top]:
            best[choice.token] = max(best.get(choice.token, 0.0), math.exp(choice.log_prob))
    labels = sorted(best, key=lambda label: -best[label])[:LABELS]
    wanted = [step.token for step in reference] if reference is not None else []
    values = np.zeros((len(labels), len(said)))
    for column, step in enumerate(said):
        for choice in step.top:
            if choice.token in labels:
                values[labels.index(choice.token), column] = math.exp(choice.log_prob)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        _grid(axes, values, read, labels)
        for column, step in enumerate(said):
            for label, color, room in ((step.token, BLUE, 0.46), (wanted[column] if wanted else None, GREEN, 0.38)):
                if label in labels:
                    corner = (column - room, labels.index(label) - room)
                    axes.add_patch(Rectangle(corner, 2 * room, 2 * room, fill=False, edgecolor=color, linewidth=1.6))

    green = ", green for the reference" if wanted else ""
    about = f"The probability of each label in per cent, a frame for what is said{green}{until}."
    return View(title, about, _grid_size(read, labels), draw)


def _curves(axes: Axes, read: Sequence[Token], said: Sequence[Step], reference: Sequence[Step] | None) -> None:
    values = np.asarray([step.values for step in said])
    truth = None if reference is None else np.asarray([step.values for step in reference])
    for number in range(min(LABELS, values.shape[1])):
        (line,) = axes.plot(values[:, number], marker=".", label=f"number {number + 1}")
        if truth is not None:
            axes.plot(truth[:, number], color=line.get_color(), linestyle="--", marker="x", linewidth=1)
    _ticks(axes, _labels(read))
    if values.shape[1] > 1:
        axes.legend(fontsize=7, loc="best")


# --- the beam -----------------------------------------------------------------------------------------


def beam(trace: Trace) -> View | None:
    """The tree of prefixes that the search looked at."""
    if trace.beam is None:
        return None
    nodes = _shown(trace.beam)
    places = _places(nodes)
    depth = max(across for across, _ in places.values())
    lowest = max(down for _, down in places.values())

    def draw(figure: FigureBase) -> None:
        _tree(figure.subplots(), nodes, places)

    about = (
        f"A search {trace.beam.width} wide, from left to right. Black prefixes went on until it was done, grey ones "
        "were dropped; green ends are outputs, with their place and log p. The thick line is the best."
    )
    if len(nodes) < len(trace.beam.nodes):
        about += " Of the dropped ones there are too many to show."
    size = (1.5 + _side(depth + 1, WIDEST, 0.95), 0.8 + _side(lowest + 1, HIGHEST, 0.21))
    return View("What the search looked at (beam)", about, size, draw)


def _shown(tree: Beam) -> list[Node]:
    parents = {node.parent for node in tree.nodes}
    if sum(node.id not in parents for node in tree.nodes) <= LEAVES:
        return tree.nodes
    return [node for node in tree.nodes if node.status != "pruned"]


def _places(nodes: Sequence[Node]) -> dict[int, tuple[int, float]]:
    """Where each node stands: its depth, and its height, leaves one below the other, the more probable above."""
    children: dict[int, list[Node]] = {node.id: [] for node in nodes}
    depths: dict[int, int] = {}
    for node in nodes:
        depths[node.id] = 0 if node.parent is None else depths[node.parent] + 1
        if node.parent is not None:
            children[node.parent].append(node)
    heights: dict[int, float] = {}
    leaves = 0
    open_nodes = [(nodes[0], False)]
    while open_nodes:  # no recursion: an output may be long
        node, done = open_nodes.pop()
        below = sorted(children[node.id], key=lambda child: -child.log_prob)
        if done:
            heights[node.id] = sum(heights[child.id] for child in below) / len(below)
        elif below:
            open_nodes += [(node, True), *((child, False) for child in reversed(below))]
        else:
            heights[node.id], leaves = float(leaves), leaves + 1
    return {node: (depths[node], heights[node]) for node in heights}


def _tree(axes: Axes, nodes: Sequence[Node], places: dict[int, tuple[int, float]]) -> None:
    by_id = {node.id: node for node in nodes}
    best: set[int] = set()
    node: Node | None = next((one for one in nodes if one.rank == 0), None)
    while node is not None:
        best.add(node.id)
        node = None if node.parent is None else by_id[node.parent]
    colors = {"kept": "black", "pruned": "#aaaaaa", "finished": GREEN}
    for one in nodes:
        x, y = places[one.id]
        if one.parent is None:
            axes.plot([x], [y], marker="o", color="black", markersize=4)
            continue
        above = places[one.parent]
        axes.plot(
            [above[0] + 0.04, x - 0.12], [above[1], y],
            color=BLUE if one.id in best else "#bbbbbb", linewidth=2.2 if one.id in best else 0.7, zorder=0,
        )  # fmt: skip
        text = _labels([one.token], 10)[0]
        if one.status == "finished":
            text += f"  {'dropped' if one.rank is None else f'{one.rank + 1}.'}  {one.log_prob:.2f}"
        axes.text(
            x - 0.1, y, text, va="center", fontsize=8, color=colors[one.status],
            fontweight="bold" if one.id in best else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set(xlim=(-0.2, max(x for x, _ in places.values()) + 1), ylim=(max(y for _, y in places.values()) + 0.6, -0.6))
    axes.axis("off")


# --- states -------------------------------------------------------------------------------------------

MEANINGS = {
    "state": "state h",
    "cell": "cell c",
    "input": "input gate",
    "forget": "forget gate (1 keeps)",
    "output": "output gate",
    "reset": "reset gate",
    "update": "update gate (1 keeps)",
    "candidate": "candidate",
}
GATES = ("input", "forget", "output", "reset", "update")


def states(trace: Trace) -> View | None:
    """Every layer's states and gates over time."""
    layers = [*(trace.encoder or []), *(trace.output.layers or [])]
    if not layers:
        return None
    across = max(len(layer.series) for layer in layers)
    longest = max(len(layer.tokens) for layer in layers)
    each = max(2.4, _side(longest, 4.5, 0.2))

    def draw(figure: FigureBase) -> None:
        grid = figure.subplots(len(layers), across, squeeze=False)
        for row, layer in zip(grid, layers, strict=True):
            for axes in row[len(layer.series) :]:
                axes.axis("off")
            for axes, name in zip(row, layer.series, strict=False):
                _over_time(axes, layer, name)

    about = (
        "Each picture is a layer over time: a column is a step, with what it has read, a row is a unit. States and "
        "candidates are blue above zero and red below; gates are dark where open (1) and white where shut (0)."
    )
    return View("What went on inside (states and gates)", about, (across * each, 2.3 * len(layers)), draw)


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
    axes.set_xticks(range(0, len(tokens), apart), _labels(tokens, 6)[::apart], fontsize=7)
    if max(map(len, _labels(tokens, 6))) > 2:
        axes.tick_params(axis="x", rotation=90)
    axes.set_yticks([])
    direction = ", backward" if layer.direction == "backward" else ""
    axes.set_title(f"{layer.part} {layer.depth + 1}{direction}: {MEANINGS.get(name, name)}", fontsize=8)
    if _rightward(layer.tokens):
        axes.invert_xaxis()


VIEWS: dict[str, Callable[[Trace], View | None]] = {
    "summary": summary,
    "attention": attention,
    "answers": answers,
    "beliefs": beliefs,
    "prompt": prompt,
    "steps": steps,
    "attribution": attribution,
    "pooling": pooling,
    "ablation": ablation,
    "forced": forced,
    "beam": beam,
    "states": states,
}
