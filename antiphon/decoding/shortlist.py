"""A writer that writes only the symbols of a shortlist: the same decoder, and a softmax over fewer symbols.

Each source has a list of its own, so that its outputs do not depend on the sources beside it. The products of a batch
are made for the symbols of all its lists; of those that are not on a source's own list log p is -inf. While it is
searched symbols are numbered as they stand in `symbols`, the special ones as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.common.symbols import SPECIALS
from antiphon.decoding.beam import Extended
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.step import Rule
from antiphon.model.models import Writer
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.model.state import Memory, State, Step, at_least_float32


@dataclass(frozen=True)
class NarrowedState:
    """A writer's state, and what is added to the logits of each source [B, symbols]: -inf for what it may not write."""

    writer: State
    offsets: Tensor

    @property
    def memory(self) -> Memory | None:
        """What attention reads."""
        return self.writer.memory

    def expand(self, width: int) -> NarrowedState:
        return replace(self, writer=self.writer.expand(width))

    def reorder(self, rows: Tensor) -> NarrowedState:
        return replace(self, writer=self.writer.reorder(rows))

    def select(self, sources: Tensor, width: int = 1) -> NarrowedState:
        return NarrowedState(self.writer.select(sources, width), self.offsets[sources])


class Narrowed:
    """A writer with a softmax, for sources whose outputs may each have only its `allowed` symbols [B, all symbols].

    log p is normalised over a source's allowed symbols.
    """

    def __init__(self, writer: Writer, allowed: Tensor) -> None:
        assert isinstance(writer.head, SoftmaxHead)
        listed = allowed.any(0)
        listed[:SPECIALS] = True
        self.writer, self.symbols, self.all = writer, listed.nonzero().flatten(), allowed.shape[1]
        weight, bias = writer.head.weight[self.symbols], writer.head.bias[self.symbols]
        device = allowed.device.type
        self._weight = weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight
        self._offsets = bias.where(allowed[:, self.symbols], -torch.inf)

    def state(self, state: State) -> NarrowedState:
        """The writer's state before the first step."""
        return NarrowedState(state, self._offsets)

    def step(self, tokens: Tensor, state: NarrowedState) -> Step[NarrowedState]:
        """As the writer's, for the symbols listed: the last ones [R] -> log p [R, symbols] of the next."""
        decoded = self.writer.decoder.step(self.writer.embedding(self.symbols[tokens]), state.writer)
        logits = at_least_float32(functional.linear(decoded.features, self._weight))
        logits.view(len(state.offsets), -1, logits.shape[1]).add_(state.offsets[:, None])
        return Step(torch.log_softmax(logits, -1), NarrowedState(decoded.state, state.offsets), decoded.attention)

    def rule(self, rule: Rule) -> Rule:
        """A rule over all symbols, for those listed."""

        def narrowed(ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
            whole = ranked.new_full((len(ranked), self.all), -torch.inf)
            whole[:, self.symbols] = ranked
            return rule(whole, self.symbols[prefixes], sources)[:, self.symbols]

        return narrowed

    def watch(self, watch: Callable[[Extended], None]) -> Callable[[Extended], None]:
        """A function to watch the beam, called with the ids of all symbols in place of those listed."""
        return lambda seen: watch(seen._replace(symbol=self.symbols[seen.symbol]))

    def hypotheses(self, hypotheses: Sequence[Sequence[Hypothesis]]) -> list[list[Hypothesis]]:
        """Hypotheses of a search, in the ids of all symbols."""
        ids = self.symbols.tolist()
        return [
            [replace(hypothesis, tokens=tuple(ids[symbol] for symbol in hypothesis.tokens)) for hypothesis in of_source]
            for of_source in hypotheses
        ]


class OnlyShortlist:
    """The rule that a source's output has only its `allowed` symbols [B, all symbols]; log p stays as it is."""

    def __init__(self, allowed: Tensor) -> None:
        self.allowed = allowed

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        return ranked.masked_fill(~self.allowed[sources], -torch.inf)
