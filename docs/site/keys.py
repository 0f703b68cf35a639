"""The reference of the configuration: every key of the schema, and every row of the tables of parts."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from wording import bounds, default_text, definition, prose, sentence, text_of, type_text, word

from antiphon.config.schema import Config
from antiphon.config.sections import Choice, keys_of
from antiphon.data.codecs.kinds import SOURCES, TARGETS
from antiphon.data.tokenizers import TOKENIZERS
from antiphon.decoding.rules import RULES
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.bridges import BRIDGES
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.likelihoods.table import LIKELIHOODS
from antiphon.registry import Table
from antiphon.training.feeding import FEEDINGS
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES

# what the program gives a part; all other parameters are the user's options
FILLED_IN = {
    "inputs", "hidden", "query", "memory", "last", "layers", "state_parts", "parameters", "learning_rate", "where",
    "codec", "max_length", "numbers",
}  # fmt: skip


class Parts(NamedTuple):
    """A table of named parts, the heading of its section in both languages, and the key that chooses one."""

    table: Table[Any]
    english: str
    chinese: str
    key: str


PARTS = {
    "sources": Parts(SOURCES, "Kinds of sources", "源的类型", "source.kind"),
    "targets": Parts(TARGETS, "Kinds of targets", "目标的类型", "target.kind"),
    "tokenizers": Parts(TOKENIZERS, "Tokenizers", "分词器", "tokens"),
    "cells": Parts(CELLS, "Cells", "循环单元", "model.cell"),
    "contexts": Parts(BRIDGES, "Contexts", "上下文", "model.context.from"),
    "attentions": Parts(ATTENTIONS, "Attentions", "注意力", "model.attention.kind"),
    "likelihoods": Parts(LIKELIHOODS, "Likelihoods of a series", "序列的分布", "target.likelihood"),
    "optimizers": Parts(OPTIMIZERS, "Optimizers", "优化器", "train.optimizer"),
    "schedules": Parts(SCHEDULES, "Schedules of the learning rate", "学习率调度", "train.schedule"),
    "feedings": Parts(FEEDINGS, "Feedings", "训练时解码器的输入", "train.feeding"),
    "rules": Parts(RULES, "Rules of decoding", "解码规则", "decode"),
}


class Key(NamedTuple):
    """A key of the configuration as users write it."""

    path: str
    field: FieldInfo


def sections(section: type[BaseModel] = Config, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every table of the configuration with its path, in the order of the schema; the top has none."""
    yield path, section
    for name, field in keys_of(section).items():
        inner = _section_in(field.annotation)
        if inner is not None and inner is not Choice:
            yield from sections(inner, f"{path}.{name}".lstrip("."))


def keys(section: type[BaseModel], path: str) -> list[Key]:
    """The keys of a table, without those that are tables of their own and have no name by themselves."""
    all_keys = [Key(f"{path}.{name}".lstrip("."), field) for name, field in keys_of(section).items()]
    return [key for key in all_keys if key.field.description or _section_in(key.field.annotation) is None]


def every_key() -> dict[str, FieldInfo]:
    """All keys by their paths."""
    return {key.path: key.field for path, section in sections() for key in keys(section, path)}


def every_part() -> dict[str, Callable[..., Any]]:
    """All rows of the tables of parts, as table.name, and the options that all cells have."""
    rows = {f"{name}.{row}": parts.table.row(row, row) for name, parts in PARTS.items() for row in parts.table}
    return rows | {f"{name}.*": parts.table.common for name, parts in PARTS.items() if parts.table.common}


def every_section() -> dict[str, str]:
    """The descriptions of all tables of the configuration."""
    return {path: inspect.cleandoc(section.__doc__ or "") for path, section in sections() if path}


def _section_in(annotation: Any) -> type[BaseModel] | None:
    for member in (annotation, *get_args(annotation)):
        if isinstance(member, type) and issubclass(member, BaseModel) and member.__name__ != "Parallel":
            return member
    return None


def key_page(code: str) -> str:
    """Every key, table by table."""
    blocks = []
    for path, section in sections():
        if path:
            blocks.append(f"{'#' * (2 + path.count('.'))} `{path}`")
            blocks.append(prose(text_of("sections", path, _first(section.__doc__ or ""), code)))
        else:
            blocks.append({"en": "## At the top", "zh": "## 顶层"}[code])
        blocks += [_key(key, code) for key in keys(section, path)]
    return "\n\n".join(blocks) + "\n"


def _key(key: Key, code: str) -> str:
    field = key.field
    required = word("comma", code) + word("required", code) if field.is_required() and key.path != "data" else ""
    table = next((name for name, parts in PARTS.items() if parts.key == key.path), None)
    values = word("side", code) if key.path == "source" else type_text(field.annotation, code)
    values += bounds(field.metadata, code)
    section = isinstance(field.default, BaseModel) and not isinstance(field.default, Choice)
    default = "" if section or key.path == "source" else default_text(field.default, code)
    described = prose(text_of("keys", key.path, field.description or "", code))
    choices = "" if table is None else _choices(table, code)
    return f"({key.path})=\n\n" + definition(f"`{key.path}` {values}{default}{required}", described, choices)


def _choices(table: str, code: str) -> str:
    names = " ".join(f"`{name}`" for name in PARTS[table].table)
    return {
        "en": f"One of {names}: see [their options](#parts-{table}).",
        "zh": f"可选：{names}。[各自的选项](#parts-{table})。",
    }[code]


def part_page(code: str) -> str:
    """Every row of every table of parts, with its options."""
    blocks = []
    for name, parts in PARTS.items():
        blocks += [f"(parts-{name})=", f"## {parts.chinese if code == 'zh' else parts.english}"]
        blocks.append({"en": f"Chosen by `{parts.key}`.", "zh": f"由 `{parts.key}` 选择。"}[code])
        if parts.table.common is not None:
            blocks.append(prose(text_of("parts", f"{name}.*", parts.table.common.__doc__ or "", code)))
            blocks.append("\n".join(_options(parts.table.common, code)))
        for row in parts.table:
            make = parts.table.row(row, row)
            described = text_of("parts", f"{name}.{row}", inspect.getdoc(make) or "", code)
            options = _options(make, code)
            shown = f"{word('options', code)}\n\n" + "\n".join(options) if options else ""
            blocks.append(f"({name}.{row})=\n\n" + definition(f"`{row}`", prose(described), shown))
    return "\n\n".join(blocks) + "\n"


def _options(make: Callable[..., Any], code: str) -> list[str]:
    hints = typing.get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
    lines = []
    for name, parameter in inspect.signature(make).parameters.items():
        if name in FILLED_IN | {"self"}:
            continue
        required = word("comma", code) + word("required", code) if parameter.default is parameter.empty else ""
        values = word("tokenizer", code) if name == "tokens" else type_text(hints[name], code)
        values += default_text(parameter.default, code)
        lines.append(f"- `{name}`: {values}{required}")
    return lines


def _first(docstring: str) -> str:
    """The first paragraph of a docstring."""
    return sentence(" ".join(re.split(r"\n\s*\n", inspect.cleandoc(docstring))[0].split()))
