"""What recipes are compared with that needs no training of ours: the most frequent label, single frames, near pictures.

python studies/controls.py      then writes docs/results/controls.jsonl
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from grid import ROOT
from numpy.typing import NDArray
from recipes import CONTROLS, RECIPES, Control, folder_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import antiphon
from antiphon.config.load import read_config_file
from antiphon.data.codecs.images import ImageCodec
from antiphon.data.load import load_rows
from antiphon.data.rows import Row
from antiphon.metrics import accuracy, corpus_scores, macro_f1

Rows = tuple[Sequence[Row], Sequence[Row]]  # to learn from, and of the test


def tables(name: str, data_set: str = "") -> Rows:
    """A recipe's training and test rows."""
    if RECIPES[name].variable:
        os.environ[RECIPES[name].variable] = data_set
    config = read_config_file(ROOT / "configs" / f"{name}.yaml")
    assert config.data.test is not None
    return load_rows(config, config.data.train), load_rows(config, config.data.test)


def majority(name: str) -> Control:
    """The most frequent label of the training rows, for everything; the mean over the recipe's data sets."""
    scores = []
    for data_set in RECIPES[name].data_sets:
        train, test = tables(name, data_set)
        (label, _), *_ = Counter(label for row in train for label in _labels(row)).most_common()
        expected = [label for row in test for label in _labels(row)]
        predicted = [label] * len(expected)
        scores.append({"accuracy": accuracy(predicted, expected), "macro_f1": macro_f1(predicted, expected)})
    return Control(name, "the most frequent label", _means(scores, RECIPES[name].metrics))


def single_frames(name: str) -> Control:
    """Logistic regression on every frame alone; the mean over the recipe's data sets."""
    scores = []
    for data_set in RECIPES[name].data_sets:
        train, test = tables(name, data_set)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(np.concatenate([row.sources[0] for row in train]), [label for row in train for label in _labels(row)])
        predicted = model.predict(np.concatenate([row.sources[0] for row in test])).tolist()
        scores.append({"macro_f1": macro_f1(predicted, [label for row in test for label in _labels(row)])})
    return Control(name, "logistic regression on single frames", _means(scores, ["macro_f1"]))


def nearest_picture(name: str) -> Control:
    """The text of the training picture whose pixels are nearest (of several its first)."""
    train, test = tables(name)
    references: dict[bytes, list[str]] = {}
    pictures: dict[bytes, NDArray[np.float64]] = {}
    for row in test:
        pictures[_key(row)] = _pixels(row)
        references.setdefault(_key(row), []).append(str(row.target))
    known = np.stack([_pixels(row) for row in train])
    squares = (known**2).sum(1)
    predicted = [str(train[int((squares - 2 * known @ picture).argmin())].target) for picture in pictures.values()]
    scores, _ = corpus_scores(predicted, list(references.values()), "13a")
    metrics = {"chrf": scores["chrf"]} if name == "captions-emoji" else {"bleu": scores["bleu"]}
    return Control(name, "the text of the nearest training picture", metrics)


def shuffled_images(seed: int = 1, draws: int = 10_000) -> Iterator[Control]:
    """How much the photographs help: the recipe's test perplexity over that of its control, and the probability, by a
    paired bootstrap over the photographs (Koehn 2004), that it is not lower; where both have been trained."""
    name = "captions-flickr8k"
    folders = [folder_of(item, "", seed) for item in (name, f"{name}, trained on shuffled images")]
    if not all((folder / "weights.safetensors").exists() for folder in folders):
        return
    _, test = tables(name)
    models = [antiphon.load(folder) for folder in folders]
    photographs, place = np.unique([_key(row) for row in test], return_inverse=True)
    nats = [np.bincount(place, -np.asarray(model.score(test))) for model in models]
    codec = models[0].codecs.target
    tokens = np.bincount(place, [len(codec.encode(row.target)) + 1 for row in test])
    drawn = np.random.default_rng(seed).integers(len(photographs), size=(draws, len(photographs)))
    ours, others = (np.exp(total[drawn].sum(1) / tokens[drawn].sum(1)) for total in nats)
    ratio = np.exp((nats[0].sum() - nats[1].sum()) / tokens.sum())
    scores = {"perplexity_ratio": float(ratio), "p": float((ours >= others).mean())}
    yield Control(name, "paired bootstrap against shuffled images", scores)


def _labels(row: Row) -> Sequence[str]:
    return [row.target] if isinstance(row.target, str) else row.target


def _key(row: Row) -> bytes:
    key: bytes = np.asarray(row.sources[0]).tobytes()
    return key


def _pixels(row: Row, side: int = 64) -> NDArray[np.float64]:
    return ImageCodec("source", side, color=True).encode(row.sources[0]).astype(np.float64).ravel() / 255


def _means(scores: Sequence[dict[str, float]], metrics: Sequence[str]) -> dict[str, float]:
    return {metric: float(np.mean([item[metric] for item in scores])) for metric in metrics}


def main() -> None:
    """All controls, in the order of the recipes."""
    frames = ("video-facial", "video-gesture")
    labelled = ("images-mnist", "sentiment-imdb", "sentiment-sst2", "sentiment-zh", "tagging-ud-ewt", *frames)
    controls = [
        *map(majority, labelled),
        *map(single_frames, frames),
        *map(nearest_picture, ("captions-emoji", "captions-flickr8k")),
        *shuffled_images(),
    ]
    CONTROLS.write_text("".join(json.dumps(asdict(item)) + "\n" for item in controls), encoding="utf-8")


if __name__ == "__main__":
    main()
