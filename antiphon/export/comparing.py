"""Graphs beside PyTorch: the largest difference over random sources of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from antiphon.common.symbols import BOS
from antiphon.data.load import side_names
from antiphon.export.graphs import Graphs, example_of
from antiphon.export.running import Session, Steps, Written, given_sources
from antiphon.export.series import difference_of
from antiphon.export.tracing import (
    AFTER,
    LOG_PROBS,
    VALUES,
    parts_of,
)
from antiphon.model.models import Aligner, Input, LanguageModel, Reader, Writer
from antiphon.model.series import SeriesWriter
from antiphon.model.state import State, Step
from antiphon.saved.folder import Bundle

SHAPES, MOST_ROWS, LONGEST, STEPS, CLOSE = 20, 7, 12, 3, 1e-4  # how graphs are compared with PyTorch


@torch.inference_mode()
def compare(loaded: Bundle, graphs: Graphs) -> float:
    """The largest difference between the graphs' answers and PyTorch's, relative to what is larger than 1.

    Random sources of several shapes are read; a writer is compared over several steps and several prefixes per source.
    """
    noise = np.random.default_rng(1)
    difference = _comparison(loaded, graphs)
    worst = 0.0
    for number in range(SHAPES):
        rows = 1 if number == 0 else int(noise.integers(1, MOST_ROWS + 1))
        lengths = noise.integers(1, 1 if number == 1 else LONGEST, rows, endpoint=True).tolist()
        worst = max(worst, difference(example_of(loaded, lengths, noise), noise))
    return worst


Difference = Callable[[Sequence[Input], np.random.Generator], float]


def _comparison(loaded: Bundle, graphs: Graphs) -> Difference:
    """The difference over given sources, for a kind of model."""
    model = loaded.model
    names = side_names(len(loaded.codecs.sources))[:-1]
    if isinstance(model, Writer):
        written = Written(graphs["encode"], graphs["step"], names)
        return lambda sources, noise: _stepped(model, written, model.start(sources), written.start(sources), noise)
    if isinstance(model, LanguageModel):
        steps = Steps(graphs["step"])

        def begun(sources: Sequence[Input], noise: np.random.Generator) -> float:
            state = State(model.begin(len(sources[0][0])))
            return _stepped(model, steps, state, state, noise)

        return begun
    if isinstance(model, SeriesWriter):
        return difference_of(loaded, graphs)
    assert isinstance(model, Reader)
    read = Session(graphs["read"])
    live = Session(graphs["step"]) if "step" in graphs else None

    def answered(sources: Sequence[Input], _: np.random.Generator) -> float:
        outputs = read.run(given_sources(names, sources))
        worst = _answers_apart(model, loaded.codecs.sources[0].ends, sources, outputs)
        return worst if live is None else max(worst, _live_apart(model, live, names[0], sources[0][0]))

    return answered


def _answers_apart(model: Reader, ends: int, sources: Sequence[Input], outputs: Mapping[str, Tensor]) -> float:
    if isinstance(model, Aligner):
        return _apart(model.head.log_probs(model(sources)), outputs[LOG_PROBS])
    features = model.features(sources)
    lengths = torch.ones(len(features)) if model.pooling is not None else sources[0][1] - ends
    positions = (torch.arange(features.shape[1]) < lengths[:, None]).flatten().nonzero().flatten()
    values = model.head.answer(features, positions)[1]
    return _apart(values, outputs[LOG_PROBS if LOG_PROBS in outputs else VALUES].flatten(0, 1)[positions])


def _live_apart(model: Reader, live: Session, name: str, values: Tensor) -> float:
    """Over all steps of a stream."""
    layers, worst = model.begin(len(values)), 0.0
    parts, _ = parts_of(State(layers))
    for step in values.unbind(1):
        features, layers = model.read_step(step, layers)
        answer = model.head.answer(features[:, None], torch.arange(len(features)))[1]
        outputs = live.run({name: step, **parts})
        worst = max(worst, _apart(answer, outputs[LOG_PROBS if LOG_PROBS in outputs else VALUES]))
        parts = {name: outputs[AFTER + name] for name in parts}
    return worst


def _stepped(
    model: Writer | LanguageModel, graphs: Steps, state: State, other: State, noise: np.random.Generator
) -> float:
    """Over several steps with the same random symbols."""
    width, worst = int(noise.integers(1, 4)), 0.0
    state, other = state.expand(width), other.expand(width)
    symbols = len(model.head.weight)
    for _ in range(STEPS):
        for left, right in zip(parts_of(state), parts_of(other), strict=True):
            worst = max([worst, *(_apart(value, right[name]) for name, value in left.items())])
        tokens = torch.from_numpy(noise.integers(BOS, symbols, state.rows))
        answers: list[Step[State]] = [model.step(tokens, state), graphs.step(tokens, other)]
        worst = max(worst, _apart(*(answer.log_probs for answer in answers)))
        if answers[0].attention is not None:
            worst = max(worst, _apart(*(answer.attention for answer in answers if answer.attention is not None)))
        rows = torch.from_numpy(noise.integers(0, width, state.rows)) + torch.arange(state.rows) // width * width
        state, other = (answer.state.reorder(rows) for answer in answers)
    return worst


def _apart(expected: Tensor, actual: Tensor) -> float:
    """The largest difference; infinite where one of both is and the other is not."""
    expected, actual = expected.double(), actual.double()
    finite = expected.isfinite()
    if expected.shape != actual.shape or not torch.equal(finite, actual.isfinite()):
        return float("inf")
    gaps = ((expected - actual).abs() / expected.abs().clamp(min=1))[finite]
    return float(gaps.max()) if len(gaps) else 0.0
