"""The tokens that a source's encoder states stand for, as views and pages name them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from antiphon.common.symbols import UNK
from antiphon.data.batches import Padded
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.numbers import FramesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.model.parts.sources import ImageSource, ImagesSource, Source


def grid_of(part: Source, picture: Padded) -> tuple[int, int] | None:
    """The rows and columns of the states that an image becomes; None for other sources."""
    if not isinstance(part, ImageSource) or isinstance(part, ImagesSource):
        return None
    with torch.inference_mode():
        rows, columns = part.grid(picture.values).shape[2:]
    return rows, columns


def tokens_read(
    codec: Codec, value: Any, array: Any, grid: tuple[int, int] | None
) -> tuple[list[str | None], list[int]]:
    """A source's tokens, one for each of its states (None ends the source or a turn), and the places of unknown ones.

    `value` is the source as its codec reads it, `array` as it encodes it, `grid` that of an image.
    """
    if grid is not None:
        rows, columns = grid
        return [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)], []
    if isinstance(codec, TextCodec):
        symbols: list[str | None] = [symbol or None for symbol in codec.split_turns(value)]
        ids = np.asarray(array).reshape(len(array), -1)[:, 0]
        return [*symbols, None][: len(array)], np.flatnonzero(ids == UNK).tolist()
    if not codec.reads:
        return [None] * len(array), []
    if codec.kind == "category":
        return [str(value)], np.flatnonzero(np.asarray(array) == UNK).tolist()
    if codec.kind == "tags":
        return [codec.shown(value)], [0] if codec.unknown(array) else []
    segment = codec.segment if isinstance(codec, FramesCodec) else 1
    starts = range(1, len(array) + 1, segment)
    ends = [min(start + segment - 1, len(array)) for start in starts]
    return [str(end) if end == start else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)], []
