"""An exported model in use: inputs to answers, as `antiphon.load(...).predict` gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime import exceptions
from antiphon_runtime.common import calibration
from antiphon_runtime.common.answers import (
    Candidate,
    LabelPrediction,
    LabelsPrediction,
    LiveEnd,
    NumberPrediction,
    NumbersPrediction,
    Prediction,
    TextPrediction,
)
from antiphon_runtime.common.calibration import Calibration
from antiphon_runtime.common.symbols import EOS
from antiphon_runtime.errors import FolderError, InputError, OptionError, TooLongError
from antiphon_runtime.kinds import side
from antiphon_runtime.search import Choose, Hypothesis, Limits, State, beam, choices, greedy, sampler
from antiphon_runtime.sides import Category, Nothing, Numbers, Side, Text

T = TypeVar("T")
Array = NDArray[Any]


class Unanswered(NamedTuple):
    """An input's values, their arrays, and how many of its symbols the model does not know."""

    values: list[Any]
    arrays: list[Array]
    unknown: int


Held = Unanswered | Prediction | InputError | None
"""An input, its known answer, what is wrong with it, or None if it is empty."""

FORMAT = 1
MANIFEST = "antiphon.json"
WINDOW = 4096  # inputs held at once
ROWS, TOKENS = 256, 16_384  # of one batch: at most so many rows, and padded source steps
FEW = 16  # rows that are not worth a second thread
SAMPLE: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}


