"""The kinds of sides in exported folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon_runtime.codecs import Calendar, Category, Codec, Labels, LongText, Nothing, Numbers, Tags, Text


def side(value: Mapping[str, Any]) -> Codec:
    """The side of a vocabulary file; any other content raises `KeyError`, `TypeError` or `ValueError`."""
    kind = value.get("kind", "text")
    if kind == "text":
        return Text(value)
    if kind == "long_text":
        return LongText(value)
    if kind in ("category", "label"):
        return Category(value)
    if kind == "tags":
        return Tags(value)
    if kind == "labels":
        return Labels(value)
    if kind in ("none", "next"):
        return Nothing(value)
    if kind == "calendar":
        return Calendar(value)
    if kind in ("vector", "frames", "grid", "number", "numbers", "series"):
        return Numbers(value)
    if kind in ("image", "images"):
        from antiphon_runtime.pictures import Picture, Pictures  # needs pillow

        return Picture(value) if kind == "image" else Pictures(value)
    raise ValueError(f"unknown kind {kind!r}; a later version of the runtime may know it")
