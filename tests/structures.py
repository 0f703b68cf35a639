"""A small table of every structure, made by code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHANCE = random.Random(5)
WORDS = ["".join(CHANCE.choices("abcdefgh", k=CHANCE.randint(3, 6))) for _ in range(60)]


def vectors(folder: Path) -> list[str]:
    return [f"[{n}, {n % 7}]\t{'even' if n % 2 else 'odd'}" for n in range(60)]


def categories(folder: Path) -> list[str]:
    return [f"{name}\t{name} {name[::-1]}" for name in WORDS]


def feelings(folder: Path) -> list[str]:
    return [
        f"{word} is {'fine' if n % 2 else 'poor'} {n % 5}\t{'good' if n % 2 else 'bad'}" for n, word in enumerate(WORDS)
    ]


def words(folder: Path) -> list[str]:
    return [f"{word}\t{' '.join(word.upper())}" for word in WORDS]


def tagged(folder: Path) -> list[str]:
    return [
        f"{' '.join(row)}\t{' '.join('AB'[len(one) > 4] for one in row)}"
        for row in zip(WORDS[:-2], WORDS[1:-1], WORDS[2:], strict=True)
    ]


def walks(folder: Path) -> list[str]:
    return [f"{json.dumps([[n, i] for i in range(3)])}\t{' '.join('ud'[n % 2] * 3)}" for n in range(40)]


def spoken(folder: Path) -> list[str]:
    return [f"{json.dumps([[n % 9, i] for i in range(9)])}\t{'abc'[: 1 + n % 3]}" for n in range(40)]


def pictures(folder: Path) -> list[str]:
    rows = []
    for n in range(12):
        pixels = np.full((8, 8, 3), 20 * n, np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        rows.append(f"{n}.png\t{n * 37}")
    return rows


def drawings(folder: Path) -> list[str]:
    return [f"{'ab'[n % 2]}\t{[[n % 3, step / 2] for step in range(3 + n % 2)]}" for n in range(40)]


def futures(folder: Path) -> list[str]:
    return [f"{[n + step for step in range(4)]}\t{[n + 4, n + 5, n + 6]}" for n in range(40)]


def play(folder: Path) -> list[str]:
    return [f"{item}: {two} {item}." for item, two in zip(WORDS, reversed(WORDS), strict=True)]


STRUCTURES: dict[str, tuple[Callable[[Path], list[str]], dict[str, Any], str]] = {
    "vector to label": (vectors, {"source": {"kind": "vector"}, "target": {"kind": "label"}}, "one_to_one"),
    "category to text": (categories, {"source": {"kind": "category"}}, "one_to_many"),
    "image to text": (pictures, {"source": {"kind": "image"}}, "one_to_many"),
    "text to label": (feelings, {}, "many_to_one"),
    "text to text": (words, {}, "many_to_many"),
    "words to tags": (tagged, {}, "synchronous"),
    "frames to labels": (walks, {"source": {"kind": "frames"}, "target": {"kind": "labels"}}, "synchronous"),
    "frames to text with CTC": (spoken, {"source": {"kind": "frames"}, "target": {"ctc": True}}, "synchronous"),
    "category to a series": (drawings, {"source": {"kind": "category"}, "target": {"kind": "series"}}, "one_to_many"),
    "frames to a series": (
        futures,
        {"source": {"kind": "frames"}, "target": {"kind": "series", "horizon": 3, "window": "last"}},
        "many_to_many",
    ),
    "next symbol": (words, {"source": {"column": 0}, "target": {"kind": "next"}}, "synchronous"),
    "long text": (play, {"source": {"kind": "long_text"}, "target": {"kind": "next"}}, "synchronous"),
}
