"""A few validation inputs that are kept with a model, so that its page can show what it reads: `examples.json`.

They are inputs as the server takes them: texts, (nested) lists of numbers, pictures as PNG in base64; with several
sources a list in their order. `train.examples: 0` keeps none, since rows may be private.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from antiphon.common.calendar import written
from antiphon.common.examples import FILE as FILE
from antiphon.common.examples import read_examples
from antiphon.common.text import LINE_END
from antiphon.errors import ModelFolderError
from antiphon.files import write_text, writing

if TYPE_CHECKING:  # a server of exported models reads examples without PyTorch
    from antiphon.data.codecs.base import Codec
    from antiphon.data.load import Codecs
    from antiphon.data.rows import Row

T = TypeVar("T")

LARGEST = 32 << 10  # bytes of an example as JSON
BEGINNING = 40  # characters of a line, as an example for a model of one long text
LOOKED_AT = 1000  # rows, at most, among which examples are chosen


def chosen(codecs: Codecs, rows: Sequence[Row], count: int) -> list[Any]:
    """At most `count` different inputs of rows, none of them among the longer half of the rows.

    Rows whose targets differ come first. None for a model without an input, and for kinds that a user has added.
    """
    reading = [codec for codec in codecs.sources if codec.reads]
    if not count or not reading or any(codec.kind not in VALUES for codec in reading):
        return []
    inputs: dict[str, tuple[Any, str]] = {}  # and a target, by what the input is as JSON
    for row in _spread(rows, LOOKED_AT):
        for value in _inputs(codecs, row):
            text = _json(value)
            if text is not None and len(text) <= LARGEST:
                inputs.setdefault(text, (value, codecs.target.shown(row.target)))
    middle = sorted(map(len, inputs))[len(inputs) // 2] if inputs else 0
    targets: set[str] = set()
    first: list[Any] = []
    rest: list[Any] = []
    for value, target in (inputs[text] for text in inputs if len(text) <= middle):
        (rest if target in targets else first).append(value)
        targets.add(target)
    return [*_spread(first, count), *rest][:count]


def keep(folder: Path, inputs: Sequence[Any]) -> None:
    """Write the examples of a model into its folder; without any, none are left there."""
    if inputs:
        write_text(folder / FILE, json.dumps({"inputs": inputs}, ensure_ascii=False) + "\n")
        return
    with writing(folder / FILE):
        (folder / FILE).unlink(missing_ok=True)


def read(folder: Path) -> list[Any]:
    """The examples in a model's folder; none where there is no file of them."""
    try:
        return read_examples(folder)
    except ValueError as error:
        raise ModelFolderError(str(error)) from None


def _spread(values: Sequence[T], count: int) -> Sequence[T]:
    """At most `count` of the values, from the beginning to the end; they are often sorted."""
    if len(values) <= count:
        return values
    return [values[place * len(values) // count] for place in range(count)]


def _json(value: Any) -> str | None:
    """A value as JSON; None if a number is missing in it, which JSON cannot say."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return None


def _inputs(codecs: Codecs, row: Row) -> list[Any]:
    """A row as inputs: one, or of a long text the beginnings of its lines."""
    if codecs.sources[0].whole:
        lines = [line for line in row.sources[0].split(LINE_END) if line.strip()]
        return [line[:BEGINNING] for line in _spread(lines, LOOKED_AT)]
    sides = zip(codecs.sources, row.sources, strict=True)
    values = [VALUES[codec.kind](codec, value) for codec, value in sides if codec.reads]
    if codecs.target.form == "next":  # a whole one leaves nothing to write
        values = [value[: -(-len(value) // 2)] for value in values]
    return [values if len(values) > 1 else values[0]]


# --- values as JSON -----------------------------------------------------------------------------------


def _text(codec: Codec, value: Any) -> Any:
    return value if isinstance(value, str) else list(value)  # the turns of a dialogue


def _shown(codec: Codec, value: Any) -> str:
    return codec.shown(value)


def _vector(codec: Codec, value: Any) -> list[Any]:
    return _numbers(value[0])


def _frames(codec: Codec, value: Any) -> list[Any]:
    return [_numbers(step) for step in value]


def _numbers(values: Any) -> list[Any]:
    """Numbers with the digits that float32 has; whole ones without a point."""
    numbers = (float(f"{value:.7g}") for value in np.asarray(values, float))
    return [int(number) if number.is_integer() else number for number in numbers]


def _times(codec: Codec, value: Any) -> list[str]:
    return [written(time) for time in value]


def _image(codec: Codec, value: Any) -> str:
    return _png(np.asarray(codec.encode(value))[0])


def _images(codec: Codec, value: Any) -> list[str]:
    return [_png(pixels) for pixels in np.asarray(codec.encode(value))]


def _png(pixels: Any) -> str:
    """Pixels as the model reads them, so that the picture is small."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


VALUES: dict[str, Callable[[Codec, Any], Any]] = {
    "text": _text,
    "long_text": _text,
    "category": _shown,
    "tags": _shown,
    "vector": _vector,
    "frames": _frames,
    "grid": _frames,
    "calendar": _times,
    "image": _image,
    "images": _images,
}
"""By the kind of a source: what the server takes for a value."""
