"""Answers to a live stream, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from antiphon.common.answers import LiveEnd, Prediction, TextPrediction
from antiphon.common.symbols import EOS
from antiphon.data.batches import Sequences
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.streaming import NEEDS, begin_stream, end_stream, read_step, streams_text
from antiphon.errors import DataError, ModelFolderError
from antiphon.evaluation.answering import answered_step
from antiphon.model.aligning import AligningWriter
from antiphon.model.models import Reader
from antiphon.model.parts.heads.base import Head
from antiphon.use.loaded import Loaded


def answers_steps(loaded: Loaded) -> bool:
    """Whether a model gives an answer for each step of its source."""
    if streams_text(loaded.model):
        return True
    return isinstance(loaded.model, Reader) and loaded.model.pooling is None and not loaded.writes


def live(loaded: Loaded, steps: Iterable[Any], origin: str) -> Iterator[Prediction]:
    """The answer to every step of a stream, in constant memory; see `Predictor.live`."""
    if streams_text(loaded.model):
        yield from _texts(loaded, steps, origin)
        return
    model, codec = loaded.model, loaded.codecs.sources[0]
    if not model.head.stepwise:
        raise ModelFolderError(
            f"{loaded.folder}: cannot answer a stream step by step: a CRF chooses all labels of a sequence together, "
            "when it has ended; give whole sequences"
        )
    if not isinstance(model, Reader) or not model.streams:
        raise ModelFolderError(
            f"{loaded.folder}: cannot answer a stream step by step: that takes a target of labels or numbers "
            f"and model.encoder.bidirectional: false; or for a text {NEEDS}"
        )
    head: Head[Any] = model.head
    model.eval()
    state, only = model.begin(1), torch.zeros(1, dtype=torch.long, device=loaded.device)
    for number, value in enumerate(steps, 1):
        if isinstance(value, str) and not value:
            state = model.begin(1)
            yield LiveEnd()
            continue
        try:
            step = Sequences([codec.read_step(value)])
        except ValueError as error:
            raise DataError(f"{origin}{number}: the input {error}") from None
        with torch.inference_mode():
            features, state = model.read_step(torch.from_numpy(step.padded([0])[:, 0]).to(loaded.device), state)
            values = head.answer(features[:, None], only)[1][0].float().cpu().numpy()
        yield answered_step(loaded.codecs.target, values, loaded.calibration)


def _texts(loaded: Loaded, steps: Iterable[Any], origin: str) -> Iterator[Prediction]:
    """After every step of a stream the text that is written so far; at the end of a sequence its whole text."""
    model, codec, target = loaded.model, loaded.codecs.sources[0], loaded.codecs.target
    assert isinstance(model, AligningWriter)
    assert isinstance(target, TextCodec)
    longest = loaded.config.decode.max_length
    assert longest is not None
    model.eval()
    so_far, read = begin_stream(model), list[str]()

    def step_of(array: Any) -> Tensor:
        return torch.from_numpy(Sequences([array]).padded([0])[:, 0]).to(loaded.device)

    def text() -> TextPrediction:
        symbols = target.symbols(so_far.tokens)
        written = target.join(symbols)
        return TextPrediction(written, symbols, None, [], list(read))

    for number, value in enumerate(steps, 1):
        if isinstance(value, str) and not value:
            if codec.ends and so_far.place is not None:
                read_step(model, so_far, step_of([EOS]), longest)
            end_stream(model, so_far, longest)
            yield text() if so_far.place is not None else LiveEnd()
            so_far, read = begin_stream(model), []
            continue
        try:
            array = codec.read_step(value)
        except ValueError as error:
            raise DataError(f"{origin}{number}: the input {error}") from None
        read_step(model, so_far, step_of(array), longest)
        read.append(value if isinstance(codec, TextCodec) else "")
        yield text()
