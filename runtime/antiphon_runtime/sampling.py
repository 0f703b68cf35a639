"""How symbols are drawn: checked settings, and the function that draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from antiphon_runtime.errors import OptionError
from antiphon_runtime.search import Choose, sampler

SAMPLE: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}


def checked(options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """All settings of sampling, with defaults for those that are missing; None without sampling."""
    if options is None:
        return None
    for name in options:
        if name not in SAMPLE:
            raise OptionError(f"sample.{name}: unknown; known: {', '.join(sorted(SAMPLE))}")
    settings = {**SAMPLE, **options}
    for name in ("temperature", "top_p"):
        most, value = (100 if name == "temperature" else 1), settings[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise OptionError(f"sample.{name}: must be above 0 and at most {most} (is {value!r})")
    for name in ("top_k", "seed"):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise OptionError(f"sample.{name}: must be a whole number from 0 to {(1 << 31) - 1:,} (is {value!r})")
    return settings


def chooser(sample: Mapping[str, Any] | None, numbers: Sequence[int], padded: bool = False) -> Choose | None:
    """The function that draws the symbols of rows with these numbers; None without sampling. See `sampler`."""
    if sample is None:
        return None
    noise = [np.random.default_rng([sample["seed"], number]) for number in numbers]
    return sampler(sample["temperature"], sample["top_k"], sample["top_p"], noise, padded)
