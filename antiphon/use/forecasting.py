"""Forecasts with calibrated intervals, and long tables continued behind their last rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.common.answers import SeriesPrediction
from antiphon.common.calendar import written_alike
from antiphon.common.intervals import ENDS, Intervals
from antiphon.config.decode import Decode
from antiphon.config.files import InMemory
from antiphon.config.schema import Config
from antiphon.data.batches import Sequences
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.encode import encode_rows
from antiphon.data.load import Codecs, load_rows, sides_of
from antiphon.data.long_table import load_continued, sides_of_windows
from antiphon.data.problems import Problems
from antiphon.data.windows import Ahead, Windows
from antiphon.errors import DataError
from antiphon.evaluation.series import predict_series
from antiphon.evaluation.task import Task
from antiphon.evaluation.windows import intervals_at_end
from antiphon.model.series import SeriesWriter
from antiphon.use.loaded import Loaded


def series_predictions(
    loaded: Loaded, sources: Sequence[Sequences], decode: Decode, paths: int, numbers: Sequence[int]
) -> list[SeriesPrediction]:
    """The predictions of a model that writes series; if it is calibrated, with quantiles that hold: those that `decode`
    asks for, or the ends of intervals that cover 80% and 90%."""
    model, codec, intervals = loaded.model, loaded.codecs.target, loaded.intervals
    assert isinstance(model, SeriesWriter)
    assert isinstance(codec, SeriesCodec)
    if intervals is None or decode.sample is not None:
        return predict_series(model, codec, sources, decode, loaded.device, paths, numbers)
    levels = decode.quantiles or list(ENDS)
    asked = decode.model_copy(update={"quantiles": levels if intervals.around == "quantiles" else []})
    made = predict_series(model, codec, sources, asked, loaded.device, paths, numbers)
    return [replace(row, quantiles=intervals.of(levels, row.values, row.quantiles)) for row in made]


@dataclass(frozen=True)
class Forecast:
    """A group of a long table continued behind its last row: the line of that row, the times of the predicted rows
    (None without times), the names of the columns, and their prediction."""

    group: str | None
    line: int
    times: list[str] | None
    columns: list[str]
    prediction: SeriesPrediction

    @property
    def text(self) -> str:
        return self.prediction.text

    def to_json(self) -> dict[str, Any]:
        """As `predict --json` writes it."""
        group = {} if self.group is None else {"group": self.group}
        times = {} if self.times is None else {"times": self.times}
        return {**group, **times, "columns": self.columns, **self.prediction.to_json()}

    def records(self, time: str, group: str) -> Iterator[dict[str, Any]]:
        """The predicted rows as those of a table, whose first columns have these names; quantiles stand behind."""
        quantiles = self.prediction.quantiles or {}
        for step, values in enumerate(self.prediction.values):
            named = {} if self.group is None else {group: self.group}
            at = {} if self.times is None else {time: self.times[step]}
            cells = {name: _short(value) for name, value in zip(self.columns, values, strict=True)}
            for level, rows in quantiles.items():
                names = (f"{name}_{level:g}" for name in self.columns)
                cells |= dict(zip(names, map(_short, rows[step]), strict=True))
            yield at | named | cells


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")


def continued_inputs(table: str | InMemory, config: Config, codecs: Codecs) -> Iterator[tuple[Any, Ahead, list[Any]]]:
    """For each group of a long table what is read to continue it: as an input of `predict`, with its place, and the
    value of each source."""
    sides = sides_of_windows(config, codecs.all, sides_of(config, codecs))
    nothing = True
    for ahead in load_continued(config, [table], sides, Problems(config.data.on_error == "skip")):
        read = [value for value, codec in zip(ahead.sources, codecs.sources, strict=True) if codec.reads]
        yield read[0] if len(read) == 1 else tuple(read), ahead, read
        nothing = False
    if nothing:
        raise DataError(f"{table}: has no row with a number in the target's columns")


def last_intervals(loaded: Loaded, table: str | InMemory, groups: Sequence[Ahead]) -> list[Intervals | None]:
    """The intervals for the end of each group: those of the model, or if they roll, made anew from its last windows."""
    intervals = loaded.intervals
    if intervals is None or not intervals.recent:
        return [intervals] * len(groups)
    try:
        windows = load_rows(loaded.config, table, Problems(skip=True), loaded.codecs)
    except DataError:  # too few rows for a window whose reference is known
        return [intervals] * len(groups)
    rows, examples = encode_rows(loaded.config, loaded.codecs, windows)
    assert isinstance(rows, Windows)
    task = Task(loaded.model, loaded.config, loaded.codecs, rows, examples, loaded.device, intervals=intervals)
    tracks = {(track.file, track.group): number for number, track in enumerate(rows.tracks) if track.known}
    return [intervals_at_end(task, tracks[ahead.file, ahead.group]) for ahead in groups]


def forecast_of(ahead: Ahead, config: Config, prediction: SeriesPrediction) -> Forecast:
    """The forecast of a group."""
    times = None if ahead.times is None else written_alike(ahead.times)
    group = None if config.data.group is None else ahead.group
    place = config.target.place(0)
    columns = list(map(str, place)) if isinstance(place, tuple) else [str(place)]
    return Forecast(group, ahead.line, times, columns, prediction)
