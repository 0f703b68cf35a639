"""Pictures: files of any mode and size, or arrays, to pixels [height, width, channels] of one size. Needs pillow."""

from __future__ import annotations

import io
import json
import warnings
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Array = NDArray[Any]
Pixels = NDArray[np.uint8]
MOST_PIXELS = 1 << 26  # in a file: more is an attack, or a mistake
IN_MEMORY = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # formats of a picture without a file: no format that runs a program


def resized(value: Pixels, shape: tuple[int, int], color: bool) -> Pixels:
    """Pixels of the size `shape` (height, width) [1, height, width, channels], with 3 channels or brightness alone."""
    if value.shape[:2] != shape:
        image = as_image(value).resize(shape[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0)
        value = np.asarray(image).reshape(*shape, -1)
    if value.shape[2] != (3 if color else 1):
        value = np.asarray(as_image(value).convert("RGB" if color else "L")).reshape(*shape, -1)
    return value[None]


def in_memory(content: bytes, longest: int) -> Pixels:
    """The pixels of a picture that was sent as bytes, no side longer than `longest`."""
    return decoded(io.BytesIO(content), "", longest, IN_MEMORY)


def list_of_pictures(value: object) -> Any:
    """A sequence of pictures: a list of names, also as JSON, or an array of pictures."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.ndim):
        raise ValueError("must be a list of images")
    if not len(value):
        raise ValueError("is empty")
    return value


def as_image(value: Pixels) -> Image.Image:
    """Pixels as an image of pillow."""
    return Image.fromarray(value[..., 0] if value.shape[2] == 1 else value)


def from_array(value: Array) -> Pixels:
    """An array of bytes (0 to 255), or of numbers from 0 to 1, as pixels."""
    values = value[..., None] if value.ndim == 2 else value
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or not values.size:
        raise ValueError(f"must be [height, width] or [height, width, 1, 3 or 4], but is {list(value.shape)}")
    if values.dtype != np.uint8:
        if values.dtype.kind not in "iufb" or not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise ValueError("must hold bytes from 0 to 255, or numbers from 0 to 1")
        values = values * 255 if values.dtype.kind in "fb" and values.max() <= 1 else values
        values = values.round().astype(np.uint8)
    return _on_white(Image.fromarray(values)) if values.shape[2] == 4 else values


def decoded(file: str | IO[bytes], name: str, longest: int, formats: tuple[str, ...] | None = None) -> Pixels:
    """The pixels of a picture, no side longer than `longest`; messages end with its `name`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"is an image of too many pixels, {picture.width:,} x {picture.height:,}{name}")
                picture.load()
                return _pixels(picture, longest)
    except UnidentifiedImageError:
        raise ValueError(f"is not an image, or it is damaged{name}") from None
    except FileNotFoundError as error:
        raise ValueError(f"cannot be read{name}: {error.strerror or error}") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "damaged"
        raise ValueError(f"cannot be decoded{name}: {reason}") from None


def _pixels(picture: Image.Image, longest: int) -> Pixels:
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits per pixel, which convert would cut off
        deep = np.asarray(picture, dtype=np.float64)
        top = 255.0 if deep.max(initial=0) <= 255 else 65535.0
        picture = Image.fromarray((np.clip(deep / top, 0, 1) * 255).round().astype(np.uint8))
    see_through = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    gray = picture.mode in ("1", "L", "LA", "La")
    if max(picture.size) > longest:
        if picture.mode in ("1", "P", "PA"):
            picture = picture.convert("RGBA" if see_through else "RGB")
        picture.thumbnail((longest, longest), Image.Resampling.BILINEAR, reducing_gap=3.0)
    if see_through:
        pixels = _on_white(picture.convert("RGBA"))
        return pixels[..., :1].copy() if gray else pixels
    plain = np.asarray(picture.convert("L" if gray else "RGB"))
    return np.array(plain[..., None] if gray else plain)


def _on_white(picture: Image.Image) -> Pixels:
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture).convert("RGB"))
