"""A model that writes series as ONNX graphs.

One that reads what it has written is two: `encode` makes the first input of the decoder and its first state (and the
scale of each row, if it has its own), `step` takes both, and gives a segment and what comes next. One that reads
positions is one, `write`. Where numbers can be drawn a graph also takes uniform random numbers and the temperature, and
gives what is drawn beside the center.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antiphon.data.batches import Examples, pad
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.load import side_names
from antiphon.decoding.batches import batches_by_length
from antiphon.decoding.series import ends_of, limits_of
from antiphon.export.running import ENCODE, STEP, WRITE, Session, given_sources
from antiphon.export.tracing import (
    AFTER,
    ATTENDED,
    MEMORY,
    VALUES,
    Graph,
    apart,
    dim,
    dims_of,
    parts_of,
    plain,
    source_inputs,
    state_of,
    traceable,
    traced,
)
from antiphon.metrics import mse
from antiphon.model.models import Input
from antiphon.model.parts.heads.series import Scaling
from antiphon.model.series import SeriesWriter
from antiphon.saved.folder import Bundle

INPUTS, UNIFORM, TEMPERATURE, DRAWN, STOPS = "inputs", "uniform", "temperature", "drawn", "stops"
SHIFT, UNIT, QUANTILES = "shift", "unit", "quantiles"
Graphs = dict[str, Graph]


class _Encode(nn.Module):
    """Sources -> the decoder's first input, the parts of its first state, and the scale of each row if it has one."""

    def __init__(self, model: SeriesWriter) -> None:
        super().__init__()
        self.model = model

    def forward(self, sources: Sequence[Input]) -> list[Tensor]:
        start = self.model.start(sources)
        changing, fixed = parts_of(start.state)
        scaling = [] if start.scaling is None else list(start.scaling)
        return [value.clone() for value in (start.inputs, *changing.values(), *fixed.values(), *scaling)]


class _Step(nn.Module):
    """The input [R, inputs] and the state of R series -> a segment [R, segment, numbers], the probabilities of stopping
    after each of its steps [R, segment] where that is learned, the next input, the state after."""

    def __init__(self, model: SeriesWriter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: Tensor, changing: dict[str, Tensor], fixed: dict[str, Tensor], noise: list[Tensor]
    ) -> list[Tensor]:
        model, head = self.model, self.model.head
        features, after, _ = model.advance(inputs, state_of(changing, fixed))
        parameters = head.parameters_of(features[:, None])
        values = [head.likelihood.center(parameters)]
        if noise:
            values.append(head.likelihood.draw(parameters, noise[0], noise[1]))
        logits = head.stop_logits(features[:, None])
        stops = [] if logits is None else [torch.sigmoid(logits)]
        following = [model.read(written.flatten(1)) for written in values]
        return [*values, *stops, *following, *parts_of(after)[0].values()]


