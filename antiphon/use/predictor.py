"""A trained model in use: predict, score, evaluate, save. What the command line does, a program does here."""

from __future__ import annotations

import itertools
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import torch

from antiphon.answers import Candidate, LabelsPrediction, LiveEnd, Prediction, TextPrediction
from antiphon.config.schema import Config, Decode, Files, decoding, sample_settings
from antiphon.data.batches import Examples, Sequences
from antiphon.data.codecs.text import LabelCodec, LabelsCodec, SourceTextCodec, TextCodec
from antiphon.data.conllu import FIELDS, Sentence, sentences
from antiphon.data.load import copying_of, encode_row, encode_rows, load_parts, load_rows
from antiphon.data.rows import Row, read_lines
from antiphon.decoding.alignment import alignment, attention_of, written
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Search, Speaker, check_names, plan, refuse_alignment, written_side
from antiphon.decoding.rules import ids_of
from antiphon.decoding.run import decode_sources, partial_hypotheses
from antiphon.devices import pick_device
from antiphon.errors import (
    AntiphonError,
    ConfigError,
    DataError,
    ModelFolderError,
    SilentError,
    TooLongError,
    nearest,
)
from antiphon.evaluation.answering import answered, answered_step, empty
from antiphon.evaluation.measure import (
    Sums,
    Task,
    confusion,
    evaluate,
    judged,
    read_sources,
    row_sums,
    score_rows,
    surest,
    symbol_scores,
)
from antiphon.files import write_text
from antiphon.inspection.explain import Asked, Given, explainer_of
from antiphon.inspection.trace import Trace
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Aligner, LanguageModel, Model, Reader, Writer
from antiphon.model.parts.heads import COMBINATIONS, Head
from antiphon.saved import calibration
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.calibration import Calibration, Report
from antiphon.saved.card import add_calibration
from antiphon.saved.folder import Bundle
from antiphon.use.inputs import Input, lines_of, read_file

Data: TypeAlias = str | Path | Files | list[Row] | None


class Unanswered(NamedTuple):
    """An input's values, their arrays, the ids that its outputs begin with, and how many symbols are not known."""

    values: list[Any]
    arrays: list[Any]
    beginning: list[int]
    unknown: int


Held: TypeAlias = Unanswered | Prediction | AntiphonError | None
"""An input, its known answer, what is wrong with it, or None if it is empty."""

Where: TypeAlias = Callable[[int], str]  # what messages call an input by its number, from 1

WINDOW = 4096  # inputs held at once while streaming
NEW = "/new"  # the line that begins a dialogue anew


@dataclass(frozen=True)
class _Wanted:
    """What is asked for: how outputs are looked for by a model that writes, and what is told of them."""

    search: Search | None
    n_best: int = 1
    attention: bool = False
    token_scores: bool = False
    align: bool = False
    scores: bool = True  # whether they are read: where a shortlist is searched, the model's own take some time