class Graph(NamedTuple):
    """A graph in a session of ONNX Runtime, and the names of what it reads and of what it gives."""

    session: Any
    inputs: list[str]
    outputs: list[str]

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by names (one that the graph has no use for is left out) -> by the names of outputs."""
        found = self.session.run(self.outputs, {name: given[name] for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))


class Model:
    """A loaded folder. Results never depend on what else is in a batch."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        sides: Sequence[Side],
        graphs: Mapping[str, Graph],
        threads: int = 1,
    ) -> None:
        self.folder, self.structure, self.threads = folder, str(manifest["structure"]), threads
        *self.sources, self.target = sides
        self._names = [str(source["name"]) for source in manifest["sources"]]
        self._graphs, self._state = graphs, manifest["state"]
        read = graphs["step"].inputs if "step" in graphs else []
        held = [part for part in self._state if part["name"] in read]  # of a state, what a step has a use for
        self._changing = {part["name"]: part for part in held if "after" in part}
        self._fixed = [part["name"] for part in held if "after" not in part]
        self._read_names = ["tokens", *self._changing, *self._fixed]
        self._said_names = ["log_probs", *(part["after"] for part in self._changing.values())]
        self._max_length = int(manifest["max_length"])
        self._decode: Mapping[str, Any] | None = manifest["decode"]
        self._continues = "encode" not in graphs and "read" not in graphs  # a language model
        self._calibration = read_calibration(folder / calibration.FILE)
        self._known = exceptions.read(folder / exceptions.FILE, self.sources, self.target)

    def predict(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        sample: Mapping[str, Any] | None = None,
        token_scores: bool = False,
    ) -> list[Any]:
        """The answers to `inputs`, in order; an empty input gives an empty answer.

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
        number, from 1; what came before a bad input is still answered."""
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        width, drawn = self._width(beam, n_best), self._drawn(sample)
        encoded = (self._held(given, f"{origin}{number}") for number, given in enumerate(inputs, 1))
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
    ) -> list[Prediction | InputError]:
        """Like `predict`, but an input that is wrong has its error in its place, and the others are answered.

        What is drawn for an input depends on its number in `numbers`, by default its place.
        """
        width, drawn = self._width(beam, n_best), self._drawn(sample)
        held: list[Held] = []
        for place, given in enumerate(inputs):
            try:
                held.append(self._held(given, f"input {place + 1}"))
            except InputError as error:
                held.append(error)
        return list(
            self._window(held, width, n_best, drawn, range(len(held)) if numbers is None else numbers, token_scores)
        )

    def say(self, given: Any, sample: Mapping[str, Any] | None = None) -> Iterator[Prediction]:
        """The answer of a model that writes while it grows: what has been said after every symbol.

        The last is the answer of `predict` with a beam of 1, or drawn.
        """
        if self._decode is None:
            raise OptionError(f"{self.folder}: does not write; ask for whole answers")
        drawn, one = self._drawn(sample), self._held(given, "input")
        if not isinstance(one, Unanswered):
            assert not isinstance(one, InputError)
            yield one or self._empty()
            return
        state, first = self._begun([[array] for array in one.arrays], np.zeros(1, np.int64))
        tokens: list[int] = []
        score = np.float32(0)
        for chosen in choices(self._step, state, first, self._limits, _chooser(drawn, [0])):
            score += chosen.log_probs[0]
            tokens.extend(symbol for symbol in chosen.symbols.tolist() if symbol != EOS)
            told = self._written(one.values, [Hypothesis(tuple(tokens), float(score))])
            yield replace(told, unknown=one.unknown)

    def live(self, steps: Iterable[Any], origin: str = "step ") -> Iterator[Prediction]:
        """Answer every step of a stream at once, in constant memory. A step is a symbol, or a vector as a list or as
        JSON; an empty one ends a sequence, and the next begins anew."""
        if "read" not in self._graphs or "step" not in self._graphs:
            raise OptionError(
                f"{self.folder}: cannot answer a stream step by step: that takes labels or numbers for each step, "
                "judged one by one, and a model that reads in one direction"
            )
        begin = {part["name"]: np.zeros((1, part["shape"][1]), np.float32) for part in self._state}
        state = begin
        for number, given in enumerate(steps, 1):
            if isinstance(given, str) and not given:
                state = begin
                yield LiveEnd()
                continue
            try:
                step = self.sources[0].read_step(given)
            except ValueError as error:
                raise InputError(f"{origin}{number}: the input {error}") from None
            found = self._graphs["step"].run({self._names[0]: step, **state})
            state = {part["name"]: found[part["after"]] for part in self._state}
            values = found.get("log_probs", found.get("values"))
            assert values is not None
            yield self._label(values[0]) if "log_probs" in found else NumbersPrediction(self._numbers(values[0]))

    def refuse_unsure(self) -> None:
        """Refuse what needs the confidence of answers, if they have none."""
        if self._calibration is None:
            reason = (
                "has no confidence, since it is not calibrated; calibrate the model with antiphon, and export it again"
            )
            raise OptionError(f"{self.folder}: {reason}")

    def _width(self, beam: int | None, n_best: int) -> int:
        if beam is not None and beam < 1:
            raise OptionError(f"beam: must be at least 1 (is {beam})")
        width = beam if beam is not None else int((self._decode or {"beam": 1})["beam"])
        if not 1 <= n_best <= width:
            raise OptionError(f"n_best: must lie between 1 and the beam's width, {width} (is {n_best})")
        return width

    def _drawn(self, sample: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return _sample(sample if sample is not None else (self._decode or {}).get("sample"))

    def _held(self, given: Any, where: str) -> Held:
        parts = self._parts(given, where)
        if parts is None:
            return None
        try:
            values = [source.asked(part) for source, part in zip(self.sources, parts, strict=True)]
            known = self._known.get(exceptions.key(self.sources, values)) if self._known else None
            if known is not None:
                return known
            arrays = [source.encode(value) for source, value in zip(self.sources, values, strict=True)]
            unknown = sum(source.unknown(array) for source, array in zip(self.sources, arrays, strict=True))
        except ValueError as error:
            raise InputError(f"{where}: the input {error}") from None
        for place, source in enumerate(self.sources):
            if self._continues:
                arrays[place] = arrays[place][: len(arrays[place]) - source.ends]  # a prompt goes on
            length = len(arrays[place]) - source.ends
            if source.steps and length > self._max_length:
                reason = f"has {length} {source.unit}; the most that this model reads is {self._max_length}"
                raise TooLongError(f"{where}: {reason}")
        nothing = 0 if self._continues else self.sources[0].ends
        return None if len(parts) == 1 and len(arrays[0]) == nothing else Unanswered(values, arrays, unknown)

    def _parts(self, given: Any, where: str) -> Sequence[Any] | None:
        """What an input has for each source; None for an empty one."""
        reading = [source.reads for source in self.sources]
        wanted = sum(reading)
        if wanted == 1:
            parts = [given]
        elif isinstance(given, str):
            parts = given.split("\t") if given.strip() else []
        else:
            parts = list(given)
        if wanted and (not parts or (isinstance(parts[0], str) and not any(parts))):
            return None
        if wanted and len(parts) != wanted:
            raise InputError(f"{where}: has {len(parts)} of {wanted} sources; a tab separates them")
        found = iter(parts)
        return [next(found) if reads else "" for reads in reading]

    def _window(
        self,
        held: Sequence[Held],
        width: int,
        n_best: int,
        sample: Mapping[str, Any] | None,
        numbers: Sequence[int],
        token_scores: bool,
    ) -> Iterator[Prediction | InputError]:
        filled = [one for one in held if isinstance(one, Unanswered)]
        sources = list(zip(*(one.arrays for one in filled), strict=True)) if filled else []
        if self._decode is None:
            answers = iter(self._read(sources))
        else:
            own = [number for number, one in zip(numbers, held, strict=True) if isinstance(one, Unanswered)]
            found = iter(self._decoded(sources, width, sample, own))
        for one in held:
            if not isinstance(one, Unanswered):
                yield one or self._empty()
                continue
            answer: Any = (
                next(answers) if self._decode is None else self._written(one.values, next(found)[:n_best], token_scores)
            )
            yield replace(answer, unknown=one.unknown) if one.unknown else answer

    def _decoded(
        self, sources: Sequence[Sequence[Array]], width: int, sample: Mapping[str, Any] | None, numbers: Sequence[int]
    ) -> list[list[Hypothesis]]:
        assert self._decode is not None
        limits, penalty = self._limits, float(self._decode["length_penalty"])
        results: list[list[Hypothesis]] = [[] for _ in numbers]

        def search(rows: Array) -> list[list[Hypothesis]]:
            state, first = self._begun(sources, rows)
            if sample is not None:
                return greedy(self._step, state, first, limits, _chooser(sample, [numbers[row] for row in rows]))
            if width == 1:
                return greedy(self._step, state, first, limits)
            return beam(self._step, state, first, limits, width, penalty)

        for rows, found in self._each_batch(search, sources, width):
            for row, hypotheses in zip(rows, found, strict=True):
                results[row] = hypotheses
        return results

    def _each_batch(
        self, work: Callable[[Array], T], sources: Sequence[Sequence[Array]], width: int = 1
    ) -> Iterator[tuple[Array, T]]:
        """The rows of each batch and what `work` makes of them, `threads` batches at once."""
        batches = list(_batches(sources, width, self.threads))
        if self.threads == 1 or len(batches) == 1:
            yield from ((rows, work(rows)) for rows in batches)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                yield from zip(batches, pool.map(work, batches), strict=True)

    @property
    def _limits(self) -> Limits:
        assert self._decode is not None
        longest = int(self._decode["max_length"])
        return Limits(longest, min(int(self._decode["min_length"]), longest))

    def _begun(self, sources: Sequence[Sequence[Array]], rows: Array) -> tuple[State, Array]:
        """The state before the first symbol that is said, and what is read first."""
        given = [_padded([source[row] for row in rows]) for source in sources]
        if self._continues:
            return self._prompted(*given[0])
        found = self._graphs["encode"].run(self._named(given))
        state = State(*(tuple(found[name] for name in names) for names in (self._changing, self._fixed)))
        return state, np.full(len(rows), self._first, np.int64)

    def _prompted(self, ids: Array, lengths: Array) -> tuple[State, Array]:
        """The state after all of a prompt but its last symbol, and that symbol."""
        state = State(tuple(np.zeros((len(ids), part["shape"][1]), np.float32) for part in self._changing.values()))
        read = np.concatenate([np.full_like(ids[:, :1], self._first), ids[:, :-1]], 1)
        for place in range(int(lengths.max())):
            going = (place < lengths)[:, None]
            _, after = self._step(read[:, place], state)
            kept = zip(after.changing, state.changing, strict=True)
            state = State(tuple(np.where(going, new, old) for new, old in kept))
        return state, ids[np.arange(len(ids)), lengths - 1]

    @property
    def _first(self) -> int:
        said = self.sources[0] if self._continues else self.target
        assert isinstance(said, Text)
        return said.begin

    def _step(self, last: Array, state: State) -> tuple[Array, State]:
        given = dict(zip(self._read_names, (last, *state.changing, *state.fixed), strict=True))
        log_probs, *after = self._graphs["step"].session.run(self._said_names, given)
        return log_probs, State(tuple(after), state.fixed)

    def _named(self, given: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
        named: dict[str, Array] = {}
        for name, (values, lengths) in zip(self._names, given, strict=True):
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
        for one in hypotheses:
            said = [*(read if self._continues else []), *codec.vocabulary.names(one.tokens)]
            parts = list(one.parts) if token_scores else None
            candidates.append(Candidate(codec.join(said), said, one.score, parts))
        best = candidates[0]
        sure = None if self._calibration is None else self._calibration.of_text(best.score)
        return TextPrediction(best.text, best.tokens, best.score, candidates, read, confidence=sure)

    def _read(self, sources: Sequence[Sequence[Array]]) -> list[Prediction]:
        results: list[Prediction] = [LiveEnd()] * (len(sources[0]) if sources else 0)
        ends = self.sources[0].ends

        def read(rows: Array) -> list[Prediction]:
            given = [_padded([source[row] for row in rows]) for source in sources]
            found = self._graphs["read"].run(self._named(given))
            values = found["log_probs"] if "log_probs" in found else found["values"]
            labels = found.get("labels")
            if labels is None and "log_probs" in found:
                labels = values.argmax(-1)
            answers = []
            for place, length in enumerate(given[0][1].tolist()):
                steps = length - ends if self.target.steps else 1
                said = None if labels is None else labels[place, :steps]
                answers.append(self._answer(said, values[place, :steps]))
            return answers

        for rows, answers in self._each_batch(read, sources):
            for row, answer in zip(rows, answers, strict=True):
                results[row] = answer
        return results

    def _answer(self, labels: Array | None, values: Array) -> Prediction:
        if labels is None:
            numbers = self._numbers(values)
            return NumbersPrediction(numbers) if self.target.steps else NumberPrediction(float(numbers[0, 0]))
        if not self.target.steps:
            return self._label(values[0])
        assert isinstance(self.target, Category)
        probabilities = np.exp(values[np.arange(len(labels)), labels]).astype(float).tolist()
        confidence = None if self._calibration is None else self._calibration.of_labels(values, labels)
        return LabelsPrediction(self.target.names(labels.tolist()), probabilities, confidence)

    def _label(self, log_probs: Array) -> LabelPrediction:
        assert isinstance(self.target, Category)
        order = np.argsort(-log_probs, kind="stable")[: len(self.target.vocabulary.symbols)]
        names = self.target.names(order.tolist())
        sure = None if self._calibration is None else self._calibration.of_labels(log_probs[None], order[:1])[0]
        return LabelPrediction(names[0], dict(zip(names, np.exp(log_probs[order]).tolist(), strict=True)), sure)

    def _numbers(self, values: Array) -> Array:
        assert isinstance(self.target, Numbers)
        return self.target.said(values)

    def _empty(self) -> Prediction:
        target = self.target
        if isinstance(target, Category):
            return LabelsPrediction([], []) if target.steps else LabelPrediction("", {})
        if isinstance(target, Numbers):
            return NumbersPrediction(np.empty((0, target.size), np.float32)) if target.steps else NumberPrediction(None)
        return TextPrediction("", [], None, [], [])


def _sample(options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """How to draw, checked."""
    if options is None:
        return None
    for name in options:
        if name not in SAMPLE:
            raise OptionError(f"sample.{name}: unknown; known: {', '.join(sorted(SAMPLE))}")
    found = {**SAMPLE, **options}
    for name in ("temperature", "top_p"):
        most, value = (100 if name == "temperature" else 1), found[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise OptionError(f"sample.{name}: must be above 0 and at most {most} (is {value!r})")
    for name in ("top_k", "seed"):
        value = found[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise OptionError(f"sample.{name}: must be a whole number from 0 to {(1 << 31) - 1:,} (is {value!r})")
    return found


def _chooser(sample: Mapping[str, Any] | None, numbers: Sequence[int]) -> Choose | None:
    """How rows of these numbers draw their symbols, if they do."""
    if sample is None:
        return None
    noise = [np.random.default_rng([sample["seed"], number]) for number in numbers]
    return sampler(sample["temperature"], sample["top_k"], sample["top_p"], noise)


def _batches(sources: Sequence[Sequence[Array]], width: int = 1, parts: int = 1) -> Iterator[Array]:
    """Rows of similar length, the longest first; of more than a few rows at least as many batches as `parts`."""
    if not sources:
        return
    lengths = [sum(map(len, arrays)) for arrays in zip(*sources, strict=True)]
    order = np.asarray(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
    most = min(ROWS, max(FEW, width * -(-len(order) // parts)))  # prefixes
    start = 0
    while start < len(order):
        rows = max(1, min(most, TOKENS // lengths[order[start]]) // width)
        yield order[start : start + rows]
        start += rows


def _padded(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Arrays [steps, ...] as one [rows, longest, ...] filled with zeros, and their lengths."""
    lengths = np.asarray([len(array) for array in arrays], np.int64)
    out = np.zeros((len(arrays), int(lengths.max()), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out, lengths


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file; None where there is no such file."""
    try:
        return calibration.read(path)
    except ValueError as error:
        raise FolderError(f"{path}: is damaged: {error}") from None


def load(folder: str | Path, threads: int = 1) -> Model:
    """Load what `antiphon export` has written. Of many inputs `threads` batches are worked on at once, each in one.

    A folder that is not whole is a `FolderError`, fewer threads than one an `OptionError`.
    """
    place = Path(folder)
    if threads < 1:
        raise OptionError(f"threads: must be at least 1 (is {threads})")
    if not place.is_dir():
        raise FolderError(f"{place}: no such folder")
    manifest = _json(place / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise FolderError(
            f"{place / MANIFEST}: format {manifest.get('format')!r} is not known; this version reads {FORMAT}"
        )
    try:
        sides = [_side(place, one) for one in (*manifest["sources"], manifest["target"])]
        graphs = {name: _graph(place, graph) for name, graph in manifest["graphs"].items()}
        model = Model(place, manifest, sides, graphs, threads)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{place / MANIFEST}: is damaged: {error!r}") from None
    if model._decode is not None and not isinstance(model.target, Text | Nothing):
        raise FolderError(f"{place / MANIFEST}: is damaged: its target is no text")
    return model


def _side(folder: Path, described: Mapping[str, Any]) -> Side:
    path = _inside(folder, described["vocabulary"])
    value = _json(path)
    try:
        return side(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{path}: is incomplete or damaged: {error!r}") from None


def _inside(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file in the folder")
    return folder / name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FolderError(f"{path}: must hold a JSON object")
    return value


def _graph(folder: Path, described: Mapping[str, Any]) -> Graph:
    import onnxruntime

    path, outputs = _inside(folder, described["file"]), [str(name) for name in described["outputs"]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # a processor takes long over such numbers
    if not path.is_file():
        raise FolderError(f"{path}: is missing")
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises nothing narrower
        raise FolderError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
    return Graph(session, [given.name for given in session.get_inputs()], outputs)
