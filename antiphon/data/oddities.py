"""Rows that can be read and may be a mistake: a header taken for a row, the quotes of a spreadsheet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from antiphon.data.formats import suffix_of
from antiphon.data.problems import place
from antiphon.data.rows import Row

NAMES = """id source src target tgt input output in out x y text sentence word words token tokens tag tags label labels
class category pron pronunciation phones phonemes ipa lemma form features grapheme graphemes phoneme sentiment question
answer reply turn turns translation title name names value key english german french spanish chinese en de fr es zh ja
ko ru it utterance transcription transcript caption image file path original"""  # usual names of columns
TARGETS = """target tgt output out y tag tags label labels class category pron pronunciation phones phonemes ipa phoneme
answer reply sentiment translation caption transcript transcription activity state lemma reference"""  # of a target
REPEATED = 5  # rows per value on average, from which on a value that occurs only once is odd
QUOTED = 0.2  # share of rows with quotes that is odd
ODD_SPACE = re.compile(r"[^\S \t\n\r\f\v]")


def header(rows: Sequence[Row], columns: Sequence[Sequence[str]]) -> list[str]:
    """A first row that reads like the names of the columns."""
    if len(rows) < 3 or not columns or any("\n" in column[0] for column in columns):
        return []
    first = [column[0].strip().strip('"').lower() for column in columns]
    names = set(NAMES.split())
    known = all(re.sub(r"[ _-]?\d*$", "", name) in names for name in first)
    odd = any(_is_odd(column) for column in columns) and any(name in names for name in first)
    if rows[0].line != 1 or not (known or odd):
        return []
    shown = " and ".join(repr(column[0]) for column in columns)
    advice = "if they are, set data.header: true (--set data.header=true)"
    return [f"{rows[0].file}:1: is read as a row, and its {shown} read like names of columns; {advice}"]


def _is_odd(column: Sequence[str]) -> bool:
    """Whether a column's first value occurs once, and the others again and again."""
    counts = Counter(column)
    return counts[column[0]] == 1 and len(column) >= REPEATED * len(counts)


def white_space(rows: Sequence[Row], words: Mapping[str, Sequence[str]]) -> list[str]:
    """White space other than a blank in sides of words: words are separated there, but joined again with a blank."""
    notes = []
    for name, column in words.items():
        marks = ((row, ODD_SPACE.search(text)) for row, text in zip(rows, column, strict=True))
        odd = [(row, match[0]) for row, match in marks if match]
        if odd:
            row, mark = odd[0]
            count = f"{len(odd):,} rows have" if len(odd) > 1 else "a row has"
            advice = f"words are separated there and written with a blank; {{split: ' '}} as {name}.tokens keeps it"
            notes.append(f"{place(row.file, row.line)}: {count} a {name} with U+{ord(mark):04X}; {advice}")
    return notes


def quotes(rows: Sequence[Row], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Fields of a .tsv or .txt in quotes, as a spreadsheet writes them."""
    notes = []
    for name, column in columns.items():
        quoted = [
            (row, text)
            for row, text in zip(rows, column, strict=True)
            if len(text) > 1 and text[0] == text[-1] == '"' and suffix_of(row.file) in (".tsv", ".txt")
        ]
        doubled = [(row, text) for row, text in quoted if '""' in text[1:-1]]
        if doubled or len(quoted) >= QUOTED * len(column):
            row, text = (doubled or quoted)[0]
            count = f"{len(quoted):,} rows have" if len(quoted) > 1 else "a row has"
            notes.append(
                f"{row.file}:{row.line}: {count} a {name} in quotes, such as {text[:40]}; in this kind of file quotes "
                "belong to the text: save a table of a spreadsheet as .csv"
            )
    return notes
