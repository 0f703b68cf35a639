"""Several trained models as one: each predicts the next symbol, and their distributions are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from antiphon.model.models import Input, LanguageModel, Writer
from antiphon.model.parts.heads.combined import Combine, CombinedHead
from antiphon.model.state import Layer, Memory, State, Step

Layers: TypeAlias = tuple[tuple[Layer, ...], ...]


@dataclass(frozen=True)
class States:
    """The state of every member."""

    members: tuple[State, ...]

    @property
    def memory(self) -> Memory | None:
        """What the first member reads: all read the same symbols."""
        return self.members[0].memory

    def expand(self, width: int) -> States:
        return States(tuple(state.expand(width) for state in self.members))

    def reorder(self, rows: Tensor) -> States:
        return States(tuple(state.reorder(rows) for state in self.members))

    def select(self, sources: Tensor, width: int = 1) -> States:
        return States(tuple(state.select(sources, width) for state in self.members))


class Ensemble(nn.Module):
    """Models that write the same symbols: writers, or language models. It decodes and scores as one of them does.

    Its readout features are those of the members, one entry for each; its head combines the members' heads.
    """

    writes = True
    aligns = streams = False

    def __init__(self, members: Sequence[Writer] | Sequence[LanguageModel], combine: Combine) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.head = CombinedHead([member.head for member in members], combine)

    @property
    def _members(self) -> list[Writer | LanguageModel]:
        return list(self.members)  # type: ignore[arg-type]

    @property
    def goes_on(self) -> bool:
        """Whether its output continues its input."""
        return self._members[0].goes_on

    @property
    def attends(self) -> bool:
        """Whether every member has attention over the source."""
        return all(member.attends for member in self._members)

    @property
    def copies(self) -> bool:
        """Whether its members may copy symbols of the source."""
        return self._members[0].copies

    def start(self, sources: Sequence[Input]) -> States:
        """The sources of B rows -> the members' states before the first step."""
        return States(tuple(member.start(sources) for member in self._members))

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        """What the first step reads [B]; None for the begin symbol."""
        return self._members[0].first_read(sources)

    def step(self, tokens: Tensor, state: States) -> Step[States]:
        """The last symbols [R] and the state -> combined log-probabilities [R, symbols], the state after.

        Attention is the mean of the members'.
        """
        steps = [member.step(tokens, before) for member, before in zip(self._members, state.members, strict=True)]
        looks = [step.attention for step in steps if step.attention is not None]
        attention = torch.stack(looks).mean(0) if len(looks) == len(steps) else None
        log_probs = self.head.combined([step.log_probs for step in steps])
        return Step(log_probs, States(tuple(step.state for step in steps)), attention)

    def forward(self, sources: Sequence[Input], target: Tensor) -> tuple[Any, ...]:
        """Readout features of every target step, those of each member."""
        return tuple(member(sources, target) for member in self._members)

    def attention(self, sources: Sequence[Input], target: Tensor) -> tuple[Tensor, Tensor] | None:
        """The mean of the members' attention weights [B, T, S] while they are fed the target, and the mask [B, S]."""
        attentions = [member.attention(sources, target) for member in self._members if isinstance(member, Writer)]
        weights = [attention[0] for attention in attentions if attention is not None]
        mask = next((attention[1] for attention in attentions if attention is not None), None)
        return None if mask is None or len(weights) < len(self.members) else (torch.stack(weights).mean(0), mask)

    def begin(self, rows: int) -> Layers:
        """For language models: the states before the first symbol."""
        return tuple(member.begin(rows) for member in self._members if isinstance(member, LanguageModel))

    def read(self, ids: Tensor) -> Tensor:
        """For language models: what they read [B, T] while they write ids [B, T]."""
        first = self._members[0]
        assert isinstance(first, LanguageModel)
        return first.read(ids)

    def run(self, ids: Tensor, layers: Layers) -> tuple[tuple[Tensor, ...], Layers]:
        """For language models: features [B, T, features] of the symbols read, of each, and the states after them."""
        members = [member for member in self._members if isinstance(member, LanguageModel)]
        features, after = zip(
            *(member.run(ids, before) for member, before in zip(members, layers, strict=True)),
            strict=True,
        )
        return features, after
