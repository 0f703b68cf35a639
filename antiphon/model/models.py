"""The models that the five structures are: parts put together.

A `Writer` reads its sources and writes a target of any length. A `Reader` gives one answer per row, or one per step; a
`LanguageModel` is one whose answer is the next symbol, so that it writes too, and an `Aligner` (CTC) one whose steps
together predict a shorter text. A writer whose place in the source is hidden: `aligning.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antiphon.common.symbols import BOS, PAD, UNK
from antiphon.model.parts.bridges import Bridge
from antiphon.model.parts.decoders import Decoded, RecurrentDecoder
from antiphon.model.parts.dropout import Dropout
from antiphon.model.parts.encoders import Encoder, RecurrentEncoder
from antiphon.model.parts.heads.base import Head, SymbolHead
from antiphon.model.parts.heads.ctc import Aligned, CTCHead
from antiphon.model.parts.heads.pointer import Pointed, PointerHead
from antiphon.model.parts.heads.recall import CacheHead
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.model.parts.pooling import Pooling
from antiphon.model.parts.sources import Embedding, Source, TextSource
from antiphon.model.state import Encoded, Layer, Memory, State, Step

Input = tuple[Tensor, Tensor]
"""A source as a batch holds it: values [B, steps, ...] and lengths [B]."""


class Channel(nn.Module):
    """A source and its encoder."""

    def __init__(self, source: Source, encoder: Encoder) -> None:
        super().__init__()
        self.source, self.encoder = source, encoder


class Model(nn.Module):
    """What writers and readers share: sources with their encoders, and a head.

    The first source's parts are `source` and `encoder`, further ones stand in `others`. What a model can do is stated
    by `writes`, `aligns`, `goes_on`, `attends`, `copies` and `streams`, which its class defines.
    """

    head: Head[Any]
    writes: ClassVar[bool] = False  # whether it writes a text symbol by symbol
    aligns: ClassVar[bool] = False  # whether its steps together predict one text, which is shorter than they are
    goes_on: ClassVar[bool] = False  # whether its output continues its input

    def __init__(self, channels: Sequence[Channel]) -> None:
        super().__init__()
        self.source, self.encoder = channels[0].source, channels[0].encoder
        self.others = nn.ModuleList(channels[1:])

    @property
    def channels(self) -> list[tuple[Source, Encoder]]:
        """Every source with its encoder."""
        others = [(other.source, other.encoder) for other in self.others if isinstance(other, Channel)]
        return [(self.source, self.encoder), *others]

    @property
    def attends(self) -> bool:
        """Whether its steps have attention over the source."""
        return False

    @property
    def copies(self) -> bool:
        """Whether it may copy symbols of the source."""
        return False

    @property
    def streams(self) -> bool:
        """Whether it can answer each step at once: one answer per step, and nothing read backwards."""
        return False

    def encode(self, sources: Sequence[Input]) -> Encoded:
        """All sources encoded; several are one memory: their states side by side, their last states joined."""
        return self.encode_vectors(self.vectors(sources))

    def vectors(self, sources: Sequence[Input]) -> list[Input]:
        """What the sources' parts make of them: vectors [B, S, size] and lengths [B] of each."""
        return [source(*batch) for (source, _), batch in zip(self.channels, sources, strict=True)]

    def encode_vectors(self, vectors: Iterable[Input]) -> Encoded:
        """`encode` of what the sources have made: vectors [B, S, size] and lengths [B] of each."""
        encoded: list[Encoded] = [encoder(*batch) for (_, encoder), batch in zip(self.channels, vectors, strict=True)]
        if len(encoded) == 1:
            return encoded[0]
        states, masks, lasts, _ = zip(*encoded, strict=True)
        first = torch.cat([masks[0], *(torch.zeros_like(mask) for mask in masks[1:])], 1)
        return Encoded(torch.cat(states, 1), torch.cat(masks, 1), torch.cat(lasts, -1), first)

    def forward(self, sources: Sequence[Input], target: Tensor, reference: float = 1.0) -> Any:
        """Readout features of every target step, as the head takes them; target [B, T] or [B, T, numbers]."""
        raise NotImplementedError


