"""What the explainers of all kinds of models share."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antiphon.common.symbols import UNK
from antiphon.config.schema import Config
from antiphon.data.batches import EncodedInput, Padded, pad
from antiphon.data.codecs.base import Codec
from antiphon.data.load import Codecs, side_names
from antiphon.errors import DataError
from antiphon.evaluation.reading import grid_of, tokens_read
from antiphon.inspection.explain.observe import M, Observed
from antiphon.inspection.explain.request import ME
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Choice, Source, Token
from antiphon.inspection.trace import Layer as LayerTrace
from antiphon.model.models import Input
from antiphon.model.parts.pooling import shares
from antiphon.model.state import Encoded


@dataclass(frozen=True)
class Explainer(Generic[M]):
    """A model, and what it takes to follow an input through it."""

    model: M
    config: Config
    codecs: Codecs
    device: torch.device

    def _padded(self, example: EncodedInput) -> list[Padded]:
        return [pad(source, [0]).to(self.device) for source in example.sources]

    def _sources(self, example: EncodedInput) -> list[Source]:
        sources = []
        names = side_names(len(example.values))[:-1]
        parts = (source for source, _ in self.model.channels)
        for name, codec, value, array, part, padded in zip(
            names, self.codecs.sources, example.values, example.arrays, parts, self._padded(example), strict=True
        ):
            grid = grid_of(part, padded)
            picture = None if grid is None else _png(array[0])
            tokens, unknown = tokens_read(codec, value, array, grid)
            sources.append(
                Source(
                    name=name, kind=codec.kind, text=codec.shown(value), tokens=tokens, unknown=unknown,
                    grid=grid, picture=picture,
                )
            )  # fmt: skip
        return sources

    def _encoder(self, observed: Observed[M], sources: Sequence[Source]) -> list[LayerTrace] | None:
        layers = []
        for source in sources:
            part = source.name.replace("source", "encoder")
            layers += observed.take(part, source.tokens, self.config.model.cell.kind)
        return layers or None

    def _vectors(self, example: EncodedInput) -> list[Input]:
        """The sources' vectors [1, S, size], and their lengths."""
        with torch.no_grad():
            return self.model.vectors(self._padded(example))


def _png(pixels: Any) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def choices(log_probs: Tensor, top: int, name: Callable[[int], Token]) -> list[Choice]:
    """The most probable of log-probabilities [symbols]; UNK, which is never an output, is left out."""
    values, ids = log_probs.sort(descending=True, stable=True)
    pairs = zip(values[: top + 1].tolist(), ids[: top + 1].tolist(), strict=True)
    allowed = [(value, number) for value, number in pairs if value > -np.inf and number != UNK]
    return [Choice(token=name(number), log_prob=rounded(value)) for value, number in allowed[:top]]


def log_probs_of(log_probs: Tensor, ids: Sequence[int]) -> Tensor:
    """From log-probabilities [steps, symbols] those of the ids, one per step."""
    return log_probs[torch.arange(len(ids)), torch.tensor(ids, dtype=torch.long)]


def divergence(output: Sequence[Any], reference: Sequence[Any]) -> int | None:
    """The first place at which two sequences differ."""
    for place, (left, right) in enumerate(zip(output, reference, strict=False)):
        if left != right:
            return place
    return None if len(output) == len(reference) else min(len(output), len(reference))


def pool_shares(encoded: Encoded, score: torch.nn.Linear | None) -> list[float] | None:
    """What share each state has in the pool, if that is learned."""
    if score is None:
        return None
    with torch.inference_mode():
        values: list[float] = rounded(shares(encoded, score)[0])
    return values


def encoded_reference(codec: Codec, reference: Any) -> tuple[Any, Any]:
    """A reference as its codec reads it, and its array."""
    try:
        value = codec.read(reference, "")
        return value, codec.encode(value)
    except ValueError as error:
        raise DataError(f"{ME}: the reference {error}") from None
