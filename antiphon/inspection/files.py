"""A trace as a file: its JSON, a picture of its views, or a page of them that needs nothing else."""

from __future__ import annotations

import io
import json
import logging
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure, FigureBase

from antiphon.errors import AntiphonError, nearest
from antiphon.files import write_atomically, write_text
from antiphon.inspection.fonts import families, lacking
from antiphon.inspection.page import drawing, page, picture, svg
from antiphon.inspection.trace import Trace
from antiphon.inspection.views.drawing import View
from antiphon.inspection.views.table import VIEWS

LOG = logging.getLogger("antiphon")
DPI = 110
NARROWEST = 7.0  # inches of a picture
MARGIN = 0.9  # inches of a view for its title and what is said about it


def write(trace: Trace, path: Path, views: Sequence[str] = ()) -> None:
    """Write a trace in the format that the file's ending names: .json, .html, .png or .svg.

    `views` are the views to draw (`antiphon/inspection/views/table.py:VIEWS`), by default all that the trace has.
    """
    name = path.suffix.lower()
    if name not in FORMATS:
        raise AntiphonError(f"{path}: must end in {', '.join(FORMATS)}")
    FORMATS[name](trace, path, views)


def _chosen(trace: Trace, names: Sequence[str]) -> list[View]:
    for name in names:
        if name not in VIEWS:
            raise AntiphonError(f"no view {name!r}; {nearest(name, VIEWS)}")
    found = {name: VIEWS[name](trace) for name in names or VIEWS}
    empty = [name for name in names if found[name] is None]
    if empty:
        has = ", ".join(name for name, make in VIEWS.items() if make(trace) is not None)
        raise AntiphonError(f"this model's trace has no data for the view {', '.join(empty)}; it has {has}")
    return [view for view in found.values() if view is not None]


def _texts(trace: Trace) -> Iterator[str]:
    """All texts of a trace."""
    waiting: list[Any] = [trace.to_json()]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [value for name, value in one.items() if name != "picture"]
        elif isinstance(one, list) and not (one and isinstance(one[0], float)):
            waiting += one


def _json(trace: Trace, path: Path, views: Sequence[str]) -> None:
    write_text(path, json.dumps(trace.to_json(), ensure_ascii=False) + "\n")


def _titled(figure: FigureBase, view: View) -> None:
    """Draw a view below its title and above what is said about it."""
    left = 0.1 / view.size[0]
    figure.suptitle(view.title, x=left, ha="left", fontsize=12, fontweight="bold")
    about = textwrap.fill(view.about, int(max(view.size[0], NARROWEST) * 14))
    figure.supxlabel(about, x=left, ha="left", fontsize=8, color="#555555")
    view.draw(figure)


def _picture(trace: Trace, path: Path, views: Sequence[str]) -> None:
    """All views one below the other."""
    drawn = _chosen(trace, views)
    fonts, missing = families(_texts(trace))
    if missing and path.suffix.lower() == ".png":
        LOG.warning(lacking(missing))
    width = max(NARROWEST, *(view.size[0] for view in drawn))
    heights = [view.size[1] + MARGIN for view in drawn]
    with drawing(fonts):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, view in zip(parts, drawn, strict=True):
            inner = part
            if view.size[0] < width:  # as wide as it asks for, at the left
                inner, _ = part.subfigures(1, 2, width_ratios=[view.size[0], width - view.size[0]])
            _titled(inner, view)
        if path.suffix.lower() == ".svg":
            write_text(path, svg(figure))
            return
        content = io.BytesIO()
        figure.savefig(content, dpi=DPI)
    write_atomically(path, lambda file: file.write(content.getvalue()))


def _page(trace: Trace, path: Path, views: Sequence[str]) -> None:
    """All views as a page that needs no other file and no network."""
    read = " | ".join(source.text for source in trace.sources)
    title = f"{read[:80]} → {trace.output.text[:80]}"
    fonts, _ = families(_texts(trace))
    with drawing(fonts):
        sections = [picture(view, number) for number, view in enumerate(_chosen(trace, views))]
    write_text(path, page(title, sections))


Write = Callable[[Trace, Path, Sequence[str]], None]
FORMATS: dict[str, Write] = {".json": _json, ".html": _page, ".png": _picture, ".svg": _picture}
