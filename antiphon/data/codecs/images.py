"""Images: files of any mode and size, or arrays, to pixels [height, width, channels] of one size."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from antiphon.data.codecs.base import Array, Codec, as_text, within
from antiphon.errors import ConfigError

Pixels = NDArray[np.uint8]
MOST_PIXELS = 1 << 26  # of a file: more is a bomb, or a mistake
LARGEST = 512  # pixels a side that a model may be given
OF_BYTES = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # what a picture without a file may be: nothing that runs a program


class ImageCodec(Codec):
    """A picture: the name of a file, its content, or an item of an array [height, width(, channels)] of bytes.

    Transparent parts become white. Every picture is resized to `size` pixels a side; without it to the size of
    the first training picture, at most 256. `color: false` reads brightness alone.
    """

    kind = "image"
    part = "image"
    ASIDE = 256

    def __init__(self, where: str, size: int | None = None, color: bool | None = None) -> None:
        super().__init__(where)
        if size is not None and not 8 <= size <= LARGEST:
            raise ConfigError("size", f"must lie between 8 and {LARGEST} pixels (is {size})")
        self.shape = None if size is None else (size, size)
        self.color = color

    @property
    def size(self) -> int:
        return 1 if self.color is False else 3

    def read(self, found: object, folder: str) -> Pixels:
        if isinstance(found, np.ndarray):
            return _from_array(found)
        if isinstance(found, bytes):
            return _decoded(io.BytesIO(found), "", self._aside, OF_BYTES)
        name = as_text(found).strip()
        if not name:
            raise ValueError("is empty")
        path = within(folder, name)
        try:
            stamp = os.stat(path).st_mtime_ns
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot be read: {path}: {getattr(error, 'strerror', None) or error}") from None
        return _open(path, stamp, self._aside)

    @property
    def _aside(self) -> int:
        return max(self.shape or (self.ASIDE,))

    def learn(self, values: Sequence[Pixels]) -> None:
        self.shape = self.shape or (values[0].shape[0], values[0].shape[1])
        if self.color is None:
            self.color = any(value.shape[2] == 3 for value in values)

    def encode(self, value: Pixels) -> Pixels:
        assert self.shape is not None, "learn first"
        if value.shape[:2] != self.shape:
            resized = _picture(value).resize(self.shape[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0)
            value = np.asarray(resized).reshape(*self.shape, -1)
        if value.shape[2] != self.size:
            value = np.asarray(_picture(value).convert("RGB" if self.color else "L")).reshape(*self.shape, -1)
        return value[None]

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

    def read(self, found: object, folder: str) -> tuple[Pixels, ...]:
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                found = None
        if not isinstance(found, list | tuple) and not (isinstance(found, np.ndarray) and found.ndim):
            raise ValueError("must be a list of images")
        if not len(found):
            raise ValueError("is empty")
        return tuple(self.each.read(picture, folder) for picture in found)

    def learn(self, values: Sequence[Sequence[Pixels]]) -> None:
        self.each.learn([picture for value in values for picture in value])

    def encode(self, value: Sequence[Pixels]) -> Pixels:
        return np.concatenate(list(map(self.each.encode, value)))

    def read_step(self, found: object) -> Pixels:
        return self.each.encode(self.each.read(found, ""))

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


def _picture(value: Pixels) -> Image.Image:
    return Image.fromarray(value[..., 0] if value.shape[2] == 1 else value)


def _from_array(found: Array) -> Pixels:
    """An array of bytes (0 to 255), or of numbers from 0 to 1, as pixels."""
    values = found[..., None] if found.ndim == 2 else found
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        raise ValueError(f"must be [height, width] or [height, width, 1, 3 or 4], but is {list(found.shape)}")
    if values.dtype != np.uint8:
        if values.dtype.kind not in "iufb" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise ValueError("must hold bytes from 0 to 255, or numbers from 0 to 1")
        values = values * 255 if values.dtype.kind in "fb" and values.max() <= 1 else values
        values = values.round().astype(np.uint8)
    return _on_white(Image.fromarray(values)) if values.shape[2] == 4 else values


@lru_cache(maxsize=4096)
def _open(path: str, stamp: int, aside: int) -> Pixels:
    """The pixels of a file, no side longer than `aside`; `stamp` tells a changed file from the one before."""
    pixels = _decoded(path, f": {path}", aside)
    pixels.flags.writeable = False
    return pixels


def _decoded(file: str | IO[bytes], name: str, aside: int, formats: tuple[str, ...] | None = None) -> Pixels:
    """The pixels of a picture, no side longer than `aside`; messages end with its `name`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"is an image of {picture.width:,} x {picture.height:,} pixels{name}")
                picture.load()
                return _pixels(picture, aside)
    except UnidentifiedImageError:
        raise ValueError(f"is no image, or a damaged one{name}") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "damaged"
        raise ValueError(f"cannot be decoded{name}: {reason}") from None


def _pixels(picture: Image.Image, aside: int) -> Pixels:
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel, which convert would cut off
        deep = np.asarray(picture, dtype=np.float64)
        top = 255.0 if deep.max(initial=0) <= 255 else 65535.0
        picture = Image.fromarray((np.clip(deep / top, 0, 1) * 255).round().astype(np.uint8))
    see_through = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    gray = picture.mode in ("1", "L", "LA", "La")
    if max(picture.size) > aside:
        if picture.mode in ("1", "P", "PA"):
            picture = picture.convert("RGBA" if see_through else "RGB")
        picture.thumbnail((aside, aside), Image.Resampling.BILINEAR, reducing_gap=3.0)
    if see_through:
        pixels = _on_white(picture.convert("RGBA"))
        return pixels[..., :1].copy() if gray else pixels
    plain = np.asarray(picture.convert("L" if gray else "RGB"))
    return np.array(plain[..., None] if gray else plain)


def _on_white(picture: Image.Image) -> Pixels:
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture).convert("RGB"))
