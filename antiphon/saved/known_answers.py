"""Inputs whose answers are known and win over the model: `exceptions.tsv` in a model folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from antiphon.common.answers import Prediction, TextPrediction, known_label, known_labels, known_text
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import CategoryCodec, LabelCodec
from antiphon.data.codecs.text import SourceTextCodec, TextCodec
from antiphon.data.formats import read_lines
from antiphon.data.load import Codecs
from antiphon.errors import DataError, ModelFolderError

FILE = "exceptions.tsv"
SHOWN = 10  # wrong lines

Key: TypeAlias = tuple[tuple[str, ...], ...]  # the symbols of every source


@dataclass(frozen=True)
class Exceptions:
    """The known answers by the symbols of their inputs: inputs that are the same to the model are the same here."""

    answers: Mapping[Key, Prediction]
    lines: Sequence[int] = ()  # of the file, one for each answer

    def answer(self, codecs: Codecs, values: Sequence[Any]) -> Prediction | None:
        """The answer to an input's values, if it is known."""
        return self.answers.get(_key(codecs, values)) if self.answers else None


NONE = Exceptions({})


def read(path: Path, codecs: Codecs) -> Exceptions:
    """A table of inputs and outputs, a tab between them (and between several sources); empty lines are skipped.

    A wrong line is a `DataError`; a model whose inputs or outputs cannot be lines of text, a `ModelFolderError`.
    """
    return of_lines(path, texts(path), codecs)


def texts(path: Path) -> Iterator[str]:
    """The lines of a table, compressed or not; one that is not text is a `DataError`."""
    for number, line, reason in read_lines(str(path)):
        if line is None:
            raise DataError(f"{path}:{number}: {reason}")
        yield line


def of_lines(path: Path, table: Iterable[str], codecs: Codecs) -> Exceptions:
    """As `read`, of the lines of the table at `path`."""
    sides = [codec for codec in codecs.sources if codec.reads]
    for codec in sides:
        if not isinstance(codec, TextCodec | CategoryCodec) or _has_turns(codec):
            raise ModelFolderError(f"{path}: known answers need sources that are single texts or categories")
    if not sides or not isinstance(codecs.target, TextCodec | LabelCodec):
        raise ModelFolderError(
            f"{path}: known answers need a model that reads a source and predicts text, a label or labels"
        )
    answers: dict[Key, Prediction] = {}
    lines: list[int] = []
    for number, line in enumerate(table, 1):
        where = f"{path}:{number}"
        if not line:
            continue
        *inputs, output = line.split("\t")
        if len(inputs) != len(sides):
            raise DataError(
                f"{where}: has {len(inputs) + 1} columns, but {len(sides) + 1} are needed; the output is the last"
            )
        remaining = iter(inputs)
        key = _key(codecs, [next(remaining) if codec.reads else "" for codec in codecs.sources])
        if not any(key):
            raise DataError(f"{where}: has no input")
        if key in answers:
            raise DataError(f"{where}: has the same input as an earlier line")
        try:
            answers[key] = _prediction(codecs.target, output, key)
            lines.append(number)
        except ValueError as error:
            raise DataError(f"{where}: the output {error}") from None
    return Exceptions(answers, lines)


def refuse_unknown(path: Path, known: Exceptions, codecs: Codecs) -> None:
    """Refuse answers with symbols that the model cannot write, which are often typing errors."""
    target = codecs.target
    if not isinstance(target, TextCodec):
        return
    wrong = []
    for line, answer in zip(known.lines, known.answers.values(), strict=True):
        assert isinstance(answer, TextPrediction)
        unknown = [symbol for symbol in dict.fromkeys(answer.tokens) if symbol not in target.vocabulary]
        if unknown:
            wrong.append(f"{path}:{line}: the output has {', '.join(map(repr, unknown))}")
    if wrong:
        more = f"\n... {len(wrong):,} such lines in all" if len(wrong) > SHOWN else ""
        advice = "the model cannot write these symbols: are they typing errors? --allow-unknown keeps such answers"
        raise DataError("\n".join(wrong[:SHOWN]) + f"{more}\n{advice}")


def _has_turns(codec: Codec) -> bool:
    return isinstance(codec, SourceTextCodec) and codec.turns is not None


def _key(codecs: Codecs, values: Sequence[Any]) -> Key:
    pairs = zip(codecs.sources, values, strict=True)
    return tuple(tuple(codec.split(value)) if isinstance(codec, TextCodec) else (str(value),) for codec, value in pairs)


def _prediction(codec: Codec, output: str, key: Key) -> Prediction:
    """An output as a prediction of the model, with probability and confidence 1."""
    if isinstance(codec, TextCodec):
        return known_text(output, codec.split(output), key[0])
    assert isinstance(codec, LabelCodec)
    labels = output.split() if codec.steps else [output]
    for label in labels:
        if label not in codec.vocabulary.symbols:
            raise ValueError(f"is no label of the model: {label!r}")
    if not codec.steps:
        return known_label(output)
    if len(labels) != len(key[0]):
        raise ValueError(f"has {len(labels)} labels for {len(key[0])} symbols")
    return known_labels(labels)
