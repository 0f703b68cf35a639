"""Chooses what the user leaves open of the sides of a table: the kind of the target, and the tokens of texts."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

from antiphon.common.numbers import NUMBER
from antiphon.common.text import Text, turns_of
from antiphon.data.codecs.labels import LabelsCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.copying import PIECES
from antiphon.data.load import Codecs
from antiphon.data.rows import Row

LOOKED_AT = 20_000  # rows, evenly spread: more would change nothing
ROWS_A_LABEL = 20  # targets that occur in so many rows each, on average, are labels
FEW_SYMBOLS = 500  # so few distinct words are labels or phonemes, not a language's vocabulary
FEW_NUMBERS = 50  # so few distinct words that begin with a digit may be symbols, as tones are
NUMERIC = 0.3  # share of words that begin with a digit, from which on a text is spelled
SHORT = 60  # characters: a shorter text is spelled if another side is
LONGEST_PHONEME = 3.5  # characters on average
LONGEST_WORD = 12  # characters on average: longer "words" have no blanks between them, as in Chinese
MANY = 5_000  # rows: with so many, a word that occurs once is of no use
SENTENCE = 3  # words on average
REARRANGED = 0.95  # share of rows
PART = 3  # symbols: so many in a row are a part, not chance
HANGUL = 0.5  # share of a source's characters
IN_ORDER = 0.6  # share of the symbols of both sides
COMPARED = 500  # rows, evenly spread, in which sources are compared with targets
MOST_TAGS = 200
SHARED_TAGS = 0.1  # so few tags may be words of the source, too


@dataclass(frozen=True)
class Chosen:
    """The value that was chosen for a key of a side, and why, as the end of a sentence."""

    value: Any
    why: str


def target_kind(codecs: Codecs, rows: Sequence[Row]) -> Chosen | None:
    """`label`, `labels` or `number` for targets that look like it, if the user named no kind; None: they are text."""
    rows = _some(rows)
    source = codecs.sources[0]
    if len(codecs.sources) == 1 and isinstance(source, TextCodec) and not source.whole and _are_tags(rows):
        return Chosen("labels", "every target has as many words as its source")
    values = [row.target for row in rows]
    distinct = len(set(values))
    if len(values) >= ROWS_A_LABEL * distinct > ROWS_A_LABEL:
        return Chosen("label", f"there are {distinct:,} distinct targets in {len(values):,} rows")
    if _are_numbers(codecs, rows):
        return Chosen("number", "every target is a number (target.kind: text writes it digit by digit)")
    return None


def _are_numbers(codecs: Codecs, rows: Sequence[Row]) -> bool:
    """Whether targets are numbers to be estimated: with decimals, or whole beside sources of plain numbers.

    Beside pictures they are text, which is read off them; beside a text that is itself full of numbers, too: the
    answer of a sum is written.
    """
    values = [row.target for row in rows]
    kinds = {codec.kind for codec in codecs.sources}
    if "image" in kinds or not all(isinstance(value, str) and NUMBER.fullmatch(value) for value in values):
        return False
    words = [word for place in _texts(codecs) for word in _words([row.sources[place] for row in rows])]
    if words and sum(word[0].isdigit() for word in words) >= NUMERIC * len(words):
        return False
    return kinds <= {"vector", "category"} or any("." in value or "," in value for value in values)


def _are_tags(rows: Sequence[Row]) -> bool:
    """Whether each word of the targets is a tag of the word at its place in the source.

    Each row must have as many tags as words, tags must be few and other symbols than the source's words, and a word
    must predict the tag at its place at least as well as the tag at that place counted from the end: else the target
    may be the source written backwards, or sorted.
    """
    pairs = [(turns_of(row.sources[0]), row.target) for row in rows]
    split = [(turns[0].split(), target.split()) for turns, target in pairs if len(turns) == 1]
    if len(split) < len(rows) or any(len(words) != len(tags) for words, tags in split):
        return False
    all_tags = {tag for _, tags in split for tag in tags}
    all_words = {word for words, _ in split for word in words}
    if sum(len(words) for words, _ in split) < 2 * len(split) or len(all_tags) > MOST_TAGS:
        return False
    if len(all_tags & all_words) > SHARED_TAGS * len(all_tags):
        return False
    forwards = _predicted(pair for words, tags in split for pair in zip(words, tags, strict=True))
    backwards = _predicted(pair for words, tags in split for pair in zip(reversed(words), tags, strict=True))
    return forwards >= backwards


def _predicted(pairs: Iterable[tuple[str, str]]) -> int:
    """How many tags are the most frequent one of their word."""
    counts: dict[str, Counter[str]] = {}
    for word, tag in pairs:
        counts.setdefault(word, Counter())[tag] += 1
    return sum(max(tags.values()) for tags in counts.values())


def tokens(codecs: Codecs, rows: Sequence[Row], place: int) -> Chosen | None:
    """The tokens of the text on a side (the target's place is the last); None for a side without tokens."""
    codec = (*codecs.sources, codecs.target)[place]
    if not isinstance(codec, TextCodec):
        return None
    if codec.whole:
        return Chosen("chars", "it is one long text")
    some = _some(rows)
    values: list[Text] = [(*row.sources, row.target)[place] for row in some]
    if isinstance(codecs.target, LabelsCodec):
        return _tokens_of_labels(codec, some)
    target = _tokens_of_target(codecs, [row.target for row in some], len(rows))
    if place == len(codecs.sources):
        chosen = target
        others = [_tokens([row.sources[number] for row in some], len(rows)) for number in _texts(codecs)]
    else:
        chosen, others = _tokens(values, len(rows)), [target] if isinstance(codecs.target, TextCodec) else []
    pieces = isinstance(chosen.value, Mapping)
    if pieces and codecs.target.form == "one" and statistics.mean(map(len, _words(values))) <= LONGEST_WORD:
        rare = {"kind": "words", "min_count": 2} if len(rows) >= MANY else "words"
        return Chosen(rare, "of a whole text words tell more than pieces do")
    if pieces and any(other.value == "chars" for other in others) and _length(values) <= SHORT:
        return Chosen("chars", "it is short, and what it belongs to is spelled too")
    return chosen


def _texts(codecs: Codecs) -> list[int]:
    """The places of the sources that are texts."""
    return [place for place, codec in enumerate(codecs.sources) if isinstance(codec, TextCodec) and not codec.whole]


def _tokens_of_target(codecs: Codecs, values: Sequence[Text], rows: int) -> Chosen:
    if not isinstance(codecs.target, TextCodec):
        return Chosen("words", "it is no text")
    words = _words(values)
    if all(isinstance(codec, TextCodec) for codec in codecs.sources) and codecs.target.form == "any":
        return _tokens(values, rows)
    if _are_symbols(values) and statistics.mean(map(len, words)) <= LONGEST_PHONEME:
        return Chosen("words", "its words are few and short, as phonemes are")
    if codecs.target.form == "aligned":
        return Chosen("chars", "it is read off its source step by step")
    if len(words) >= SENTENCE * len(values):
        return Chosen("words", "it describes its source in sentences")
    return Chosen("chars", "it is short")


def _tokens(values: Sequence[Text], rows: int) -> Chosen:
    """Characters for single words and numbers; words where there are few distinct ones; else pieces."""
    words = _words(values)
    if len(words) < 1.2 * len(values):
        return Chosen("chars", "most of its rows are single words")
    if _are_symbols(values):
        return Chosen("words", f"it has {len(set(words)):,} distinct words, each often")
    if sum(word[0].isdigit() for word in words) >= NUMERIC * len(words):
        return Chosen("chars", "it is full of numbers")
    size = 8000 if rows >= 20_000 else 4000 if rows >= 5_000 else 1000
    return Chosen({"kind": "bpe", "size": size}, "it is sentences of many words")


def _tokens_of_labels(codec: TextCodec, rows: Sequence[Row]) -> Chosen:
    """The tokens that are labelled: words, or characters if there are as many of these as labels."""
    normal = [(codec.normalize(turns_of(row.sources[0])[0]), row.target) for row in rows]
    by_word = sum(len(text.split()) == len(labels) for text, labels in normal)
    by_character = sum(len(text) == len(labels) for text, labels in normal)
    if by_character > by_word:
        return Chosen("chars", "it has as many characters as labels")
    return Chosen("words", "it has as many words as labels")


def rearranged(rows: Sequence[Row]) -> bool:
    """Whether targets have the symbols of their source in another order, as a word sorted or reversed has."""
    if not all(len(row.sources) == 1 and isinstance(row.sources[0], str) for row in rows):
        return False
    pairs = [(row.sources[0], row.target) for row in _some(rows) if isinstance(row.target, str)]
    same = sum(sorted(source) == sorted(target) for source, target in pairs)
    moved = sum(source != target for source, target in pairs)
    return bool(pairs) and same >= REARRANGED * len(pairs) and moved >= len(pairs) / 2


def copied(codecs: Codecs, rows: Sequence[Row]) -> bool:
    """Whether most symbols of targets and first sources are the same, in the same order: as in forms of a word.

    Only where both sides have the same whole symbols, letters or words, so that these can be copied.
    """
    source, target = codecs.sources[0], codecs.target
    if not isinstance(source, TextCodec) or not isinstance(target, TextCodec) or source.whole:
        return False
    if target.form != "any" or source.tokens != target.tokens or source.tokens in PIECES:
        return False
    some = rows if len(rows) <= COMPARED else list(islice(rows, 0, None, -(-len(rows) // COMPARED)))
    shares = []
    for row in some:
        shares.append(_in_order(source.split_turns(row.sources[0]), target.split(row.target)))
    return statistics.mean(shares) >= IN_ORDER


def _in_order(read: Sequence[str], written: Sequence[str]) -> float:
    """The share of the symbols of both sides that are the same in the same order; parts that are written again, which
    would have to be looked at again, count against it."""
    blocks = SequenceMatcher(None, read, written, autojunk=False).get_matching_blocks()
    places = {place for block in blocks for place in range(block.b, block.b + block.size)}
    rest = [symbol for place, symbol in enumerate(written) if place not in places]
    again = SequenceMatcher(None, read, rest, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks) - sum(block.size for block in again if block.size >= PART)
    return 2 * same / max(len(read) + len(written), 1)


def in_jamo(codecs: Codecs, rows: Sequence[Row], place: int, chosen: Any) -> bool:
    """Whether a source that is spelled is mostly Hangul: then its letters, the jamo, tell more than whole syllables."""
    if chosen != "chars" or place == len(codecs.sources) or not isinstance(codecs.sources[place], TextCodec):
        return False
    letters = [letter for row in _some(rows) for text in turns_of(row.sources[place]) for letter in text]
    return sum("\uac00" <= letter <= "\ud7a3" for letter in letters) >= HANGUL * max(len(letters), 1) > 0


def spelled(codecs: Codecs, chosen: Any) -> bool:
    """Whether words are read with their spelling: where each of them has a label, since many are rare."""
    words = chosen == "words" or (isinstance(chosen, Mapping) and chosen.get("kind") == "words")
    return words and isinstance(codecs.sources[0], TextCodec) and isinstance(codecs.target, LabelsCodec)


def named(chosen: Any) -> str:
    """Tokens in a few words."""
    if not isinstance(chosen, Mapping):
        return str(chosen)
    size = f", {chosen['size']:,} pieces" if "size" in chosen else ""
    return f"{chosen['kind']}{size}" + (f", each at least {chosen['min_count']} times" if "min_count" in chosen else "")


def _are_symbols(values: Sequence[Text]) -> bool:
    """Whether words are symbols as phonemes are: few distinct ones, each often; no numbers."""
    words = Counter(_words(values))
    numbers = sum(word[0].isdigit() for word in words)
    several = words.total() >= 1.2 * len(values)
    return several and len(words) <= FEW_SYMBOLS and words.total() >= 5 * len(words) and numbers <= FEW_NUMBERS


def _words(values: Sequence[Text]) -> list[str]:
    return [word for value in values for text in turns_of(value) for word in text.split()]


def _length(values: Sequence[Text]) -> float:
    """Characters of a value, on average."""
    return statistics.mean(sum(map(len, turns_of(value))) for value in values)


def _some(rows: Sequence[Row]) -> Sequence[Row]:
    """At most `LOOKED_AT` of the rows, evenly spread."""
    return rows if len(rows) <= LOOKED_AT else list(islice(rows, 0, None, -(-len(rows) // LOOKED_AT)))
