"""What a trace is made of: an input, and what is asked about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.data.batches import EncodedInput
from antiphon.inspection.trace import Token

ME = "input"  # what messages call the input


@dataclass(frozen=True)
class TraceRequest:
    """What a trace is asked for: the value of the reference, an input whose context is taken, symbols that are forced
    at steps, how many symbols are shown at a step, and the prefix of the output, in symbols."""

    reference: Any = None
    other: EncodedInput | None = None
    force: Sequence[tuple[int, Token]] = ()
    top: int = 5
    begin: Sequence[Token] = ()
