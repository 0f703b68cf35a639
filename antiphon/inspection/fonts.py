"""Fonts for the texts of a picture: Matplotlib's own has no Chinese, Japanese, Korean, Devanagari, ..."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.font_manager import FontEntry, fontManager, get_font

FIRST = "DejaVu Sans"  # Matplotlib brings it
LAST_RESORT = "Last Resort"  # a font of boxes


def families(texts: Iterable[str]) -> tuple[list[str], str]:
    """The fonts that together have the characters of these texts, the first of them `FIRST`; and the characters that
    no font of this machine has."""
    chosen = [FIRST]
    missing = {character for text in texts for character in text if _drawn(character)}
    missing -= _characters_of(FIRST)
    others = sorted({entry.name for entry in _entries()} - {FIRST}) if missing else []
    while missing:
        best = max(others, key=lambda name: len(missing & _characters_of(name)), default=FIRST)
        if not missing & _characters_of(best):
            break
        missing -= _characters_of(best)
        chosen.append(best)
    return chosen, "".join(sorted(missing))


def lacking(characters: str) -> str:
    """One line about characters that no font has."""
    scripts = sorted({unicodedata.name(character, "unnamed").split()[0].lower() for character in characters})
    shown = characters if len(characters) <= 10 else f"{characters[:10]}..."
    return (
        f"no font on this machine has {shown} ({', '.join(scripts[:4])}), which the picture shows as boxes; "
        "install one that has (Google's Noto fonts do), or write .html or .svg, which take the reader's own fonts"
    )


def _drawn(character: str) -> bool:
    """Whether it needs a glyph: not a space, a control or a format character, or a choice among forms."""
    return unicodedata.category(character)[0] not in "ZC" and not 0xFE00 <= ord(character) <= 0xFE0F


def _entries() -> Sequence[FontEntry]:
    upright = (entry for entry in fontManager.ttflist if entry.style == "normal")
    return [entry for entry in upright if not entry.name.startswith(LAST_RESORT)]


@cache
def _characters_of(family: str) -> frozenset[str]:
    """The characters of a family's regular font; none if it cannot be drawn with (a font of coloured pictures)."""
    entries = [entry for entry in _entries() if entry.name == family]
    if not entries:
        return frozenset()
    regular = min(entries, key=lambda entry: abs(int(entry.weight) - 400) if str(entry.weight).isdigit() else 400)
    try:
        font = get_font(regular.fname)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()
