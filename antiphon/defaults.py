"""Settings chosen from the data, for a table without a configuration. What was chosen is printed and saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon import config as configuration
from antiphon.config import Config, Files
from antiphon.data.codec import Codec
from antiphon.data.encode import Text, TextCodec, turns_of
from antiphon.data.rows import Row
from antiphon.dataset import load_rows, untrained
from antiphon.errors import DataError

ROWS_A_LABEL = 20  # targets of which each stands in so many rows, on average, are labels
FEW_SYMBOLS = 500  # so few distinct words are labels or phonemes, not a language's vocabulary


def choose(table: Path, settings: Mapping[str, object] | None = None, like: Config | None = None) -> Config:
    """A whole configuration for `table`. Dotted `settings` (column names, say) are kept as they are.

    Sides and model are those of `like`, the configuration of a model to start from, where one is given.
    """
    if table.exists() and not (table.is_file() or table.is_dir()):
        raise DataError(f"{table}: is a pipe or a device, which cannot be read twice; give a file, or a configuration")
    given: dict[str, Any] = {"data": {"train": str(table.resolve())}}
    for key, value in (settings or {}).items():
        configuration.set_value(given, key, value)
    sides = {} if like is None else like.model_dump(by_alias=True, include={"sources", "target"})
    for side in ("source", "target"):
        if side in given:
            sides[side] = _merged(sides.get(side), given[side])
    config = configuration.parse({"data": given["data"], **sides}, Path.cwd())  # all that reading the rows needs
    codecs = untrained(config)
    rows = load_rows(config, config.data.train, codecs=codecs)
    chosen = _from_rows(rows, config.data.valid)
    if like is not None:
        chosen |= like.model_dump(by_alias=True, include={"sources", "target", "model", "decode"})
        chosen["model"]["embeddings"] = None
        chosen["decode"]["max_length"] = None
    else:
        chosen["source"] = _side(sides.get("source", {}), codecs.sources, [row.sources[0] for row in rows])
        chosen["target"] = _target(sides.get("target", {}), codecs.target, [row.target for row in rows])
    if "train.average" in (settings or {}):
        del chosen["train"]["ema"]
    for key, value in (settings or {}).items():
        configuration.set_value(chosen, key, value)
    chosen["data"]["train"] = config.data.model_dump()["train"]
    return configuration.parse(chosen, Path.cwd())


def _merged(theirs: Any, own: Any) -> Any:
    """A side as a model to start from has it, with what the user gives laid over."""
    return {**theirs, **own} if isinstance(theirs, dict) and isinstance(own, dict) else own


def _from_rows(rows: Sequence[Row], valid: Files | float | None) -> dict[str, Any]:
    fraction = valid or (0.1 if len(rows) < 5_000 else 0.05 if len(rows) < 50_000 else 0.02)
    count = max(1, math.floor(len(rows) * (1 - fraction)) - 1) if isinstance(fraction, float) else len(rows)
    small, middle = count < 20_000, count < 300_000
    batch = 16 if count < 2_000 else 32 if small else 64 if middle else 128
    hidden = 128 if small else 192 if middle else 256
    updates = _updates(count, batch)
    every = min(max(math.ceil(count / batch), 200), 2000)
    return {
        "data": {
            "valid": fraction,
            "on_error": "fail",
        },
        "model": {
            "embedding": 128 if middle else 256,
            "encoder": {"hidden": hidden},
            "pooling": "attention",
            "decoder": {"hidden": 2 * hidden},
            "attention": "general",
            "dropout": 0.4 if small else 0.3,
            "locked_dropout": small,
            "cell": {"kind": "lstm", "weight_drop": 0.3} if small else "lstm",
        },
        "train": {
            "epochs": max(1, math.ceil(updates * batch / count)),
            "max_steps": updates,
            "batch_size": batch,
            "validate_every": every,
            "patience": max(10, math.ceil(3000 / every)),
            "learning_rate": 2e-3 if small else 1e-3,
            "schedule": {"kind": "cosine", "warmup": 100},
            "label_smoothing": 0.1,
            "ema": 0.999,
        },
    }


def _updates(rows: int, batch: int) -> int:
    """At least 3,000 updates, so that a small table is learned; 25 to 40 times through larger ones."""
    epochs = 40 if rows < 20_000 else 25
    return max(3000, min(epochs * rows // batch, 200_000))


def _side(given: Any, codecs: Sequence[Codec], values: Sequence[Any]) -> Any:
    """A text's tokens are chosen; what the user says of other kinds stays as it is."""
    if len(codecs) > 1 or not isinstance(codecs[0], TextCodec) or isinstance(given, list):
        return given
    return {"kind": "text", "tokens": _tokens(values)}


def _target(given: Any, codec: Codec, values: Sequence[Any]) -> Any:
    """Text with few distinct values, each of many rows, is a label, unless the user says more of it."""
    plain = isinstance(codec, TextCodec) and isinstance(given, dict) and given.keys() <= {"column"}
    if plain and len(values) >= ROWS_A_LABEL * len(set(values)) > ROWS_A_LABEL:
        return {"kind": "label"}
    return _side(given, [codec], values)


def _tokens(values: Sequence[Text]) -> Any:
    """Characters for single words; words where there are few distinct ones; pieces for a language's text."""
    words = Counter(word for value in values for text in turns_of(value) for word in text.split())
    if words.total() < 1.2 * len(values):
        return "chars"
    if len(words) <= FEW_SYMBOLS and words.total() >= 5 * len(words):
        return "words"
    return {"kind": "bpe", "size": 8000 if len(values) >= 20_000 else 4000 if len(values) >= 5_000 else 1000}
