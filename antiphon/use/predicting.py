"""The answers to inputs, in order: as a stream in bounded memory, or all of a list with errors in their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from antiphon.common.answers import Prediction
from antiphon.common.intervals import Intervals
from antiphon.data.batches import EncodedInput, Sequences
from antiphon.data.windows import Ahead
from antiphon.errors import AntiphonError, ConfigError
from antiphon.evaluation.answering import answered, empty
from antiphon.evaluation.scores import read_sources
from antiphon.model.models import Reader
from antiphon.model.series import SeriesWriter
from antiphon.use.encoding import Entry, encode
from antiphon.use.forecasting import series_predictions
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options, Request, prefixes_of, request_of
from antiphon.use.texts import Where, counting, search_texts

WINDOW = 4096  # inputs held at once while streaming


def stream(
    loaded: Loaded,
    inputs: Iterable[Any],
    options: Options,
    prefix: str | Iterable[str] | None = None,
    window: int = WINDOW,
    origin: str | Callable[[int], str] = "input ",
) -> Iterator[Prediction]:
    """The answers to `inputs` one by one; see `Predictor.stream`."""
    if isinstance(inputs, str):
        raise TypeError("inputs must be a list of texts; for one text give [text]")
    request = request_of(loaded, options)
    where = origin if callable(origin) else (lambda number: f"{origin}{number}")
    encoded = _encoded(loaded, inputs, where, prefixes_of(loaded, prefix, request.decode), request.draws)
    failed: AntiphonError | None = None
    count = 0
    while failed is None:
        entries: list[Entry] = []
        try:
            entries.extend(islice(encoded, window))
        except AntiphonError as error:  # what came before the bad input is still answered
            failed = error
        if not entries and failed is None:
            return
        numbers = range(count, count + len(entries))
        for answer in _answers_of(loaded, entries, request, numbers, where):
            if isinstance(answer, AntiphonError):
                raise answer
            yield answer
        count += len(entries)
    raise failed


def answers(
    loaded: Loaded,
    inputs: Sequence[Any],
    options: Options,
    prefixes: Sequence[str | None] | None = None,
    numbers: Sequence[int] | None = None,
    where: Sequence[str] | None = None,
) -> list[Prediction | AntiphonError]:
    """The answer to each of `inputs`, or its error; see `Predictor.answers`. Errors name an input as `where` does."""

    def name(number: int) -> str:
        return f"input {number}" if where is None else where[number - 1]

    request = request_of(loaded, options)
    entries: list[Entry] = []
    for place, value in enumerate(inputs):
        try:
            prefix = next(prefixes_of(loaded, None if prefixes is None else prefixes[place], request.decode))
            entries.append(encode(loaded, value, name(place + 1), prefix, loaded.exceptions, request.draws))
        except AntiphonError as error:
            entries.append(error)
    places = range(len(entries)) if numbers is None else numbers
    return list(_answers_of(loaded, entries, request, places, name))


def predictions_ahead(
    loaded: Loaded,
    inputs: Sequence[Any],
    places: Sequence[Ahead],
    intervals: Sequence[Intervals | None],
    options: Options,
) -> list[Prediction]:
    """What a model forecasts behind the last row of each group, each with its own intervals: as `stream` answers these
    inputs, so that what is drawn for a group depends on its number."""
    alike: dict[int, list[int]] = {}  # the groups with the same intervals are read together
    for number, held in enumerate(intervals):
        alike.setdefault(id(held), []).append(number)
    made: dict[int, Prediction] = {}
    for numbers in alike.values():
        part = replace(loaded, intervals=intervals[numbers[0]])
        rows = answers(
            part,
            [inputs[number] for number in numbers],
            options,
            numbers=numbers,
            where=[f"{places[number].file}:{places[number].line}" for number in numbers],
        )
        for number, row in zip(numbers, rows, strict=True):
            if isinstance(row, AntiphonError):
                raise row
            made[number] = row
    return [made[number] for number in range(len(inputs))]


def _encoded(
    loaded: Loaded, inputs: Iterable[Any], where: Where, prefixes: Iterator[Sequence[int]], draws: bool
) -> Iterator[EncodedInput | Prediction | None]:
    """Inputs as the model reads them, in order; those with a known answer as that."""
    for number, value in enumerate(inputs, 1):
        prefix = next(prefixes, None)
        if prefix is None:
            raise ConfigError("prefix", f"is missing for {where(number)}; give one for each input, if only ''")
        yield encode(loaded, value, where(number), prefix, loaded.exceptions, draws)


def _answers_of(
    loaded: Loaded, entries: Sequence[Entry], request: Request, numbers: Sequence[int], where: Where
) -> Iterator[Prediction | AntiphonError]:
    """The answer to every entry in its place: of those that the model reads its own, all at once."""
    codecs, inputs = loaded.codecs, [entry for entry in entries if isinstance(entry, EncodedInput)]
    columns = zip(*(entry.arrays for entry in inputs), strict=True) if inputs else [()] * len(codecs.sources)
    sources = [Sequences(column) for column in columns]
    predictions: Iterator[Prediction | AntiphonError]
    read = [number for number, entry in zip(numbers, entries, strict=True) if isinstance(entry, EncodedInput)]
    if request.search is not None:
        predictions = search_texts(loaded, inputs, sources, request, read, where)
    elif isinstance(loaded.model, SeriesWriter):
        predictions = iter(series_predictions(loaded, sources, request.decode, request.n_best, read))
    else:
        assert isinstance(loaded.model, Reader)
        results = read_sources(loaded.model, sources, codecs.sources[0].ends, loaded.device)
        predictions = (answered(codecs.target, result, loaded.calibration) for result in results)
    for entry in entries:
        if isinstance(entry, EncodedInput):
            yield counting(next(predictions), entry.unknown)
        else:
            yield entry or empty(codecs.target)
