"""Answers to a live stream, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from antiphon.common.answers import LiveEnd, Prediction
from antiphon.data.batches import Sequences
from antiphon.errors import DataError, ModelFolderError
from antiphon.evaluation.answering import answered_step
from antiphon.model.models import Reader
from antiphon.model.parts.heads import Head
from antiphon.use.loaded import Loaded


def answers_steps(loaded: Loaded) -> bool:
    """Whether a model gives an answer for each step of its source."""
    return isinstance(loaded.model, Reader) and loaded.model.pooling is None and not loaded.writes


def live(loaded: Loaded, steps: Iterable[Any], origin: str) -> Iterator[Prediction]:
    """The answer to every step of a stream, in constant memory; see `Predictor.live`."""
    model, codec = loaded.model, loaded.codecs.sources[0]
    if not model.head.stepwise:
        raise ModelFolderError(
            f"{loaded.folder}: cannot answer a stream step by step: a CRF chooses all labels of a sequence together, "
            "when it has ended; give whole sequences"
        )
    if not isinstance(model, Reader) or not model.streams:
        raise ModelFolderError(
            f"{loaded.folder}: cannot answer a stream step by step: that takes a target of labels or numbers "
            "and model.encoder.bidirectional: false"
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
