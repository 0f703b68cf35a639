"""`antiphon bench`: how fast this machine multiplies, how fast two reference models train and decode on it, and how
their time is spent."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.autograd.profiler import profile
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from antiphon.config.load import read_config_file
from antiphon.data.batches import collate
from antiphon.devices import processor
from antiphon.files import write_text
from antiphon.saved.folder import Bundle
from antiphon.training.distributed import ALONE
from antiphon.training.plan import Update, total_steps, updates
from antiphon.training.prepare import Prepared, prepare
from antiphon.training.update import Learner, apply, batch_loss
from antiphon.use.predictor import Predictor

ROUNDS = 3  # measurements of every number, the precisions in turn; the median is reported
COUNTED = 16  # rows whose operations are counted
WRITTEN = 100  # inputs for the speed of decoding
PRECISIONS = ("float32", "bfloat16")
SEED = 1


@dataclass(frozen=True)
class Reference:
    """A model to measure with: its description, the function that makes its rows, its configuration without data."""

    about: str
    rows: Callable[[np.random.Generator], Iterator[tuple[str, str]]]
    config: str
    outputs: int  # symbols of every output when decoding is measured


def _zipf(random: np.random.Generator, symbols: list[str], count: int) -> list[str]:
    """Every symbol once, and more by Zipf's law, up to `count`, in random order."""
    weights = 1 / np.arange(1, len(symbols) + 1)
    drawn = random.choice(len(symbols), count - len(symbols), p=weights / weights.sum())
    return [symbols[i] for i in random.permutation(np.concatenate([np.arange(len(symbols)), drawn]))]


