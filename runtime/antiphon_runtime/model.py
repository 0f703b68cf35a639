"""An exported model in use: from inputs to predictions, as `antiphon.load(...).predict` makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime import ctc, exceptions
from antiphon_runtime.batches import each_row, padded_rows
from antiphon_runtime.codecs import Category, Codec, Nothing, Numbers, Text
from antiphon_runtime.common.answers import (
    Candidate,
    LabelPrediction,
    LabelsPrediction,
    LiveEnd,
    NumberPrediction,
    NumbersPrediction,
    Prediction,
    SeriesPrediction,
    TextPrediction,
    label_prediction,
    labels_prediction,
)
from antiphon_runtime.common.calibration import Calibration
from antiphon_runtime.common.inputs import parts_of
from antiphon_runtime.common.intervals import Intervals
from antiphon_runtime.common.symbols import EOS
from antiphon_runtime.copied import Copied
from antiphon_runtime.errors import InputError, OptionError, TooLongError
from antiphon_runtime.graph import Graph, zeros
from antiphon_runtime.sampling import checked, chooser
from antiphon_runtime.search import Hypothesis, Limits, State, beam, choices, greedy
from antiphon_runtime.series import series_of

Array = NDArray[Any]


class Unanswered(NamedTuple):
    """An input's values, their arrays, and how many of its symbols are unknown."""

    values: list[Any]
    arrays: list[Array]
    unknown: int


Held = Unanswered | Prediction | InputError | None
"""An input: its values, its known answer, its error, or None if it is empty."""

WINDOW = 4096  # inputs held at once


