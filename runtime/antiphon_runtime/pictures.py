"""Pictures: files of any mode and size, or arrays, to pixels of one size. Needs pillow."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.errors import FolderError
from antiphon_runtime.sides import Side, as_text

try:
    from PIL import Image, UnidentifiedImageError
except ImportError:
    raise FolderError("a model that reads pictures needs pillow: pip install pillow") from None

Pixels = NDArray[np.uint8]
MOST_PIXELS = 1 << 26  # of a file: more is a bomb, or a mistake
OF_BYTES = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # what a picture without a file may be: nothing that runs a program


class Picture(Side):
    """A picture: the name of a file, its content, or an array [height, width(, channels)] of bytes."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.shape, self.color = (int(value["height"]), int(value["width"])), bool(value["color"])

    def asked(self, found: Any) -> Pixels:
        """As `Side.asked`."""
        if isinstance(found, np.ndarray):
            return _from_array(found)
        if isinstance(found, bytes):
            return _decoded(io.BytesIO(found), "", max(self.shape), OF_BYTES)
        name = as_text(found).strip()
        if not name:
            raise ValueError("is empty")
        return _decoded(name, f": {name}", max(self.shape))

    def encode(self, value: Pixels) -> Pixels:
        """As `Side.encode`."""
        if value.shape[:2] != self.shape:
            resized = _picture(value).resize(self.shape[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0)
            value = np.asarray(resized).reshape(*self.shape, -1)
        if value.shape[2] != (3 if self.color else 1):
            value = np.asarray(_picture(value).convert("RGB" if self.color else "L")).reshape(*self.shape, -1)
        return value[None]


class Pictures(Side):
    """A sequence of pictures: a list of names of files, also as JSON, or an array of pictures."""

    steps = True

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.each = Picture(value)

    def asked(self, found: Any) -> tuple[Pixels, ...]:
        """As `Side.asked`."""
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                found = None
        if not isinstance(found, list | tuple) and not (isinstance(found, np.ndarray) and found.ndim):
            raise ValueError("must be a list of images")
        if not len(found):
            raise ValueError("is empty")
        return tuple(map(self.each.asked, found))

    def encode(self, value: tuple[Pixels, ...]) -> Pixels:
        """As `Side.encode`."""
        return np.concatenate(list(map(self.each.encode, value)))

    def read_step(self, found: Any) -> Pixels:
        """As `Side.read_step`."""
        return self.each.encode(self.each.asked(found))


def _picture(value: Pixels) -> Image.Image:
    return Image.fromarray(value[..., 0] if value.shape[2] == 1 else value)


def _from_array(found: NDArray[Any]) -> Pixels:
    values = found[..., None] if found.ndim == 2 else found
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        raise ValueError(f"must be [height, width] or [height, width, 1, 3 or 4], but is {list(found.shape)}")
    if values.dtype != np.uint8:
        if values.dtype.kind not in "iufb" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise ValueError("must hold bytes from 0 to 255, or numbers from 0 to 1")
        values = values * 255 if values.dtype.kind in "fb" and values.max() <= 1 else values
        values = values.round().astype(np.uint8)
    return _on_white(Image.fromarray(values)) if values.shape[2] == 4 else values


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
    except FileNotFoundError as error:
        raise ValueError(f"cannot be read{name}: {error.strerror or error}") from None
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