def _cut(symbols: list[str], lengths: np.ndarray[Any, Any]) -> list[list[str]]:
    ends = np.cumsum(lengths)
    return [symbols[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _sentences(random: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Rows with lengths and vocabularies like Multi30k's (5,921 and 7,859 words; 12 to 13 per sentence)."""
    lengths = [np.clip(random.normal(12.5, 3.8, 6_000).round().astype(int), 4, 36)]
    lengths.append(np.clip(lengths[0] + random.integers(-3, 3, 6_000), 3, 36))
    sides = []
    for letter, words, length in zip("st", (5_921, 7_859), lengths, strict=True):
        drawn = _zipf(random, [f"{letter}{number}" for number in range(words)], int(length.sum()))
        sides.append([" ".join(words) for words in _cut(drawn, length)])
    return zip(*sides, strict=True)


def _words(random: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Rows about as long as CMUdict's: 7.5 letters and a phoneme less on average, of 26 and 39."""
    letters, phonemes = [chr(ord("a") + i) for i in range(26)], [f"P{i}" for i in range(39)]
    lengths = [np.clip(random.normal(7.5, 2.2, 20_000).round().astype(int), 2, 20)]
    lengths.append(np.clip(lengths[0] - random.integers(0, 3, 20_000), 1, 20))
    sides = []
    for symbols, between, length in zip((letters, phonemes), ("", " "), lengths, strict=True):
        sides.append([between.join(word) for word in _cut(_zipf(random, symbols, int(length.sum())), length)])
    return zip(*sides, strict=True)


CONFIG = """
source: {{kind: text, column: 0, tokens: {source}}}
target: {{kind: text, column: 1, tokens: {target}}}
model:
  cell: lstm
  embedding: {embedding}
  encoder: {{hidden: 256, layers: 1, bidirectional: true}}
  context: {{from: projected_last, to: initial_state}}
  attention: general
  decoder: {{hidden: {decoder}, layers: 1}}
  dropout: 0.2
train: {{epochs: 1000, batch_size: 64, optimizer: adam, unknown: 0.0}}
"""
ABOUT = "a bidirectional LSTM of 256 per direction, general attention, an LSTM decoder of"
REFERENCES = {
    "sentences": Reference(
        f"translation of Multi30k's size: {ABOUT} 512, 5,921 and 7,859 words",
        _sentences,
        CONFIG.format(source="words", target="words", embedding=256, decoder=512),
        13,
    ),
    "letters": Reference(
        f"pronunciation of CMUdict's size: {ABOUT} 256, 26 letters and 39 phonemes",
        _words,
        CONFIG.format(source="chars", target='{split: " "}', embedding=128, decoder=256),
        7,
    ),
}


def prepared(reference: Reference) -> Prepared:
    """The model before its first update, and its rows."""
    with TemporaryDirectory() as folder:
        lines = [f"{source}\t{target}\n" for source, target in reference.rows(np.random.default_rng(SEED))]
        for name, part in (("train", lines), ("valid", lines[:WRITTEN])):
            write_text(Path(folder, f"{name}.tsv"), "".join(part))
        path = Path(folder, "reference.yaml")
        write_text(path, f"data: {{train: train.tsv, valid: valid.tsv}}\n{reference.config.lstrip()}")
        return prepare(read_config_file(path))


def matrix_rates(seconds: float) -> dict[str, float]:
    """Operations per second of the product of two matrices [2048, 1024] and [1024, 2048], by library and precision.

    The best of the rounds, as it is the limit of the machine.
    """
    left, right = torch.randn(2048, 1024), torch.randn(2048, 1024)
    mkldnn = [value.to_mkldnn() for value in (left, right)] if torch.backends.mkldnn.is_available() else None  # type: ignore[no-untyped-call]
    short = [value.bfloat16() for value in (left, right)]
    calls: dict[str, Callable[[], object]] = {
        "float32, torch.mm": lambda: torch.mm(left, right.T),
        "bfloat16, torch.mm": lambda: torch.mm(short[0], short[1].T),
    }
    if mkldnn is not None:
        calls["float32, oneDNN"] = lambda: functional.linear(mkldnn[0], mkldnn[1])
    rates = {
        name: [_rate(call, 2 * 2048 * 1024 * 2048, seconds / ROUNDS) for _ in range(ROUNDS)]
        for name, call in calls.items()
    }
    return {name: max(measured) for name, measured in sorted(rates.items(), reverse=True)}


def bandwidth(seconds: float) -> float:
    """Bytes read and written in a second when copying more than fits into a cache."""
    source = torch.zeros(1 << 26)
    target = torch.empty_like(source)
    return _rate(lambda: target.copy_(source), 2 * source.numel() * source.element_size(), seconds)


def _rate(call: Callable[[], object], work: float, seconds: float) -> float:
    call()
    began, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < seconds or not count:
        call()
        count += 1
    return work * count / taken


@contextmanager
def _without_fused_calls() -> Iterator[None]:
    """Within it, recurrent calls of torch consist of products that can be counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the switch also sets others, one of which gives a warning
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def operations_a_token(setup: Prepared) -> float:
    """Multiplications and additions in products, forward and backward, for a target token of rows without padding.

    They are counted, not estimated: row by row with torch's counter, without fused recurrent calls.
    """
    rows = range(min(COUNTED, len(setup.train)))
    with FlopCounterMode(display=False) as counter, _without_fused_calls():
        for row in rows:
            loss, _ = batch_loss(setup.model, collate(setup.train, [row]), 1.0, 0.0, "float32")
            loss.backward()  # type: ignore[no-untyped-call]
    setup.model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / int(setup.train.target.lengths[list(rows)].sum())


class Training:
    """A model in training on its rows."""

    def __init__(self, setup: Prepared, precision: str) -> None:
        settings = setup.config.train.model_copy(update={"precision": precision})
        self.setup = replace(setup, config=setup.config.model_copy(update={"train": settings}))
        self.learner = Learner.begin(self.setup, ALONE, total_steps(settings, setup.train))
        self.updates = updates(settings, setup.train, 0)

    def _tokens(self, update: Update) -> int:
        return sum(int(self.setup.train.target.lengths[rows].sum()) for rows in update.batches)

    def rate(self, seconds: float) -> float:
        """Target tokens per second."""
        began, seen = time.perf_counter(), 0
        while (taken := time.perf_counter() - began) < seconds or not seen:
            seen += self.update()
        return seen / taken

    def update(self) -> int:
        """One update; the number of its target tokens."""
        update = next(self.updates)
        apply(self.learner, update, 1.0, 1)
        return self._tokens(update)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "recurrent cells": ("rnn", "lstm", "gru"),
    "products": ("mm", "linear", "matmul", "einsum", "mkldnn"),
    "dropout": ("dropout", "bernoulli", "rand"),
    "optimizer and clipping": ("optimizer", "_foreach", "_fused", "clip", "norm"),
    "softmax and loss": ("softmax", "nll", "loss", "logsumexp"),
    "embeddings": ("embedding", "index"),
}


def shares(training: Training, count: int) -> dict[str, float]:
    """The share of each group of torch's operations in the time of updates, and of all else (with Python)."""
    with profile(use_kineto=False) as watched:
        began = time.perf_counter()
        for _ in range(count):
            training.update()
        whole = 1e6 * (time.perf_counter() - began)
    parts_of_time = dict.fromkeys(GROUPS, 0.0)
    for event in watched.key_averages():
        name = event.key.lower()
        group = next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), None)
        if group is not None:
            parts_of_time[group] += event.self_cpu_time_total / whole
    return {**parts_of_time, "all else": max(0.0, 1 - sum(parts_of_time.values()))}


def writing_rate(setup: Prepared, beam: int, outputs: int, seconds: float) -> float:
    """Decoded symbols per second, with outputs of the length `outputs`, of a model that is not trained."""
    model = Predictor(Bundle(setup.config, setup.codecs, setup.model.eval(), {}), Path(), torch.device("cpu"))
    inputs = [row.sources[0] for row in setup.valid_rows]
    lengths = {"decode.min_length": outputs, "decode.max_length": outputs}
    work = len(inputs) * outputs
    return _rate(lambda: model.predict(inputs, beam=beam, settings=lengths), work, seconds)


def run(show: Callable[[str], None], threads: int | None, seconds: float) -> dict[str, Any]:
    """Measure all, `seconds` for every number, and report it line by line; returns the same as values."""
    if threads:
        torch.set_num_threads(threads)
    show(f"{processor()}; {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    rates = matrix_rates(seconds)
    for name, rate in rates.items():
        show(f"products in {name}: {rate / 1e9:,.0f} GFLOP/s")
    copied = bandwidth(seconds)
    show(f"memory, copied: {copied / 1e9:,.1f} GB/s")
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "products": rates, "copied": copied}
    limits = {
        precision: max(rate for name, rate in rates.items() if name.startswith(precision)) for precision in PRECISIONS
    }
    for name, reference in REFERENCES.items():
        setup = prepared(reference)
        work, size = operations_a_token(setup), sum(p.numel() for p in setup.model.parameters())
        show(f"\n{name}: {reference.about}; {size:,} parameters, {work / 1e6:.1f} MFLOP a target token")
        results[name] = {"parameters": size, "operations_a_token": work}
        trainings = {precision: Training(setup, precision) for precision in PRECISIONS}
        speeds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for _ in range(1 + ROUNDS):
            for precision, training in trainings.items():
                speeds[precision].append(training.rate(seconds / ROUNDS))
        for precision, training in trainings.items():
            speed = statistics.median(speeds[precision][1:])  # the first round warms up
            share = speed * work / limits[precision]
            where = shares(training, 10)
            show(f"training in {precision}: {speed:,.0f} target tokens/s, {share:.0%} of the limit of its products")
            show("  of its time: " + ", ".join(f"{part} {value:.0%}" for part, value in where.items()))
            results[name][precision] = {"training": speed, "share_of_limit": share, "time": where}
        for beam, what in ((1, "greedy"), (5, "beam 5")):
            speed = writing_rate(setup, beam, reference.outputs, seconds)
            show(f"writing, {what}: {speed:,.0f} tokens/s")
            results[name][what] = speed
    return results
