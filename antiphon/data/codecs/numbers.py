"""Vectors, frames and single numbers: from JSON, lists, arrays or columns of a table to scaled float32."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from antiphon.common.numbers import (
    Array,
    Floats,
    MissingNumberError,
    as_frames,
    as_grid,
    as_vector,
    clipped,
    filled,
    read_numbers,
    refuse_gaps,
    scaled,
)
from antiphon.data.codecs.base import Codec, within
from antiphon.data.formats import load_array
from antiphon.errors import ConfigError, DataError

Scale = Literal["each", "all", "none"]
Missing = Literal["refuse", "mean", "previous"]
SEVERAL = "for several, set target.kind: numbers (one vector for each step of the source) or series (of its own length)"
FILL = "to fill missing numbers, set missing: mean, or with frames missing: previous"


class ScaledCodec(Codec):
    """Arrays [steps, size] of numbers, scaled to mean 0 and deviation 1 over the training rows.

    `scale`: "each" number of a step separately, "all" with one scale (pixels), or "none". If all numbers of the
    training rows are 0 or 1, they are left as they are.

    `missing` numbers (empty cells, NaN, NA, null) are an error ("refuse"), or the "mean" of the training rows, or that
    of the "previous" step (at the first steps the mean).
    """

    part = "numbers"
    can_fill: ClassVar[bool] = True  # whether it has the option `missing`
    clips: bool = True  # whether outliers are clipped; those of a target's past are not

    def __init__(self, where: str, scale: Scale = "each", missing: Missing = "refuse") -> None:
        super().__init__(where)
        if missing == "previous" and not self.steps:
            raise ConfigError("missing", "previous needs steps, which only frames have; choose mean")
        self.scale: Scale = scale
        self.missing: Missing = missing
        self.fills = missing != "refuse"
        self.means: Floats = np.zeros(1, np.float32)  # over the training rows, in their scale
        self.mean: Floats = np.zeros(1, np.float32)
        self.deviation: Floats = np.ones(1, np.float32)
        self.bits = False

    @property
    def size(self) -> int:
        return len(self.mean)

    def read(self, content: object, folder: str) -> Floats:
        return self._shaped(self._numbers(content, folder))

    def _numbers(self, content: object, folder: str) -> Floats:
        try:
            return _numbers(content, folder, self.fills)
        except MissingNumberError as error:
            raise ValueError(f"{error}; {FILL}" if self.can_fill else str(error)) from None

    def _shaped(self, values: Array) -> Floats:
        """The numbers [steps, size] of what was read."""
        return as_vector(values)

    def learn(self, values: Sequence[Floats]) -> None:
        width = values[0].shape[1]
        total, squares, count = np.zeros(width), np.zeros(width), np.zeros(width, np.int64)
        self.bits = True
        for value in values:
            if value.shape[1] != width:
                continue  # an error with the row's line when it is encoded
            wide = value.astype(np.float64)
            total, squares = total + np.nansum(wide, 0), squares + np.nansum(wide**2, 0)
            count = count + (~np.isnan(wide)).sum(0)
            self.bits = self.bits and bool(((wide == 0) | (wide == 1) | np.isnan(wide)).all())
        if not count.all():
            raise ConfigError(f"{self.where}.missing", f"number {count.argmin()} is missing in all training rows")
        mean, square = total / count, squares / count
        self.means = mean.astype(np.float32)
        if self.scale == "all":
            mean, square = np.full(width, mean.mean()), np.full(width, square.mean())
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        if self.bits or self.scale == "none":
            mean, deviation = np.zeros(width), np.ones(width)
        deviation[deviation < 1e-6 * np.maximum(1, np.abs(mean))] = 1.0  # a number that never changes
        self.mean, self.deviation = mean.astype(np.float32), deviation.astype(np.float32)

    def encode(self, value: Floats) -> Floats:
        return clipped(self._scaled(value)) if self.clips else self._scaled(value)

    def _scaled(self, value: Floats) -> Floats:
        return scaled(filled(value, self.missing, self.means), self.mean, self.deviation, self.steps)

    def restored(self, values: Floats) -> Floats:
        """Scaled numbers [..., size] in the scale of the data."""
        return values * self.deviation + self.mean

    def shown(self, value: Floats) -> str:
        return json.dumps(np.asarray(value, float).round(6).tolist() if self.steps else _plain(value[0]))

    def about(self) -> str:
        return f"{self.size:,} {'bits' if self.bits else 'numbers'}{' a step' if self.steps else ''}"

    def to_json(self) -> dict[str, Any]:
        fills = {"missing": self.missing, "means": self.means.tolist()} if self.missing != "refuse" else {}
        return {
            "kind": self.kind,
            "scale": self.scale,
            "bits": self.bits,
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            **fills,
            **({} if self.clips else {"clips": False}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where, scale=value["scale"])
        made._restore(value)
        return made

    def _restore(self, value: Mapping[str, Any]) -> None:
        self.bits = bool(value["bits"])
        self.mean, self.deviation = (np.asarray(value[name], np.float32) for name in ("mean", "deviation"))
        self.missing = value.get("missing", "refuse")
        self.clips = bool(value.get("clips", True))
        self.fills = self.missing != "refuse"
        self.means = np.asarray(value.get("means", self.mean), np.float32)
        shapes = {array.shape for array in (self.mean, self.deviation, self.means)}
        sound = len(shapes) == self.mean.ndim == 1 and len(self.mean) and self.missing in get_args(Missing)
        if (
            not sound
            or not np.isfinite(self.means).all()
            or not np.isfinite(self.mean).all()
            or not (self.deviation > 0).all()
        ):
            raise ValueError("mean and deviation must be equally many finite numbers, deviations above 0")

    def extended(self, base: Codec) -> Codec:
        """The scale of the model to start from, where it reads as many numbers."""
        return base if isinstance(base, type(self)) and base.size == self.size else self


class VectorCodec(ScaledCodec):
    """One vector per row: a JSON list, a row of an array, or several columns.

    `scale` gives mean 0 and deviation 1 to `each` number, to `all` alike, or to `none`. Missing numbers (empty cells,
    NaN, NA, null) are refused, or filled with the `mean` of the training rows, or in frames with the number of the
    `previous` step.
    """

    kind = "vector"


class FramesCodec(ScaledCodec):
    """A sequence of vectors: a JSON list of lists, the name of an .npy file, an item of an array.

    With `width`, the numbers of a row are divided into steps of this size: an image [28, 28] with
    `width: 1` is read pixel by pixel. The model reads a `segment` of so many steps at once.
    """

    kind = "frames"
    steps = True

    def __init__(
        self,
        where: str,
        scale: Scale = "each",
        width: int | None = None,
        missing: Missing = "refuse",
        segment: int = 1,
    ) -> None:
        super().__init__(where, scale, missing)
        for name, value in (("width", width), ("segment", segment)):
            if value is not None and value < 1:
                raise ConfigError(name, f"must be at least 1 (is {value})")
        self.width, self.segment = width, segment

    @property
    def part_options(self) -> dict[str, int]:
        return {} if self.segment == 1 else {"segment": self.segment}

    def _shaped(self, values: Array) -> Floats:
        return as_frames(values, self.width)

    def read_step(self, step: object) -> Floats:
        return self.encode(refuse_gaps(self._numbers(step, "").reshape(1, -1), self.missing))

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"width": self.width} | self.part_options

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where, scale=value["scale"], width=value["width"], segment=value.get("segment", 1))
        made._restore(value)
        return made


class GridCodec(ScaledCodec):
    """Features of a picture's places, computed elsewhere: [places, size] or [rows, columns, size]. It is not a
    sequence: each place is encoded separately, and an attention looks at them all."""

    kind = "grid"

    def _shaped(self, values: Array) -> Floats:
        return as_grid(values)

    def shown(self, value: Floats) -> str:
        return f"grid of {len(value)} places"


class NumberCodec(ScaledCodec):
    """The one number of a row."""

    kind = "number"
    can_fill = False

    def __init__(self, where: str) -> None:
        super().__init__(where)

    def _shaped(self, values: Array) -> Floats:
        if values.size != 1:
            raise ValueError(f"must be one number, but has {values.size:,}; {SEVERAL}")
        return values.reshape(1, 1)

    def learn(self, values: Sequence[Floats]) -> None:
        super().learn(values)
        if self.bits:  # a number is a number, even if it is 0 or 1
            self.bits = False

    def encode(self, value: Floats) -> Floats:
        return self._scaled(value)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where)
        made._restore(value)
        return made


class NumbersCodec(ScaledCodec):
    """A vector for each step of the source. Vectors of 0 and 1 (keys of a piano roll) are predicted as bits."""

    kind = "numbers"
    can_fill = False
    steps = True
    form = "each"

    def __init__(self, where: str) -> None:
        super().__init__(where)

    @property
    def part(self) -> str:  # type: ignore[override]
        return "bits" if self.bits else "numbers"

    def _shaped(self, values: Array) -> Floats:
        return values.reshape(len(values), -1)

    def encode(self, value: Floats) -> Floats:
        if self.bits and not ((value == 0) | (value == 1)).all():
            raise ValueError("has numbers other than 0 and 1, which all training rows consist of")
        return self._scaled(value)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where)
        made._restore(value)
        return made


def _plain(values: Floats) -> Any:
    numbers = [float(f"{number:.6g}") for number in values]
    return numbers[0] if len(numbers) == 1 else numbers


def _numbers(value: object, folder: str, gaps: bool) -> Floats:
    """The numbers in one or several columns, with `gaps` NaN among them; a file's name is relative to `folder`."""

    def load(name: str) -> Array:
        try:
            return load_array(within(folder, name))
        except DataError as error:
            raise ValueError(f"names {error}") from None

    return read_numbers(value, load, gaps)
