"""Small tables that can be learned, made by code."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from antiphon.config.load import parse_config, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.codecs.text import TextCodec
from antiphon.data.rows import SideReader


def write_table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return path


def text_sides(*columns: int | str) -> list[SideReader]:
    """How rows of texts are read: one source and a target."""
    read = TextCodec("source").read
    return [SideReader(name, column, read) for name, column in zip(("source", "target"), columns, strict=True)]


def words(count: int, seed: int, letters: str = "abcdefgh", longest: int = 7) -> list[str]:
    chance = random.Random(seed)
    distinct: dict[str, None] = {}
    while len(distinct) < count:
        distinct["".join(chance.choice(letters) for _ in range(chance.randint(2, longest)))] = None
    return list(distinct)


SOUNDS = {
    "sh": "SH",
    "ch": "CH",
    "th": "TH",
    "ee": "IY",
    "oo": "UW",
    "a": "AA",
    "e": "EH",
    "o": "OW",
    "s": "S",
    "h": "HH",
}
SOUNDS |= {"c": "K", "t": "T", "m": "M", "n": "N"}


def spoken(word: str) -> str:
    """A made-up spelling: two letters may be one sound, and a final e is silent but lengthens the vowel before."""
    sounds, i = [], 0
    final_e = len(word) > 2 and word.endswith("e") and word[-2] not in "aeo"
    stem = word[:-1] if final_e else word
    while i < len(stem):
        size = 2 if stem[i : i + 2] in SOUNDS else 1
        sounds.append(SOUNDS[stem[i : i + size]])
        i += size
    if final_e:
        sounds = [sound + ":" if n == len(sounds) - 2 else sound for n, sound in enumerate(sounds)]
    return " ".join(sounds)


TINY: dict[str, Any] = {
    "source": {"tokens": "chars"},
    "target": {"tokens": "words"},
    "model": {
        "embedding": 16,
        "encoder": {"hidden": 16},
        "decoder": {"hidden": 32},
        "attention": "general",
        "dropout": 0.0,
    },
    "train": {
        "batch_size": 16,
        "epochs": 1000,
        "max_steps": 8,
        "validate_every": 4,
        "schedule": "constant",
        "learning_rate": 0.005,
        "unknown": 0.0,
    },
    "decode": {"beam": 2},
}


def tiny_config(folder: Path, **settings: Any) -> Config:
    """A configuration of a small G2P table in `folder`; settings are dotted keys with `__` for the dot."""
    import copy

    pairs = [(word, spoken(word)) for word in words(120, 5, "shcteoamn")]
    write_table(folder / "train.tsv", pairs[:100])
    write_table(folder / "valid.tsv", pairs[100:])
    tree = copy.deepcopy(TINY) | {"data": {"train": "train.tsv", "valid": "valid.tsv", "test": "valid.tsv"}}
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    return parse_config(tree, folder)


def trained(config: Config, out: Path) -> Any:
    """A model trained by this configuration and the schema's defaults: nothing is chosen from the data."""
    from antiphon.training.loop import train
    from antiphon.use.loading import load

    return load(train(config, out, threads=1))


def train_quietly(config: Path, out: Path, resume: bool) -> None:
    """Train in a process of its own, on one thread, saying nothing."""
    import os

    from antiphon.training.loop import train

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    train(read_config_file(config), out, resume=resume, threads=1)
