"""`antiphon lexicon`: the pronunciations of a list of words, known ones first, in the format of another program."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from antiphon.data.formats import read_lines
from antiphon.data.lexicons import LEXICONS, Pronunciation, pronunciations, read_any, refused_symbol
from antiphon.errors import AntiphonError, DataError, UsageError, count_of, nearest
from antiphon.files import user_path
from antiphon.use.pronouncing import WINDOW, Pronouncer, pronouncer

COMMENTS = (";;;", "# ")  # how lines of a list of words begin that are none
SHOWN = 10  # mistakes of one kind
WIDTH = 5  # of the beam that looks for a pronunciation with symbols, where the best one has none
WORDS_GIVEN = "words"  # how a list of words that is not a file is named


@dataclass(frozen=True)
class Word:
    """A word with its pronunciations, the best first.

    `confidence` is the calibrated probability that the first is right (None: the model is not calibrated), `unknown`
    has the letters that the model does not know, and `known` tells whether the pronunciations were known before.
    """

    word: str
    line: int
    pronunciations: list[Pronunciation]
    confidence: float | None = None
    unknown: list[str] = field(default_factory=list)
    known: bool = False

    def reason(self, below: float) -> str:
        """Why a person should look at the pronunciation; empty if its confidence is at least `below`."""
        reasons = [f"unknown letters {' '.join(self.unknown)}"] if self.unknown and not self.known else []
        if not self.pronunciations:
            reasons.append("the model predicts no symbol")
        elif self.confidence is not None and self.confidence < below:
            reasons.append(f"confidence below {below:g}")
        return ", ".join(reasons)


@dataclass(frozen=True)
class Lexicon:
    """Words with their pronunciations in the order of the list, and notes about the list: what was left out, what is
    odd."""

    words: list[Word]
    notes: list[str]

    def doubtful(self, below: float = 0.5) -> list[Word]:
        """The words to look at: with unknown letters, or a confidence below `below`; the least sure first."""
        doubted = [word for word in self.words if word.reason(below)]
        return sorted(doubted, key=lambda word: -1.0 if word.confidence is None else word.confidence)

    def lines(self, to: str) -> Iterator[str]:
        """The lines of the lexicon in a format: sherpa, mfa, cmudict or tsv. A word that the format cannot hold is a
        `DataError`."""
        form = format_of(to)
        refuse_words([(word.line, word.word) for word in self.words], to, WORDS_GIVEN)
        for word in self.words:
            for number, item in enumerate(word.pronunciations):
                wrong = next((reason for symbol in item.symbols if (reason := refused_symbol(symbol, to))), "")
                if wrong:
                    raise DataError(f"{word.word!r}: a symbol of its pronunciation {wrong}; write it as tsv")
                yield form.write(item, number)


def format_of(to: str) -> Any:
    """A row of `LEXICONS`; an unknown name is a `UsageError`."""
    if to not in LEXICONS:
        raise UsageError(f"--to {to}: unknown format; {nearest(to, LEXICONS)}")
    return LEXICONS[to]


def lexicon(
    model: Any,
    words: str | Path | Iterable[str],
    known: str | Path | None = None,
    n_best: int = 1,
    beam: int | None = None,
    inventory: str | Path | Iterable[str] | None = None,
    to: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Lexicon:
    """The pronunciations of words: those that are known, else the model's.

    `model` is a loaded model, or the folder of a trained or exported one; it reads one word and writes its symbols.
    `words` are a file with a word on each line, or texts. Known are the answers in the model's folder, then those of
    the lexicon `known` (.dict, .tsv or .txt). No word is left out: one with unknown letters is answered too.

    With `n_best` above 1 further candidates follow, each with its probability exp(score); `beam` overrides the
    configured width. `inventory` are the symbols that another program knows, or a file with one on each line (such as
    the tokens.txt of sherpa-onnx): a symbol outside is a `DataError` that names its words. With `to` a word that this
    format cannot hold is refused before anything is predicted. Errors are `AntiphonError`s.
    """
    if n_best < 1:
        raise UsageError(f"n_best: must be at least 1 (is {n_best})")
    where, listed, notes = _read_words(words)
    if to is not None:
        format_of(to)
        refuse_words(listed, to, where)
    allowed = None if inventory is None else read_inventory(inventory)
    predictor = model if isinstance(model, Pronouncer) else pronouncer(model, device, threads)
    before = {} if known is None else _read_known(user_path(known), predictor)
    answered = _known_words(listed, before, predictor)
    rest = [(line, word) for line, word in listed if line not in answered]
    for start in range(0, len(rest), WINDOW):
        part = rest[start : start + WINDOW]
        answered |= {word.line: word for word in _predicted(predictor, part, where, beam, n_best)}
    result = [answered[line] for line, _ in listed]
    if allowed is not None:
        _refuse_outside(result, allowed, "the inventory" if not isinstance(inventory, str | Path) else str(inventory))
    notes += _notes(result, before, predictor, where)
    if to == "sherpa" and any(len(word.pronunciations) > 1 for word in result):
        notes.append("sherpa-onnx takes the first pronunciation of a word alone when it speaks")
    if n_best == 1 and to is not None:  # a column of probabilities only where there is a choice
        result = [
            replace(word, pronunciations=[replace(item, probability=None) for item in word.pronunciations])
            for word in result
        ]
    return Lexicon(result, notes)


def _read_words(words: str | Path | Iterable[str]) -> tuple[str, list[tuple[int, str]], list[str]]:
    """The name of the list, its distinct words with their lines, and what was left out."""
    if isinstance(words, str | Path):
        where = str(user_path(words))
        lines: Iterable[tuple[int, str | None, str]] = read_lines(where)
    else:
        where, lines = WORDS_GIVEN, ((number, word, "") for number, word in enumerate(words, 1))
    first: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    wrong: list[str] = []
    for number, line, reason in lines:
        word = (line or "").strip()
        if line is None or "\t" in word:
            wrong.append(f"{where}:{number}: {reason or 'has several columns; give one word a line (cut -f1 FILE)'}")
        elif not word:
            left_out["empty line"] += 1
        elif word.startswith(COMMENTS):
            left_out["comment"] += 1
        elif word in first:
            left_out["repeated word"] += 1
        else:
            first[word] = number
    if wrong:
        raise DataError("\n".join([*wrong[:SHOWN], *([f"... {len(wrong):,} such lines"] if wrong[SHOWN:] else [])]))
    if not first:
        raise DataError(f"{where}: has no words")
    parts = [count_of(count, name) for name, count in left_out.items()]
    notes = [f"{where}: left out: {', '.join(parts)}"] if parts else []
    return where, [(line, word) for word, line in first.items()], notes + _cases(where, first)


def _cases(where: str, words: Iterable[str]) -> list[str]:
    """A note about words that differ in upper and lower case alone."""
    forms: dict[str, list[str]] = {}
    for word in words:
        forms.setdefault(word.lower(), []).append(word)
    several = [same for same in forms.values() if len(same) > 1]
    if not several:
        return []
    such = " and ".join(map(repr, several[0][:2]))
    count = count_of(len(several), "word")
    reads = "programs that read words in lower case, such as sherpa-onnx, take the first alone"
    return [f"{where}: {count} in several forms of upper and lower case, such as {such}: each is kept; {reads}"]


def refuse_words(listed: Sequence[tuple[int, str]], to: str, where: str) -> None:
    """Refuse words that a format cannot hold."""
    refusal = format_of(to).refusal
    wrong = [f"{where}:{line}: {word!r} {reason}" for line, word in listed if (reason := refusal(word))]
    if wrong:
        more = [f"... {len(wrong):,} such words"] if wrong[SHOWN:] else []
        raise DataError("\n".join([*wrong[:SHOWN], *more, f"a lexicon for {to} cannot hold them; --to tsv can"]))


def read_inventory(inventory: str | Path | Iterable[str]) -> set[str]:
    """The symbols of a file, one on each line, perhaps with a number behind it; or the given symbols."""
    if not isinstance(inventory, str | Path):
        return set(inventory)
    path = str(user_path(inventory))
    symbols = set()
    for number, line, reason in read_lines(path):
        if line is None:
            raise DataError(f"{path}:{number}: {reason}")
        fields = line.split()
        if len(fields) > 2 or (len(fields) == 2 and not re.fullmatch(r"-?\d+", fields[1])):
            raise DataError(f"{path}:{number}: must be a symbol, or a symbol and its number, but is {line!r}")
        if fields and not line[0].isspace():  # else the symbol is a blank, and the field is its number
            symbols.add(fields[0])
    if not symbols:
        raise DataError(f"{path}: has no symbols")
    return symbols


def _read_known(path: Path, predictor: Pronouncer) -> dict[tuple[str, ...], list[Pronunciation]]:
    """The pronunciations of a lexicon by the symbols of their words; a wrong line is a `DataError`."""
    read = LEXICONS["tsv"].read if path.name.removesuffix(".gz").endswith(".tsv") else read_any
    items: dict[tuple[str, ...], list[Pronunciation]] = {}
    wrong = []
    for number, item, reason in pronunciations(read_lines(str(path)), read):
        if item is None:
            wrong.append(f"{path}:{number}: {reason}")
        else:
            entries = items.setdefault(predictor.key(item.word), [])
            if item.symbols not in [entry.symbols for entry in entries]:
                entries.append(item)
    if wrong:
        raise DataError("\n".join([*wrong[:SHOWN], *([f"... {len(wrong):,} such lines"] if wrong[SHOWN:] else [])]))
    return items


def _known_words(
    listed: Sequence[tuple[int, str]], before: Mapping[tuple[str, ...], list[Pronunciation]], predictor: Pronouncer
) -> dict[int, Word]:
    """The words that the known lexicon has, by their lines; the known answers of the model win over it."""
    answered = {}
    for line, word in listed if before else ():
        key = predictor.key(word)
        if key in before and (key,) not in predictor.known:
            items = [Pronunciation(word, item.symbols, item.probability or 1.0) for item in before[key]]
            answered[line] = Word(word, line, items, 1.0, known=True)
    return answered


def _predicted(
    predictor: Pronouncer, part: Sequence[tuple[int, str]], where: str, beam: int | None, n_best: int
) -> Iterator[Word]:
    """The model's pronunciations of words. Where it predicts no symbol, a wider beam looks for the best that has some.

    Words that it cannot read are a `DataError` with all of them.
    """
    answers = _answers(predictor, [word for _, word in part], beam, n_best)
    silent = [place for place, answer in enumerate(answers) if not getattr(answer, "tokens", True)]
    if silent:
        candidates = max(n_best + 1, WIDTH)  # the empty output is one of them
        wider = _answers(predictor, [part[place][1] for place in silent], beam, candidates)
        for place, answer in zip(silent, wider, strict=True):
            answers[place] = answer
    wrong = [
        f"{where}:{line}: {str(answer).partition(': ')[2]}"
        for (line, _), answer in zip(part, answers, strict=True)
        if isinstance(answer, AntiphonError)
    ]
    if wrong:
        raise DataError("\n".join([*wrong[:SHOWN], *([f"... {len(wrong):,} such words"] if wrong[SHOWN:] else [])]))
    for (line, word), answer in zip(part, answers, strict=True):
        items = [
            Pronunciation(word, symbols, math.exp(candidate.score))
            for candidate in answer.n_best
            if (symbols := predictor.symbols(candidate.text, candidate.tokens))
        ]
        distinct = list({item.symbols: item for item in reversed(items)}.values())[::-1]
        known = (predictor.key(word),) in predictor.known
        # where the best output is empty, the confidence is that of the empty output
        confidence = answer.confidence if distinct and answer.tokens else 0.0
        unknown = predictor.unknown(word) if answer.unknown else []
        yield Word(word, line, distinct[:n_best], confidence, unknown, known)


def _answers(predictor: Pronouncer, words: Sequence[str], beam: int | None, n_best: int) -> list[Any]:
    return predictor.answers(words, max(beam or predictor.width, n_best), n_best)


def _refuse_outside(words: Sequence[Word], allowed: set[str], where: str) -> None:
    """Refuse symbols that are not in the inventory, with the words that have them."""
    outside: dict[str, list[str]] = {}
    for word in words:
        for symbol in dict.fromkeys(symbol for item in word.pronunciations for symbol in item.symbols):
            if symbol not in allowed:
                outside.setdefault(symbol, []).append(word.word)
    if outside:
        lines = [
            f"{symbol!r} is not in {where}; {count_of(len(users), 'word')} with it: {', '.join(users[:SHOWN])}"
            + (", ..." if users[SHOWN:] else "")
            for symbol, users in sorted(outside.items(), key=lambda entry: -len(entry[1]))
        ]
        advice = "add the symbols there, or train the model with those of the inventory"
        raise DataError(
            "\n".join([*lines[:SHOWN], *([f"... {len(lines):,} such symbols"] if lines[SHOWN:] else []), advice])
        )


def _notes(
    words: Sequence[Word], before: Mapping[tuple[str, ...], list[Pronunciation]], predictor: Pronouncer, where: str
) -> list[str]:
    """What was known, what has unknown letters, and what has no pronunciation."""
    notes = []
    count = sum(word.known for word in words)
    if before or count:
        notes.append(f"{count:,} of {len(words):,} words were known before")
    if before:
        folded = {"".join(key).lower() for key in before}
        other = [word.word for word in words if not word.known and "".join(predictor.key(word.word)).lower() in folded]
        if other:
            such = ", ".join(map(repr, other[:3]))
            notes.append(f"{count_of(len(other), 'word')} known only in other upper and lower case, such as {such}")
    unknown = [word for word in words if word.unknown and not word.known]
    if unknown:
        letters = " ".join(dict.fromkeys(letter for word in unknown for letter in word.unknown))
        such = ", ".join(word.word for word in unknown[:3])
        count_words = count_of(len(unknown), "word")
        notes.append(f"{count_words} with letters that the model does not know ({letters}), such as {such}: guesses")
    empty = [word.word for word in words if not word.pronunciations]
    if empty:
        such = ", ".join(map(repr, empty[:SHOWN]))
        count_words = count_of(len(empty), "word")
        notes.append(f"{where}: {count_words} without a pronunciation, as the model predicts no symbol: {such}")
    return notes
