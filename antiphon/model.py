"""A model: parts put together. A writer reads a source and writes a target of any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.decoding import Step
from antiphon.parts.bridges import Bridge
from antiphon.parts.decoders import RecurrentDecoder
from antiphon.parts.encoders import RecurrentEncoder
from antiphon.parts.heads import SoftmaxHead
from antiphon.parts.sources import Embedding, TextSource
from antiphon.parts.state import Memory, State


class Writer(nn.Module):
    """source -> encoder -> bridge -> decoder -> head: p(y|x) = prod_t p(y_t | y_<t, x).

    Training calls `forward` and the head; decoding calls `start` once and `step` once a symbol.
    """

    def __init__(
        self,
        source: TextSource,
        encoder: RecurrentEncoder,
        bridge: Bridge,
        embedding: Embedding,
        decoder: RecurrentDecoder,
        head: SoftmaxHead,
        context_every_step: bool,
    ) -> None:
        super().__init__()
        self.source, self.encoder, self.bridge = source, encoder, bridge
        self.embedding, self.decoder, self.head = embedding, decoder, head
        self.context_every_step = context_every_step

    def start(self, source: Tensor, lengths: Tensor) -> State:
        """source ids [B, S] and lengths [B] -> the decoder's state before the first step."""
        vectors = self.source(source)
        encoded = self.encoder(vectors, lengths)
        context = self.bridge.context(encoded)
        attention = self.decoder.attention
        memory = None if attention is None else Memory(encoded.states, attention.keys(encoded.states), encoded.mask)
        layers = self.bridge.start(context)
        fed = context.new_zeros(len(source), self.decoder.features) if self.decoder.input_feeding else None
        return State(layers, context if self.context_every_step else None, memory, fed)

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        """The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after."""
        decoded = self.decoder.step(self.embedding(tokens), state)
        return Step(self.head.log_probs(decoded.features), decoded.state, decoded.attention)

    def forward(self, source: Tensor, lengths: Tensor, target_in: Tensor, reference: float = 1.0) -> Tensor:
        """Readout features [B, T, features] of every target step.

        source [B, S], lengths [B], target_in [B, T] starting with BOS. `reference` is the probability,
        for each token on its own, that the decoder is fed the reference; else it is fed its own most
        probable symbol of the step before (scheduled sampling, Bengio et al. 2015, arXiv 1506.03099).
        """
        state = self.start(source, lengths)
        if reference >= 1.0:
            return self.decoder.unroll(self.embedding(target_in), state).features
        given = torch.rand(target_in.shape, device=target_in.device) < reference
        features: list[Tensor] = []
        for step in range(target_in.shape[1]):
            tokens = target_in[:, step]
            if features:
                with torch.no_grad():
                    tokens = torch.where(given[:, step], tokens, self.head.best(features[-1]))
            decoded = self.decoder.step(self.embedding(tokens), state)
            features.append(decoded.features)
            state = decoded.state
        return torch.stack(features, 1)

    def attention(self, source: Tensor, lengths: Tensor, target_in: Tensor) -> Tensor | None:
        """Attention weights [B, T, S] while the decoder is fed `target_in`; None without attention."""
        return self.decoder.unroll(self.embedding(target_in), self.start(source, lengths)).attention
