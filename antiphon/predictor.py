"""A trained model in use: predict, score, evaluate, save. What the command line does, a program does here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon import bundle
from antiphon.bundle import Bundle
from antiphon.config import Config, Decode, Files, Parallel
from antiphon.data.batch import Examples, Sequences, collate
from antiphon.data.rows import Row
from antiphon.dataset import encode_rows, load_rows
from antiphon.decoding import Hypothesis
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.evaluation import decode_sources, evaluate, score_rows
from antiphon.training.distributed import pick_device

WINDOW = 4096  # inputs held at once while streaming


class TooLongError(Exception):
    """An input is longer than the model allows; `place` is its number in its window."""

    def __init__(self, place: int, reason: str) -> None:
        self.place = place
        super().__init__(reason)


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


EMPTY = Prediction("", [], 0.0, [], [])


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
        settings = self._decode(beam)
        if not 1 <= n_best <= settings.beam:
            raise ConfigError("n_best", f"must lie between 1 and the beam's width, {settings.beam} (is {n_best})")
        waiting = iter(inputs)
        seen = 1
        while texts := list(islice(waiting, window)):
            try:
                yield from self._window(texts, settings, n_best, attention)
            except TooLongError as error:
                raise DataError(f"{origin}{seen + error.place}: {error}") from None
            seen += len(texts)

    def _decode(self, beam: int | None) -> Decode:
        if beam is not None and beam < 1:
            raise ConfigError("beam", f"must be at least 1 (is {beam})")
        return self.config.decode if beam is None else self.config.decode.model_copy(update={"beam": beam})

    def _window(self, texts: Sequence[str], settings: Decode, n_best: int, attention: bool) -> list[Prediction]:
        limit = self.config.data.max_length
        results = [EMPTY] * len(texts)
        encoded = [self.codecs.source.encode(text) for text in texts]
        for number, ids in enumerate(encoded):
            if len(ids) - 1 > limit:
                raise TooLongError(number, f"has {len(ids) - 1} tokens; data.max_length of this model is {limit}")
        places = [number for number, ids in enumerate(encoded) if len(ids) > 1]
        sources = Sequences([encoded[place] for place in places])
        found = decode_sources(self.model, sources, settings, self.device)
        for place, hypotheses in zip(places, found, strict=True):
            results[place] = self._prediction(texts[place], hypotheses[:n_best])
        if attention:
            for place, hypotheses in zip(places, found, strict=True):
                weights = self._attention(encoded[place], hypotheses[0])
                results[place] = Prediction(**{**vars(results[place]), "attention": weights})
        return results

    def _prediction(self, text: str, hypotheses: Sequence[Hypothesis]) -> Prediction:
        codec = self.codecs.target
        candidates = [Candidate(codec.decode(one.tokens), codec.symbols(one.tokens), one.score) for one in hypotheses]
        best = candidates[0]
        return Prediction(best.text, best.tokens, best.score, candidates, self.codecs.source.split(text))

    @torch.inference_mode()
    def _attention(self, source: list[int], output: Hypothesis) -> NDArray[np.float32] | None:
        batch = collate(Examples(Sequences([source]), Sequences([[*output.tokens, 2]])), [0]).to(self.device)
        weights = self.model.attention(batch.source, batch.source_lengths, batch.target_in)
        return None if weights is None else weights[0].float().cpu().numpy()

    def rows(self, data: str | Path | Files | None) -> list[Row]:
        """The rows of a table, of parallel files, or of the configured test set."""
        files: Files | None = str(data) if isinstance(data, Path) else data
        if files is None:
            files = self.config.data.test
        if files is None:
            raise DataError(f"{self.folder}: its configuration names no data.test; name the data")
        return load_rows(self.config, files)

    def score(self, data: str | Path | Files | Sequence[Row] | None = None) -> list[float]:
        """log p(target | source) of every row in nats, the end symbol counted."""
        rows = data if _is_rows(data) else self.rows(data)  # type: ignore[arg-type]
        _, examples = encode_rows(self.config, self.codecs, rows)  # type: ignore[arg-type]
        return score_rows(self.model, examples, self.device).totals

    def evaluate(self, data: str | Path | Files | None = None, beam: int | None = None) -> dict[str, float]:
        """All metrics on `data`, by default the configured test set."""
        return self.evaluate_signed(data, beam)[0]

    def evaluate_signed(
        self, data: str | Path | Files | None = None, beam: int | None = None
    ) -> tuple[dict[str, float], dict[str, str]]:
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


def _is_rows(data: object) -> bool:
    return (
        isinstance(data, Sequence)
        and not isinstance(data, str | Parallel)
        and all(isinstance(row, Row) for row in data)
    )


def load(folder: str | Path, device: str | None = None) -> Predictor:
    """Load a model folder for use, onto the GPU if there is one or onto the named device."""
    place = pick_device(device)
    return Predictor(bundle.load(Path(folder), place), Path(folder), place)
