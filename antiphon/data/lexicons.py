"""Pronunciation lexicons: one definition for each format, of how its lines are read and written.

cmudict     `WORD  P1 P2`, a further pronunciation as `WORD(1)`, comments begin with `;;;` or, behind the symbols, `#`
mfa         Montreal Forced Aligner: word TAB probabilities TAB `P1 P2`; the first number is that of the pronunciation
sherpa      the lexicon.txt of sherpa-onnx: `word P1 P2`
tsv         word TAB `P1 P2`, and further columns

A file that ends in .dict is read line by line: with a tab as mfa or tsv, otherwise as cmudict or sherpa.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

COMMENT = ";;;"
VARIANT = re.compile(r"(?<=.)\(\d+\)$")  # behind the word
BLANKS = re.compile(r"[ \t]+")
NUMBER = re.compile(r"\d+(\.\d+)?([eE]-?\d+)?")
LEAST = 0.0001  # the smallest probability that is written


@dataclass(frozen=True)
class Pronunciation:
    """A word, the symbols of its pronunciation, and how probable that is, if it is known."""

    word: str
    symbols: tuple[str, ...]
    probability: float | None = None


@dataclass(frozen=True)
class LexiconFormat:
    """A format: a line to its pronunciation (None: no content), a pronunciation to its line, and what it cannot hold.

    `read` raises a `ValueError` for a line that is wrong. `write` also takes the number of the pronunciation among
    those of its word, from 0. `refusal` says why a word cannot be written, as the end of a sentence; empty if it can.
    """

    read: Callable[[str], Pronunciation | None]
    write: Callable[[Pronunciation, int], str]
    refusal: Callable[[str], str]
    probabilities: bool = False  # whether it has a place for them


def _pronunciation(word: str, symbols: Iterable[str], probability: float | None = None) -> Pronunciation:
    kept = tuple(symbol for symbol in symbols if symbol)
    if not word:
        raise ValueError("has no word")
    if not kept:
        raise ValueError(f"has no pronunciation of {word!r}")
    return Pronunciation(word, kept, probability)


def _read_cmudict(line: str) -> Pronunciation | None:
    if line.startswith(COMMENT):
        return None
    word, *symbols = BLANKS.split(line.strip(" \t"))
    behind = symbols.index("#") if "#" in symbols else len(symbols)
    return _pronunciation(VARIANT.sub("", word), symbols[:behind])


def _write_cmudict(item: Pronunciation, number: int) -> str:
    return f"{item.word}{f'({number})' if number else ''}  {' '.join(item.symbols)}"


def _read_mfa(line: str) -> Pronunciation | None:
    word, *columns = line.split("\t")
    *numbers, symbols = columns or [""]
    wrong = [cell for cell in numbers if not NUMBER.fullmatch(cell.strip())]
    if wrong:
        raise ValueError(f"has {wrong[0]!r} where a probability is needed, between the word and its pronunciation")
    return _pronunciation(word.strip(), BLANKS.split(symbols), float(numbers[0]) if numbers else None)


def _write_mfa(item: Pronunciation, number: int) -> str:
    middle = "" if item.probability is None else f"{_as_text(item.probability)}\t"
    return f"{item.word}\t{middle}{' '.join(item.symbols)}"


def _read_sherpa(line: str) -> Pronunciation | None:
    word, *symbols = BLANKS.split(line.strip(" \t"))
    return _pronunciation(word, symbols)


def _write_sherpa(item: Pronunciation, number: int) -> str:
    return f"{item.word} {' '.join(item.symbols)}"


def _read_tsv(line: str) -> Pronunciation | None:
    word, *columns = line.split("\t")
    symbols, further = (columns or [""])[0], (columns or [""])[1:]
    probability = float(further[0]) if further and NUMBER.fullmatch(further[0]) else None
    return _pronunciation(word, BLANKS.split(symbols), probability)


def _write_tsv(item: Pronunciation, number: int) -> str:
    behind = "" if item.probability is None else f"\t{_as_text(item.probability)}"
    return f"{item.word}\t{' '.join(item.symbols)}{behind}"


def _as_text(probability: float) -> str:
    return f"{max(probability, LEAST):.4f}".rstrip("0").rstrip(".")


def _plain(word: str) -> str:
    return "has white space in it" if re.search(r"\s", word) else ""


def _of_cmudict(word: str) -> str:
    if word.startswith(COMMENT):
        return f"begins with {COMMENT}, as a comment does"
    return "ends as the number of a variant does" if VARIANT.search(word) else _plain(word)


def _of_tsv(word: str) -> str:
    return "has a tab or a line end in it" if re.search(r"[\t\n\r]", word) else ""


LEXICONS: dict[str, LexiconFormat] = {
    "sherpa": LexiconFormat(_read_sherpa, _write_sherpa, _plain),
    "mfa": LexiconFormat(_read_mfa, _write_mfa, _plain, probabilities=True),
    "cmudict": LexiconFormat(_read_cmudict, _write_cmudict, _of_cmudict),
    "tsv": LexiconFormat(_read_tsv, _write_tsv, _of_tsv, probabilities=True),
}


def read_any(line: str) -> Pronunciation | None:
    """The pronunciation on a line of any of the formats; None for a comment, a `ValueError` for a wrong line."""
    if line.startswith(COMMENT):
        return None
    if "\t" not in line:
        return _read_cmudict(line)
    cells = line.split("\t")
    probable = len(cells) > 2 and all(NUMBER.fullmatch(cell.strip()) for cell in cells[1:-1])
    return _read_mfa(line) if len(cells) == 2 or probable else _read_tsv(line)


def pronunciations(
    lines: Iterable[tuple[int, str | None, str]], read: Callable[[str], Pronunciation | None] = read_any
) -> Iterator[tuple[int, Pronunciation | None, str]]:
    """The pronunciations on numbered lines; of a bad line None, and the reason. Empty lines and comments left out."""
    for number, line, reason in lines:
        if line is None:
            yield number, None, reason
        elif line.strip():
            try:
                item = read(line)
            except ValueError as error:
                yield number, None, str(error)
                continue
            if item is not None:
                yield number, item, ""


def refused_symbol(symbol: str, form: str) -> str:
    """Why a symbol of a pronunciation cannot be written in a format, as the end of a sentence; empty if it can."""
    if not symbol or re.search(r"\s", symbol):
        return "is empty or has white space in it, which separates symbols in a lexicon"
    return "begins a comment in cmudict" if symbol == "#" and form == "cmudict" else ""
