"""A trained model in use: predict, score, evaluate, save. What the command line does, a program does here."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon import bundle
from antiphon.answers import (
    Candidate,
    LabelsPrediction,
    LiveEnd,
    Prediction,
    TextPrediction,
    answered,
    answered_step,
    empty,
)
from antiphon.bundle import Bundle
from antiphon.config import Config, Decode, Files, sample_settings
from antiphon.data.batch import Examples, Sequences, collate
from antiphon.data.conllu import FIELDS, Sentence, sentences
from antiphon.data.encode import LabelsCodec, SourceTextCodec, TextCodec
from antiphon.data.rows import Row, read_lines
from antiphon.dataset import encode_rows, load_rows
from antiphon.decoding import Hypothesis
from antiphon.devices import pick_device
from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError
from antiphon.evaluation import Task, confusion, decode_sources, evaluate, read_sources, score_rows
from antiphon.model import LanguageModel, Reader, Writer
from antiphon.symbols import EOS

Data: TypeAlias = str | Path | Files | list[Row] | None
Held: TypeAlias = tuple[list[Any], list[Any]] | None  # an input's values and their arrays; None if it is empty

WINDOW = 4096  # inputs held at once while streaming
NEW = "/new"  # the line that begins a dialogue anew


class Predictor:
    """A loaded model. Results never depend on what else is in a batch."""

    def __init__(self, loaded: Bundle, folder: Path, device: torch.device) -> None:
        self.config: Config = loaded.config
        self.codecs = loaded.codecs
        self.model = loaded.model
        self.metrics = loaded.metrics
        self.folder = folder
        self.device = device

    def predict(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """The answers to `inputs`, in order; an empty input gives an empty answer.

        An input is what stands in the source's column: a text, the path of an image or its array, a list of
        numbers or an array. With several sources it is a tuple of these, or their texts with tabs between. Which
        class of answer comes depends on the kind of target (see `antiphon/answers.py`).
        `beam` overrides the configured width; `n_best` is at most the width; both are for text alone. `sample` draws
        symbols: {} by their probability, or with `temperature`, `top_k`, `top_p` and `seed`. To a language model an
        input is a prompt, and its answer goes on behind it.
        """
        return list(self.stream(inputs, beam, n_best, attention, sample))

    def stream(
        self,
        inputs: Iterable[Any],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        sample: Mapping[str, Any] | None = None,
        window: int = WINDOW,
        origin: str = "input ",
    ) -> Iterator[Prediction]:
        """Like `predict`, but lazily and in bounded memory: `window` inputs are held at a time.

        Errors name an input as `origin` and its number, from 1.
        """
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        settings = self._decode(beam, sample)
        if not 1 <= n_best <= settings.beam:
            raise ConfigError("n_best", f"must lie between 1 and the beam's width, {settings.beam} (is {n_best})")
        encoded = self._encoded(inputs, origin)
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
            yield from self._window(held, settings, n_best, attention, answered)
            answered += len(held)
        raise failed

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
        self, lines: Iterable[str], beam: int | None = None, sample: Mapping[str, Any] | None = None
    ) -> Iterator[Prediction]:
        """Answer the lines of a dialogue, one by one; a model whose source has `turns` reads the last of both sides.

        An empty line ends it, and `/new` begins anew. Turns that `data.max_length` leaves no room for are forgotten.
        """
        codec = self.codecs.sources[0]
        if not isinstance(self.model, Writer) or len(self.codecs.sources) > 1 or not isinstance(codec, SourceTextCodec):
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

        for answer in self.stream(inputs(), beam, sample=sample, window=1, origin="turn "):
            said.append(answer.text)
            yield answer

    @property
    def answers_steps(self) -> bool:
        """Whether it gives an answer for each step of its source, so that `live` is for it."""
        return isinstance(self.model, Reader) and self.model.pooling is None and not self._writes

    @property
    def _writes(self) -> bool:
        return isinstance(self.model, Writer | LanguageModel)

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
                values = model.head.answer(features[:, None], only)[1][0].float().cpu().numpy()
            yield answered_step(self.codecs.target, values)

    def _encoded(self, inputs: Iterable[Any], origin: str) -> Iterator[Held]:
        limit = self.config.data.max_length
        for number, given in enumerate(inputs, 1):
            parts = self._parts(given, f"{origin}{number}")
            if parts is None:
                yield None
                continue
            values, arrays = [], []
            for codec, part in zip(self.codecs.sources, parts, strict=True):
                try:
                    values.append(codec.asked(part))
                    arrays.append(codec.encode(values[-1]))
                except ValueError as error:
                    raise DataError(f"{origin}{number}: the input {error}") from None
                if isinstance(self.model, LanguageModel):
                    arrays[-1] = arrays[-1][: len(arrays[-1]) - codec.ends]  # a prompt goes on
                length = len(arrays[-1]) - codec.ends
                if codec.steps and length > limit:
                    reason = f"has {length} {codec.unit}; data.max_length of this model is {limit}"
                    raise DataError(f"{origin}{number}: {reason}")
            nothing = 0 if isinstance(self.model, LanguageModel) else self.codecs.sources[0].ends
            yield None if len(parts) == 1 and len(arrays[0]) == nothing else (values, arrays)

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

    def _decode(self, beam: int | None, sample: Mapping[str, Any] | None = None) -> Decode:
        if beam is not None and beam < 1:
            raise ConfigError("beam", f"must be at least 1 (is {beam})")
        settings = self.config.decode
        if beam is not None:
            settings = settings.model_copy(update={"beam": beam})
        return settings if sample is None else settings.model_copy(update={"sample": sample_settings(sample)})

    def _window(
        self, held: Sequence[Held], settings: Decode, n_best: int, attention: bool, before: int
    ) -> Iterator[Prediction]:
        filled = [one for one in held if one is not None]
        columns = zip(*(arrays for _, arrays in filled), strict=True) if filled else [()] * len(self.codecs.sources)
        sources = [Sequences(column) for column in columns]
        if isinstance(self.model, Writer | LanguageModel):
            numbers = [before + place for place, one in enumerate(held) if one is not None]
            found = iter(decode_sources(self.model, sources, settings, self.device, numbers))
        else:
            assert isinstance(self.model, Reader)
            answers = iter(read_sources(self.model, sources, self.codecs.sources[0].ends, self.device))
        for one in held:
            if one is None:
                yield empty(self.codecs.target)
            elif self._writes:
                hypotheses = next(found)
                weights = self._attention(one[1], hypotheses[0]) if attention else None
                yield self._written(one[0], hypotheses[:n_best], weights)
            else:
                yield answered(self.codecs.target, next(answers))

    def _written(
        self, values: Sequence[Any], hypotheses: Sequence[Hypothesis], weights: NDArray[np.float32] | None
    ) -> TextPrediction:
        first = self.codecs.sources[0]
        read = first.split_turns(values[0]) if isinstance(first, TextCodec) else []
        goes_on = isinstance(self.model, LanguageModel)
        codec = first if goes_on else self.codecs.target
        assert isinstance(codec, TextCodec)
        candidates = []
        for one in hypotheses:
            said = [*(read if goes_on else []), *codec.symbols(one.tokens)]
            candidates.append(Candidate(codec.join(said), said, one.score))
        best = candidates[0]
        return TextPrediction(best.text, best.tokens, best.score, candidates, read, weights)

    @torch.inference_mode()
    def _attention(self, arrays: Sequence[Any], output: Hypothesis) -> NDArray[np.float32] | None:
        if not isinstance(self.model, Writer):
            return None
        examples = Examples(tuple(Sequences([array]) for array in arrays), Sequences([[*output.tokens, EOS]]))
        batch = collate(examples, [0]).to(self.device)
        weights = self.model.attention(batch.sources, batch.target.values)
        return None if weights is None else weights[0].float().cpu().numpy()

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

    def evaluate(self, data: Data = None, beam: int | None = None) -> dict[str, float]:
        """All metrics on `data`, by default the configured test set."""
        return self.evaluate_signed(data, beam)[0]

    def evaluate_signed(self, data: Data = None, beam: int | None = None) -> tuple[dict[str, float], dict[str, str]]:
        """All metrics, and sacreBLEU's signatures of those it makes."""
        return evaluate(self._task(data, beam))

    def confusion(self, data: Data = None) -> dict[str, dict[str, int]]:
        """For every label in `data`, how often each label was said; for targets `label` and `labels`."""
        return confusion(self._task(data, None))

    def _task(self, data: Data, beam: int | None) -> Task:
        config = self.config.model_copy(update={"decode": self._decode(beam)})
        rows, examples = encode_rows(config, self.codecs, self.rows(data))
        return Task(self.model, config, self.codecs, rows, examples, self.device)

    def save(self, folder: str | Path) -> None:
        """Write the model into a new folder (without what only `--resume` needs)."""
        target = Path(folder)
        if target.exists():
            raise ModelFolderError(f"{target}: exists; name a new folder")
        bundle.save_description(target, self.config, self.codecs)
        bundle.save_weights(target, bundle.parameters(self.model))
        bundle.save_metrics(target, self.metrics)
        for name in (bundle.CARD, "curves.png"):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, target / name)


def load(folder: str | Path, device: str | None = None) -> Predictor:
    """Load a model folder for use, onto the GPU if there is one or onto the named device."""
    place = pick_device(device)
    return Predictor(bundle.load(Path(folder), place), Path(folder), place)
