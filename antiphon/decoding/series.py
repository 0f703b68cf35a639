"""Series written step by step: the center of every step's distribution, or numbers drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from antiphon.common.options import Sample
from antiphon.common.series import Floats, noise, uniform
from antiphon.config.decode import Decode
from antiphon.data.batches import Padded, Sequences, pad
from antiphon.data.codecs.series import SeriesCodec
from antiphon.decoding.batches import batches_by_length, total_lengths
from antiphon.decoding.step import Limits
from antiphon.errors import ConfigError
from antiphon.model.series import SeriesWriter

MOST_PATHS = 10_000  # series drawn for an input


class Steps(NamedTuple):
    """What is written in some steps of R rows: the numbers [R, steps, numbers], and with a learned stop the probability
    of stopping after each step [R, steps] and the random numbers [R, steps] that decide it, if they are drawn."""

    values: Tensor
    stops: Tensor | None
    drawn: Tensor | None


def limits_of(codec: SeriesCodec, min_length: int, max_length: int | None) -> Limits:
    """The fewest and the most steps of a series."""
    if codec.horizon is not None:
        return Limits(max_length=codec.horizon, min_length=codec.horizon)
    assert max_length is not None, "filled in before training"
    return Limits(max_length=max_length, min_length=max(min_length, 1))


def check_decoding(model: SeriesWriter, decode: Decode) -> None:
    """Refuse to draw numbers where there is no distribution, and options that are for symbols."""
    sample = decode.sample
    for key, asked in (("sample", sample is not None), ("quantiles", bool(decode.quantiles))):
        if asked and not model.head.likelihood.draws:
            reason = "this model has no distribution of its numbers; train with target.likelihood: gaussian"
            raise ConfigError(f"decode.{key}", reason)
    if sample is None:
        return
    for name, changed in (("top_k", sample.top_k != 0), ("top_p", sample.top_p != 1)):
        if changed:
            raise ConfigError(f"decode.sample.{name}", "is for symbols, and this model writes numbers; leave it out")


def write_series(
    model: SeriesWriter,
    sources: Sequence[Sequences],
    limits: Limits,
    device: torch.device,
    sample: Sample | None = None,
    paths: int = 1,
    numbers: Sequence[int] | None = None,
) -> list[list[Floats]]:
    """The series [steps, numbers] of every row, scaled; of each so many `paths`, which differ if they are drawn.

    Without `sample` a step is the center of its distribution, and with a learned stop a series ends where its
    probability of having ended reaches 1/2. What a row draws depends on the seed, on its number in `numbers` (by
    default its place) and on the path, never on the rows beside it.
    """
    places = range(len(sources[0])) if numbers is None else numbers
    results: list[list[Floats]] = [[] for _ in range(len(sources[0]))]
    model.eval()
    for rows in batches_by_length(total_lengths(sources), paths):
        inputs = [pad(source, rows).to(device) for source in sources]
        random = None
        if sample is not None:
            drawn = [noise(sample.seed, places[row], path) for row in rows.tolist() for path in range(paths)]
            random = Noise(drawn, sample.temperature)
        written = _write_batch(model, inputs, limits, paths, random)
        for place, row in enumerate(rows.tolist()):
            results[row] = written[place * paths : (place + 1) * paths]
    return results


class Noise(NamedTuple):
    """The random numbers of each row's path, and how far what is drawn lies from the center."""

    generators: Sequence[np.random.Generator]
    temperature: float

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Random numbers [R, *shape] in the open interval (0, 1)."""
        return torch.from_numpy(uniform(self.generators, *shape)).to(like.device)


def step_quantiles(
    model: SeriesWriter, sources: Sequence[Sequences], limits: Limits, device: torch.device, levels: Sequence[float]
) -> list[Floats]:
    """The quantiles [levels, steps, numbers], scaled, of every row, for a decoder that reads positions."""
    results: list[Floats] = [np.empty((0, 0, 0), np.float32)] * len(sources[0])
    model.eval()
    for rows in batches_by_length(total_lengths(sources)):
        with torch.inference_mode():
            start = model.start([pad(source, rows).to(device) for source in sources])
            readout, _ = model.at_once(start.state, -(-limits.max_length // model.head.segment))
            parameters = model.head.parameters_of(readout)[:, : limits.max_length]
            values = model.head.likelihood.quantiles(parameters, levels).transpose(1, 2)
            if start.scaling is not None:
                shift, unit = start.scaling
                values = values * unit[:, None, None] + shift[:, None, None]
        for row, quantiles in zip(rows.tolist(), values, strict=True):
            results[row] = quantiles.cpu().numpy()
    return results


@torch.inference_mode()
def _write_batch(
    model: SeriesWriter, inputs: Sequence[Padded], limits: Limits, paths: int, noise: Noise | None
) -> list[Floats]:
    """The series of every path of every row."""
    start = model.start(inputs)
    segment = model.head.segment
    count = -(-limits.max_length // segment)
    if model.feeds:
        steps = _one_by_one(model, start.inputs.repeat_interleave(paths, 0), start.state.expand(paths), limits, noise)
    else:
        readout, _ = model.at_once(start.state, count)
        steps = _steps(model, readout.repeat_interleave(paths, 0), noise)
    values = steps.values
    if start.scaling is not None:
        scaling = type(start.scaling)(*(part.repeat_interleave(paths, 0) for part in start.scaling))
        values = scaling.back(values)
    lengths = torch.full(values.shape[:1], limits.max_length)
    if steps.stops is not None:
        lengths = ends_of(steps.stops, steps.drawn, limits)
    return [row[:length].cpu().numpy() for row, length in zip(values, lengths.tolist(), strict=True)]


def _one_by_one(model: SeriesWriter, inputs: Tensor, state: Any, limits: Limits, noise: Noise | None) -> Steps:
    """All steps of a decoder that reads what it has written, until every row has ended."""
    written: list[Steps] = []
    going: Tensor | None = None
    for number in range(-(-limits.max_length // model.head.segment)):
        features, state, _ = model.advance(inputs, state)
        written.append(_steps(model, features[:, None], noise))
        going = _going(written[-1], going, number * model.head.segment, limits)
        if going is not None and not going.any():
            break
        inputs = model.read(written[-1].values.flatten(1))
    return _joined(written)


def _steps(model: SeriesWriter, readout: Tensor, noise: Noise | None) -> Steps:
    """What features [R, K, features] say, K * segment steps of it."""
    head = model.head
    parameters, logits = head.parameters_of(readout), head.stop_logits(readout)
    stops = None if logits is None else torch.sigmoid(logits)
    if noise is None:
        return Steps(head.likelihood.center(parameters), stops, None)
    uniform = noise.uniform(parameters, parameters.shape[1], head.numbers, head.likelihood.draws)
    drawn = None if stops is None else noise.uniform(parameters, parameters.shape[1])
    return Steps(head.likelihood.draw(parameters, uniform, noise.temperature), stops, drawn)


def _going(part: Steps, before: Tensor | None, steps: int, limits: Limits) -> Tensor | None:
    """The probability [R] that a series has not ended after the steps before and those of `part`, or 1 and 0 where that
    is drawn; 0 if it is at most 1/2. None without a learned stop."""
    if part.stops is None:
        return None
    going = torch.ones_like(part.stops[:, 0]) if before is None else before
    going = going * _goes_on(part.stops, part.drawn, steps, limits).prod(1)
    return torch.where(going > 0.5, going, 0.0)


def _goes_on(stops: Tensor, drawn: Tensor | None, before: int, limits: Limits) -> Tensor:
    """The probability [R, steps] of not stopping after each step, or 1 and 0 where that is drawn."""
    allowed = torch.arange(before + 1, before + 1 + stops.shape[1], device=stops.device) >= limits.min_length
    return 1 - (stops if drawn is None else (drawn < stops).to(stops.dtype)) * allowed


def _joined(parts: Sequence[Steps]) -> Steps:
    values, stops, drawn = zip(*parts, strict=True)
    return Steps(torch.cat(values, 1), *(None if part[0] is None else torch.cat(part, 1) for part in (stops, drawn)))


def ends_of(stops: Tensor, drawn: Tensor | None, limits: Limits) -> Tensor:
    """The steps of each row [R]: up to the first after which it has ended, or all.

    `stops` [R, steps] are the probabilities of stopping after each step, `drawn` the random numbers that decide it;
    without these it has ended where that has a probability of 1/2.
    """
    ended = torch.cumprod(_goes_on(stops, drawn, 0, limits), 1) <= 0.5
    count = ended.shape[1]
    numbers = torch.arange(1, count + 1, device=ended.device)
    return torch.where(ended, numbers, count).amin(1).clamp(max=limits.max_length).cpu()
