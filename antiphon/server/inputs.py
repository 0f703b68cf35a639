"""JSON to what a model reads. A value is never a path, whatever text it is."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..common.calendar import Times, read_times
from .models import Served, Side
from .problems import Problem
from .schema import Options, Pair
from .settings import Settings

DTYPES = ("float32", "float64", "int32", "int64", "uint8")  # types of arrays, little-endian
PICTURE = 64  # steps that reading a picture costs as much as


def check_options(served: Served, options: Options, settings: Settings) -> None:
    """Refuse options that are not for this model, or that ask for more than the server allows."""
    strange = [] if served.options is None else sorted(options.model_fields_set - set(served.options))
    if strange:
        raise Problem("invalid_options", f"not for this model: {', '.join(strange)}")
    if options.width > settings.max_beam:
        raise Problem("invalid_options", f"beam and mbr.samples are at most {settings.max_beam}")
    if (options.max_length or 0) > settings.max_output:
        raise Problem("invalid_options", f"max_length is at most {settings.max_output}")


def read_input(served: Served, value: Any, settings: Settings) -> Any:
    """An input as `Predictor.answers` takes it; what is wrong with it is a `Problem`."""
    sides = [side for side in served.sources if side.reads]
    if not sides:
        return ""
    if len(sides) == 1:
        return _bounded([_read(sides[0], value, "invalid_input", settings)], settings)[0]
    if isinstance(value, Mapping):
        value = [value.get(side.name) for side in sides] if set(value) == {side.name for side in sides} else None
    if not isinstance(value, list) or len(value) != len(sides):
        raise Problem("invalid_input", f"one value for each source is needed: {', '.join(s.name for s in sides)}")
    read = [_read(side, part, "invalid_input", settings) for side, part in zip(sides, value, strict=True)]
    return tuple(_bounded(read, settings))


def read_target(served: Served, value: Any, settings: Settings) -> Any:
    """A target, as it would stand in the target's column."""
    return _bounded([_read(served.target, value, "invalid_target", settings)], settings)[0]


def read_reference(served: Served, value: Any, settings: Settings) -> Any:
    """A reference: a target; for a language model what should follow the input."""
    if served.target.kind != "next":
        return read_target(served, value, settings)
    side = served.target.model_copy(update={"kind": "text"})
    return _bounded([_read(side, value, "invalid_target", settings)], settings)[0]


def read_pair(served: Served, pair: Pair, settings: Settings) -> tuple[Any, Any]:
    """An input and its target."""
    return read_input(served, pair.input, settings), read_target(served, pair.target, settings)


def read_step(served: Served, value: Any, settings: Settings) -> Any:
    """A step of a live stream: a symbol, a vector, a picture; an empty string begins a new sequence."""
    side = served.sources[0]
    if value == "":
        return ""
    if side.kind in ("images", "frames"):
        side = side.model_copy(update={"kind": "image" if side.kind == "images" else "vector"})
    return _read(side, value, "invalid_input", settings)


