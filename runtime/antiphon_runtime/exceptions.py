"""Inputs whose answers are known and win over the model: `exceptions.tsv` in an exported folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon_runtime.codecs import Codec, Labels, Text
from antiphon_runtime.common.answers import Prediction, known_label, known_labels, known_text
from antiphon_runtime.errors import FolderError

FILE = "exceptions.tsv"

Key = tuple[tuple[str, ...], ...]  # the symbols of every source


def key(sources: Sequence[Codec], values: Sequence[Any]) -> Key:
    """The key of an input's values: their symbols."""
    pairs = zip(sources, values, strict=True)
    return tuple(tuple(side.split_turns(value)) if isinstance(side, Text) else (str(value),) for side, value in pairs)


def read(path: Path, sources: Sequence[Codec], target: Codec) -> dict[Key, Prediction]:
    """The known answers; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: cannot be read: {error}") from None
    answers = {}
    for number, line in enumerate(lines, 1):
        if not line.strip("\r"):
            continue
        *inputs, output = line.removesuffix("\r").split("\t")
        if len(inputs) != sum(source.reads for source in sources):
            raise FolderError(f"{path}:{number}: has {len(inputs) + 1} columns; the inputs and the output are needed")
        remaining = iter(inputs)
        symbols = key(sources, [next(remaining) if source.reads else "" for source in sources])
        answers[symbols] = _prediction(target, output, symbols)
    return answers


def _prediction(target: Codec, output: str, symbols: Key) -> Prediction:
    if isinstance(target, Text):
        return known_text(output, target.split(output), symbols[0])
    return known_labels(output.split()) if isinstance(target, Labels) else known_label(output)