class Reader(Model):
    """source -> encoder -> pooling? -> head: one answer per row, or without a pooling one per source step."""

    def __init__(self, channels: Sequence[Channel], pooling: Pooling | None, head: Head[Any], dropout: Dropout) -> None:
        super().__init__(channels)
        self.pooling, self.head, self.dropout = pooling, head, dropout

    def features(self, sources: Sequence[Input]) -> Tensor:
        """Readout features [B, 1, features] of every row, or [B, S, features] of every step, padding included."""
        return self.features_of(self.encode(sources))

    def features_of(self, encoded: Encoded) -> Tensor:
        """`features` of encoded sources."""
        states = encoded.states if self.pooling is None else self.pooling(encoded)[:, None]
        dropped: Tensor = self.dropout(states)
        return dropped

    @property
    def streams(self) -> bool:
        return self.pooling is None and isinstance(self.encoder, RecurrentEncoder) and self.encoder.one_way

    def begin(self, rows: int) -> tuple[Layer, ...]:
        """The state of so many live streams before their first step."""
        assert isinstance(self.encoder, RecurrentEncoder)
        return self.encoder.begin(next(self.encoder.parameters()).new_zeros(rows, 0))

    def read_step(self, values: Tensor, layers: tuple[Layer, ...]) -> tuple[Tensor, tuple[Layer, ...]]:
        """One step of live streams, values [R, ...]: readout features [R, features], and the states after."""
        assert isinstance(self.encoder, RecurrentEncoder)
        vectors, _ = self.source(values[:, None], torch.ones(values.shape[0], dtype=torch.long, device=values.device))
        return self.encoder.step(vectors[:, 0], layers)

    def forward(self, sources: Sequence[Input], target: Tensor, reference: float = 1.0) -> Any:
        """As `features`, cut to the target's steps (an end symbol of the source has no answer)."""
        return self.features(sources)[:, : target.shape[1]]


class Aligner(Reader):
    """A synchronous reader whose steps together predict a shorter text: p(y|x) summed over all alignments.

    It does not read its own output, so it is searched by `antiphon/model/parts/ctc.py`, not step by step.
    """

    head: CTCHead
    aligns = True

    def __init__(self, channel: Channel, head: CTCHead, dropout: Dropout) -> None:
        super().__init__([channel], None, head, dropout)

    @property
    def streams(self) -> bool:
        """False: its text is known only when all steps are read."""
        return False

    def forward(self, sources: Sequence[Input], target: Tensor | None = None, reference: float = 1.0) -> Aligned:
        """The features of every step, which no target changes."""
        encoded = self.encode(sources)
        return Aligned(self.dropout(encoded.states), encoded.mask.sum(1))


class LanguageModel(Reader):
    """A synchronous reader whose answer is the next symbol: p(y) = prod_t p(y_t | y_<t).

    It reads `begin` and all but the last symbol; its source and its target are the same ids [B, T]. It generates as
    a writer does, with `start` and `step`. One long text is learned with `run`, piece by piece. With a `CacheHead` the
    cache is the last of its layers' states, except in training.
    """

    encoder: RecurrentEncoder
    source: TextSource
    head: SoftmaxHead
    writes = True
    goes_on = True

    def __init__(self, channel: Channel, head: SoftmaxHead, dropout: Dropout, begin: int = BOS) -> None:
        super().__init__([channel], None, head, dropout)
        self.first = begin

    @property
    def _cache(self) -> CacheHead | None:
        """The head that has a cache of what is read; None without one, and in training."""
        return self.head if isinstance(self.head, CacheHead) and not self.training else None

    def begin(self, rows: int) -> tuple[Layer, ...]:
        layers, cache = super().begin(rows), self._cache
        return layers if cache is None else (*layers, cache.begin(rows))

    def features(self, sources: Sequence[Input]) -> Any:
        ((ids, _),) = sources
        return self.run(self.read(ids), self.begin(len(ids)))[0]

    def forward(self, sources: Sequence[Input], target: Tensor, reference: float = 1.0) -> Any:
        """Readout features of every step of the target [B, T], which is also the source."""
        return self.features(sources)

    def read(self, target: Tensor) -> Tensor:
        """What is read while target [B, T] is written: `begin`, then all but the last."""
        return shifted(target, self.first)

    def run(self, ids: Tensor, layers: tuple[Layer, ...]) -> tuple[Any, tuple[Layer, ...]]:
        """Symbols read [B, S], from given states: readout features of all steps, as the head takes them, and the states
        after."""
        return self.run_vectors(self.source.embedding(ids), ids, layers)

    def run_vectors(self, vectors: Tensor, ids: Tensor, layers: tuple[Layer, ...]) -> tuple[Any, tuple[Layer, ...]]:
        """`run` of symbols read [B, S] whose embeddings are the vectors [B, S, embedding]."""
        cache = self._cache
        if cache is None:
            states, layers = self.encoder.run(vectors, layers)
            return self.dropout(states), layers
        states, after = self.encoder.run(vectors, layers[:-1])
        features, kept = cache.run(ids, states, layers[-1])
        return features, (*after, kept)

    def _step(self, tokens: Tensor, layers: tuple[Layer, ...]) -> tuple[Any, tuple[Layer, ...]]:
        """A symbol read [R]: the readout features after it, as the head takes them, and the states after."""
        vectors, cache = self.source.embedding(tokens), self._cache
        if cache is None:
            return self.encoder.step(vectors, layers)
        states, after = self.encoder.step(vectors, layers[:-1])
        features, kept = cache.step(tokens, states, layers[-1])
        return features, (*after, kept)

    def start(self, sources: Sequence[Input]) -> State:
        """Prompts [B, S], padded, of lengths [B] -> the state after all of a prompt but its last symbol."""
        ((ids, lengths),) = sources
        state, read = State(self.begin(len(ids))), self.read(ids)
        for place in range(int(lengths.max())):
            after = self._step(read[:, place], state.layers)[1]
            going = place < lengths
            layers = (zip(new, old, strict=True) for new, old in zip(after, state.layers, strict=True))
            state = State(tuple(tuple(new.where(_beside(going, new), old) for new, old in layer) for layer in layers))
        return state

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        """What the first step reads [B]: the last symbol of each prompt, or `begin` behind an empty one."""
        ((ids, lengths),) = sources
        read = torch.cat([torch.full_like(lengths, self.first)[:, None], ids], 1)
        return read.gather(1, lengths[:, None])[:, 0]

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        """The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after."""
        features, layers = self._step(tokens, state.layers)
        return Step(self.head.log_probs(features), State(layers))


