"""A page of HTML that needs no other file and no network: sections of pictures and tables."""

from __future__ import annotations

import html
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from antiphon.inspection.views.drawing import View

STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 90rem; color: #222 }
section { margin: 2.5rem 0 } h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 0 }
p { color: #555; margin: .2rem 0 .8rem; max-width: 60rem } figure { margin: 0; overflow-x: auto }
table { border-collapse: collapse } th, td { padding: .2rem .9rem .2rem 0; vertical-align: top }
th { text-align: start }
td { border-top: 1px solid #ddd } pre { overflow-x: auto; font-size: 13px }
svg { max-width: none } svg text { font-family: system-ui, sans-serif }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page: its title, a sentence on what it shows, and HTML."""

    title: str
    about: str
    content: str


def page(title: str, sections: Sequence[Section]) -> str:
    """The page."""
    content = "\n".join(
        f"<section><h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.about)}</p>\n{section.content}</section>"
        for section in sections
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>\n{STYLE}</style></head>\n'
        f'<body><h1 dir="auto">{html.escape(title)}</h1>\n{content}\n</body></html>\n'
    )


def picture(view: View, number: int) -> Section:
    """A view as a section; `number` tells it from the page's others."""
    figure = Figure(figsize=view.size, layout="constrained")
    view.draw(figure)
    content = svg(figure)
    element = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>v{number}-", content[content.index("<svg") :])
    name = html.escape(view.title)
    return Section(view.title, view.about, f'<figure role="img" aria-label="{name}">{element}</figure>')


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Texts in rows and columns; each is written in the direction of its script."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f'<{tag} dir="auto">{html.escape(cell)}</{tag}>' for cell in cells) + "</tr>"

    return "\n".join(["<table>", row(head, "th"), *(row(cells, "td") for cells in rows), "</table>"])


def plain(lines: Sequence[str]) -> str:
    """Lines as they are."""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def svg(figure: Figure) -> str:
    """A figure as SVG, in which texts stay texts within `drawing`."""
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


@contextmanager
def drawing(fonts: Sequence[str]) -> Iterator[None]:
    """Within it Matplotlib writes with these fonts, and texts of an SVG stay texts."""
    settings: Any = {
        "font.family": [*fonts],
        "svg.fonttype": "none",
        "text.parse_math": False,
    }
    talk = logging.getLogger("matplotlib.font_manager")  # which reports fonts that have no bold
    level = talk.level
    talk.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), matplotlib.rc_context(settings):
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            yield
    finally:
        talk.setLevel(level)
