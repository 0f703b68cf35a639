"""Numbers from JSON, lists, arrays or files, in the shape that each kind of side has, and scaled."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .text import as_text

Array = NDArray[Any]
Floats = NDArray[np.float32]
MISSING = {"", "na", "n/a", "nan", "none", "null"}  # texts of a missing number, in lower case
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")  # with a decimal point or comma
DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(\.\d{3})+\s*")  # points between them, where the decimal mark is a comma
FURTHEST = 10.0  # standard deviations from the mean: numbers are clipped there, so that no outlier dominates


class MissingNumberError(ValueError):
    """Some numbers are missing: cells are empty or NaN."""


def with_point(text: str) -> str:
    """A number of a table with decimal commas as it is written with a decimal point: 1.234,5 and 1.234 are 1234.5 and
    1234. Any other text is returned as it is, 0.125 too."""
    if DECIMAL_COMMA.fullmatch(text) or THOUSANDS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    return text


def read_numbers(value: object, load: Callable[[str], Array], gaps: bool = False) -> Floats:
    """The content of one or several columns as finite float32 numbers, in any shape.

    `load` reads an .npy file by its name; its `ValueError` says what is wrong. With `gaps` numbers may be missing
    (empty cells, NaN, NA, null), and are NaN; else that is a `MissingNumberError`.
    """
    if isinstance(value, str):
        text = as_text(value).strip()
        if not text and not gaps:
            raise MissingNumberError("is empty")
        if gaps and text.lower() in MISSING:
            value = math.nan
        else:
            value = load(text) if text.endswith(".npy") else _from_json(text)
    if value is None and not gaps:
        raise MissingNumberError("has no value")
    try:
        values = np.asarray(value)
    except ValueError:  # lists of unequal length
        raise ValueError("has rows of different lengths") from None
    if values.dtype.kind in ("UO" if gaps else "U") and (gaps or isinstance(value, list | tuple)):
        try:
            values = np.asarray(_as_numbers(value, gaps))
        except MissingNumberError:
            raise
        except ValueError as error:
            raise ValueError(f"must be numbers: {error}") from None
    if values.dtype.kind not in "iufb" or (values.dtype.kind == "b" and not isinstance(value, np.ndarray)):
        raise ValueError("must be numbers")
    if not values.size:
        raise ValueError("is empty")
    with np.errstate(over="ignore"):
        values = np.atleast_1d(values.astype(np.float32))
    if np.isnan(values).any() and not gaps:
        raise MissingNumberError("contains NaN")
    if np.isinf(values).any():
        raise ValueError("contains infinity")
    return values


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is neither a number nor a JSON list of numbers") from None


def _as_numbers(value: object, gaps: bool) -> Any:
    """Lists of numbers, some of which are texts, as numbers; with `gaps` what is missing is NaN."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_as_numbers(item, gaps) for item in value]
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        if not gaps:
            raise MissingNumberError("has an empty cell" if not value else f"contains {value}")
        return math.nan
    if isinstance(value, str) and DECIMAL_COMMA.fullmatch(value):
        raise ValueError(f"{value!r} has a decimal comma; set data.decimal to ','")
    return float(value) if isinstance(value, str) else value


def filled(values: Floats, missing: str, means: Floats) -> Floats:
    """Numbers [steps, size] without NaN.

    With `missing` "previous" a missing number is that of the step before; at the first steps, and with "mean", it is
    its mean over the training rows.
    """
    gaps = np.isnan(values)
    if not gaps.any() or values.shape[1] != len(means):
        return values
    if missing == "previous":
        places = np.where(gaps, 0, np.arange(len(values))[:, None])
        values = np.take_along_axis(values, np.maximum.accumulate(places, axis=0), 0)
    return np.where(np.isnan(values), means, values).astype(np.float32)


def refuse_gaps(values: Floats, missing: str) -> Floats:
    """The numbers of a step that arrives alone, which has no previous step to fill it from."""
    if missing == "previous" and np.isnan(values).any():
        raise ValueError("has a missing number, which only a whole sequence can fill from the previous step")
    return values


def as_vector(values: Floats) -> Floats:
    """One list of numbers as [1, size]."""
    if values.ndim > 1 and max(values.shape[:-1]) > 1:
        raise ValueError(f"must be one list of numbers, but is an array {list(values.shape)}")
    return values.reshape(1, -1)


def as_frames(values: Floats, width: int | None) -> Floats:
    """Frames [steps, size]; with `width` the numbers are divided into steps of this size."""
    if width is None:
        return values.reshape(len(values), -1)
    if values.size % width:
        raise ValueError(f"has {values.size:,} numbers, which do not make steps of {width} numbers each")
    return values.reshape(-1, width)


def as_grid(values: Floats) -> Floats:
    """The features of a picture's places [places, size]."""
    if values.ndim not in (2, 3):
        reason = f"must be [places, numbers] or [rows, columns, numbers], but is an array {list(values.shape)}"
        raise ValueError(reason)
    return values.reshape(-1, values.shape[-1])


def scaled(values: Floats, mean: Floats, deviation: Floats, steps: bool) -> Floats:
    """Numbers [steps, size] as deviations from the mean of the training rows."""
    if values.shape[1] != len(mean):
        each = " per step" if steps else ""
        raise ValueError(f"has {values.shape[1]:,} numbers{each}, but the training rows have {len(mean):,}")
    result: Floats = ((values - mean) / deviation).astype(np.float32)
    return result


def clipped(values: Floats) -> Floats:
    """Scaled numbers without outliers."""
    return np.clip(values, -FURTHEST, FURTHEST)
