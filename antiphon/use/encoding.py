"""One input as the model reads it: its arrays; or its known answer; or nothing, where it is empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from antiphon.common.answers import Prediction
from antiphon.common.inputs import parts_of, refuse_other_length
from antiphon.data.batches import EncodedInput
from antiphon.data.encode import encode_row
from antiphon.data.long_table import steps_of
from antiphon.data.rows import Row
from antiphon.errors import AntiphonError, DataError, TooLongError
from antiphon.saved import known_answers as exceptions
from antiphon.saved.known_answers import Exceptions
from antiphon.use.loaded import Loaded

Entry: TypeAlias = EncodedInput | Prediction | AntiphonError | None
"""An input, its known answer, what is wrong with it, or None if it is empty."""


def encode(
    loaded: Loaded,
    user_input: Any,
    where: str,
    prefix: Sequence[int] = (),
    known: Exceptions = exceptions.NONE,
    draws: bool = False,
) -> EncodedInput | Prediction | None:
    """An input, called `where` in messages; its known answer, if there is one; None if it is empty.

    A language model that `draws` symbols goes on from an empty prompt too.
    """
    sources = loaded.codecs.sources
    from_nothing = draws and loaded.model.goes_on
    parts = _parts(loaded, user_input, where)
    if parts is None:
        if not from_nothing:
            return None
        parts = [""]
    try:
        values = [codec.read_input(part) for codec, part in zip(sources, parts, strict=True)]
        for value, steps in zip(values, steps_of(loaded.config, sources), strict=True):
            if steps is not None:
                refuse_other_length(len(value), steps)
        if (answer := known.answer(loaded.codecs, values)) is not None:
            return answer
        arrays = [codec.encode(value) for codec, value in zip(sources, values, strict=True)]
    except ValueError as error:
        raise DataError(f"{where}: the input {error}{_advice(loaded, user_input)}") from None
    unknown = sum(codec.unknown(array) for codec, array in zip(sources, arrays, strict=True))
    goes_on, limit = loaded.model.goes_on, loaded.config.data.max_length
    for place, codec in enumerate(sources):
        if goes_on:
            arrays[place] = arrays[place][: len(arrays[place]) - codec.ends]  # a prompt goes on
        length = len(arrays[place]) - codec.ends
        if codec.steps and length > limit:
            raise TooLongError(f"{where}: has {length} {codec.unit}; data.max_length of this model is {limit}")
    if loaded.copying is not None:
        arrays = loaded.copying.read(values, arrays)
    nothing = 0 if goes_on else sources[0].ends
    is_empty = len(parts) == 1 and len(arrays[0]) == nothing and not from_nothing
    return None if is_empty else EncodedInput(values, arrays, prefix, unknown)


def encode_pair(loaded: Loaded, value: Any, target: Any, where: str) -> list[Any]:
    """The arrays of an input and of its target."""
    codec = loaded.codecs.target
    parts = _parts(loaded, value, where)
    if parts is None:
        raise DataError(f"{where}: the input is empty")
    try:
        values = tuple(side.read_input(part) for side, part in zip(loaded.codecs.sources, parts, strict=True))
        row = Row(values, codec.read(target, "") if codec.reads else "", where, 1)
        return encode_row(loaded.config, loaded.codecs, row, loaded.copying)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _parts(loaded: Loaded, value: Any, where: str) -> Sequence[Any] | None:
    """What an input has for each source; None for an empty one."""
    try:
        return parts_of(value, [codec.reads for codec in loaded.codecs.sources])
    except ValueError as error:
        raise DataError(f"{where}: {error}{_advice(loaded, value)}") from None


def _advice(loaded: Loaded, value: Any) -> str:
    """What to do about a wrong line of text where the model reads windows of a long table."""
    if loaded.config.data.window is None or not isinstance(value, str):
        return ""
    return "; a long table is given as FILE: antiphon predict MODEL TABLE"
