"""The reference of the Python interface, made from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from wording import definition, prose, text_of

import antiphon
from antiphon import extend
from antiphon.registry import Table

ELSEWHERE = {"Trace", "__version__"}  # a page of its own; a text
TYPES = {
    "COMBINATIONS": "The table of how an ensemble combines its members.",
    "FORMATS": "The table of file formats, by their endings.",
    "VIEWS": "The table of what `inspect` draws.",
    "Array": "The type of a numpy array.",
    "Column": "The type of a column: a name, a position, or several.",
    "Combine": "The type of a function from the log-probabilities of an ensemble's members to those of the ensemble.",
    "Draw": "The type of a function that draws a view.",
    "Feeding": "The type of a function from the update to the probability that the decoder is fed the reference.",
    "Layer": "The type of the state of a layer.",
    "Numbered": "The type of a record with its number.",
    "Record": "The type of a record of a file.",
}
FIRST = (
    *("train", "load", "check", "compare", "distill", "lexicon", "doubt", "next_rows", "pull", "push"),
    "Predictor",
)


def public() -> dict[str, Any]:
    """The public names of the package, functions first."""
    names = [*FIRST, *(name for name in antiphon.__all__ if name not in {*FIRST, *ELSEWHERE})]
    return {name: getattr(antiphon, name) for name in names}


def entries() -> Iterator[tuple[str, Any]]:
    """All public names, and the methods of public classes, as name.method."""
    for name, value in public().items():
        yield name, value
        yield from ((f"{name}.{inner}", member) for inner, member in _members(value))


def extensions() -> dict[str, str]:
    """The names of antiphon.extend and what each is, in English."""
    return {name: _about(name, getattr(extend, name)) for name in extend.__all__}


def _about(name: str, value: Any) -> str:
    if name in TYPES:
        return TYPES[name]
    if isinstance(value, Table):
        return f"The table of the choices of a {value.what}: `add(name, constructor)` adds a row."
    if isinstance(value, int):
        return f"The id {value} of a special symbol."
    return _paragraphs(value)[0]


def _members(value: Any) -> list[tuple[str, Any]]:
    """The public methods of a class, or the classes of a module, in the order of the source."""
    if isinstance(value, types.ModuleType):
        classes = inspect.getmembers(value, inspect.isclass)
        return [(name, member) for name, member in classes if member.__module__ == value.__name__ and name[0] != "_"]
    if not inspect.isclass(value):
        return []
    return [(name, member) for name, member in vars(value).items() if name[0] != "_" and _is_documented(member)]


def _is_documented(member: Any) -> bool:
    return isinstance(member, types.FunctionType | property) and bool(inspect.getdoc(member))


def page(code: str) -> str:
    """Every public name of antiphon."""
    blocks = []
    for name, value in entries():
        described = prose(text_of("python", name, "\n\n".join(_paragraphs(value)), code))
        if "." in name and not inspect.isclass(value):
            blocks.append(f"({name})=\n\n" + definition(f"`{_signature(name, value)}`", described))
        else:
            label = name if inspect.isclass(value) else f"{name}-function"  # antiphon.Doubt is not antiphon.doubt
            blocks += [f"(antiphon.{label})=", f"### antiphon.{name}", _code(name, value), described, _fields(value)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def extension_page(code: str) -> str:
    """The names of antiphon.extend."""
    lines = [f"| {'名称' if code == 'zh' else 'name'} | {'说明' if code == 'zh' else 'what it is'} |", "|---|---|"]
    for name, about in extensions().items():
        lines.append(f"| `{name}` | {prose(text_of('extend', name, about, code))} |")
    return "\n".join(lines) + "\n"


def _paragraphs(value: Any) -> list[str]:
    return [" ".join(text.split()) for text in re.split(r"\n\s*\n", inspect.getdoc(value) or "") if text[:4] != "    "]


def _code(name: str, value: Any) -> str:
    if inspect.isfunction(value):
        return f"```text\n{_signature(name, value, wide=False)}\n```"
    return ""


def _signature(name: str, value: Any, wide: bool = True) -> str:
    """A call as a user writes it, without the types of what is given; a property by its name."""
    if isinstance(value, property):
        return name.rpartition(".")[2]
    parts = []
    starred = False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        plain = parameter.default is parameter.empty
        parts.append(parameter.name if plain else f"{parameter.name}={parameter.default!r}")
    short = name.rpartition(".")[2] if wide else f"antiphon.{name}"
    signature = f"{short}({', '.join(parts)})"
    return signature if wide else textwrap.fill(signature, 88, subsequent_indent="    ", break_long_words=False)


def _fields(value: Any) -> str:
    """The fields of a dataclass with their types."""
    if not dataclasses.is_dataclass(value):
        return ""
    return "\n".join(f"- `{field.name}`: `{field.type}`" for field in dataclasses.fields(value))
