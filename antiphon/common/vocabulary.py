"""Symbols to ids and back. Built from training data only; special symbols are ids and have no spelling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .symbols import SPECIALS, UNK


class Vocabulary:
    """An ordered list of distinct symbols; the first has the id `SPECIALS`."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = list(symbols)
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, SPECIALS)}
        if len(self._ids) != len(self.symbols):
            raise ValueError("a vocabulary's symbols must be distinct")

    @classmethod
    def build(cls, sequences: Iterable[Iterable[str]], min_count: int = 1) -> Vocabulary:
        """The symbols seen at least `min_count` times, the most frequent first (ties by code point)."""
        counts: Counter[str] = Counter()
        for sequence in sequences:
            counts.update(sequence)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([symbol for symbol, count in ranked if count >= min_count])

    @classmethod
    def from_json(cls, symbols: object) -> Vocabulary:
        """The vocabulary of a saved list of symbols."""
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise TypeError("symbols must be a list of strings")
        return cls(symbols)

    def extended(self, other: Vocabulary) -> Vocabulary:
        """These symbols, and behind them those that only `other` has."""
        return Vocabulary([*self.symbols, *(symbol for symbol in other.symbols if symbol not in self)])

    def __len__(self) -> int:
        """Number of ids, special ones included: the number of rows of an embedding."""
        return SPECIALS + len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    def id(self, symbol: str) -> int:
        """The symbol's id, UNK if it is not in the vocabulary."""
        return self._ids.get(symbol, UNK)

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """The id of each symbol."""
        get = self._ids.get
        return [get(symbol, UNK) for symbol in symbols]

    def place(self, symbol: str) -> int:
        """The place of a symbol that is in the vocabulary."""
        return self._ids[symbol] - SPECIALS

    def symbol(self, number: int) -> str | None:
        """The symbol of an id; None for a special symbol, which is never printed."""
        return self.symbols[number - SPECIALS] if number >= SPECIALS else None

    def names(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids; special ones are left out."""
        return [self.symbols[number - SPECIALS] for number in ids if number >= SPECIALS]
