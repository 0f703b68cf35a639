"""What a view is, and what several of them draw alike: tokens, ticks, grids."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from antiphon.inspection.trace import Token

END = "⏎"  # how the end symbol is shown
SPELLED = {" ": "␣", "\n": "↵", "\t": "⇥", "": "∅"}
BLUE, RED, GREEN, GREY = "#2166ac", "#b2182b", "#1b7837", "#888888"
CELL = 0.36  # inches
WIDEST, HIGHEST = 24.0, 100.0  # inches of a view
LABELS = 12  # rows of a picture of labels, or lines of one of numbers
WRITTEN = 900  # cells of a grid that are small enough a number to hold their values as text
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


def short_labels(tokens: Sequence[Token], longest: int = 14) -> list[str]:
    """Tokens as a picture shows them, none longer than so many characters."""
    return [cut(spelled(token), longest) for token in tokens]


def cut(text: str, longest: int) -> str:
    """The first characters of a text that is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def rightward(tokens: Sequence[Token]) -> bool:
    """Whether most letters are of a script that is read from right to left."""
    letters = [character for token in tokens if token for character in token if character.isalpha()]
    return sum(unicodedata.bidirectional(letter) in ("R", "AL") for letter in letters) * 2 > len(letters)


def side(count: float, most: float, cell: float = CELL) -> float:
    """Inches for so many cells."""
    return min(most, cell * count)


def ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str] | None = None) -> None:
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


def draw_grid(
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
    ticks(axes, short_labels(columns), short_labels(rows))
    if values.size <= WRITTEN and values.shape[1] * 0.26 <= WIDEST and most >= 0.01:
        for (row, column), value in np.ndenumerate(values):
            share = abs(value) / most
            if share >= (0.15 if signed else 0.05) and abs(value) >= 0.005:
                text = f"{value:.2f}" if signed else f"{value:.0%}".rstrip("%")
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=_ink(share))
    if rightward(columns):
        axes.invert_xaxis()


def _ink(share: float) -> str:
    return "white" if share > 0.6 else "black"


def grid_size(columns: Sequence[Token], rows: Sequence[Token]) -> tuple[float, float]:
    """Inches of a view that is a grid of tokens."""
    return 1.6 + side(len(columns), WIDEST), 1.5 + side(len(rows), HIGHEST, 0.3)
