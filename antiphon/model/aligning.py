"""The writer whose place in the source is a hidden variable, summed over exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from antiphon.model.models import Channel, Input, Writer, shifted
from antiphon.model.parts.attention.alignment import HardAttention, posteriors, reached
from antiphon.model.parts.bridges import Bridge
from antiphon.model.parts.decoders import RecurrentDecoder
from antiphon.model.parts.heads.mixture import MixtureHead, Placed, gathered
from antiphon.model.parts.sources import Embedding
from antiphon.model.state import Encoded, Memory, State


class AligningWriter(Writer):
    """A writer whose place in the source is a hidden variable, which is summed over: see `HardAttention`.

    Its decoder reads no attention. The state carries log p of the place at the last step, and of every symbol there:
    when the next step knows which symbol was written, the place's posterior follows.
    """

    head: MixtureHead

    def __init__(
        self,
        channels: Sequence[Channel],
        bridge: Bridge,
        embedding: Embedding,
        decoder: RecurrentDecoder,
        alignment: HardAttention,
        head: MixtureHead,
        context_every_step: bool,
    ) -> None:
        super().__init__(channels, bridge, embedding, decoder, head, context_every_step)
        self.alignment = alignment

    @property
    def attends(self) -> bool:
        return True

    @property
    def copies(self) -> bool:
        return self.head.gate is not None

    def start_from(self, encoded: Encoded, context: Tensor, copy_ids: Tensor | None = None) -> State:
        mask = encoded.mask if encoded.first is None else encoded.first
        memory = Memory(encoded.states, self.alignment.keys(encoded.states), mask, copy_ids)
        place = self.alignment.initial(memory)
        symbols = len(self.head.weight) + (place.shape[1] if copy_ids is not None else 0)
        state = super().start_from(encoded, context)
        return replace(state, memory=memory, attended=place, emitted=place.new_zeros(*place.shape, symbols))

    def advance(self, tokens: Tensor, state: State) -> tuple[Placed, State, Tensor]:
        memory, before, emitted = state.memory, state.attended, state.emitted
        assert memory is not None
        assert before is not None
        assert emitted is not None
        place = (before + gathered(emitted, tokens)).log_softmax(-1)
        decoded = self.decoder.step(self._read(tokens), state)
        sources = memory.mask.shape[0]
        queries = decoded.features.view(sources, -1, decoded.features.shape[-1])  # a source's rows lie side by side
        places = self.alignment.features(queries, memory)
        prior = reached(place, self.alignment.moves(queries, memory, places).flatten(0, 1))
        rows = tokens.shape[0] // sources
        per_place = (memory.copy_ids, self.alignment.ends(memory))
        repeated = (None if value is None else value.repeat_interleave(rows, 0) for value in per_place)
        features = Placed(prior, places.flatten(0, 1), *repeated)
        features = features._replace(emission=self.head.emission(features))
        return features, replace(decoded.state, attended=prior, emitted=features.emission), prior.exp()

    def unroll(self, target: Tensor, state: State) -> Placed:
        return self._unrolled(target, state)[0]

    def _unrolled(self, target: Tensor, state: State) -> tuple[Placed, Tensor]:
        """`unroll`, and the moves of every step."""
        memory, place = state.memory, state.attended
        assert memory is not None
        assert place is not None
        queries = self.decoder.unroll(self._read(shifted(target)), state).features
        places = self.alignment.features(queries, memory)
        per_place = (memory.copy_ids, self.alignment.ends(memory))
        repeated = (None if value is None else value[:, None].expand(places.shape[:3]) for value in per_place)
        moves = self.alignment.moves(queries, memory, places)
        features = self.head.with_emission(Placed(places[..., 0], places, *repeated))
        reference = self.head.emitted(features, target)
        features = features._replace(reference=reference)
        if moves.shape[2] == 1:  # no step depends on the one before
            return features._replace(prior=moves.squeeze(2)), moves
        priors = []
        for step in range(target.shape[1]):
            priors.append(reached(place, moves[:, step]))
            place = (priors[-1] + reference[:, step]).log_softmax(-1)
        return features._replace(prior=torch.stack(priors, 1)), moves

    def attention(self, sources: Sequence[Input], target: Tensor) -> tuple[Tensor, Tensor]:
        """p(a_t = i | y, x) [B, T, S] of the whole target [B, T], and the mask [B, S] of what can be read."""
        vectors = self.vectors(sources)
        encoded = self.encode_vectors(vectors)
        state = self.start_from(encoded, self.bridge.context(encoded), self.copy_ids(sources, vectors))
        return self.places(target, state), encoded.mask

    def places(self, target: Tensor, state: State) -> Tensor:
        """`attention` from the state before the first step."""
        features, moves = self._unrolled(target, state)
        assert state.attended is not None
        assert features.reference is not None
        return posteriors(state.attended, moves, features.reference)
