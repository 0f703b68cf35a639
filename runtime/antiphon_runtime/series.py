"""Series written by graphs, as `antiphon.decoding.series` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.batches import each_row, padded_rows
from antiphon_runtime.codecs import Codec, Numbers
from antiphon_runtime.common.answers import SeriesPrediction
from antiphon_runtime.common.intervals import ENDS, Intervals
from antiphon_runtime.common.series import noise, path_quantiles, uniform
from antiphon_runtime.errors import OptionError
from antiphon_runtime.graph import Graph

Array = NDArray[Any]
Sources = Sequence[Sequence[Array]]
MOST_PATHS = 10_000  # series drawn for an input
EVEN = 0.5  # in place of a random number where nothing is drawn


class Written(NamedTuple):
    """The series of every path of an input, scaled, and the quantiles [Q, steps, numbers] if a graph gives them."""

    paths: list[Array]
    quantiles: Array | None = None


class Series:
    """The graphs of a model that writes series, and what the folder says of them."""

    def __init__(
        self,
        about: Mapping[str, Any],
        graphs: Mapping[str, Graph],
        state: Sequence[Mapping[str, Any]],
        target: Numbers,
        named: Callable[[Sequence[tuple[Array, Array]]], dict[str, Array]],
        threads: int,
        intervals: Intervals | None = None,
    ) -> None:
        self.intervals = intervals
        self.graphs, self.target, self.named, self.threads = graphs, target, named, threads
        self.numbers, self.segment, self.draws = (int(about[name]) for name in ("numbers", "segment", "draws"))
        self.shortest, self.longest = int(about["min_length"]), int(about["max_length"])
        self.sample: Mapping[str, Any] | None = about["sample"]
        self.levels, self.paths = [float(level) for level in about["quantiles"]], int(about["paths"])
        self.changing = {part["name"]: part["after"] for part in state if "after" in part} | {"inputs": "next_inputs"}

    def most(self, sample: Mapping[str, Any] | None) -> int:
        """How many series can be asked for."""
        return MOST_PATHS if sample is not None else 1

    def refuse(self, sample: Mapping[str, Any] | None) -> None:
        """Refuse to draw numbers where there is no distribution, and options that are for symbols."""
        if sample is None:
            return
        if not self.draws:
            raise OptionError("sample: this model has no distribution of its numbers")
        if sample["top_k"] != 0 or sample["top_p"] != 1:
            raise OptionError("sample: top_k and top_p are for symbols, and this model writes numbers")

    def predict(
        self, sources: Sources, sample: Mapping[str, Any] | None, paths: int, numbers: Sequence[int]
    ) -> list[SeriesPrediction]:
        """The series of every row, in the unit of the data; so many `paths` of each if they are drawn."""
        written = self._write(sources, sample, paths, numbers)
        drawn: Sequence[Written | None] = [None] * len(written)
        if self.levels and self.draws and "write" not in self.graphs:
            seed = 1 if sample is None else sample["seed"]
            drawn = self._write(sources, {"seed": seed, "temperature": 1.0}, self.paths, numbers)
        restored, predictions = self.target.restored, []
        for row, other in zip(written, drawn, strict=True):
            levels: Mapping[float, Array] = {}
            if other is not None:
                levels = path_quantiles(other.paths, self.levels, row.paths[0])
            elif row.quantiles is not None:
                levels = dict(zip(self.levels, row.quantiles, strict=True))
            series = [restored(path) for path in row.paths]
            quantiles = {level: restored(values) for level, values in levels.items()}
            if self.intervals is not None and sample is None:
                quantiles = self._calibrated(self.intervals, series[0], quantiles)
            predictions.append(SeriesPrediction(series[0], quantiles or None, None if sample is None else series))
        return predictions

    def _calibrated(self, intervals: Intervals, points: Array, quantiles: Mapping[float, Array]) -> dict[float, Array]:
        try:
            return intervals.of(self.levels or ENDS, points, quantiles)
        except ValueError as error:  # what an earlier release exported was not checked
            reason = f"{error}; export the model again with --set 'decode.quantiles=[]'"
            raise OptionError(f"decode.quantiles: {reason}") from None

    def _write(
        self, sources: Sources, sample: Mapping[str, Any] | None, paths: int, numbers: Sequence[int]
    ) -> list[Written]:
        work = self._at_once if "write" in self.graphs else self._step_by_step

        def write(rows: Array) -> list[Written]:
            padded = [padded_rows([source[row] for row in rows]) for source in sources]
            generators = None
            if sample is not None:
                places = [(numbers[row], path) for row in rows for path in range(paths)]
                generators = [noise(sample["seed"], *place) for place in places]
            temperature = np.asarray(1.0 if sample is None else sample["temperature"], np.float32)
            return work(padded, generators, temperature, paths)

        return each_row(write, sources, paths, self.threads)

    def _noise(self, generators: Any, rows: int, steps: int, temperature: Array) -> dict[str, Array]:
        """The inputs of a graph by which it draws."""
        shape = (steps, self.numbers, self.draws)
        if not self.draws:
            return {}
        drawn = np.full((rows, *shape), EVEN, np.float32) if generators is None else uniform(generators, *shape)
        return {"uniform": drawn, "temperature": temperature}

    def _at_once(self, padded: Any, generators: Any, temperature: Array, paths: int) -> list[Written]:
        named = self.named([(values.repeat(paths, 0), lengths.repeat(paths)) for values, lengths in padded])
        rows = len(padded[0][1]) * paths
        steps = -(-self.longest // self.segment) * self.segment
        random = self._noise(generators, rows, steps, temperature)
        if random:
            random["uniform"] = random["uniform"][:, : self.longest]
        outputs = self.graphs["write"].run({**named, **random})
        values, quantiles = outputs["values" if generators is None else "drawn"], outputs.get("quantiles")
        return [
            Written(list(values[row : row + paths]), None if quantiles is None else quantiles[row])
            for row in range(0, rows, paths)
        ]

    def _step_by_step(self, padded: Any, generators: Any, temperature: Array, paths: int) -> list[Written]:
        parts = {name: value.repeat(paths, 0) for name, value in self.graphs["encode"].run(self.named(padded)).items()}
        rows, step = len(parts["inputs"]), self.graphs["step"]
        shift, unit = parts.pop("shift", None), parts.pop("unit", None)
        values: list[Array] = []
        lengths, going = np.zeros(rows, np.int64), np.ones(rows, np.float32)
        while len(values) * self.segment < self.longest and going.any():
            outputs = step.run({**parts, **self._noise(generators, rows, self.segment, temperature)})
            values.append(outputs["values" if generators is None else "drawn"])
            if "stops" in outputs:
                drawn = None if generators is None else uniform(generators, self.segment)
                going = self._stopped(outputs["stops"], drawn, going, lengths)
            else:
                lengths += self.segment
            after = dict(self.changing)
            if generators is not None:
                after["inputs"] = "next_drawn"
            parts |= {name: outputs[output] for name, output in after.items()}
        series = np.concatenate(values, 1)
        if shift is not None and unit is not None:
            series = series * unit[:, None] + shift[:, None]
        ends = np.minimum(lengths, self.longest)
        written = [row[:end] for row, end in zip(series, ends.tolist(), strict=True)]
        return [Written(written[row : row + paths]) for row in range(0, rows, paths)]

    def _stopped(self, stops: Array, drawn: Array | None, going: Array, lengths: Array) -> Array:
        """The probability [rows] that series go on after a segment, 0 if they have ended; `lengths` grows by the steps
        before that."""
        for place in range(self.segment):
            lengths += going > 0
            stop = stops[:, place] if drawn is None else (drawn[:, place] < stops[:, place]).astype(np.float32)
            allowed = lengths >= self.shortest
            going = going * (1 - stop * allowed)
            going = np.where(going > 0.5, going, 0).astype(np.float32)
        return going


def series_of(
    manifest: Mapping[str, Any],
    graphs: Mapping[str, Graph],
    target: Codec,
    named: Callable[[Sequence[tuple[Array, Array]]], dict[str, Array]],
    threads: int,
    intervals: Intervals | None,
) -> Series | None:
    """The graphs of a model that writes series; None for others."""
    if "series" not in manifest:
        return None
    assert isinstance(target, Numbers)
    return Series(manifest["series"], graphs, manifest["state"], target, named, threads, intervals)
