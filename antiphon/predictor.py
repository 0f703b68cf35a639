"""A trained model in use: predict, score, evaluate, save. What the command line does, a program does here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon import bundle
from antiphon.bundle import Bundle
from antiphon.config import Config, Decode, Files
from antiphon.data.batch import Examples, Sequences, collate
from antiphon.data.rows import Row
from antiphon.dataset import encode_rows, load_rows
from antiphon.decoding import Hypothesis
from antiphon.devices import pick_device
from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError
from antiphon.evaluation import decode_sources, evaluate, score_rows
from antiphon.symbols import EOS

Data: TypeAlias = str | Path | Files | list[Row] | None

WINDOW = 4096  # inputs held at once while streaming


@dataclass(frozen=True)
class Candidate:
    """One output: its text, its symbols, and log p(text | input) in nats with the end symbol."""

    text: str
    tokens: list[str]
    score: float


@dataclass(frozen=True)
class Prediction:
    """The best output for one input, the `n_best` in order, attention [tokens + 1, source symbols + 1] if asked for."""

    text: str
    tokens: list[str]
    score: float
    n_best: list[Candidate]
    source_tokens: list[str]
    attention: NDArray[np.float32] | None = None


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
        self, inputs: Iterable[str], beam: int | None = None, n_best: int = 1, attention: bool = False
    ) -> list[Prediction]:
        """The outputs for `inputs`, in order; an empty input gives an empty output.

        `beam` overrides the configured width; `n_best` is at most the width.
        """
        return list(self.stream(inputs, beam, n_best, attention))

    def stream(
        self,
        inputs: Iterable[str],
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        window: int = WINDOW,
        origin: str = "input ",
    ) -> Iterator[Prediction]:
        """Like `predict`, but lazily and in bounded memory: `window` inputs are held at a time.

        Errors name an input as `origin` and its number, from 1.
        """
        if isinstance(inputs, str):
            raise TypeError("inputs must be a list of texts; for one text give [text]")
        settings = self._decode(beam)
        if not 1 <= n_best <= settings.beam:
            raise ConfigError("n_best", f"must lie between 1 and the beam's width, {settings.beam} (is {n_best})")
        encoded = self._encoded(inputs, origin)
        failed: AntiphonError | None = None
        while failed is None:
            held: list[tuple[str, list[int]]] = []
            try:
                held.extend(islice(encoded, window))
            except AntiphonError as error:  # what came before the bad input is still answered
                failed = error
            if not held and failed is None:
                return
            yield from self._window(held, settings, n_best, attention)
        raise failed

    def _encoded(self, inputs: Iterable[str], origin: str) -> Iterator[tuple[str, list[int]]]:
        limit = self.config.data.max_length
        for number, text in enumerate(inputs, 1):
            ids = self.codecs.source.encode(text)
            if len(ids) - 1 > limit:
                reason = f"has {len(ids) - 1} tokens; data.max_length of this model is {limit}"
                raise DataError(f"{origin}{number}: {reason}")
            yield text, ids

    def _decode(self, beam: int | None) -> Decode:
        if beam is not None and beam < 1:
            raise ConfigError("beam", f"must be at least 1 (is {beam})")
        return self.config.decode if beam is None else self.config.decode.model_copy(update={"beam": beam})

    def _window(
        self, held: Sequence[tuple[str, list[int]]], settings: Decode, n_best: int, attention: bool
    ) -> Iterator[Prediction]:
        filled = [(text, ids) for text, ids in held if len(ids) > 1]  # the end symbol alone is an empty input
        found = iter(decode_sources(self.model, Sequences([ids for _, ids in filled]), settings, self.device))
        for text, ids in held:
            if len(ids) == 1:
                yield Prediction("", [], 0.0, [], [])
                continue
            hypotheses = next(found)
            weights = self._attention(ids, hypotheses[0]) if attention else None
            yield self._prediction(text, hypotheses[:n_best], weights)

    def _prediction(
        self, text: str, hypotheses: Sequence[Hypothesis], weights: NDArray[np.float32] | None
    ) -> Prediction:
        codec = self.codecs.target
        candidates = [Candidate(codec.decode(one.tokens), codec.symbols(one.tokens), one.score) for one in hypotheses]
        best = candidates[0]
        return Prediction(best.text, best.tokens, best.score, candidates, self.codecs.source.split(text), weights)

    @torch.inference_mode()
    def _attention(self, source: list[int], output: Hypothesis) -> NDArray[np.float32] | None:
        batch = collate(Examples(Sequences([source]), Sequences([[*output.tokens, EOS]])), [0]).to(self.device)
        weights = self.model.attention(batch.source, batch.source_lengths, batch.target_in)
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
        return load_rows(self.config, files)

    def score(self, data: Data = None) -> list[float]:
        """log p(target | source) of every row in nats, the end symbol counted."""
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
        config = self.config.model_copy(update={"decode": self._decode(beam)})
        rows, examples = encode_rows(config, self.codecs, self.rows(data))
        return evaluate(self.model, config, self.codecs.target, rows, examples, self.device)

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
