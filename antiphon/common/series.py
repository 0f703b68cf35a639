"""What package and runtime compute alike of series: random numbers, where a series ends, quantiles of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
NEAREST = 2.0**-24  # of a random number to 0 and to 1, which it never is


def noise(seed: int, number: int, path: int) -> np.random.Generator:
    """Where the random numbers of one path of the input with this number come from."""
    return np.random.default_rng([seed, number, path])


def uniform(generators: Sequence[np.random.Generator], *shape: int) -> Floats:
    """Random numbers [rows, *shape] in the open interval (0, 1), each row's from its own generator."""
    drawn = np.stack([generator.random(shape, np.float32) for generator in generators])
    return np.clip(drawn, np.float32(NEAREST), np.float32(1 - NEAREST))


def path_quantiles(paths: Sequence[Floats], levels: Sequence[float], answer: Floats) -> dict[float, Floats]:
    """The quantiles, at every step of an answer [steps, numbers], of the paths that have this step; where none has it,
    the answer."""
    longest = max(map(len, [*paths, answer]))
    filled = np.full((len(paths), longest, answer.shape[1]), np.nan, np.float32)
    for row, path in zip(filled, paths, strict=True):
        row[: len(path)] = path
    filled = filled[:, : len(answer)]
    nothing = np.isnan(filled).all(0)
    filled[:, nothing] = answer[nothing]
    computed: NDArray[Any] = np.nanquantile(filled, list(levels), axis=0).astype(np.float32)
    return dict(zip(levels, computed, strict=True))
