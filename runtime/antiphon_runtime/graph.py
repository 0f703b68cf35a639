"""A graph that ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def zeros(part: Mapping[str, Any], rows: int) -> Array:
    """A part of a state, as the manifest describes it, before the first step."""
    return np.zeros((rows, *part["shape"][1:]), part["type"])


class Graph(NamedTuple):
    """A graph in a session of ONNX Runtime, and the names of its inputs and outputs."""

    session: Any
    inputs: list[str]
    outputs: list[str]

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by name (those that the graph does not read are left out) -> its outputs by name."""
        values = self.session.run(self.outputs, {name: arrays[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))
