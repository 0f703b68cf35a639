"""The files that the commands of a page read: real data for its recorded outputs, a few rows of it for the tests.

Data that is not in an installed package lies in $ANTIPHON_DATA; where that is missing, tests get made-up rows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

Write = Callable[[Path, bool], None]  # a folder, and whether a few rows are enough


def write(page: str, folder: Path, few: bool = False) -> None:
    """Write the files of a page into a folder."""
    for make in TABLES.get(page, ()):
        make(folder, few)


def pronunciations(folder: Path, few: bool) -> None:
    """pairs.tsv: English words and their phonemes (CMUdict): every fifth word, 25,000 rows."""
    from antiphon.tools.demo import cmudict_rows

    rows = islice(cmudict_rows(), 0, 1_000 if few else None, 5)
    (folder / "pairs.tsv").write_text("".join(f"{word}\t{phonemes}\n" for word, phonemes in rows), encoding="utf-8")


TABLES: dict[str, tuple[Write, ...]] = {
    "index": (pronunciations,),
    "reference/experiments": (pronunciations,),
    "reference/inspecting": (pronunciations,),
    "reference/python": (pronunciations,),
    "reference/shipping": (pronunciations,),
    "reference/using": (pronunciations,),
}