class _Write(nn.Module):
    """Sources -> all steps [B, T, numbers] of a model that reads positions, in the scale of the rows' own numbers, and
    the quantiles [B, Q, T, numbers] at some levels."""

    def __init__(self, model: SeriesWriter, horizon: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.model, self.horizon, self.levels = model, horizon, list(levels)

    def forward(self, sources: Sequence[Input], noise: list[Tensor]) -> list[Tensor]:
        head, horizon = self.model.head, self.horizon
        start = self.model.start(sources)
        readout, _ = self.model.at_once(start.state, -(-horizon // head.segment))
        parameters = head.parameters_of(readout)[:, :horizon]
        values = [head.likelihood.center(parameters)]
        if noise:
            values.append(head.likelihood.draw(parameters, noise[0], noise[1]))
        scaling = start.scaling
        if scaling is not None:
            values = [scaling.back(series) for series in values]
        if self.levels:
            quantiles = head.likelihood.quantiles(parameters, self.levels).transpose(1, 2)
            if scaling is not None:
                quantiles = quantiles * scaling.unit[:, None, None] + scaling.shift[:, None, None]
            values.append(quantiles)
        return values


def series_graphs(loaded: Bundle, example: Sequence[Input]) -> Graphs:
    """The graphs of a model that writes series."""
    model, codec = loaded.model, loaded.codecs.target
    assert isinstance(model, SeriesWriter)
    assert isinstance(codec, SeriesCodec)
    names = side_names(len(loaded.codecs.sources))[:-1]
    copied, rows = traceable(model), len(example[0][0])
    draws = model.head.likelihood.draws
    if not model.feeds:
        assert codec.horizon is not None
        levels = _levels(loaded)
        module = _Write(copied, codec.horizon, levels)
        noise, noise_dims = _noise(model, rows, codec.horizon, "sources")
        outputs = [VALUES, *([DRAWN] if draws else []), *([QUANTILES] if levels else [])]
        inputs = [*source_inputs(names), *([UNIFORM, TEMPERATURE] if draws else [])]
        return {WRITE: traced(module, (*plain(example), noise), (*dims_of(example), noise_dims), inputs, outputs)}
    with torch.no_grad():
        start = model.start(example)
    changing, fixed = map(apart, parts_of(start.state))
    scale = [] if start.scaling is None else [SHIFT, UNIT]
    outputs = [INPUTS, *changing, *fixed, *scale]
    encode = traced(_Encode(copied), plain(example), dims_of(example), source_inputs(names), outputs)
    return {ENCODE: encode, STEP: _step_graph(model, start.inputs, changing, fixed)}


def _levels(loaded: Bundle) -> list[float]:
    """The levels of the quantiles that a graph gives; without a distribution they are those of the intervals alone."""
    model = loaded.model
    assert isinstance(model, SeriesWriter)
    return loaded.config.decode.quantiles if model.head.likelihood.draws else []


def _step_graph(model: SeriesWriter, first: Tensor, changing: dict[str, Tensor], fixed: dict[str, Tensor]) -> Graph:
    rows, steps = dim("prefixes"), dim("memory")

    def free(parts: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
        long = {name for name in (ATTENDED, *MEMORY) if name in parts and parts[name].shape[1] > 1}
        return {name: {0: rows, 1: steps} if name in long else {0: rows} for name in parts}

    noise, noise_dims = _noise(model, len(first), model.head.segment, "prefixes")
    drawn = [DRAWN] if noise else []
    inputs = [INPUTS, *changing, *fixed, *([UNIFORM, TEMPERATURE] if noise else [])]
    outputs = [VALUES, *drawn, *([STOPS] if model.head.stop is not None else []), AFTER + INPUTS]
    outputs += [*(f"{AFTER}{name}" for name in drawn), *(AFTER + name for name in changing)]
    dims = {0: rows}, free(changing), free(fixed), noise_dims
    return traced(_Step(traceable(model)), (first.clone(), changing, fixed, noise), dims, inputs, outputs)


def _noise(model: SeriesWriter, rows: int, steps: int, name: str = "rows") -> tuple[list[Tensor], list[Any]]:
    """Examples of random numbers for so many steps and of a temperature, and what may vary; none if none is drawn."""
    draws = model.head.likelihood.draws
    if not draws:
        return [], []
    return [torch.full((rows, steps, model.head.numbers, draws), 0.3), torch.tensor(1.0)], [{0: dim(name)}, {}]


def manifest_of(loaded: Bundle) -> dict[str, Any]:
    """What a program must know to write series with the graphs."""
    model, codec, decode = loaded.model, loaded.codecs.target, loaded.config.decode
    assert isinstance(model, SeriesWriter)
    assert isinstance(codec, SeriesCodec)
    limits = limits_of(codec, decode.min_length, decode.max_length)
    sample = None if decode.sample is None else decode.sample.model_dump()
    return {
        "numbers": codec.size,
        "segment": codec.segment,
        "draws": model.head.likelihood.draws,
        "min_length": limits.min_length,
        "max_length": limits.max_length,
        "sample": sample,
        "quantiles": decode.quantiles,
        "paths": decode.paths,
    }


# --- the graphs beside PyTorch ------------------------------------------------------------------------


def difference_of(loaded: Bundle, graphs: Graphs) -> Callable[[Sequence[Input], np.random.Generator], float]:
    """The largest difference between graphs and model over given sources, with the same random numbers."""
    model, codec = loaded.model, loaded.codecs.target
    assert isinstance(model, SeriesWriter)
    assert isinstance(codec, SeriesCodec)
    names = side_names(len(loaded.codecs.sources))[:-1]
    sessions = {name: Session(graph) for name, graph in graphs.items()}

    def difference(sources: Sequence[Input], random: np.random.Generator) -> float:
        rows, worst = len(sources[0][0]), 0.0
        steps = model.head.segment if model.feeds else codec.horizon or 0
        noise, _ = _noise(model, rows, steps)
        noise = [torch.from_numpy(_uniform(random, noise[0].shape)), *noise[1:]] if noise else []
        drawn = dict(zip((UNIFORM, TEMPERATURE), noise, strict=False))
        given = given_sources(names, sources)
        if not model.feeds:
            expected = _Write(model, steps, _levels(loaded))(sources, noise)
            outputs = sessions[WRITE].run({**given, **drawn})
            return max(_apart(left, right) for left, right in zip(expected, outputs.values(), strict=True))
        expected = _Encode(model)(sources)
        outputs = sessions[ENCODE].run(given)
        worst = max(_apart(left, right) for left, right in zip(expected, outputs.values(), strict=True))
        start = model.start(sources)
        inputs, (changing, fixed) = start.inputs, parts_of(start.state)
        for _ in range(3):
            expected = _Step(model)(inputs, changing, fixed, noise)
            outputs = sessions[STEP].run({INPUTS: inputs, **changing, **fixed, **drawn})
            worst = max([worst, *(_apart(left, right) for left, right in zip(expected, outputs.values(), strict=True))])
            inputs = outputs[AFTER + INPUTS]
            changing = {name: outputs[AFTER + name] for name in changing}
        return worst

    return difference


def _uniform(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return (random.random(shape) * 0.98 + 0.01).astype(np.float32)


def _apart(expected: Tensor, actual: Tensor) -> float:
    if expected.dim() > 1 and actual.shape[1] == expected.shape[1] + 1:  # a segment of padding
        actual = actual[:, :-1]
    expected, actual = expected.double(), actual.double()
    if expected.shape != actual.shape or not bool(actual.isfinite().all()):
        return float("inf")
    return float(((expected - actual).abs() / expected.abs().clamp(min=1)).max()) if expected.numel() else 0.0


@torch.inference_mode()
def error_of(loaded: Bundle, graphs: Graphs, examples: Examples) -> float:
    """The squared error, in the unit of the data, of what graphs write, over the steps that the references have too."""
    model, codec, decode = loaded.model, loaded.codecs.target, loaded.config.decode
    assert isinstance(model, SeriesWriter)
    assert isinstance(codec, SeriesCodec)
    names = side_names(len(loaded.codecs.sources))[:-1]
    sessions = {name: Session(graph) for name, graph in graphs.items()}
    limits = limits_of(codec, decode.min_length, decode.max_length)
    predicted: list[Any] = []
    expected: list[Any] = []
    for rows in batches_by_length(examples.source_lengths):
        given = given_sources(names, [pad(source, rows) for source in examples.sources])
        drawn = dict(zip((UNIFORM, TEMPERATURE), _noise(model, len(rows), model.head.segment)[0], strict=False))
        if not model.feeds:
            steps = codec.horizon or 0
            drawn = dict(zip((UNIFORM, TEMPERATURE), _noise(model, len(rows), steps)[0], strict=False))
            values = sessions[WRITE].run({**given, **drawn})[VALUES]
            lengths = torch.full((len(rows),), steps)
        else:
            values, lengths = _written(sessions, given, drawn, limits)
        for row, series, length in zip(rows.tolist(), values, lengths.tolist(), strict=True):
            reference = examples.target[row]
            both = min(length, len(reference))
            predicted.append(codec.restored(series[:both].numpy()))
            expected.append(codec.restored(reference[:both]))
    return mse(np.concatenate(predicted), np.concatenate(expected))


def _written(
    sessions: Mapping[str, Session], given: Mapping[str, Tensor], drawn: Mapping[str, Tensor], limits: Any
) -> tuple[Tensor, Tensor]:
    """The centers [R, steps, numbers] that graphs write, and where each row ends."""
    parts = sessions[ENCODE].run(given)
    shift, unit = parts.pop(SHIFT, None), parts.pop(UNIT, None)
    values: list[Tensor] = []
    stops: list[Tensor] = []
    while sum(part.shape[1] for part in values) < limits.max_length:
        outputs = sessions[STEP].run({**parts, **drawn})
        values.append(outputs[VALUES])
        stops += [outputs[STOPS]] if STOPS in outputs else []
        parts |= {name: outputs[AFTER + name] for name in parts if AFTER + name in outputs}
    series = torch.cat(values, 1)
    if shift is not None and unit is not None:
        series = Scaling(shift, unit).back(series)
    lengths = torch.full(series.shape[:1], limits.max_length)
    return series, ends_of(torch.cat(stops, 1), None, limits) if stops else lengths
