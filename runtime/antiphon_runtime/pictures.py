"""Sources that are pictures. Needs pillow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from antiphon_runtime.codecs import Codec
from antiphon_runtime.common.pictures import Pixels, decoded, from_array, in_memory, list_of_pictures, resized
from antiphon_runtime.common.text import as_text


class Picture(Codec):
    """A picture: the name of a file, its content, or an array [height, width(, channels)] of bytes."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.shape, self.color = (int(value["height"]), int(value["width"])), bool(value["color"])

    def read_input(self, content: Any) -> Pixels:
        """As `Codec.read_input`."""
        if isinstance(content, np.ndarray):
            return from_array(content)
        if isinstance(content, bytes):
            return in_memory(content, max(self.shape))
        name = as_text(content).strip()
        if not name:
            raise ValueError("is empty")
        return decoded(name, f": {name}", max(self.shape))

    def encode(self, value: Pixels) -> Pixels:
        """As `Codec.encode`."""
        return resized(value, self.shape, self.color)


class Pictures(Codec):
    """A sequence of pictures: a list of names of files, also as JSON, or an array of pictures."""

    steps = True

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.each = Picture(value)

    def read_input(self, content: Any) -> tuple[Pixels, ...]:
        """As `Codec.read_input`."""
        return tuple(map(self.each.read_input, list_of_pictures(content)))

    def encode(self, value: tuple[Pixels, ...]) -> Pixels:
        """As `Codec.encode`."""
        return np.concatenate(list(map(self.each.encode, value)))

    def read_step(self, step: Any) -> Pixels:
        """As `Codec.read_step`."""
        return self.each.encode(self.each.read_input(step))
