"""A dialogue: the turns of both sides that a model reads, and its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from antiphon.data.codecs.text import SourceTextCodec
from antiphon.errors import ModelFolderError
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options
from antiphon.use.predicting import stream

NEW = "/new"  # the line that begins a dialogue anew


def chat(loaded: Loaded, lines: Iterable[str], options: Options) -> Iterator[Any]:
    """The answer to each line of a dialogue; see `Predictor.chat`."""
    codec = loaded.codecs.sources[0]
    writes = loaded.writes and not loaded.model.goes_on
    if not writes or len(loaded.codecs.sources) > 1 or not isinstance(codec, SourceTextCodec):
        raise ModelFolderError(
            f"{loaded.folder}: holds no dialogue; that takes one source of text and a target of text"
        )
    turns: list[str] = []
    for answer in stream(loaded, _inputs(lines, turns, codec, loaded), options, window=1, origin="turn "):
        turns.append(answer.text)
        yield answer


def _inputs(
    lines: Iterable[str], turns: list[str], codec: SourceTextCodec, loaded: Loaded
) -> Iterator[str | list[str]]:
    """What the model reads to answer each line: the last of `turns`, in which the answers are noted too."""
    kept, room = codec.turns or 1, loaded.config.data.max_length + codec.ends
    for line in lines:
        if not line.strip():
            return
        if line.strip() == NEW:
            turns.clear()
            continue
        turns.append(line)
        del turns[:-kept]
        while len(turns) > 1 and len(codec.encode(tuple(turns))) > room:
            del turns[0]
        yield turns if codec.turns else line