class Model:
    """A loaded folder. Results never depend on what else is in a batch."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        sides: Sequence[Codec],
        graphs: Mapping[str, Graph],
        calibration: Calibration | None,
        known: Mapping[exceptions.Key, Prediction],
        threads: int = 1,
        intervals: Intervals | None = None,
    ) -> None:
        self.folder, self.structure, self.threads = folder, str(manifest["structure"]), threads
        *self.sources, self.target = sides
        self._names = [str(source["name"]) for source in manifest["sources"]]
        self._graphs, self._state = graphs, manifest["state"]
        read = graphs["step"].inputs if "step" in graphs else []
        held = [part for part in self._state if part["name"] in read]  # the parts of a state that a step reads
        self._changing = {part["name"]: part for part in held if "after" in part}
        self._fixed = [part["name"] for part in held if "after" not in part]
        self._input_names = ["tokens", *self._changing, *self._fixed]
        self._output_names = ["log_probs", *(part["after"] for part in self._changing.values())]
        self._copied = Copied.of(manifest.get("copied", []), self.sources, self.target)
        self._max_length = int(manifest["max_length"])
        self._decode: Mapping[str, Any] | None = manifest["decode"]
        self.width = int((self._decode or {"beam": 1})["beam"])  # of the configured beam
        self._continues = not {"encode", "read", "write"} & graphs.keys()  # a language model
        self._aligns = bool(manifest.get("aligns", False))  # whether all frames predict one text together (CTC)
        self.calibration, self.known = calibration, known
        self._series = series_of(manifest, graphs, self.target, self._named, threads, intervals)

    def predict(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        sample: Mapping[str, Any] | None = None,
        token_scores: bool = False,
    ) -> list[Any]:
        """The predictions for `inputs`, in order; an empty input has an empty prediction.

        An input is a text, the path of an image or its array, a list of numbers or an array; with several sources a
        tuple of these, or their texts with tabs between. `beam` overrides the configured width; `n_best` is at most the
        width. `sample` draws symbols: {} by their probability, or with `temperature`, `top_k`, `top_p` and `seed`.
        `token_scores` fills in those of the candidates.
        """
        return list(self.stream(inputs, beam, n_best, sample, token_scores=token_scores))

    def stream(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        sample: Mapping[str, Any] | None = None,
        window: int = WINDOW,
        origin: str = "input ",
        token_scores: bool = False,
    ) -> Iterator[Prediction]:
        """Like `predict`, but lazily: `window` inputs are held at a time. Errors name an input as `origin` and its
        number, from 1; the inputs before a bad one are still answered."""
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        drawn = self._drawn(sample)
        width = self._width(beam, n_best, drawn)
        encoded = (self._held(value, f"{origin}{number}", drawn is not None) for number, value in enumerate(inputs, 1))
        failed: InputError | None = None
        answered = 0
        while failed is None:
            held: list[Held] = []
            try:
                held.extend(islice(encoded, window))
            except InputError as error:
                failed = error
            if not held and failed is None:
                return
            numbers = range(answered, answered + len(held))
            for answer in self._window(held, width, n_best, drawn, numbers, token_scores):
                assert not isinstance(answer, InputError)
                yield answer
            answered += len(held)
        raise failed

    def answers(
        self,
        inputs: Sequence[Any],
        beam: int | None = None,
        n_best: int = 1,
        sample: Mapping[str, Any] | None = None,
        numbers: Sequence[int] | None = None,
        token_scores: bool = False,
        where: Callable[[int], str] = "input {}".format,
    ) -> list[Prediction | InputError]:
        """Like `predict`, but an input that is wrong has its error in its place, and the others are answered.

        With sampling, the draws for an input depend on its number in `numbers`, by default its place. Errors name an
        input by `where` of its place, from 1.
        """
        drawn = self._drawn(sample)
        width = self._width(beam, n_best, drawn)
        held: list[Held] = []
        for place, value in enumerate(inputs):
            try:
                held.append(self._held(value, where(place + 1), drawn is not None))
            except InputError as error:
                held.append(error)
        return list(
            self._window(held, width, n_best, drawn, range(len(held)) if numbers is None else numbers, token_scores)
        )

    def write(self, value: Any, sample: Mapping[str, Any] | None = None) -> Iterator[Prediction]:
        """The prediction of a model that writes, again after every symbol, as it becomes longer.

        The last is that of `predict` with a beam of 1, or with sampling.
        """
        if self._decode is None or self._aligns:
            raise OptionError(f"{self.folder}: does not write symbol by symbol; use predict")
        drawn = self._drawn(sample)
        encoded = self._held(value, "input", drawn is not None)
        if not isinstance(encoded, Unanswered):
            assert not isinstance(encoded, InputError)
            yield encoded or self._empty()
            return
        state, first = self._begun([[array] for array in encoded.arrays], np.zeros(1, np.int64))
        tokens: list[int] = []
        score = np.float32(0)
        for chosen in choices(self._step, state, first, self._limits, chooser(drawn, [0], bool(self._copied))):
            score += chosen.log_probs[0]
            tokens.extend(symbol for symbol in chosen.symbols.tolist() if symbol != EOS)
            prediction = self._written(encoded.values, [Hypothesis(tuple(tokens), float(score))])
            yield replace(prediction, unknown=encoded.unknown)

    def live(self, steps: Iterable[Any], origin: str = "step ") -> Iterator[Prediction]:
        """Predict for every step of a stream at once, in constant memory. A step is a symbol, or a vector as a list or
        as JSON; an empty text ends a sequence, and the next step begins a new one."""
        if "read" not in self._graphs or "step" not in self._graphs:
            raise OptionError(
                f"{self.folder}: cannot answer a stream step by step: that takes labels or numbers for each step, "
                "judged one by one, and a model that reads in one direction"
            )
        begin = {part["name"]: zeros(part, 1) for part in self._state}
        state = begin
        for number, value in enumerate(steps, 1):
            if isinstance(value, str) and not value:
                state = begin
                yield LiveEnd()
                continue
            try:
                step = self.sources[0].read_step(value)
            except ValueError as error:
                raise InputError(f"{origin}{number}: the input {error}") from None
            outputs = self._graphs["step"].run({self._names[0]: step, **state})
            state = {part["name"]: outputs[part["after"]] for part in self._state}
            values = outputs.get("log_probs", outputs.get("values"))
            assert values is not None
            yield self._label(values[0]) if "log_probs" in outputs else NumbersPrediction(self._numbers(values[0]))

    def refuse_unsure(self) -> None:
        """An error if the model has no confidence, by its target or as it is not calibrated."""
        if isinstance(self.target, Numbers | Nothing):
            reason = f"predicts {self.target.kind}, and a confidence is of a text, a label or labels"
            raise OptionError(f"{self.folder}: {reason}")
        if self.calibration is None:
            advice = "calibrate the model with antiphon, and export it again"
            raise OptionError(f"{self.folder}: has no confidence, since it is not calibrated; {advice}")

    def _width(self, beam: int | None, n_best: int, sample: Mapping[str, Any] | None) -> int:
        if beam is not None and beam < 1:
            raise OptionError(f"beam: must be at least 1 (is {beam})")
        if self._series is not None:
            most = self._series.most(sample)
            if not 1 <= n_best <= most:
                raise OptionError(f"n_best: must lie between 1 and {most:,}; without sampling it is 1 (is {n_best})")
            return 1
        width = beam if beam is not None else self.width
        if not 1 <= n_best <= width:
            raise OptionError(f"n_best: must lie between 1 and the beam's width, {width} (is {n_best})")
        return width

    def _drawn(self, sample: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if sample is not None and self._aligns:
            raise OptionError("sample: cannot be used with CTC, which predicts all symbols together")
        configured = (self._decode or {}).get("sample") if self._series is None else self._series.sample
        drawn = checked(sample if sample is not None else configured)
        if self._series is not None:
            self._series.refuse(drawn)
        return drawn

    def _held(self, user_input: Any, where: str, draws: bool) -> Held:
        parts, from_nothing = self._parts(user_input, where), draws and self._continues
        if parts is None:
            if not from_nothing:
                return None
            parts = [""]
        try:
            values = [source.read_input(part) for source, part in zip(self.sources, parts, strict=True)]
            known = self.known.get(exceptions.key(self.sources, values)) if self.known else None
            if known is not None:
                return known
            arrays = [source.encode(value) for source, value in zip(self.sources, values, strict=True)]
            unknown = sum(source.unknown(array) for source, array in zip(self.sources, arrays, strict=True))
        except ValueError as error:
            raise InputError(f"{where}: the input {error}") from None
        for place, source in enumerate(self.sources):
            if self._continues:
                arrays[place] = arrays[place][
                    : len(arrays[place]) - source.ends
                ]  # a prompt is continued, so it has no end
            length = len(arrays[place]) - source.ends
            if source.steps and length > self._max_length:
                reason = f"has {length} {source.unit}; the most that this model reads is {self._max_length}"
                raise TooLongError(f"{where}: {reason}")
        if self._copied:
            arrays = self._copied.read(values, arrays)
        nothing = 0 if self._continues else self.sources[0].ends
        is_empty = len(parts) == 1 and len(arrays[0]) == nothing and not from_nothing
        return None if is_empty else Unanswered(values, arrays, unknown)

    def _parts(self, user_input: Any, where: str) -> Sequence[Any] | None:
        """The parts of an input, one for each source; None for an empty input."""
        try:
            return parts_of(user_input, [source.reads for source in self.sources])
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None

    def _window(
        self,
        held: Sequence[Held],
        width: int,
        n_best: int,
        sample: Mapping[str, Any] | None,
        numbers: Sequence[int],
        token_scores: bool,
    ) -> Iterator[Prediction | InputError]:
        filled = [entry for entry in held if isinstance(entry, Unanswered)]
        sources = list(zip(*(entry.arrays for entry in filled), strict=True)) if filled else []
        filled_numbers = [number for number, entry in zip(numbers, held, strict=True) if isinstance(entry, Unanswered)]
        answers: Iterator[Any]
        if self._series is not None:
            answers = iter(self._series.predict(sources, sample, n_best, filled_numbers))
        elif self._decode is None:
            answers = iter(self._read(sources))
        else:
            outputs = zip(filled, self._decoded(sources, width, sample, filled_numbers), strict=True)
            answers = (self._written(entry.values, best[:n_best], token_scores) for entry, best in outputs)
        for entry in held:
            if isinstance(entry, Unanswered):
                answer = next(answers)
                yield replace(answer, unknown=entry.unknown) if entry.unknown else answer
            else:
                yield entry or self._empty()

    def _decoded(
        self, sources: Sequence[Sequence[Array]], width: int, sample: Mapping[str, Any] | None, numbers: Sequence[int]
    ) -> list[list[Hypothesis]]:
        assert self._decode is not None
        if self._aligns:
            return self._labelled(sources, width)
        limits, penalty = self._limits, float(self._decode["length_penalty"])

        def search(rows: Array) -> list[list[Hypothesis]]:
            state, first = self._begun(sources, rows)
            if sample is not None:
                return greedy(
                    self._step,
                    state,
                    first,
                    limits,
                    chooser(sample, [numbers[row] for row in rows], bool(self._copied)),
                )
            if width == 1:
                return greedy(self._step, state, first, limits)
            return beam(self._step, state, first, limits, width, penalty)

        return each_row(search, sources, width, self.threads)

    def _labelled(self, sources: Sequence[Sequence[Array]], width: int) -> list[list[Hypothesis]]:
        """With CTC: the labels of every row."""

        def search(rows: Array) -> list[list[Hypothesis]]:
            padded = [padded_rows([source[row] for row in rows]) for source in sources]
            log_probs = self._graphs["read"].run(self._named(padded))["log_probs"]
            return [ctc.outputs(row[:frames], width) for row, frames in zip(log_probs, padded[0][1], strict=True)]

        return each_row(search, sources, 1, self.threads)

    @property
    def _limits(self) -> Limits:
        assert self._decode is not None
        longest = int(self._decode["max_length"])
        return Limits(longest, min(int(self._decode["min_length"]), longest))

    def _begun(self, sources: Sequence[Sequence[Array]], rows: Array) -> tuple[State, Array]:
        """The state before the first symbol of the output, and the ids that are read first."""
        padded = [padded_rows([source[row] for row in rows]) for source in sources]
        if self._continues:
            return self._prompted(*padded[0])
        encoded = self._graphs["encode"].run(self._named(padded))
        state = State(*(tuple(encoded[name] for name in names) for names in (self._changing, self._fixed)))
        return state, np.full(len(rows), self._first, np.int64)

    def _prompted(self, ids: Array, lengths: Array) -> tuple[State, Array]:
        """The state after a prompt without its last symbol, and that symbol."""
        state = State(tuple(zeros(part, len(ids)) for part in self._changing.values()))
        read = np.concatenate([np.full((len(ids), 1), self._first), ids], 1)
        for place in range(int(lengths.max())):
            going = place < lengths
            _, after = self._step(read[:, place], state)
            kept = zip(after.changing, state.changing, strict=True)
            state = State(tuple(np.where(going.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in kept))
        return state, read[np.arange(len(ids)), lengths]

    @property
    def _first(self) -> int:
        codec = self.sources[0] if self._continues else self.target
        assert isinstance(codec, Text)
        return codec.begin

    def _step(self, last: Array, state: State) -> tuple[Array, State]:
        inputs = dict(zip(self._input_names, (last, *state.changing, *state.fixed), strict=True))
        log_probs, *after = self._graphs["step"].session.run(self._output_names, inputs)
        return log_probs, State(tuple(after), state.fixed)

    def _named(self, padded: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
        named: dict[str, Array] = {}
        for name, (values, lengths) in zip(self._names, padded, strict=True):
            named |= {name: values, f"{name}_lengths": lengths}
        return named

    def _written(
        self, values: Sequence[Any], hypotheses: Sequence[Hypothesis], token_scores: bool = False
    ) -> TextPrediction:
        first = self.sources[0]
        read = first.split_turns(values[0]) if isinstance(first, Text) else []
        codec = first if self._continues else self.target
        assert isinstance(codec, Text)
        candidates = []
        for hypothesis in hypotheses:
            tokens = hypothesis.tokens
            named = self._copied.names(tokens, values) if self._copied else codec.vocabulary.names(tokens)
            symbols = [*(read if self._continues else []), *named]
            parts = list(hypothesis.parts) if token_scores and not self._aligns else None
            candidates.append(Candidate(codec.join(symbols), symbols, hypothesis.score, parts))
        best = candidates[0]
        sure = None if self.calibration is None else self.calibration.of_text(best.score)
        return TextPrediction(best.text, best.tokens, best.score, candidates, read, confidence=sure)

    def _read(self, sources: Sequence[Sequence[Array]]) -> list[Prediction]:
        ends = self.sources[0].ends

        def read(rows: Array) -> list[Prediction]:
            padded = [padded_rows([source[row] for row in rows]) for source in sources]
            outputs = self._graphs["read"].run(self._named(padded))
            values = outputs["log_probs"] if "log_probs" in outputs else outputs["values"]
            labels = outputs.get("labels")
            if labels is None and "log_probs" in outputs:
                labels = values.argmax(-1)
            answers = []
            for place, length in enumerate(padded[0][1].tolist()):
                steps = length - ends if self.target.steps else 1
                row_labels = None if labels is None else labels[place, :steps]
                answers.append(self._answer(row_labels, values[place, :steps]))
            return answers

        return each_row(read, sources, 1, self.threads)

    def _answer(self, labels: Array | None, values: Array) -> Prediction:
        if labels is None:
            numbers = self._numbers(values)
            return NumbersPrediction(numbers) if self.target.steps else NumberPrediction(float(numbers[0, 0]))
        if not self.target.steps:
            return self._label(values[0])
        assert isinstance(self.target, Category)
        return labels_prediction(self.target.names, labels, values, self.calibration)

    def _label(self, log_probs: Array) -> LabelPrediction:
        assert isinstance(self.target, Category)
        return label_prediction(self.target.names, len(self.target.vocabulary.symbols), log_probs, self.calibration)

    def _numbers(self, values: Array) -> Array:
        assert isinstance(self.target, Numbers)
        return self.target.restored(values)

    def _empty(self) -> Prediction:
        target = self.target
        if isinstance(target, Category):
            return LabelsPrediction([], []) if target.steps else LabelPrediction("", {})
        if isinstance(target, Numbers):
            if target.kind == "series":
                return SeriesPrediction(np.empty((0, target.size), np.float32))
            return NumbersPrediction(np.empty((0, target.size), np.float32)) if target.steps else NumberPrediction(None)
        return TextPrediction("", [], None, [], [])
