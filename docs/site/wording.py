"""What all generated reference pages need: types and bounds in words, Markdown of docstrings, the Chinese texts."""

from __future__ import annotations

import inspect
import re
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from antiphon.config.files import Parallel
from antiphon.config.schema import SideKeys
from antiphon.config.sections import Choice

CHINESE = Path(__file__).parent / "zh_reference.yaml"

NAMES = {
    "en": {int: "integer", float: "number", str: "text", bool: "`true` or `false`", dict: "table", Path: "path"},
    "zh": {int: "整数", float: "数值", str: "文本", bool: "`true` 或 `false`", dict: "表", Path: "路径"},
}
WORDS = {
    "or": ("{} or {}", "{}或 {}"),
    "paths": (
        "path, list of paths, or `{source: FILE, target: FILE}`",
        "路径、路径列表或 `{source: 文件, target: 文件}`",
    ),
    "pair": ("`{source: FILE, target: FILE}`", "`{source: 文件, target: 文件}`"),
    "tokenizer": (
        "a [tokenizer](#parts-tokenizers), or `{kind: NAME, ...}` with its options",
        "[分词器](#parts-tokenizers)，或带选项的 `{kind: 名称, ...}`",
    ),
    "side": ("table, name of a kind, or a list of these", "表、类型名称，或由它们组成的列表"),
    "named": ("name, or `{kind: NAME, ...}` with its options", "名称，或带选项的 `{kind: 名称, ...}`"),
    "table": ("table", "表"),
    "list": ("list, each item {}", "列表，每项为{}"),
    "any": ("value", "值"),
    "unset": ("not set by default", "默认不设置"),
    "default": ("default `{}`", "默认 `{}`"),
    "required": ("required", "必填"),
    "ge": ("at least {}", "不小于 {}"),
    "gt": ("above {}", "大于 {}"),
    "le": ("at most {}", "不大于 {}"),
    "lt": ("below {}", "小于 {}"),
    "options": ("Options:", "选项："),
    "comma": (", ", "，"),
    "arguments": ("Arguments", "参数"),
    "options of": ("Options", "选项"),
    "examples": ("Examples", "示例"),
}


@cache
def chinese() -> dict[str, dict[str, str]]:
    """The Chinese texts, by group and name."""
    texts: dict[str, dict[str, str]] = YAML(typ="safe").load(CHINESE.read_text(encoding="utf-8"))
    return texts


def word(name: str, code: str, *values: object) -> str:
    """A phrase in the language of the page."""
    text = WORDS[name][code == "zh"]
    return text.format(*values) if values else text


def text_of(group: str, name: str, english: str, code: str) -> str:
    """A description in the language of the page; one that has no Chinese is shown in English (a test fails then)."""
    return chinese().get(group, {}).get(name, sentence(english)) if code == "zh" else sentence(english)


def sentence(text: str) -> str:
    """A description as a sentence; a name of a value at its beginning stays as it is."""
    text = text.strip()
    first = text.split(" ")[0]
    text = text if first.endswith((":", ",")) or "`" in first or "=" in text[:8] else text[:1].upper() + text[1:]
    return text if text.endswith((".", ":")) else f"{text}."


def prose(docstring: str) -> str:
    """A docstring as Markdown: signs that mean something there are escaped, but in code."""
    parts = re.split(r"(`[^`]*`)", inspect.cleandoc(docstring))
    return "".join(
        part if number % 2 else re.sub(r"([\\*_<\[\]$|#~])", r"\\\1", part) for number, part in enumerate(parts)
    )


def type_text(annotation: Any, code: str) -> str:
    """What values an annotation allows."""
    if get_origin(annotation) is typing.Annotated:
        return type_text(get_args(annotation)[0], code)
    if get_origin(annotation) in (Union, types.UnionType):
        return _union(get_args(annotation), code)
    if get_origin(annotation) is Literal:
        return " ".join(f"`{_plain(value)}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        return word("list", code, type_text(get_args(annotation)[0], code))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = "named" if issubclass(annotation, Choice | SideKeys) else "pair" if annotation is Parallel else "table"
        return word(kind, code)
    return NAMES[code].get(get_origin(annotation) or annotation, word("any", code))


def _union(members: tuple[Any, ...], code: str) -> str:
    flat = [inner for member in members for inner in _members(member) if inner is not type(None)]
    if Parallel in flat and any(get_origin(inner) is list for inner in flat):
        paths = word("paths", code)
        return word("or", code, paths, type_text(float, code)) if float in flat else paths
    names = list(dict.fromkeys(type_text(inner, code) for inner in flat))
    text = names[0]
    for name in names[1:]:
        text = word("or", code, text + (" " if code == "zh" and text.endswith("`") else ""), name).replace(
            "或 列", "或列"
        )
    return re.sub(r"或 (?=[\u4e00-\u9fff])", "或", text)


def _members(member: Any) -> list[Any]:
    if get_origin(member) is typing.Annotated:
        return _members(get_args(member)[0])
    if get_origin(member) in (Union, types.UnionType):
        return [inner for each in get_args(member) for inner in _members(each)]
    return [member]


def bounds(metadata: list[Any], code: str) -> str:
    """The bounds of a number in words."""
    names = {annotated_types.Ge: "ge", annotated_types.Gt: "gt", annotated_types.Le: "le", annotated_types.Lt: "lt"}
    kept = [(names[type(bound)], bound) for bound in metadata if type(bound) in names]
    return "".join(word("comma", code) + word(name, code, f"{getattr(bound, name):,}") for name, bound in kept)


def default_text(default: Any, code: str) -> str:
    """A default value; empty where there is none to take."""
    if default is None:
        return word("comma", code) + word("unset", code)
    if default in (inspect.Parameter.empty, PydanticUndefined):
        return ""
    return word("comma", code) + word("default", code, _plain(default))


def _plain(value: object) -> str:
    """A value as YAML writes it."""
    if isinstance(value, Choice):
        return value.kind
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value)


def definition(term: str, *paragraphs: str) -> str:
    """A term and what it is, as a definition list of one entry."""
    body = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    indented = "\n".join(f"  {line}".rstrip() for line in body.splitlines())
    return f"{term}\n: {indented[2:]}\n"
