"""Untrained models of every structure with an input each, and the traces of these."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from antiphon.config.load import parse_config, set_value
from antiphon.data.load import load_rows, train_codecs
from antiphon.inspection.trace import Trace
from antiphon.model.build import build
from antiphon.saved.folder import Bundle
from antiphon.use.predictor import Predictor

CHANCE = np.random.default_rng(5)
PICTURES = [CHANCE.integers(0, 256, (12, 9)).astype(np.uint8).tolist() for _ in range(3)]


class Case(NamedTuple):
    """Rows of a table, sides, what else is configured, an input and its reference."""

    rows: list[dict[str, Any]]
    source: Any
    target: Any
    settings: dict[str, Any]
    content: Any
    reference: Any
    other: Any = None


def text(name: str = "x", **options: Any) -> dict[str, Any]:
    return {"kind": "text", "column": name, **options}


PAIRS = [{"x": "abca", "y": "C B A"}, {"x": "bb", "y": "B"}, {"x": "cab", "y": "A C A"}]
WALK = [{"x": [[0.1, 1.0], [0.5, -1.0], [2.0, 0.3]], "y": "A B"}, {"x": [[1, 0]], "y": "C"}]
FRAMES, TAGS = {"kind": "frames", "column": "x"}, {"kind": "labels", "column": "y"}
ATTENTION = {"kind": "additive", "query": "previous", "input_feeding": True}
CASES: dict[str, Case] = {
    "lstm, general": Case(PAIRS, text(), text("y"), {"model.attention": "general"}, "acb", "A B", "bb"),
    "gru, every step": Case(
        PAIRS, text(), text("y"),
        {"model.cell": "gru", "model.encoder.layers": 2, "model.decoder.layers": 2, "model.decoder.residual": True,
         "model.context": {"from": "projected_all", "pool": "attention", "to": "every_step"}},
        "acb", "A B", "c",
    ),
    "tanh, previous": Case(
        PAIRS, text(), text("y"), {"model.cell": "rnn_tanh", "model.attention": ATTENTION, "decode.beam": 1}, "ab", "C"
    ),
    "relu, varied": Case(
        PAIRS, text(), text("y"), {"model.cell": {"kind": "rnn_relu", "layer_norm": True, "zoneout": 0.2}}, "ab", "C"
    ),
    "mingru, of two steps": Case(
        PAIRS, text(), text("y"), {"model.cell": {"kind": "mingru", "kernel": 2}, "model.encoder.layers": 2}, "ab", "C"
    ),
    "minlstm": Case(PAIRS, text(), text("y"), {"model.cell": "minlstm", "decode.beam": 1}, "acb", "A B", "c"),
    "selective": Case(
        PAIRS, text(), text("y"), {"model.cell": {"kind": "selective", "expand": 2}, "decode.beam": 1}, "cb", "B", "c"
    ),
    "mingru, varied": Case(
        PAIRS, text(), text("y"), {"model.cell": {"kind": "mingru", "layer_norm": True, "zoneout": 0.2}}, "ab", "C"
    ),
    "lstm, varied": Case(
        PAIRS, text(), text("y"), {"model.cell": {"kind": "lstm", "layer_norm": True, "zoneout": 0.2}}, "ab", "C"
    ),
    "two sources": Case(
        [{**row, "z": kind} for row, kind in zip(PAIRS, "uvu", strict=True)],
        [text(), {"kind": "category", "column": "z"}], text("y"), {"model.attention": "location"},
        ("acb", "v"), "B A", ("bb", "u"),
    ),
    "copying": Case(
        [{"x": "abca", "y": "cba"}, {"x": "bb", "y": "bb"}, {"x": "cab", "y": "bac"}],
        text(), text("y", tokens="chars"),
        {"model.attention": "general", "model.copy": True}, "aZcZ", "bZ", "bQ",
    ),
    "hard": Case(PAIRS, text(), text("y"), {"model.attention": "hard"}, "acb", "A B", "bb"),
    "hard monotonic, copying": Case(
        [{"x": x, "y": x + "d", "z": kind} for x, kind in zip(("abca", "bb", "cab"), "uvu", strict=True)],
        [text(), {"kind": "tags", "column": "z"}], text("y", tokens="chars"),
        {"model.attention": "hard_monotonic", "model.copy": True}, ("aZcZ", "u;v"), "bZ", ("bQ", "w"),
    ),
    "dialogue": Case(
        [{**row, "x": list(row["x"])} for row in PAIRS], text(turns=3, tokens="chars"), text("y"),
        {"model.attention": "general"}, ["a", "bc"], "A", ["c"],
    ),
    "spelled words": Case(
        [{"x": " ".join(row["x"]), "y": row["y"]} for row in PAIRS], text(tokens="words", characters=True), text("y"),
        {"model.attention": "general"}, "a zz c", "A C",
    ),
    "image": Case(
        [{"x": picture, "y": word} for picture, word in zip(PICTURES, ("A B", "C", "B"), strict=True)],
        {"kind": "image", "column": "x"}, text("y"),
        {"model.attention": "additive", "model.image.channels": [4, 4]}, np.asarray(PICTURES[0], np.uint8), "B A",
        np.asarray(PICTURES[1], np.uint8),
    ),
    "image label": Case(
        [{"x": picture, "y": word} for picture, word in zip(PICTURES, "uvu", strict=True)],
        {"kind": "image", "column": "x"}, {"kind": "label", "column": "y"},
        {"model.image.channels": [4, 4]}, np.asarray(PICTURES[0], np.uint8), "v",
    ),
    "category": Case(
        [{"x": name, "y": name.upper()} for name in "abc"],
        {"kind": "category", "column": "x"}, text("y"), {"model.attention": "none"}, "b", "C A", "c",
    ),
    "nothing": Case(PAIRS, {"kind": "none"}, text("y"), {}, "", "B A"),
    "label": Case(PAIRS, text(), {"kind": "label", "column": "y"}, {"model.pooling": "attention"}, "acb", "B"),
    "label of two": Case(
        [{**row, "z": kind} for row, kind in zip(PAIRS, "uvu", strict=True)],
        [text(), {"kind": "category", "column": "z"}], {"kind": "label", "column": "y"}, {"model.pooling": "last"},
        ("acb", "v"), "B",
    ),
    "number": Case(
        [{**row, "y": place * 2.5} for place, row in enumerate(WALK)], FRAMES, {"kind": "number", "column": "y"},
        {"model.cell": "gru"}, [[0.5, 0.5], [1.0, 2.0]], 1.5,
    ),
    "one to one": Case(
        [{"x": [1.0, 2.0], "y": "u"}, {"x": [0.0, -1.0], "y": "v"}], {"kind": "vector", "column": "x"},
        {"kind": "label", "column": "y"}, {}, [0.3, 0.3], "v",
    ),
    "tags": Case(
        [{"x": "abc", "y": "U V U"}, {"x": "ba", "y": "W U"}], text(), TAGS, {}, "cab", "U U W"
    ),
    "tags, crf": Case(
        [{"x": "abc", "y": "U V U"}, {"x": "ba", "y": "W U"}], text(), {**TAGS, "crf": True}, {"model.cell": "gru"},
        "cab", "U U W",
    ),
    "numbers": Case(
        [{"x": row["x"], "y": (np.asarray(row["x"]) * 3).tolist()} for row in WALK], FRAMES,
        {"kind": "numbers", "column": "y"}, {}, [[0.5, 0.5], [1.0, 2.0]], [[1.0, 2.0], [0.0, 1.0]],
    ),
    "bits": Case(
        [{"x": row["x"], "y": (np.asarray(row["x"]) > 0).astype(int).tolist()} for row in WALK], FRAMES,
        {"kind": "numbers", "column": "y"}, {}, [[0.5, 0.5], [1.0, 2.0]], [[1, 1], [0, 1]],
    ),
    "series": Case(
        [{"x": row["x"], "y": (np.asarray(row["x"]) * 3).tolist()} for row in WALK], FRAMES,
        {"kind": "series", "column": "y", "window": "last", "segment": 2}, {}, [[0.5, 0.5], [1.0, 2.0]],
        [[1.0, 2.0], [0.0, 1.0], [0.5, 0.5]],
    ),
    "series by positions": Case(
        [{"x": row["x"], "y": [1.0, 2.0, 0.5]} for row in WALK], FRAMES,
        {"kind": "series", "column": "y", "horizon": 3, "read": "position"}, {"model.attention": "none"},
        [[0.5, 0.5], [1.0, 2.0]], [1.0, 2.0, 1.0],
    ),
    "next": Case(PAIRS, text(), {"kind": "next"}, {"model.encoder.layers": 2}, "ab", "ca"),
}  # fmt: skip


@cache
def made(name: str) -> Predictor:
    """An untrained model of a case, its weights large enough that steps differ."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        rows = [dict(row) for row in case.rows]
        table = Path(folder) / "rows.jsonl"
        if isinstance(case.content, np.ndarray):
            for place, row in enumerate(rows):
                Image.fromarray(np.asarray(row["x"], np.uint8)).save(Path(folder) / f"{place}.png")
                row["x"] = f"{place}.png"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sizes = {"encoder": {"hidden": 4}, "decoder": {"hidden": 6}}
        tree: dict[str, Any] = {
            "data": {"train": str(table)},
            "source": case.source,
            "target": case.target,
            "model": {"embedding": 5, **sizes},
            "decode": {"beam": 3, "min_length": 1, "max_length": 6},
        }
        for key, value in case.settings.items():
            set_value(tree, key, value)
        config = parse_config(tree, Path(folder))
        read = load_rows(config, str(table))
    codecs = train_codecs(config, read)
    torch.manual_seed(1)
    model = build(config, codecs).eval()
    with torch.no_grad():
        for label, parameter in model.named_parameters():
            if "norm" not in label:
                parameter.copy_(torch.randn_like(parameter) * 0.6)
    return Predictor(Bundle(config, codecs, model, {}), Path("model"), torch.device("cpu"))


@cache
def trace(name: str) -> Trace:
    """The trace of a case's input, with its reference and another input's context."""
    case = CASES[name]
    return made(name).explain(case.content, case.reference, case.other)
