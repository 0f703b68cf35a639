"""Text written while its input still arrives: a transducer, one place after the other (Graves 2012, arXiv 1211.3711).

At every new place the most probable of its symbols is written until going on to the next place is more probable. When
the input has ended, its last place writes the rest. What is written after some steps depends on these steps alone; it
is the best path place by place, where `predict` sums over all paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.common.symbols import BOS, EOS, UNK
from antiphon.model.aligning import AligningWriter
from antiphon.model.parts.attention.alignment import TransducerAttention
from antiphon.model.parts.bridges import NoContext
from antiphon.model.parts.encoders import RecurrentEncoder
from antiphon.model.parts.heads.mixture import Placed
from antiphon.model.state import Layer, State

NEEDS = (
    "model.attention: transducer, model.context: none, model.encoder.bidirectional: false, one source, and no copying"
)


@dataclass
class TextStream:
    """A text that is being written: the encoder's state, the decoder's, the last place, and the symbols so far."""

    layers: tuple[Layer, ...]
    state: State
    query: Tensor  # [1, features]: the readout after the last symbol
    place: Tensor | None = None  # [1, states] of the encoder
    tokens: list[int] = field(default_factory=list)


def streams_text(model: object) -> bool:
    """Whether a model can write while its input arrives."""
    return (
        isinstance(model, AligningWriter)
        and isinstance(model.alignment, TransducerAttention)
        and isinstance(model.bridge, NoContext)
        and isinstance(model.encoder, RecurrentEncoder)
        and model.encoder.one_way
        and len(model.channels) == 1
        and not model.copies
    )


@torch.inference_mode()
def begin_stream(model: AligningWriter) -> TextStream:
    """Before the first step."""
    encoder = model.encoder
    assert isinstance(encoder, RecurrentEncoder)
    like = next(encoder.parameters()).new_zeros(1, 1)
    context = like.new_zeros(1, model.bridge.size)
    state = State(model.decoder.begin(model.bridge.start(context)), context if model.context_every_step else None)
    begin = torch.tensor([BOS], device=like.device)
    decoded = model.decoder.step(model.embedding(begin), state)
    return TextStream(encoder.begin(like), decoded.state, decoded.features)


@torch.inference_mode()
def read_step(model: AligningWriter, so_far: TextStream, values: Tensor, longest: int) -> None:
    """One step of the source, values [1, ...]: its place writes symbols until it goes on."""
    encoder = model.encoder
    assert isinstance(encoder, RecurrentEncoder)
    vectors, _ = model.source(values[:, None], torch.ones(1, dtype=torch.long, device=values.device))
    so_far.place, so_far.layers = encoder.step(vectors[:, 0], so_far.layers)
    _write(model, so_far, longest, last=False)


@torch.inference_mode()
def end_stream(model: AligningWriter, so_far: TextStream, longest: int) -> None:
    """The input has ended: its last place writes the rest."""
    if so_far.place is not None:
        _write(model, so_far, longest, last=True)


def _write(model: AligningWriter, so_far: TextStream, longest: int, last: bool) -> None:
    """The symbols that are more probable at the last place than the blank, or than the end of the output."""
    alignment = model.alignment
    assert isinstance(alignment, TransducerAttention)
    assert so_far.place is not None
    place = alignment.from_memory(so_far.place)
    while len(so_far.tokens) < longest:
        features = torch.tanh(alignment.from_query(so_far.query) + place)
        ends = torch.full((1, 1), last, device=place.device)
        emission = model.head.emission(Placed(features[..., :1], features[:, None], None, ends))[0, 0]
        emission[UNK] = -torch.inf
        best = int(emission.argmax())
        blank = functional.logsigmoid(alignment.blank(features))
        stays = functional.logsigmoid(-alignment.blank(features))
        if best == EOS or (not last and float(blank) >= float(stays + emission[best])):
            return
        so_far.tokens.append(best)
        symbol = torch.tensor([best], device=place.device)
        decoded = model.decoder.step(model.embedding(symbol), so_far.state)
        so_far.state, so_far.query = decoded.state, decoded.features
