"""The attentions by their names."""

from __future__ import annotations

from antiphon.model.parts.attention.alignment import HardAttention, HardMonotonicAttention, TransducerAttention
from antiphon.model.parts.attention.base import Attention
from antiphon.model.parts.attention.soft import (
    AdditiveAttention,
    CoverageAttention,
    DotAttention,
    GeneralAttention,
    LocalAttention,
    LocationAttention,
    MonotonicAttention,
    MultiHeadAttention,
)
from antiphon.registry import Table


def no_attention(query: int, memory: int) -> None:
    """The decoder sees of the source what its context holds, and nothing else."""


ATTENTIONS: Table[Attention | None] = Table(
    "attention",
    {
        "none": no_attention,
        "dot": DotAttention,
        "general": GeneralAttention,
        "additive": AdditiveAttention,
        "multi_head": MultiHeadAttention,
        "local": LocalAttention,
        "location": LocationAttention,
        "coverage": CoverageAttention,
        "monotonic": MonotonicAttention,
        "hard": HardAttention,
        "hard_monotonic": HardMonotonicAttention,
        "transducer": TransducerAttention,
    },
)
