"""CoNLL-U: sentences of words with ten fields each, read and written back (universaldependencies.org/format)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

FIELDS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class Sentence:
    """The lines of a sentence with its comments, the number of its first line that is not a comment, and what is wrong
    with it (empty: nothing)."""

    lines: list[str]
    line: int
    wrong: str = ""

    @property
    def words(self) -> list[int]:
        """The places of its words; lines of words written together (1-2) and of empty nodes (1.1) do not count."""
        return [place for place, line in enumerate(self.lines) if line.partition("\t")[0].isdigit()]

    def field(self, name: str) -> str:
        """A field of all words with spaces between; white space within it becomes "_"."""
        place = FIELDS.index(name)
        return " ".join(re.sub(r"\s", "_", self.lines[word].split("\t")[place]) for word in self.words)

    def replaced(self, name: str, values: Sequence[str]) -> str:
        """The sentence as text, with a field of its words replaced."""
        lines, place = list(self.lines), FIELDS.index(name)
        for word, value in zip(self.words, values, strict=True):
            fields = lines[word].split("\t")
            lines[word] = "\t".join([*fields[:place], value, *fields[place + 1 :]])
        return "".join(f"{line}\n" for line in [*lines, ""])


def sentences(numbered: Iterable[tuple[int, str | None, str]]) -> Iterator[Sentence]:
    """Sentences of numbered lines, each ended by an empty one; a line that cannot be read is None, with the reason."""
    lines: list[str] = []
    first, wrong = 0, ""
    for number, line, reason in chain(numbered, [(0, "", "")]):  # an end, if the file has none
        if line:
            lines.append(line)
            if not line.startswith("#"):
                first = first or number
                fields = line.split("\t")
                if len(fields) != len(FIELDS) or not all(fields):
                    wrong = wrong or f"line {number} is not the {len(FIELDS)} columns of CoNLL-U"
        elif line is None:
            first, wrong = first or number, wrong or f"line {number} is {reason}"
        elif first:
            sentence = Sentence(lines, first, wrong)
            yield sentence if wrong or sentence.words else Sentence(lines, first, "holds no words")
            lines, first, wrong = [], 0, ""
        elif lines:  # comments that stand alone
            lines.append("")