class Predictor:
    """A loaded model. Results never depend on what else is in a batch."""

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
        self._copying = copying_of(self.config, self.codecs)

    def predict(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Mapping[str, Any] | None = None,
        prefix: str | Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        token_scores: bool = False,
        align: bool = False,
    ) -> list[Any]:
        """The answers to `inputs`, in order; an empty input gives an empty answer.

        An input is what stands in the source's column: a text, the path of an image or its array, a list of
        numbers or an array. With several sources it is a tuple of these, or their texts with tabs between. Which
        class of answer comes depends on the kind of target (see `antiphon/answers.py`); after `calibrate` it has a
        `confidence`. One that stands in the folder's `exceptions.tsv` has the answer that stands there, with the
        probability 1.
        `beam` overrides the configured width; `n_best` is at most the width; both are for text alone. `sample` draws
        symbols: {} by their probability, or with `temperature`, `top_k`, `top_p` and `seed`. To a language model an
        input is a prompt, and its answer goes on behind it.
        `prefix` is what every output begins with, or a list with one for each input. `settings` are dotted keys of
        `decode` laid over the configuration: {"decode.no_repeat_ngram": 3}. `token_scores` and `align` fill in these
        fields of the candidates; with CTC a symbol has no score of its own.
        """
        return list(
            self.stream(
                inputs, beam, n_best, attention, sample,
                prefix=prefix, settings=settings, token_scores=token_scores, align=align,
            )
        )  # fmt: skip

    def stream(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Mapping[str, Any] | None = None,
        window: int = WINDOW,
        origin: str | Callable[[int], str] = "input ",
        prefix: str | Iterable[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        token_scores: bool = False,
        align: bool = False,
        scores: bool = True,
    ) -> Iterator[Prediction]:
        """Like `predict`, but lazily and in bounded memory: `window` inputs are held at a time.

        Errors name an input as `origin` and its number, from 1, or as `origin` of its number. Without `scores`, which
        nobody then reads, they may be those of the search alone, with a shortlist.
        """
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        decode = self._decode(beam, sample, settings)
        wanted = replace(self._wanted(decode, n_best, attention, token_scores, align), scores=scores)
        where = origin if callable(origin) else (lambda number: f"{origin}{number}")
        encoded = self._encoded(inputs, where, self._beginnings(prefix, decode))
        failed: AntiphonError | None = None
        answered = 0
        while failed is None:
            held: list[Held] = []
            try:
                held.extend(islice(encoded, window))
            except AntiphonError as error:  # what came before the bad input is still answered
                failed = error
            if not held and failed is None:
                return
            for answer in self._window(held, wanted, range(answered, answered + len(held)), where):
                if isinstance(answer, AntiphonError):
                    raise answer
                yield answer
            answered += len(held)
        raise failed

    def refuse_unsure(self) -> Calibration:
        """The calibration; what needs the confidence of answers is refused, if they have none."""
        if isinstance(self.model, Ensemble):
            raise ModelFolderError("an ensemble has no confidence: a calibration is of one model; ask one alone")
        if self.calibration is None:
            raise ModelFolderError(f"{self.folder}: says not how sure it is; run: antiphon calibrate {self.folder}")
        return self.calibration

    def answers(
        self,
        inputs: Sequence[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Mapping[str, Any] | None = None,
        prefixes: Sequence[str | None] | None = None,
        settings: Mapping[str, Any] | None = None,
        token_scores: bool = False,
        align: bool = False,
        numbers: Sequence[int] | None = None,
    ) -> list[Prediction | AntiphonError]:
        """Like `predict`, but an input that is wrong has its error in its place, and the others are answered.

        What is drawn for an input depends on its number in `numbers`, by default its place.
        """
        decode = self._decode(beam, sample, settings)
        wanted = self._wanted(decode, n_best, attention, token_scores, align)
        held: list[Held] = []
        for place, given in enumerate(inputs):
            try:
                beginning = next(self._beginnings(None if prefixes is None else prefixes[place], decode))
                held.append(self._held(given, f"input {place + 1}", beginning, self.exceptions))
            except AntiphonError as error:
                held.append(error)
        places = range(len(held)) if numbers is None else numbers
        return list(self._window(held, wanted, places, lambda number: f"input {number}"))

    def say(
        self,
        given: Any,
        sample: Mapping[str, Any] | None = None,
        prefix: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Prediction]:
        """The answer of a model that writes while it grows: what has been said after every symbol.

        The last is the answer of `predict` with a beam of 1, or drawn. A choice among whole outputs (`mbr`, a beam's
        `require` and `diversity`, `coverage_penalty`) is refused.
        """
        decode = self._decode(1, sample, settings)
        if not isinstance(self.model, Speaker) or isinstance(self.model, Aligner):
            raise ModelFolderError(f"{self.folder}: does not write symbol by symbol; ask for whole answers")
        search = plan(decode, self.model, self.codecs)
        for name in ("mbr", "require", "diversity", "coverage_penalty"):
            if getattr(decode, name):
                raise ConfigError(f"decode.{name}", "chooses among whole outputs, which are not said symbol by symbol")
        one = self._held(given, "input", next(self._beginnings(prefix, decode)), self.exceptions)
        if not isinstance(one, Unanswered):
            assert not isinstance(one, AntiphonError)
            yield one or empty(self.codecs.target)
            return
        sources = [Sequences([array]) for array in one.arrays]
        for so_far in partial_hypotheses(self.model, sources, search, self.device, one.beginning):
            for told in self._told([one], sources, [[so_far]], _Wanted(search, scores=False), [0], lambda _: "input"):
                assert not isinstance(told, AntiphonError)
                yield _counting(told, one.unknown)

    def _wanted(self, decode: Decode, n_best: int, attention: bool, token_scores: bool, align: bool) -> _Wanted:
        """What is asked for, checked."""
        most = _most_outputs(decode)
        if not 1 <= n_best <= most:
            what = "the beam's width" if decode.mbr is None else "the number of samples"
            raise ConfigError("n_best", f"must lie between 1 and {what}, {most} (is {n_best})")
        search = plan(decode, self.model, self.codecs) if isinstance(self.model, Speaker) else None
        if align:
            refuse_alignment(self.model, self.codecs, "align")
        return _Wanted(search, n_best, attention, token_scores and not isinstance(self.model, Aligner), align)

    def most_outputs(self, beam: int | None = None, settings: Mapping[str, Any] | None = None) -> int:
        """How many outputs can be asked for: the beam's width, or the number of samples."""
        return _most_outputs(self._decode(beam, None, settings))

    def file(self, path: str) -> Iterator[Input]:
        """The inputs of a file with their lines: of a table its source columns, as training reads them; else lines."""
        return read_file(path, self.config, self.codecs)

    def lines(self, name: str, stream: BinaryIO | None = None) -> Iterator[Input]:
        """The lines of a file, or of an open stream called `name`, each one input."""
        return lines_of(name, self.codecs, stream)

    def tag(self, path: str) -> Iterator[str]:
        """The sentences of a CoNLL-U file as text; in the column that the model has learned stand its labels."""
        said, read = self.config.target.column, self.config.sources[0].column
        if not isinstance(self.codecs.target, LabelsCodec) or read not in FIELDS or said not in FIELDS:
            reason = "does not label the words of CoNLL-U; that takes source.column: form and, say, target.column: upos"
            raise ModelFolderError(f"{self.folder}: {reason}")
        held: deque[Sentence] = deque()

        def inputs() -> Iterator[str]:
            for sentence in sentences(read_lines(path)):
                if sentence.wrong:
                    raise DataError(f"{path}:{sentence.line}: {sentence.wrong}")
                held.append(sentence)
                yield sentence.field(str(read))

        for found in self.stream(inputs(), origin=f"{path}: sentence "):
            assert isinstance(found, LabelsPrediction)
            sentence = held.popleft()
            if len(found.labels) != len(sentence.words):
                reason = f"the model reads {len(found.labels)} tokens in a sentence of {len(sentence.words)} words"
                raise DataError(f"{path}:{sentence.line}: {reason}")
            yield sentence.replaced(str(said), found.labels)

    def chat(
        self,
        lines: Iterable[str],
        beam: int | None = None,
        sample: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Prediction]:
        """Answer the lines of a dialogue, one by one; a model whose source has `turns` reads the last of both sides.

        An empty line ends it, and `/new` begins anew. Turns that `data.max_length` leaves no room for are forgotten.
        """
        codec = self.codecs.sources[0]
        writes = self._writes and not self.model.goes_on
        if not writes or len(self.codecs.sources) > 1 or not isinstance(codec, SourceTextCodec):
            raise ModelFolderError(
                f"{self.folder}: holds no dialogue; that takes one source of text and a target of text"
            )
        said: list[str] = []
        kept, room = codec.turns or 1, self.config.data.max_length + codec.ends

        def inputs() -> Iterator[str | list[str]]:
            for line in lines:
                if not line.strip():
                    return
                if line.strip() == NEW:
                    said.clear()
                    continue
                said.append(line)
                del said[:-kept]
                while len(said) > 1 and len(codec.encode(tuple(said))) > room:
                    del said[0]
                yield said if codec.turns else line

        for answer in self.stream(inputs(), beam, sample=sample, window=1, origin="turn ", settings=settings):
            said.append(answer.text)
            yield answer

    @property
    def answers_steps(self) -> bool:
        """Whether it gives an answer for each step of its source, so that `live` is for it."""
        return isinstance(self.model, Reader) and self.model.pooling is None and not self._writes

    @property
    def _writes(self) -> bool:
        return isinstance(self.model, Speaker)

    def live(self, steps: Iterable[Any], origin: str = "step ") -> Iterator[Prediction]:
        """Answer every step of a stream at once, in constant memory: the answers of the whole sequence, one by one.

        A step is a symbol, or a vector as a list or as JSON; an empty one ends a sequence, and the next begins anew.
        """
        model, codec = self.model, self.codecs.sources[0]
        if not model.head.stepwise:
            raise ModelFolderError(
                f"{self.folder}: cannot answer a stream step by step: a CRF chooses all labels of a sequence together, "
                "when it has ended; give whole sequences"
            )
        if not isinstance(model, Reader) or not model.streams:
            raise ModelFolderError(
                f"{self.folder}: cannot answer a stream step by step: that takes a target of labels or numbers "
                "and model.encoder.bidirectional: false"
            )
        head: Head[Any] = model.head
        model.eval()
        state, only = model.begin(1), torch.zeros(1, dtype=torch.long, device=self.device)
        for number, given in enumerate(steps, 1):
            if isinstance(given, str) and not given:
                state = model.begin(1)
                yield LiveEnd()
                continue
            try:
                step = Sequences([codec.read_step(given)])
            except ValueError as error:
                raise DataError(f"{origin}{number}: the input {error}") from None
            with torch.inference_mode():
                features, state = model.read_step(torch.from_numpy(step.padded([0])[:, 0]).to(self.device), state)
                values = head.answer(features[:, None], only)[1][0].float().cpu().numpy()
            yield answered_step(self.codecs.target, values, self.calibration)

    def _encoded(self, inputs: Iterable[Any], where: Where, beginnings: Iterator[list[int]]) -> Iterator[Held]:
        """Inputs as the model reads them, in order; those with a known answer as that."""
        for number, given in enumerate(inputs, 1):
            beginning = next(beginnings, None)
            if beginning is None:
                raise ConfigError("prefix", f"is missing for {where(number)}; give one for each input, if only ''")
            yield self._held(given, where(number), beginning, self.exceptions)

    def _held(self, given: Any, where: str, beginning: list[int], known: exceptions.Exceptions) -> Held:
        parts = self._parts(given, where)
        if parts is None:
            return None
        limit = self.config.data.max_length
        try:
            values = [codec.asked(part) for codec, part in zip(self.codecs.sources, parts, strict=True)]
            if (answer := known.answer(self.codecs, values)) is not None:
                return answer
            arrays = [codec.encode(value) for codec, value in zip(self.codecs.sources, values, strict=True)]
        except ValueError as error:
            raise DataError(f"{where}: the input {error}") from None
        unknown = sum(codec.unknown(array) for codec, array in zip(self.codecs.sources, arrays, strict=True))
        for place, codec in enumerate(self.codecs.sources):
            if self.model.goes_on:
                arrays[place] = arrays[place][: len(arrays[place]) - codec.ends]  # a prompt goes on
            length = len(arrays[place]) - codec.ends
            if codec.steps and length > limit:
                raise TooLongError(f"{where}: has {length} {codec.unit}; data.max_length of this model is {limit}")
        if self._copying is not None:
            arrays = [self._copying.read(values[0], arrays[0])]
        nothing = 0 if self.model.goes_on else self.codecs.sources[0].ends
        empty_one = len(parts) == 1 and len(arrays[0]) == nothing
        return None if empty_one else Unanswered(values, arrays, beginning, unknown)

    def _parts(self, given: Any, where: str) -> Sequence[Any] | None:
        """What an input has for each source; None for an empty one."""
        reading = [codec.reads for codec in self.codecs.sources]
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
            raise DataError(f"{where}: has {len(parts)} of {wanted} sources; a tab separates them")
        found = iter(parts)
        return [next(found) if reads else "" for reads in reading]

    def _beginnings(self, prefix: str | Iterable[str] | None, decode: Decode) -> Iterator[list[int]]:
        """The ids that the outputs of each input begin with."""
        if prefix is None:
            return itertools.repeat([])
        if not isinstance(self.model, Speaker) or isinstance(self.model, Aligner):
            raise ConfigError("prefix", "is for a model that writes; this one does not")
        codec = written_side(self.model, self.codecs)
        if isinstance(prefix, str):
            return itertools.repeat(_beginning(prefix, codec, decode))
        return (_beginning(text, codec, decode) for text in prefix)

    def _decode(
        self,
        beam: int | None,
        sample: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Decode:
        if beam is not None and beam < 1:
            raise ConfigError("beam", f"must be at least 1 (is {beam})")
        decode = (decoding(self.config, settings) if settings else self.config).decode
        check_names(decode)
        if beam is not None:
            decode = decode.model_copy(update={"beam": beam})
        return decode if sample is None else decode.model_copy(update={"sample": sample_settings(sample)})

    def _window(
        self, held: Sequence[Held], wanted: _Wanted, numbers: Sequence[int], where: Where
    ) -> Iterator[Prediction | AntiphonError]:
        filled = [one for one in held if isinstance(one, Unanswered)]
        columns = zip(*(one.arrays for one in filled), strict=True) if filled else [()] * len(self.codecs.sources)
        sources = [Sequences(column) for column in columns]
        found: Iterator[Prediction | AntiphonError]
        if wanted.search is not None:
            own = [number for number, one in zip(numbers, held, strict=True) if isinstance(one, Unanswered)]
            found = self._written(filled, sources, wanted, own, where)
        else:
            assert isinstance(self.model, Reader)
            answers = read_sources(self.model, sources, self.codecs.sources[0].ends, self.device)
            found = (answered(self.codecs.target, answer, self.calibration) for answer in answers)
        for one in held:
            if isinstance(one, Unanswered):
                yield _counting(next(found), one.unknown)
            else:
                yield one or empty(self.codecs.target)

    def _written(
        self,
        held: Sequence[Unanswered],
        sources: Sequence[Sequences],
        wanted: _Wanted,
        numbers: Sequence[int],
        where: Where,
    ) -> Iterator[Prediction | AntiphonError]:
        assert isinstance(self.model, Speaker)
        assert wanted.search is not None
        prefixes = [one.beginning for one in held] if any(one.beginning for one in held) else None
        found = decode_sources(self.model, sources, wanted.search, self.device, numbers, prefixes)
        return self._told(held, sources, found, wanted, numbers, where)

    def _told(
        self,
        held: Sequence[Unanswered],
        sources: Sequence[Sequences],
        found: Sequence[Sequence[Hypothesis]],
        wanted: _Wanted,
        numbers: Sequence[int],
        where: Where,
    ) -> Iterator[Prediction | AntiphonError]:
        """What was found for every input, in words."""
        assert isinstance(self.model, Speaker)
        assert wanted.search is not None
        first, codec = self.codecs.sources[0], written_side(self.model, self.codecs)
        kept = [hypotheses[: wanted.n_best] for hypotheses in found]
        rows = [row for row, hypotheses in enumerate(kept) for _ in hypotheses]  # of all outputs, one behind the other
        outputs = [one for hypotheses in kept for one in hypotheses]
        tokens, given = [one.tokens for one in outputs], [source.take(rows) for source in sources]
        reads = [first.split_turns(values[0]) if isinstance(first, TextCodec) else [] for values, *_ in held]
        said = written(
            self.model, self.codecs, wanted.search, given, [held[row][0] for row in rows], tokens, self.device
        )
        if self.model.goes_on:
            said = [[*reads[row], *symbols] for row, symbols in zip(rows, said, strict=True)]
        renewed = wanted.scores and wanted.search.shortlist is not None  # that of the search is of few symbols alone
        parts = symbol_scores(self.model, given, tokens, self.device) if wanted.token_scores or renewed else None
        weights = attention_of(self.model, given, tokens, self.device) if wanted.attention or wanted.align else None
        candidates = [
            Candidate(
                codec.join(symbols),
                symbols,
                sum(parts[place]) if parts is not None and renewed else outputs[place].score,
                parts[place] if parts is not None and wanted.token_scores else None,
                None if weights is None or not wanted.align else alignment(weights[place], reads[rows[place]]),
            )
            for place, symbols in enumerate(said)
        ]
        ends = itertools.accumulate(map(len, kept))
        for number, read, hypotheses, end in zip(numbers, reads, kept, ends, strict=True):
            try:
                best_of(hypotheses, where(number + 1))
            except SilentError as error:
                yield error
                continue
            place = end - len(hypotheses)
            best = candidates[place]
            looked = None if weights is None or not wanted.attention else weights[place]
            sure = None if self.calibration is None else self.calibration.of_text(best.score)
            yield TextPrediction(best.text, best.tokens, best.score, candidates[place:end], read, looked, sure)

    def explain(
        self,
        given: Any,
        reference: Any = None,
        other: Any = None,
        force: Sequence[tuple[int, str | None]] = (),
        top: int = 5,
        beam: int | None = None,
        settings: Mapping[str, Any] | None = None,
        begin: Sequence[str | None] = (),
    ) -> Trace:
        """The run of one input, as `predict` takes it, seen from inside: see docs/trace.md.

        With a `reference`, what should be said (of a language model: behind the input), it is compared. `other` is
        another input, whose context C is tried in place of the input's. Each of `force` is a step, from 0, and a symbol
        (None: the end symbol) to say there and go on; `begin` are symbols that the output itself begins with. `top`
        symbols a step are told of; `beam` and `settings` are as `predict` takes them.
        """
        if isinstance(self.model, Ensemble):
            raise ModelFolderError("an ensemble is several models; look into each of them")
        if top < 1:
            raise ConfigError("top", f"must be at least 1 (is {top})")
        writes = isinstance(self.model, Writer)
        wishes = {"other": other is not None and not writes}
        wishes |= {name: bool(symbols) and not self._writes for name, symbols in (("force", force), ("begin", begin))}
        for name, wish in wishes.items():
            if wish:
                what = "has a context C" if name == "other" else "writes"
                raise ConfigError(name, f"is for a model that {what}; this one does not")
        asked = Asked(reference, None if other is None else self._given(other, "other input"), force, top, begin)
        search = plan(self._decode(beam, None, settings), self.model, self.codecs) if self._writes else None  # type: ignore[arg-type]
        explainer = explainer_of(self.model, self.config, self.codecs, self.device, search)
        return explainer.trace(self._given(given, "input"), asked)

    def _given(self, given: Any, what: str) -> Given:
        held = self._held(given, what, [], exceptions.NONE)  # of the model alone
        if not isinstance(held, Unanswered):
            raise DataError(f"{what}: is empty")
        return Given(held.values, held.arrays)

    def rows(self, data: Data) -> list[Row]:
        """The rows of a table, of parallel files, or of the configured test set; given rows as they are."""
        if isinstance(data, list) and data and isinstance(data[0], Row):
            return [row for row in data if isinstance(row, Row)]
        files: Files | None = str(data) if isinstance(data, Path) else data  # type: ignore[assignment]
        if files is None:
            files = self.config.data.test
        if files is None:
            raise DataError(f"{self.folder}: its configuration names no data.test; name the data")
        return load_rows(self.config, files, codecs=self.codecs)

    def score(self, data: Data = None) -> list[float]:
        """log p(target | source) of every row in nats, the end symbol counted; of numbers, minus the squared error."""
        return [value for _, value in self.scored(data)]

    def scored(self, data: Data = None) -> list[tuple[Row, float]]:
        """The rows of `data` (bad ones left out, if the configuration skips them), each with its `score`."""
        rows, examples = encode_rows(self.config, self.codecs, self.rows(data))
        return list(zip(rows, score_rows(self.model, examples, self.device).totals, strict=True))

    def scores(self, pairs: Sequence[tuple[Any, Any]]) -> list[float | AntiphonError]:
        """log p(target | input) of every pair, as `score` gives it; a wrong pair has its error in its place.

        The target is what stands in the target's column; a language model reads the input alone.
        """
        found: list[list[Any] | AntiphonError] = []
        for place, (given, target) in enumerate(pairs):
            try:
                found.append(self._pair(given, target, f"pair {place + 1}"))
            except AntiphonError as error:
                found.append(error)
        encoded = [one for one in found if isinstance(one, list)]
        if not encoded:
            return [one for one in found if isinstance(one, AntiphonError)]
        *sources, target = map(Sequences, zip(*encoded, strict=True))
        totals = iter(score_rows(self.model, Examples(tuple(sources), target), self.device).totals)
        return [one if isinstance(one, AntiphonError) else next(totals) for one in found]

    def _pair(self, given: Any, target: Any, where: str) -> list[Any]:
        """The arrays of an input and what is to be said to it."""
        parts, codec = self._parts(given, where), self.codecs.target
        if parts is None:
            raise DataError(f"{where}: the input is empty")
        try:
            values = tuple(side.asked(part) for side, part in zip(self.codecs.sources, parts, strict=True))
            row = Row(values, codec.read(target, "") if codec.reads else "", where, 1)
            return encode_row(self.config, self.codecs, row, self._copying)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None

    def use_exceptions(self, table: str | Path) -> int:
        """Let the rows of a table, an input and its output each, win over the model, here and in its folder from now
        on; how many there are. They take the place of those before."""
        self.exceptions = exceptions.read(Path(table), self.codecs)
        if Path(table).resolve() != (self.folder / exceptions.FILE).resolve():
            write_text(self.folder / exceptions.FILE, Path(table).read_text(encoding="utf-8-sig"))
        return len(self.exceptions.answers)

    def calibrate(self, data: Data = None) -> Report:
        """Fit how sure the answers are to the rows of `data`, by default the validation rows, which must not be among
        those learned from; kept in the model's folder, and told in its card, from now on."""
        if isinstance(self.model, Ensemble):
            raise ModelFolderError("an ensemble is several models; calibrate each of them")
        target = self.codecs.target
        if not isinstance(target, TextCodec | LabelCodec):
            reason = f"says {target.kind}, and a confidence is for a text, a label or labels"
            raise ModelFolderError(f"{self.folder}: {reason}")
        rows = load_parts(self.config, self.codecs)[1] if data is None else self.rows(data)
        files = ", ".join(sorted({Path(row.file).name for row in rows}))
        about = f"{len(rows):,} {'validation ' if data is None else ''}rows of {files}"
        found = Report.of(judged(self._task(rows)), isinstance(target, TextCodec), about)
        write_text(self.folder / calibration.FILE, found.to_json())
        add_calibration(self.folder, found)
        self.calibration = found.calibration
        return found

    def evaluate(
        self, data: Data = None, beam: int | None = None, settings: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """All metrics on `data`, by default the configured test set; `settings` as `predict` takes them."""
        return self.evaluate_signed(data, beam, settings)[0]

    def evaluate_signed(
        self,
        data: Data = None,
        beam: int | None = None,
        settings: Mapping[str, Any] | None = None,
        abstain_below: float | None = None,
    ) -> tuple[dict[str, float], dict[str, str]]:
        """All metrics, and sacreBLEU's signatures of those it makes.

        With `abstain_below` they are of the rows whose answers are not less sure than that, with the share of these
        rows, `coverage`.
        """
        task = self._task(data, beam, settings)
        if abstain_below is None:
            return evaluate(task)
        part, coverage = surest(task, self.refuse_unsure(), abstain_below)
        scores, signatures = evaluate(part) if part.rows else ({"rows": 0}, {})
        return {"coverage": coverage, **scores}, signatures

    def row_sums(
        self, data: Data = None, beam: int | None = None, settings: Mapping[str, Any] | None = None
    ) -> tuple[list[Row], dict[str, Sums]]:
        """The rows of `data` (of references of one input the first), and what each adds to the metrics that are
        quotients of sums over rows, such as `loss` and `token_error_rate`."""
        return row_sums(self._task(data, beam, settings))

    def confusion(self, data: Data = None) -> dict[str, dict[str, int]]:
        """For every label in `data`, how often each label was said; for targets `label` and `labels`."""
        return confusion(self._task(data))

    def _task(self, data: Data, beam: int | None = None, settings: Mapping[str, Any] | None = None) -> Task:
        config = self.config.model_copy(update={"decode": self._decode(beam, None, settings)})
        rows, examples = encode_rows(config, self.codecs, self.rows(data))
        return Task(self.model, config, self.codecs, rows, examples, self.device)

    def save(self, folder: str | Path) -> None:
        """Write the model into a new folder (without what only `--resume` needs)."""
        if isinstance(self.model, Ensemble):
            raise ModelFolderError("an ensemble is several folders; copy each of them")
        target = Path(folder)
        if target.exists():
            raise ModelFolderError(f"{target}: exists; name a new folder")
        bundle.save_description(target, self.config, self.codecs)
        bundle.save_weights(target, bundle.parameters(self.model))
        bundle.save_metrics(target, self.metrics)
        for name in (bundle.CARD, bundle.CURVES, calibration.FILE, exceptions.FILE):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, target / name)


def _counting(answer: Any, unknown: int) -> Any:
    """An answer that says how many symbols of its input are not known, if there are any."""
    return replace(answer, unknown=unknown) if unknown and not isinstance(answer, AntiphonError) else answer


def _most_outputs(decode: Decode) -> int:
    return decode.beam if decode.mbr is None else decode.mbr.samples


def _beginning(text: str, codec: TextCodec, decode: Decode) -> list[int]:
    try:
        ids = ids_of(text, codec)
    except ConfigError as error:
        raise ConfigError("prefix", error.reason) from None
    if len(ids) > (decode.max_length or 0):
        raise ConfigError("prefix", f"has {len(ids)} tokens; decode.max_length is {decode.max_length}")
    return ids


def load(
    folder: str | Path | Sequence[str | Path], device: str | None = None, combine: str = "log_linear"
) -> Predictor:
    """Load a model folder for use, onto the GPU if there is one or onto the named device.

    Several folders are loaded as one model, an ensemble: with `log_linear` a symbol's log p is the mean of theirs,
    normalised again, with `mean` its p is the mean of theirs. Their vocabularies must be the same; what is configured
    is the first one's.
    """
    place = pick_device(device)
    folders = [Path(folder)] if isinstance(folder, str | Path) else [Path(one) for one in folder]
    if not folders:
        raise ModelFolderError("an ensemble needs at least one model folder")
    if combine not in COMBINATIONS:
        raise ConfigError("combine", f"unknown way {combine!r}; {nearest(combine, COMBINATIONS)}")
    first, *others = (bundle.load(one, place) for one in folders)
    for other, name in zip(others, folders[1:], strict=True):
        _refuse_strangers(first, other, folders[0], name)
    members: Any = [one.model for one in (first, *others)]
    ensemble = Ensemble(members, COMBINATIONS[combine]).eval() if others else None
    path = folders[0] / exceptions.FILE
    known = exceptions.read(path, first.codecs) if path.is_file() else exceptions.NONE
    calibrated = None if others else calibration.read(folders[0] / calibration.FILE)  # of one model, not of several
    return Predictor(first, folders[0], place, ensemble, known, calibrated)


def _refuse_strangers(first: Bundle, other: Bundle, where: Path, name: Path) -> None:
    """Refuse a member of an ensemble that reads or writes other symbols than the first."""
    if not isinstance(first.model, Writer | LanguageModel):
        raise ModelFolderError(f"{where}: does not write; an ensemble is of models that write a sequence")
    own, theirs = first.codecs.named, other.codecs.named
    odd = own.keys() ^ theirs.keys() or {side for side in own if own[side].to_json() != theirs[side].to_json()}
    if odd:
        reason = "train both on the same rows (a fraction as data.valid depends on train.seed; give it a file)"
        raise ModelFolderError(f"{name}: vocabulary-{min(odd)}.json is not that of {where}; {reason}")
    depths = {len(one.config.model.image.channels) for one in (first, other)}
    if len(depths) > 1 and any(codec.kind == "image" for codec in first.codecs.sources):
        raise ModelFolderError(f"{name}: looks at other places of a picture than {where}; give both as many channels")
