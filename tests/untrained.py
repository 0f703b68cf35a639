"""Small models with random weights, of every kind of source and target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from antiphon.common.calibration import Calibration
from antiphon.config.load import parse_config
from antiphon.config.schema import Config
from antiphon.data.load import load_rows, train_codecs
from antiphon.model.build import build
from antiphon.saved import calibration
from antiphon.saved import folder as bundle
from antiphon.saved.calibration import Report
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

CHANCE = np.random.default_rng(5)
LENGTHS = [3, 1, 6, 2, 5, 4]
TEXTS = ["ab ba", "a", "bab aab b", "Éa b", "cab", "b  c"]
FRAMES = [CHANCE.normal(size=(steps, 3)).round(3).tolist() for steps in LENGTHS]
VECTORS = [CHANCE.normal(size=3).round(3).tolist() for _ in LENGTHS]
WORDS = [" ".join(CHANCE.choice(["ab", "ba", "abba", "c"], steps)) for steps in LENGTHS]
LABELS = [CHANCE.choice(["O", "B-x", "I-x"], steps).tolist() for steps in LENGTHS]
SERIES = [CHANCE.normal(size=(4, 3)).round(3).tolist() for _ in LENGTHS]
BITS = [CHANCE.integers(0, 2, (steps, 2)).tolist() for steps in LENGTHS]
SMALL = {"embedding": 6, "encoder": {"hidden": 5}, "decoder": {"hidden": 7}, "image": {"channels": [4, 6]}}


def untrained(folder: Path, tree: dict[str, Any], rows: list[dict[str, Any]], scale: float = 0.6) -> Predictor:
    """A model with random weights, whose codecs have learned from rows."""
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = {**SMALL, **tree.get("model", {})}
    bounds = {} if tree["target"].get("ctc") else {"max_length": 6}
    data = {"train": str(table), **tree.get("data", {})}
    whole = {"decode": {"beam": 1, **bounds}, **tree, "data": data, "model": model}
    config: Config = parse_config(whole, folder)
    codecs = train_codecs(config, load_rows(config, config.data.train))
    torch.manual_seed(3)
    built = build(config, codecs)
    with torch.no_grad():
        for label, parameter in built.named_parameters():
            if "norm" not in label:
                parameter.copy_(torch.randn_like(parameter) * scale)
    bundle.save_description(folder / "model", config, codecs)
    bundle.save_weights(folder / "model", bundle.parameters(built))
    sure = Report(Calibration(1.7, 0.4), "rows", [], [])
    (folder / "model" / calibration.FILE).write_text(sure.to_json(), encoding="utf-8")
    return load(folder / "model", "cpu")


def rows_of(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def forecaster(folder: Path, target: dict[str, Any] | None = None, **tree: Any) -> Predictor:
    """A model with random weights for windows of two groups; it reads the past, the hours and what each group is."""
    hours, first = [*range(40)] * 2, np.datetime64("2024-02-27T00", "h")
    levels = np.asarray([10 * (number >= 40) + 3 * np.sin(number) for number in range(80)])
    rows = rows_of(
        date=[str(first + hour) for hour in hours],
        sensor=["a"] * 40 + ["b"] * 40,
        y=levels.round(3).tolist(),
        size=[[1.5, 2]] * 40 + [[3, -1]] * 40,
        marks=["new;big"] * 40 + ["old"] * 40,
    )
    sides = {
        "data": {
            "time": "date", "group": "sensor",
            "window": {"past": 6, "horizon": 4, "valid_from": 0.6, "test_from": 0.8},
        },
        "source": [
            {"kind": "frames", "columns": ["y"]},
            {"kind": "calendar", "parts": ["hour"], "ahead": True},
            {"kind": "category", "column": "sensor"},
            {"kind": "vector", "column": "size"},
            {"kind": "tags", "column": "marks"},
            {"column": "sensor", "kind": "text"},
        ],
        "target": {"columns": ["y"], "window": "last", "likelihood": "gaussian", **(target or {})},
    }  # fmt: skip
    return untrained(folder, {**sides, **tree}, rows)


def picture_files(folder: Path) -> list[str]:
    paths = []
    for number, mode in enumerate(["RGB", "L", "RGBA", "RGB", "P", "LA"]):
        pixels = CHANCE.integers(0, 256, (13 + number, 11, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).convert(mode).save(path)
        paths.append(path.name)
    return paths


ONE_WAY = {"encoder": {"hidden": 5, "bidirectional": False, "layers": 2}}
KINDS: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "bpe to chars": (
        {"source": {"column": "x", "tokens": {"kind": "bpe", "size": 20}},
         "target": {"column": "y", "tokens": "chars"}},
        {"x": TEXTS, "y": WORDS},
    ),
    "unigram, two sources": (
        {
            "source": [{"column": "x", "tokens": {"kind": "unigram", "size": 20}}, {"kind": "category", "column": "z"}],
            "target": {"column": "y", "tokens": {"split": "b"}, "normalize": "nfkc", "lowercase": True},
            "model": {"attention": "location"},
        },
        {"x": TEXTS, "z": ["en", "de", "en", "fr", "de", "en"], "y": WORDS},
    ),
    "text and tags to text": (
        {"source": [{"column": "x"}, {"kind": "tags", "column": "z"}], "target": {"column": "y", "tokens": "chars"},
         "model": {"context": {"to": "every_step"}}},
        {"x": TEXTS, "z": ["V;PST", "N", "PST;V;3", "N;PL", "V", "3;V"], "y": WORDS},
    ),
    "dialogue": (
        {"source": {"column": "x", "tokens": "words", "turns": 2}, "target": {"column": "y"}},
        {"x": [["a b", "b"], ["a"], ["b a", "c", "a"], ["c"], ["a", "c c"], ["b"]], "y": WORDS},
    ),
    "nothing to text": (
        {"source": {"kind": "none"}, "target": {"column": "y", "tokens": "chars"}, "model": {"attention": "none"}},
        {"y": WORDS},
    ),
    "vector to text": (
        {"source": {"kind": "vector", "column": "x"}, "target": {"column": "y"},
         "model": {"cell": "gru", "attention": "coverage"}},
        {"x": VECTORS, "y": WORDS},
    ),
    "grid to text": (
        {"source": {"kind": "grid", "column": "x"}, "target": {"column": "y"}},
        {"x": FRAMES, "y": WORDS},
    ),
    "image to text": (
        {"source": {"kind": "image", "column": "x", "size": 12}, "target": {"column": "y"}},
        {"x": ["pictures"] * 6, "y": WORDS},
    ),
    "images to label": (
        {"source": {"kind": "images", "column": "x", "size": 12}, "target": {"kind": "label", "column": "y"},
         "model": {"pooling": "max"}},
        {"x": [["pictures"]] * 6, "y": ["u", "v", "u", "w", "v", "u"]},
    ),
    "text to label": (
        {"source": {"column": "x"}, "target": {"kind": "label", "column": "y"}, "model": {"pooling": "attention"}},
        {"x": TEXTS, "y": ["u", "v", "u", "w", "v", "u"]},
    ),
    "vector to number": (
        {"source": {"kind": "vector", "column": "x"}, "target": {"kind": "number", "column": "y"}},
        {"x": VECTORS, "y": [1.5, 2, -3, 4, 9, 7]},
    ),
    "spelled words to labels of a CRF": (
        {"source": {"column": "x", "tokens": "words", "characters": {"embedding": 3, "hidden": 4, "width": 3}},
         "target": {"kind": "labels", "column": "y", "crf": True}},
        {"x": WORDS, "y": LABELS},
    ),
    "frames to labels, live": (
        {"source": {"kind": "frames", "column": "x"}, "target": {"kind": "labels", "column": "y"},
         "model": {**ONE_WAY, "cell": {"kind": "lstm", "layer_norm": True}}},
        {"x": FRAMES, "y": LABELS},
    ),
    "frames to labels by a selective cell, live": (
        {"source": {"kind": "frames", "column": "x"}, "target": {"kind": "labels", "column": "y"},
         "model": {"encoder": {**ONE_WAY["encoder"], "residual": True, "norm": True, "feed_forward": 2},
                   "cell": {"kind": "selective", "state_size": 3}}},
        {"x": FRAMES, "y": LABELS},
    ),
    "frames to bits": (
        {"source": {"kind": "frames", "column": "x", "scale": "all"}, "target": {"kind": "numbers", "column": "y"},
         "model": {"cell": "gru"}},
        {"x": FRAMES, "y": BITS},
    ),
    "words to numbers, live": (
        {"source": {"column": "x", "tokens": "words"}, "target": {"kind": "numbers", "column": "y"},
         "model": {**ONE_WAY, "cell": "rnn_tanh"}},
        {"x": WORDS, "y": FRAMES},
    ),
    "frames to a series": (
        {"source": {"kind": "frames", "column": "x", "segment": 2},
         "target": {"kind": "series", "column": "y", "horizon": 4, "segment": 2, "window": "standard"},
         "model": {"cell": "gru", "attention": "additive"}},
        {"x": FRAMES, "y": SERIES},
    ),
    "frames to a series by positions": (
        {"source": {"kind": "frames", "column": "x"},
         "target": {"kind": "series", "column": "y", "horizon": 4, "read": "position", "window": "last",
                    "likelihood": "student_t"}},
        {"x": FRAMES, "y": SERIES},
    ),
    "category to a series": (
        {"source": {"kind": "category", "column": "x"},
         "target": {"kind": "series", "column": "y", "likelihood": {"kind": "mixture", "components": 3}},
         "model": {"attention": "none", "decoder": {"hidden": 6, "layers": 2}}},
        {"x": ["u", "v", "u", "w", "v", "u"], "y": BITS},
    ),
    "frames to text with CTC": (
        {"source": {"kind": "frames", "column": "x"}, "target": {"column": "y", "tokens": "chars", "ctc": True}},
        {"x": FRAMES, "y": ["ab", "a", "bab", "b", "aca", "cc"]},
    ),
    "the next symbol": (
        {"source": {"column": "x"}, "target": {"kind": "next"}, "model": {"encoder": {"hidden": 6, "layers": 2}}},
        {"x": TEXTS},
    ),
    "the next symbol, with a cache": (
        {"source": {"column": "x"}, "target": {"kind": "next"},
         "model": {"encoder": {"hidden": 6, "layers": 2}, "cache": {"size": 3, "scale": 0.5, "share": 0.4}}},
        {"x": TEXTS},
    ),
}  # fmt: skip
