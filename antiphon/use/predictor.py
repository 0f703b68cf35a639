"""A trained model in use: predict, score, evaluate, save. What the command line does, a program does here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic

import torch
from typing_extensions import TypeVar

from antiphon.common.answers import Prediction
from antiphon.common.calibration import Calibration
from antiphon.common.intervals import Intervals
from antiphon.config.files import Files, InMemory
from antiphon.config.schema import Config
from antiphon.data.load import copying_of
from antiphon.data.memory import files_or_rows
from antiphon.data.rows import Row
from antiphon.devices import pick_device
from antiphon.errors import AntiphonError, DataError, ModelFolderError
from antiphon.evaluation.influences import Sums
from antiphon.evaluation.measure import confusion, row_sums
from antiphon.files import user_path
from antiphon.inspection.trace import Trace
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Model
from antiphon.saved import known_answers as exceptions
from antiphon.saved.calibration import Report
from antiphon.saved.folder import Bundle
from antiphon.saved.intervals import IntervalReport
from antiphon.use import (
    chat,
    choosing,
    describing,
    doubting,
    explaining,
    keeping,
    live,
    measuring,
    predicting,
    scores,
    tagging,
    texts,
)
from antiphon.use.choosing import Chosen
from antiphon.use.doubting import Doubt
from antiphon.use.forecasting import Forecast, continued_inputs, forecast_of, last_intervals
from antiphon.use.inputs import Input, cells_of, inputs_of, lines_of, read_file, source_names
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options, Settings, most_outputs
from antiphon.use.predicting import WINDOW
from antiphon.use.scores import Data

if TYPE_CHECKING:
    from antiphon.export.folder import Exported

P = TypeVar("P", bound=Prediction, default=Any)


class Predictor(Generic[P]):
    """A loaded model. Results never depend on what else is in a batch.

    `P` is the class of its predictions; `load` and `train` take it as `predicts`. A model can be copied and pickled;
    a copy of a model without a folder of its own (`train` without `out`) keeps that folder.
    """

    def __init__(
        self,
        loaded: Bundle,
        folder: Path,
        device: torch.device,
        ensemble: Ensemble | None = None,
        known: exceptions.Exceptions = exceptions.NONE,
        calibrated: Calibration | None = None,
    ) -> None:
        self.config: Config = loaded.config
        self.codecs = loaded.codecs
        self.model: Model | Ensemble = ensemble or loaded.model
        self.metrics = loaded.metrics
        self.folder = folder
        self.device = device
        self.exceptions = known
        self.calibration = calibrated
        self.intervals: Intervals | None = None  # of a forecast that is calibrated
        self.temporary: keeping.TemporaryFolder | None = None  # that holds `folder`, if nobody named one
        self._copying = copying_of(self.config, self.codecs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.temporary is not None:
            self.folder = self.temporary.path / self.folder.name

    def __repr__(self) -> str:
        return describing.line(self._loaded)

    def summary(self) -> str:
        """What the model is: its sides with their vocabularies, its parts with their parameters, and the figures of
        its training."""
        return describing.summary(self._loaded, self.metrics)

    def to(self, device: str) -> Predictor[P]:
        """The model on a device (cpu, cuda, cuda:1, mps): a copy, or the model itself if it is there."""
        place = pick_device(device)
        if place == self.device:
            return self
        moved = copy.copy(self)
        moved.model, moved.device = copy.deepcopy(self.model).to(place), place
        return moved

    @property
    def _loaded(self) -> Loaded:
        """What the functions of this folder take, as it is now."""
        return Loaded(
            self.model, self.config, self.codecs, self.device, self.folder,
            self.exceptions, self.calibration, self.intervals, self._copying,
        )  # fmt: skip

    def predict(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Settings = None,
        prefix: str | Sequence[str] | None = None,
        settings: Settings = None,
        token_scores: bool = False,
        align: bool = False,
    ) -> list[P]:
        """The answers to `inputs`, in order; an empty input gives an empty answer.

        An input is what stands in the source's column: a text, the path of an image or its array, a list of
        numbers or an array. With several sources it is a tuple of these, or their texts with tabs between. Inputs may
        also be a table of pandas, polars, pyarrow or datasets, a dict of columns, or dicts: their source columns are
        read, and others are not. Which
        class of answer comes depends on the kind of target (see `antiphon/common/answers.py`); after `calibrate` it has
        a `confidence`. One that stands in the folder's `exceptions.tsv` has the answer that stands there, with the
        probability 1.
        `beam` overrides the configured width; `n_best` is at most the width; both are for text alone. `sample` draws
        symbols: {} by their probability, or with `temperature`, `top_k`, `top_p` and `seed`. To a language model an
        input is a prompt, and its answer goes on behind it; where symbols are drawn, also behind an empty one.
        `prefix` is the prefix of every output, or a list with one for each input. `settings` are dotted keys of
        `decode` laid over the configuration: {"decode.no_repeat_ngram": 3}. `token_scores` and `align` fill in these
        fields of the candidates; with CTC a symbol has no score of its own.
        """
        options = Options(beam, n_best, attention, sample, settings, token_scores, align)
        return list(self._typed(predicting.stream(self._loaded, self._inputs(inputs), options, prefix)))

    def stream(
        self, inputs: Iterable[Any], beam: int | None = None, n_best: int = 1, attention: bool = False,
        sample: Settings = None, window: int = WINDOW, origin: str | Callable[[int], str] = "input ",
        prefix: str | Iterable[str] | None = None, settings: Settings = None, token_scores: bool = False,
        align: bool = False, scores: bool = True,
    ) -> Iterator[P]:  # fmt: skip
        """Like `predict`, but lazily and in bounded memory: `window` inputs are held at a time.

        Errors name an input as `origin` and its number, from 1, or as `origin` of its number. Without `scores` the
        scores are not meant to be read: with a shortlist they may be those of the search alone.
        """
        options = Options(beam, n_best, attention, sample, settings, token_scores, align, scores)
        return self._typed(predicting.stream(self._loaded, self._inputs(inputs), options, prefix, window, origin))

    def _typed(self, predictions: Iterator[Any]) -> Iterator[P]:
        """Predictions of the class that `load` has checked."""
        return predictions

    def _inputs(self, inputs: Iterable[Any]) -> Iterable[Any]:
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        return inputs_of(inputs, self.config, self.codecs)

    def refuse_unsure(self) -> Calibration:
        """The calibration; what needs the confidence of answers is refused, if they have none."""
        return measuring.refuse_unsure(self._loaded)

    def answers(
        self, inputs: Sequence[Any], beam: int | None = None, n_best: int = 1, attention: bool = False,
        sample: Settings = None, prefixes: Sequence[str | None] | None = None, settings: Settings = None,
        token_scores: bool = False, align: bool = False, numbers: Sequence[int] | None = None,
    ) -> list[P | AntiphonError]:  # fmt: skip
        """Like `predict`, but an input that is wrong has its error in its place, and the others are answered.

        What is drawn for an input depends on its number in `numbers`, by default its place.
        """
        options = Options(beam, n_best, attention, sample, settings, token_scores, align)
        results: list[Any] = predicting.answers(self._loaded, list(self._inputs(inputs)), options, prefixes, numbers)
        return results

    def write(
        self, source: Any, sample: Settings = None, prefix: str | None = None, settings: Settings = None
    ) -> Iterator[P]:
        """The answer of a model that writes while it grows: after every symbol the output so far.

        The last is the answer of `predict` with a beam of 1, or drawn. A choice among whole outputs (`mbr`, a beam's
        `require` and `diversity`, `coverage_penalty`) is refused.
        """
        return self._typed(texts.write(self._loaded, source, prefix, Options(sample=sample, settings=settings)))

    def most_outputs(self, beam: int | None = None, settings: Settings = None, sample: Settings = None) -> int:
        """How many outputs can be asked for: the beam's width, or the number of samples."""
        return most_outputs(self._loaded, beam, settings, sample)

    def file(self, path: str | Path) -> Iterator[Input]:
        """The inputs of a file with their lines: of a table its source columns, as training reads them; else lines."""
        return read_file(str(user_path(path)), self.config, self.codecs)

    def forecast(
        self, table: Any, sample: Settings = None, n_best: int = 1, settings: Settings = None
    ) -> list[Forecast]:
        """The rows behind the last row of each group of a long table (a file, or rows in memory as `predict` takes a
        table), for a model that was trained with `data.window`; other arguments are those of `predict`."""
        if self.config.data.window is None:
            raise ModelFolderError(f"{self.folder}: was trained on rows, not on windows of a long table; use predict")
        files = files_or_rows(table)
        if not isinstance(files, str | InMemory):
            raise DataError("forecast takes one table: the name of a file, or rows in memory")
        inputs, places, _ = zip(*continued_inputs(files, self.config, self.codecs), strict=True)
        options = Options(sample=sample, n_best=n_best, settings=settings)
        made: Any = predicting.predictions_ahead(
            self._loaded, inputs, places, last_intervals(self._loaded, files, places), options
        )
        return [forecast_of(ahead, self.config, row) for ahead, row in zip(places, made, strict=True)]

    def cells(self, path: str | Path) -> Iterator[tuple[int, Any, list[Any]]]:
        """As `file`, and for each input what stands in the columns of its sources."""
        return cells_of(str(user_path(path)), self.config, self.codecs)

    @property
    def source_names(self) -> list[str]:
        """The sources that are read, by the names of their columns, or else source, source-2 and so on."""
        return source_names(self.config, self.codecs)

    def lines(self, name: str, stream: BinaryIO | None = None) -> Iterator[Input]:
        """The lines of a file, or of an open stream called `name`, each one input."""
        return lines_of(name if stream else str(user_path(name)), self.codecs, stream)

    def tag(self, path: str | Path) -> Iterator[str]:
        """The sentences of a CoNLL-U file as text; in the column that the model has learned stand its labels."""
        return tagging.tag(self._loaded, str(user_path(path)))

    def chat(
        self, lines: Iterable[str], beam: int | None = None, sample: Settings = None, settings: Settings = None
    ) -> Iterator[P]:
        """Answer the lines of a dialogue, one by one; a model whose source has `turns` reads the last of both sides.

        An empty line ends it, and `/new` begins anew. Turns that `data.max_length` leaves no room for are forgotten.
        """
        return self._typed(chat.chat(self._loaded, lines, Options(beam, sample=sample, settings=settings)))

    @property
    def answers_steps(self) -> bool:
        """Whether it gives an answer for each step of its source, so that `live` can be used."""
        return live.answers_steps(self._loaded)

    def live(self, steps: Iterable[Any], origin: str = "step ") -> Iterator[Prediction]:
        """Answer every step of a stream at once, in constant memory: the answers of the whole sequence, one by one.

        A step is a symbol, or a vector as a list or as JSON; an empty one ends a sequence, and the next begins anew. A
        transducer that reads in one direction answers with the text so far, and at the end with its whole text.
        """
        return live.live(self._loaded, steps, origin)

    def explain(
        self, source: Any, reference: Any = None, other: Any = None, force: Sequence[tuple[int, str | None]] = (),
        top: int = 5, beam: int | None = None, settings: Settings = None, begin: Sequence[str | None] = (),
    ) -> Trace:  # fmt: skip
        """The run of one input, as `predict` takes it, seen from inside: see docs/trace.md.

        With a `reference`, the expected output (for a language model: behind the input), it is compared. `other` is
        another input, whose context C is tried in place of the input's. Each of `force` is a step, from 0 (the command
        counts from 1), and a symbol (None: the end symbol) to write there and go on; `begin` is the prefix of the
        output itself, in symbols. `top` symbols per step are shown; `beam` and `settings` are as `predict` takes them.
        """
        return explaining.explain(self._loaded, source, reference, other, force, top, beam, settings, begin)

    def rows(self, data: Data) -> Sequence[Row]:
        """The rows of files or in memory, or of the configured test set; a list of `Row` as it is."""
        return scores.rows_of(self._loaded, data)

    def score(self, data: Data = None) -> list[float]:
        """log p(target | source) of every row in nats, the end symbol counted; of numbers, minus the squared error."""
        return [value for _, value in self.scored(data)]

    def scored(self, data: Data = None) -> list[tuple[Row, float]]:
        """The rows of `data` (bad ones left out, if the configuration skips them), each with its `score`."""
        return scores.scored(self._loaded, data)

    def scores(self, pairs: Sequence[tuple[Any, Any]]) -> list[float | AntiphonError]:
        """log p(target | input) of every pair, as `score` gives it; a wrong pair has its error in its place.

        The target is what stands in the target's column; a language model reads the input alone.
        """
        return scores.scores(self._loaded, pairs)

    def doubt(self, data: Data = None) -> list[Doubt]:
        """The rows of `data`, by default the configured test set, those first whose target is least probable beside
        the prediction. Rows that the model has learned by heart seem right to it; `antiphon.doubt` lets models judge
        that have not learned them."""
        return doubting.doubts(self._loaded, data)

    def next_rows(self, inputs: Iterable[Any] | str | Path, count: int, by: str = "confidence") -> list[Chosen]:
        """The `count` inputs that are worth a label most: those the model is least sure about, and few that are alike.

        `inputs` are a file or values, as `predict` takes them. `by` is the uncertainty: confidence (1 - the probability
        that the prediction is right; calibrated if the model is), margin (the two most probable candidates are close)
        or entropy (of the candidates). Equal inputs are chosen once; empty ones and those with a known answer never.
        """
        if isinstance(inputs, str | Path):
            return choosing.next_rows(self._loaded, self.file(inputs), count, by, f"{inputs}:")
        return choosing.next_rows(self._loaded, enumerate(self._inputs(inputs), 1), count, by)

    def use_exceptions(self, table: str | Path, allow_unknown: bool = False) -> int:
        """Let the rows of a table, an input and its output each, win over the model, here and in its folder from now
        on; how many there are. They take the place of those before. Outputs with symbols that the model cannot write
        are a `DataError`, unless `allow_unknown`."""
        path = user_path(table)
        lines = list(exceptions.texts(path))  # once: a pipe has them only once
        known = exceptions.of_lines(path, lines, self.codecs)
        if not allow_unknown:
            exceptions.refuse_unknown(path, known, self.codecs)
        self.exceptions = known
        keeping.keep_exceptions(self.folder, lines)
        return len(self.exceptions.answers)

    def calibrate(self, data: Data = None) -> Report:
        """Fit how sure the answers are to the rows of `data`, by default the validation rows, which must not be among
        those learned from; kept in the model's folder, and described in its card, from now on."""
        report = measuring.calibrate(self._loaded, data)
        keeping.keep_calibration(self.folder, report)
        self.calibration = report.calibration
        return report

    def calibrate_intervals(self, data: Data = None, rolling: int = 0) -> IntervalReport:
        """Fit the intervals of a series with a horizon to the rows of `data` by conformal prediction, as `calibrate`
        does with confidences. With `rolling` the intervals of windows are made anew from so many last windows of a
        table, in `evaluate` before each forecast and in `forecast` at its end."""
        report = measuring.calibrate_intervals(self._loaded, data, rolling)
        keeping.keep_calibration(self.folder, report)
        self.intervals = report.intervals
        return report

    def evaluate(self, data: Data = None, beam: int | None = None, settings: Settings = None) -> dict[str, float]:
        """All metrics on `data`, by default the configured test set; `settings` as `predict` takes them."""
        return self.evaluate_signed(data, beam, settings)[0]

    def evaluate_signed(
        self, data: Data = None, beam: int | None = None, settings: Settings = None, abstain_below: float | None = None
    ) -> tuple[dict[str, float], dict[str, str]]:
        """All metrics, and sacreBLEU's signatures of those it makes.

        With `abstain_below` they are of the rows whose answers are not less sure than that, with the share of these
        rows, `coverage`.
        """
        return measuring.evaluate_signed(self._loaded, data, beam, settings, abstain_below)

    def row_sums(
        self, data: Data = None, beam: int | None = None, settings: Settings = None
    ) -> tuple[list[Row], dict[str, Sums]]:
        """The rows of `data` (of references of one input the first), and what each adds to the metrics that are
        quotients of sums over rows, such as `loss` and `token_error_rate`."""
        return row_sums(measuring.task_of(self._loaded, data, beam, settings))

    def confusion(self, data: Data = None) -> dict[str, dict[str, int]]:
        """For every label in `data`, how often each label was predicted; for targets `label` and `labels`."""
        return confusion(measuring.task_of(self._loaded, data))

    def save(self, folder: str | Path) -> None:
        """Write the model into a new folder (without what only `--resume` needs)."""
        keeping.save(self._loaded, self.metrics, user_path(folder))

    def export(
        self,
        folder: str | Path,
        to: str = "onnx",
        int8: bool = False,
        data: str | Path | Files | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Exported:
        """Write the model into a new folder that runs without PyTorch (extra: export), as `antiphon export` does.

        `to` is `onnx`, `wheel` or `web`, and `options` are those of the format: {"name": "my-g2p"} of a wheel. `int8`
        makes weights 8 bits wide; what that changes is measured on `data`, by default the configured test set.
        """
        if isinstance(self.model, Ensemble):
            raise ModelFolderError("an ensemble is several models; export each of them")
        from antiphon.export.folder import export

        files = None if data is None else files_or_rows(data)
        return export(self.folder, user_path(folder), to, int8, files, options=options)
