"""The ids of symbols that a model may copy, which go beyond the vocabulary of its target.

A symbol of a source that is in the target's vocabulary has its id there. Any other has an id that is valid in its row
only: the vocabulary's size plus the first place of the symbol among those of all sources that can be copied (the
extended vocabulary of See et al. 2017, arXiv 1704.04368, section 2.2). The end of a source has the id of the end
symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .symbols import EOS, UNK
from .vocabulary import Vocabulary

Sources = Sequence[Sequence[str] | None]
"""The symbols of every source of a row, "" where a turn or the source ends; None for one that is not copied."""


def copy_ids(sources: Sources, vocabulary: Vocabulary) -> list[list[int] | None]:
    """The id that a copy of each symbol has."""
    first: dict[str, int] = {}
    ids: list[list[int] | None] = []
    place = 0
    for symbols in sources:
        if symbols is None:
            ids.append(None)
            continue
        for symbol in symbols:
            known_id = vocabulary.id(symbol) if symbol else EOS
            first.setdefault(symbol, len(vocabulary) + place if known_id == UNK else known_id)
            place += 1
        ids.append([first[symbol] for symbol in symbols])
    return ids


def names(ids: Iterable[int], sources: Sources, vocabulary: Vocabulary) -> list[str | None]:
    """The symbols of an output's ids; None for a special symbol."""
    read = [symbol for symbols in sources if symbols is not None for symbol in symbols]
    known = len(vocabulary)
    return [read[number - known] if number >= known else vocabulary.symbol(number) for number in ids]
