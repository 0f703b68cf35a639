"""A model that predicts the pronunciation of words, trained or exported, as making a lexicon needs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from antiphon.data.codecs.text import TextCodec
from antiphon.errors import AntiphonError, DataError, ModelFolderError
from antiphon.saved.ready import model_path
from antiphon.server.exported import MANIFEST
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor
from antiphon.use.serving import load_exported

WINDOW = 16_384  # words at once: the more there are, the more have the same length


@dataclass(frozen=True)
class Pronouncer:
    """What a lexicon asks of a model: `answers` takes words, a beam width (None: as configured) and how many
    candidates, and gives each word's prediction or its error."""

    where: str
    split: Callable[[str], Sequence[str]]  # a word to the symbols that the model reads
    letters: Collection[str]  # those that it knows
    separated: bool  # whether blanks separate the symbols of a pronunciation, and its tokens are not these symbols
    known: Collection[Any]  # keys of its known answers: the symbols of each source
    width: int  # of the configured beam
    refuse_unsure: Callable[[], object]  # an error if it is not calibrated
    answers: Callable[[Sequence[str], int | None, int], list[Any]]

    def key(self, word: str) -> tuple[str, ...]:
        """A key that is equal for two words which are the same to the model."""
        return tuple(self.split(word))

    def symbols(self, text: str, tokens: Sequence[str]) -> tuple[str, ...]:
        """The symbols of a pronunciation, from an output and its tokens."""
        return tuple(text.split() if self.separated else tokens)

    def unknown(self, word: str) -> list[str]:
        """The symbols of a word that the model does not know, each once."""
        return [letter for letter in dict.fromkeys(self.split(word)) if letter not in self.letters]


def pronouncer(model: Predictor[Any] | str | Path, device: str | None = None, threads: int | None = None) -> Pronouncer:
    """A loaded model, or the model in a folder, trained or exported, with one text as source and a text as target."""
    if isinstance(model, Predictor):
        return _trained(model)
    folder = model_path(model)
    if (folder / MANIFEST).is_file():
        return _exported(folder, threads or 1)
    if threads:
        torch.set_num_threads(threads)
    return _trained(load(folder, device))


def _trained(model: Predictor[Any]) -> Pronouncer:
    (source, *others), target = model.codecs.sources, model.codecs.target
    if others or not isinstance(source, TextCodec) or not isinstance(target, TextCodec):
        raise _unfit(str(model.folder))
    letters, separated = frozenset(source.vocabulary.symbols), _are_separated(target.vocabulary.symbols)
    known, refuse_unsure = model.exceptions.answers, model.refuse_unsure
    return Pronouncer(
        str(model.folder), source.split, letters, separated, known, model.config.decode.beam, refuse_unsure,
        lambda words, beam, n_best: model.answers(words, beam, n_best),
    )  # fmt: skip


def _exported(folder: Path, threads: int) -> Pronouncer:
    model, failure = load_exported(folder, threads)
    source, *others = model.sources
    if others or not all(hasattr(side, "split") for side in (source, model.target)):
        raise _unfit(str(folder))

    def answers(words: Sequence[str], beam: int | None, n_best: int) -> list[Any]:
        try:
            results = model.answers(words, beam, n_best)
        except failure as error:
            raise AntiphonError(str(error)) from None
        return [DataError(str(result)) if isinstance(result, failure) else result for result in results]

    def refuse_unsure() -> None:
        try:
            model.refuse_unsure()
        except failure as error:
            raise ModelFolderError(str(error)) from None

    separated = _are_separated(model.target.vocabulary.symbols)
    letters = frozenset(source.vocabulary.symbols)
    return Pronouncer(
        str(folder), source.split, letters, separated, model.known, model.width, refuse_unsure, answers
    )  # fmt: skip


def _are_separated(tokens: Iterable[str]) -> bool:
    """Whether tokens contain blanks, or mark them as subwords do (U+2581)."""
    return any(token != token.strip() or "\u2581" in token for token in tokens)


def _unfit(where: str) -> ModelFolderError:
    return ModelFolderError(f"{where}: a lexicon needs a model that reads one text, a word, and writes a text")
