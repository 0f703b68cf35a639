"""Words as their characters, as ids of one width."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .symbols import EOS, PAD, UNK
from .vocabulary import Vocabulary


def spelled(word: str, characters: Vocabulary, width: int) -> list[int]:
    """A word's characters as `width` ids, filled up with PAD; a longer word has its beginning and its end.

    An empty word is the end symbol, which has no characters, only its id.
    """
    if not word:
        return _filled([EOS], width)
    if len(word) > width:
        end = width // 2
        word = word[: width - end] + word[-end:]
    return _filled([characters.id(character) for character in word], width)


def _filled(ids: list[int], width: int) -> list[int]:
    return ids + [PAD] * (width - len(ids))


def unknown_symbols(ids: NDArray[Any]) -> int:
    """How many symbols of an encoded text are unknown.

    A word with its spelling, ids [words, 1 + width], is unknown if one of its characters is.
    """
    return int((ids[:, 1:] == UNK).any(1).sum() if ids.ndim == 2 else (ids == UNK).sum())
