"""Rows made from few: stems that an input shares with its output are replaced by random symbols, the same in both.

After Anastasopoulos & Neubig 2019 (arXiv 1908.05838, section 3), who align letters by a model of edits; here a stem is
a block that the longest common subsequences of both sides have in common. What makes the rows alike, the endings, stays
as it is, and so do the last symbols of a stem, on which endings depend (as in vowel harmony); so a model learns from
many rows that what stands in the stem is copied.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import NamedTuple

from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs
from antiphon.data.rows import Row
from antiphon.errors import ConfigError

SHORTEST = 3  # symbols of a stem
KEPT = 2  # of them at its end stay
KEY = "data.hallucinate"


class _Pair(NamedTuple):
    """A row with the symbols of its first source and its target, and its stems: where they begin in both, and how many
    of their symbols are replaced."""

    row: Row
    source: list[str]
    target: list[str]
    stems: list[tuple[int, int, int]]


def hallucinated(rows: Sequence[Row], sources: Sequence[Codec], target: Codec, count: int, seed: int) -> list[Row]:
    """`count` rows, each made from a row drawn at random; the same for the same seed.

    Other sources than the first stay as they are. Symbols are drawn as often as stems have them. Sides that are not
    text, and rows without a stem, are a `ConfigError`.
    """
    check_sides(sources, target)
    source = sources[0]
    assert isinstance(source, TextCodec)
    assert isinstance(target, TextCodec)
    pairs = [pair for row in rows if (pair := _pair(row, source, target)).stems]
    if not pairs:
        reason = f"no row has {SHORTEST} symbols in a row that are the same in source and target; leave it out"
        raise ConfigError(KEY, reason)
    counts = Counter(symbol for pair in pairs for at, _, size in pair.stems for symbol in pair.source[at : at + size])
    symbols, weights = list(counts), list(counts.values())
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        pair = chance.choice(pairs)
        read, written = list(pair.source), list(pair.target)
        for at, to, size in pair.stems:
            stem = chance.choices(symbols, weights, k=size)
            read[at : at + size] = written[to : to + size] = stem
        sides = (source.tokenizer.join(read), *pair.row.sources[1:])
        made.append(replace(pair.row, sources=sides, target=target.tokenizer.join(written)))
    return made


def check_sides(sources: Sequence[Codec], target: Codec) -> None:
    """Sides that cannot share stems are a `ConfigError`."""
    texts = isinstance(sources[0], TextCodec) and isinstance(target, TextCodec) and target.form == "any"
    if not texts or getattr(sources[0], "turns", None) is not None or sources[0].whole:
        raise ConfigError(KEY, "needs a text as first source and a text as target, which share stems")


def _pair(row: Row, source: TextCodec, target: TextCodec) -> _Pair:
    read, written = source.split(row.sources[0]), target.split(row.target)
    blocks = SequenceMatcher(None, read, written, autojunk=False).get_matching_blocks()
    return _Pair(row, read, written, [(at, to, size - KEPT) for at, to, size in blocks if size >= SHORTEST])


def have_stems(rows: Sequence[Row], codecs: Codecs) -> bool:
    """Whether any row has a stem."""
    source, target = codecs.sources[0], codecs.target
    if not isinstance(source, TextCodec) or not isinstance(target, TextCodec):
        return False
    return any(_pair(row, source, target).stems for row in rows if isinstance(row.sources[0], str))