def steps_of(value: Any) -> int:
    """About how many steps reading an input takes: characters, vectors, pictures."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, tuple | list):
        return sum(map(steps_of, value))
    return PICTURE if isinstance(value, bytes) else len(np.atleast_1d(value))


def _bounded(read: Sequence[Any], settings: Settings) -> Sequence[Any]:
    if steps_of(read) > settings.max_steps:
        raise Problem("input_too_long", f"at most {settings.max_steps} characters or vectors are read")
    return read


def _read(side: Side, value: Any, code: str, settings: Settings) -> Any:
    reader = READERS.get("turns" if side.turns else side.kind)
    if reader is None:  # a kind of the user's own
        raise Problem("not_supported", f"what is of the kind {side.kind} cannot be sent")
    try:
        return reader(value, settings)
    except (ValueError, TypeError) as error:
        raise Problem(code, f"{side.name} ({side.kind}): {error}") from None


def _text(value: Any, settings: Settings) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a string")
    if "\0" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValueError("holds a character that no text has")
    return value


def _turns(value: Any, settings: Settings) -> list[str]:
    return [_text(turn, settings) for turn in (value if isinstance(value, list) else [value])]


def _labels(value: Any, settings: Settings) -> Any:
    return _turns(value, settings) if isinstance(value, list) else _text(value, settings)


def _name(value: Any, settings: Settings) -> Any:
    return value if isinstance(value, bool | int | float) else _text(value, settings)


def _array(value: Any, settings: Settings) -> np.ndarray[Any, Any]:
    """Nested lists of numbers, or an array in base64."""
    if isinstance(value, Mapping):
        return _packed(value)
    values = _plain(value)
    if values is None or values.dtype.kind not in "iuf" or not values.size or values.ndim > 4:
        raise ValueError("must be lists of numbers, of equal length")
    return values


def _plain(value: Any) -> np.ndarray[Any, Any] | None:
    try:
        return np.asarray(value)
    except ValueError:
        return None


def _packed(value: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
    if set(value) != {"dtype", "shape", "data"} or value["dtype"] not in DTYPES or not isinstance(value["shape"], list):
        raise ValueError(
            f"must be {{dtype, shape, data}}, with a dtype of {', '.join(DTYPES)}; a picture's file is its base64 alone"
        )
    shape = value["shape"]
    if not 1 <= len(shape) <= 4 or not all(isinstance(length, int) and 0 < length < 1 << 31 for length in shape):
        raise ValueError("must have a shape of 1 to 4 whole numbers")
    values = np.frombuffer(_bytes(value["data"]), np.dtype(value["dtype"]).newbyteorder("<"))
    if not values.size or values.size != np.prod(shape, dtype=object):
        raise ValueError("must have as much data as its shape and dtype say")
    return values.reshape(shape).astype(value["dtype"])


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("must be base64") from None


def _picture(value: Any, settings: Settings) -> Any:
    if isinstance(value, Mapping):
        pixels = _packed(value)
        _few_pixels(pixels.shape[0] * (pixels.shape[1] if pixels.ndim > 1 else 1), settings)
        return pixels
    from PIL import Image  # where no model reads pictures, pillow need not be there

    from ..common.pictures import IN_MEMORY

    content = _bytes(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels, which are counted below
            with Image.open(io.BytesIO(content), formats=IN_MEMORY) as picture:
                width, height = picture.size
    except Exception:  # decoders raise anything at what is not a picture
        raise ValueError(f"must be a picture: {', '.join(IN_MEMORY)}") from None
    _few_pixels(width * height, settings)
    return content


def _few_pixels(count: int, settings: Settings) -> None:
    if count > settings.max_pixels:
        raise Problem("image_too_large", f"at most {settings.max_pixels} pixels are read")


def _pictures(value: Any, settings: Settings) -> Any:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of pictures")
    read = [_picture(picture, settings) for picture in value]
    if steps_of(read) > settings.max_steps:
        raise Problem("input_too_long", f"at most {settings.max_steps // PICTURE} pictures are read")
    return read


def _nothing(value: Any, settings: Settings) -> str:
    if value is not None:
        raise ValueError("must be null")
    return ""


def _tags(value: Any, settings: Settings) -> Any:
    return _labels(value, settings) if isinstance(value, list) else _name(value, settings)


def _times(value: Any, settings: Settings) -> Times:
    return read_times(_turns(value, settings))


READERS: dict[str, Callable[[Any, Settings], Any]] = {
    "text": _text,
    "turns": _turns,
    "long_text": _text,
    "category": _name,
    "tags": _tags,
    "label": _name,
    "labels": _labels,
    "vector": _array,
    "frames": _array,
    "grid": _array,
    "number": _array,
    "numbers": _array,
    "series": _array,
    "calendar": _times,
    "image": _picture,
    "images": _pictures,
    "none": _nothing,
    "next": _nothing,
}
"""By the kind of a side: JSON to what stands in its column."""
