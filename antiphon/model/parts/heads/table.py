"""The heads by the names that codecs give them."""

from __future__ import annotations

from typing import Any

from antiphon.model.parts.heads.base import Head
from antiphon.model.parts.heads.crf import CRFHead
from antiphon.model.parts.heads.ctc import CTCHead
from antiphon.model.parts.heads.mixture import MixtureHead
from antiphon.model.parts.heads.numbers import BitsHead, NumbersHead
from antiphon.model.parts.heads.pointer import PointerHead
from antiphon.model.parts.heads.series import SeriesHead
from antiphon.model.parts.heads.softmax import LabelHead, SoftmaxHead
from antiphon.registry import Table

HEADS: Table[Head[Any]] = Table(
    "part that says a target",
    {
        "symbols": SoftmaxHead,
        "pointers": PointerHead,
        "mixture": MixtureHead,
        "labels": LabelHead,
        "crf": CRFHead,
        "ctc": CTCHead,
        "numbers": NumbersHead,
        "bits": BitsHead,
        "series": SeriesHead,
    },
)
