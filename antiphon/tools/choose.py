"""`antiphon next`: which inputs to label first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from antiphon.use.choosing import Chosen
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor


def next_rows(
    model: Predictor[Any] | str | Path,
    inputs: Iterable[Any] | str | Path,
    count: int,
    by: str = "confidence",
    device: str | None = None,
) -> list[Chosen]:
    """The `count` inputs that are worth a label most, the first the most: what the command `next` prints.

    `model` is a loaded model or its folder; see `Predictor.next_rows` for the rest. Errors are `AntiphonError`s.
    """
    loaded = model if isinstance(model, Predictor) else load(model, device)
    return loaded.next_rows(inputs, count, by)