class Writer(Model):
    """source -> encoder -> bridge -> decoder -> head: p(y|x) = prod_t p(y_t | y_<t, x).

    Training calls `forward` and the head; decoding calls `start` once and `step` once per symbol. A writer may copy:
    then sources [B, S, ...] have in their last column the ids of the symbols that each step copies. Those beyond the
    vocabulary are read as UNK after they have been written.
    """

    head: SymbolHead[Any]
    writes = True

    def __init__(
        self,
        channels: Sequence[Channel],
        bridge: Bridge,
        embedding: Embedding,
        decoder: RecurrentDecoder,
        head: SymbolHead[Any],
        context_every_step: bool,
    ) -> None:
        super().__init__(channels)
        self.bridge, self.embedding, self.decoder, self.head = bridge, embedding, decoder, head
        self.context_every_step = context_every_step
        self.copied: tuple[bool, ...] = (True,)  # which sources have copy ids in their last column, if it copies

    @property
    def attends(self) -> bool:
        return self.decoder.attention is not None

    @property
    def copies(self) -> bool:
        return isinstance(self.head, PointerHead)

    def start(self, sources: Sequence[Input]) -> State:
        """The sources of B rows -> the decoder's state before the first step."""
        vectors = self.vectors(sources)
        encoded = self.encode_vectors(vectors)
        return self.start_from(encoded, self.bridge.context(encoded), self.copy_ids(sources, vectors))

    def vectors(self, sources: Sequence[Input]) -> list[Input]:
        if not self.copies:
            return super().vectors(sources)
        without = []
        for (values, lengths), copied in zip(sources, self.copied, strict=True):
            rest = values[..., :-1] if copied else values
            without.append((rest.squeeze(-1) if copied and rest.shape[-1] == 1 else rest, lengths))
        return super().vectors(without)

    def copy_ids(self, sources: Sequence[Input], vectors: Sequence[Input]) -> Tensor | None:
        """The ids that the steps of all sources copy [B, S], PAD where nothing is copied; None if it does not copy."""
        if not self.copies:
            return None
        ids = [
            values[..., -1].long() if copied else torch.full_like(made[..., 0], PAD, dtype=torch.long)
            for (values, _), (made, _), copied in zip(sources, vectors, self.copied, strict=True)
        ]
        return torch.cat(ids, 1)

    def start_from(self, encoded: Encoded, context: Tensor, copy_ids: Tensor | None = None) -> State:
        """`start` of encoded sources, a context C [B, size], and the ids that their steps copy [B, S] if it copies."""
        return decoding_state(self.decoder, self.bridge, encoded, context, self.context_every_step, copy_ids)

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        """What the first step reads: the begin symbol."""
        return None

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        """The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after."""
        features, after, attention = self.advance(tokens, state)
        return Step(self.head.log_probs(features), after, attention)

    def advance(self, tokens: Tensor, state: State) -> tuple[Any, State, Tensor | None]:
        """A step before its head: the readout features [R, features] as the head takes them, the state after, and
        attention [R, S] or None."""
        decoded = self.decoder.step(self._read(tokens), state)
        return _pointed(decoded), decoded.state, decoded.attention

    def unroll(self, target: Tensor, state: State) -> Any:
        """The readout features of every step of target [B, T], as the head takes them, fed with the target."""
        return _pointed(self.decoder.unroll(self._read(shifted(target)), state))

    def _read(self, tokens: Tensor) -> Tensor:
        """The embedded symbols [...] that are read; one that was copied and is not in the vocabulary is unknown."""
        if self.copies:
            tokens = tokens.masked_fill(tokens >= len(self.embedding.weight), UNK)
        vectors: Tensor = self.embedding(tokens)
        return vectors

    def forward(self, sources: Sequence[Input], target: Tensor, reference: float = 1.0) -> Any:
        """Readout features of every step of target [B, T]: [B, T, features], or `Pointed` if it copies.

        `reference` is the probability, for each token on its own, that the decoder is fed the reference; else it
        is fed its own most probable symbol of the step before (scheduled sampling, Bengio et al. 2015, arXiv
        1506.03099).
        """
        state, fed = self.start(sources), shifted(target)
        if reference >= 1.0:
            return self.unroll(target, state)
        from_reference = torch.rand(fed.shape, device=fed.device) < reference
        steps: list[Any] = []
        for step in range(fed.shape[1]):
            tokens = fed[:, step]
            if steps:
                with torch.no_grad():
                    tokens = torch.where(from_reference[:, step], tokens, self.head.best(steps[-1]))
            features, state, _ = self.advance(tokens, state)
            steps.append(features)
        return _side_by_side(steps)

    def attention(self, sources: Sequence[Input], target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Attention weights [B, T, S] while the decoder is fed the target, and the mask [B, S] of what can be read.

        None without attention.
        """
        state = self.start(sources)
        weights = self.decoder.unroll(self._read(shifted(target)), state).attention
        return None if weights is None or state.memory is None else (weights, state.memory.mask)


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """What holds for rows [R] in the shape of values [R, ...], with sizes of 1."""
    return rows.view(-1, *[1] * (values.dim() - 1))


def decoding_state(
    decoder: RecurrentDecoder,
    bridge: Bridge,
    encoded: Encoded,
    context: Tensor,
    every_step: bool,
    copy_ids: Tensor | None = None,
) -> State:
    """A decoder's state before its first step: of encoded sources, a context C [B, size] that enters at `every_step` or
    only here, and the ids that their steps copy [B, S] if it copies."""
    attention = decoder.attention
    memory = attended = None
    if attention is not None:
        memory = Memory(encoded.states, attention.keys(encoded.states), encoded.mask, copy_ids)
        attended = attention.initial(memory)
    fed = context.new_zeros(context.shape[0], decoder.features) if decoder.input_feeding else None
    drawn = decoder.draw(context)
    kept_context = context if every_step else None
    return State(decoder.begin(bridge.start(context)), kept_context, memory, fed, attended, drawn=drawn)


def _side_by_side(steps: Sequence[Any]) -> Any:
    """Features of single steps [R, ...] as those of all [R, T, ...]; of a tuple each part that is not None."""
    if isinstance(steps[0], Tensor):
        return torch.stack(list(steps), 1)
    parts = zip(*steps, strict=True)
    return type(steps[0])(*(None if part[0] is None else torch.stack(part, 1) for part in parts))


def _pointed(decoded: Decoded) -> Any:
    """What a writer's head takes of one step or of all: the features, or `Pointed` if the decoder copies."""
    features, attention, state, gate = decoded
    if gate is None or attention is None or state.memory is None or state.memory.copy_ids is None:
        return features
    copy_ids = state.memory.copy_ids
    rows = gate.shape[0] // copy_ids.shape[0]  # the rows of a source lie side by side
    copy_ids = copy_ids.repeat_interleave(rows, 0) if gate.dim() == 1 else copy_ids[:, None].expand_as(attention)
    return Pointed(features, gate, attention, copy_ids)


def shifted(target: Tensor, first: int = BOS) -> Tensor:
    """What the decoder reads while it writes target [B, T]: BOS, then all but the last."""
    return torch.cat([torch.full_like(target[:, :1], first), target[:, :-1]], 1)
