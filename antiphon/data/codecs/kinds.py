"""The kinds of source and target by the names users type: a new kind is a codec and a row here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from antiphon.data.codecs.base import Codec, damaged
from antiphon.data.codecs.calendar import CalendarCodec
from antiphon.data.codecs.images import ImageCodec, ImagesCodec
from antiphon.data.codecs.labels import CategoryCodec, LabelCodec, LabelsCodec
from antiphon.data.codecs.nothing import NextCodec, NothingCodec
from antiphon.data.codecs.numbers import FramesCodec, GridCodec, NumberCodec, NumbersCodec, VectorCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.tags import TagsCodec
from antiphon.data.codecs.text import LongTextCodec, SourceTextCodec, TargetTextCodec
from antiphon.errors import ModelFolderError
from antiphon.registry import Table

SOURCES: Table[Codec] = Table(
    "kind of source",
    {
        "text": SourceTextCodec,
        "long_text": LongTextCodec,
        "category": CategoryCodec,
        "tags": TagsCodec,
        "vector": VectorCodec,
        "image": ImageCodec,
        "frames": FramesCodec,
        "images": ImagesCodec,
        "grid": GridCodec,
        "calendar": CalendarCodec,
        "none": NothingCodec,
    },
)
TARGETS: Table[Codec] = Table(
    "kind of target",
    {
        "text": TargetTextCodec,
        "label": LabelCodec,
        "labels": LabelsCodec,
        "number": NumberCodec,
        "numbers": NumbersCodec,
        "series": SeriesCodec,
        "next": NextCodec,
    },
)


def codec_class(table: Table[Codec], name: object, key: str) -> type[Codec]:
    """The codec of a kind; every row of the two tables is a class."""
    row = table.row(str(name), key)
    assert isinstance(row, type)
    return row


def codec_from_json(table: Table[Codec], value: object, where: str) -> Codec:
    """The codec from the value of `to_json`; anything else is a `ModelFolderError`."""
    try:
        if not isinstance(value, Mapping):
            raise TypeError("must be a table")
        return codec_class(table, value.get("kind", "text"), f"{where}.kind").from_json(value, where)
    except ModelFolderError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(error) from None


def codec_to_text(codec: Codec) -> str:
    """A codec as the text of its file."""
    value: dict[str, Any] = codec.to_json()
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
