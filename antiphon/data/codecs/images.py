"""Images: files of any mode and size, or arrays, to pixels [height, width, channels] of one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np

from antiphon.common.pictures import Pixels, decoded, from_array, in_memory, list_of_pictures, resized
from antiphon.common.text import as_text
from antiphon.data.codecs.base import Codec, within
from antiphon.errors import ConfigError

LARGEST = 512  # pixels per side of a model's input, at most


class ImageCodec(Codec):
    """A picture: the name of a file, its content, or an item of an array [height, width(, channels)] of bytes.

    Transparent parts become white. Every picture is resized to `size` pixels per side; without it to the size of
    the first training picture, at most 256. `color: false` reads brightness alone.
    """

    kind = "image"
    part = "image"
    LONGEST = 256

    def __init__(self, where: str, size: int | None = None, color: bool | None = None) -> None:
        super().__init__(where)
        if size is not None and not 8 <= size <= LARGEST:
            raise ConfigError("size", f"must lie between 8 and {LARGEST} pixels (is {size})")
        self.shape = None if size is None else (size, size)
        self.color = color

    @property
    def size(self) -> int:
        return 1 if self.color is False else 3

    def read(self, content: object, folder: str) -> Pixels:
        if isinstance(content, np.ndarray):
            return from_array(content)
        if isinstance(content, bytes):
            return in_memory(content, self._longest)
        name = as_text(content).strip()
        if not name:
            raise ValueError("is empty")
        path = within(folder, name)
        try:
            stamp = os.stat(path).st_mtime_ns
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot be read: {path}: {getattr(error, 'strerror', None) or error}") from None
        return _open(path, stamp, self._longest)

    @property
    def _longest(self) -> int:
        return max(self.shape or (self.LONGEST,))

    def learn(self, values: Sequence[Pixels]) -> None:
        self.shape = self.shape or (values[0].shape[0], values[0].shape[1])
        if self.color is None:
            self.color = any(value.shape[2] == 3 for value in values)

    def encode(self, value: Pixels) -> Pixels:
        assert self.shape is not None, "learn first"
        return resized(value, self.shape, self.color is not False)

    def key_of(self, value: Pixels) -> Hashable:
        return hashlib.blake2b(value.tobytes() + bytes(value.shape[2:]), digest_size=16).digest()

    def shown(self, value: Pixels) -> str:
        return f"image {value.shape[1]}x{value.shape[0]}"

    def about(self) -> str:
        height, width = self.shape or (0, 0)
        return f"{width}x{height} pixels, {'color' if self.color else 'brightness'}"

    def to_json(self) -> dict[str, Any]:
        assert self.shape is not None
        return {"kind": self.kind, "height": self.shape[0], "width": self.shape[1], "color": bool(self.color)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where, color=bool(value["color"]))
        height, width = value["height"], value["width"]
        if not all(isinstance(side, int) and 1 <= side <= LARGEST for side in (height, width)):
            raise ValueError("height and width must be numbers of pixels")
        made.shape = (height, width)
        return made

    def extended(self, base: Codec) -> Codec:
        return base if isinstance(base, ImageCodec) else self


class ImagesCodec(Codec):
    """A sequence of pictures: a list of names of files, also as JSON, or an array of pictures."""

    kind = "images"
    part = "images"
    steps = True

    def __init__(self, where: str, size: int | None = None, color: bool | None = None) -> None:
        super().__init__(where)
        self.each = ImageCodec(where, size, color)

    @property
    def size(self) -> int:
        return self.each.size

    def read(self, content: object, folder: str) -> tuple[Pixels, ...]:
        return tuple(self.each.read(picture, folder) for picture in list_of_pictures(content))

    def learn(self, values: Sequence[Sequence[Pixels]]) -> None:
        self.each.learn([picture for value in values for picture in value])

    def encode(self, value: Sequence[Pixels]) -> Pixels:
        return np.concatenate(list(map(self.each.encode, value)))

    def read_step(self, step: object) -> Pixels:
        return self.each.encode(self.each.read(step, ""))

    def key_of(self, value: Sequence[Pixels]) -> Hashable:
        return tuple(map(self.each.key_of, value))

    def shown(self, value: Sequence[Pixels]) -> str:
        return f"{len(value)} images"

    def about(self) -> str:
        return f"{self.each.about()}, a step"

    def to_json(self) -> dict[str, Any]:
        return {**self.each.to_json(), "kind": self.kind}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where)
        made.each = ImageCodec.from_json(value, where)
        return made

    def extended(self, base: Codec) -> Codec:
        return base if isinstance(base, ImagesCodec) else self


@lru_cache(maxsize=4096)
def _open(path: str, stamp: int, longest: int) -> Pixels:
    """The pixels of a file, no side longer than `longest`; a changed file has another `stamp`, and is read again."""
    pixels = decoded(path, f": {path}", longest)
    pixels.flags.writeable = False
    return pixels
