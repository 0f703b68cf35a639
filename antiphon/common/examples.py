"""The few inputs that are kept with a model, `examples.json`, as its server shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "examples.json"


def read_examples(folder: Path) -> list[Any]:
    """The examples in a model's folder, trained or exported; none where there is no file of them. A damaged file is a
    `ValueError`."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        if not isinstance(inputs, list):
            raise TypeError("inputs must be a list")
        return inputs
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error}); it may be removed") from None
