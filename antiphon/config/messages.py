"""What pydantic finds wrong with a configuration, in the words of its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from antiphon.config.schema import Config
from antiphon.errors import ConfigError, nearest, shown


def _explain(error: ValidationError, tree: Mapping[str, object]) -> ConfigError:
    """The first of pydantic's errors in the words of the configuration."""
    problem = error.errors()[0]
    steps = [str(step) for step in problem["loc"]]
    if steps[:2] == ["source", "0"] and not isinstance(tree.get("source"), list):
        del steps[1]
    section: Any = Config
    path: list[str] = []
    for step in steps:
        fields = {(f.alias or name): f for name, f in section.model_fields.items()} if _is_section(section) else {}
        if step in fields:
            section = _item(fields[step].annotation)
            path.append(step)
        elif step.isdigit() and _is_section(section):
            path.append(step)  # of a list of sections
        elif not fields and path and not step.isdigit():
            break  # pydantic's name for a branch of a union, not a key
        else:
            path.append(step)
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        holder: Any = Config
        for step in path[:-1]:
            if not step.isdigit():
                holder = _item({(f.alias or n): f for n, f in holder.model_fields.items()}[step].annotation)
        return ConfigError(
            key, f"unknown key; {nearest(path[-1], [f.alias or n for n, f in holder.model_fields.items()])}"
        )
    if problem["type"] == "missing":
        return ConfigError(key, "is missing")
    reason = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict | BaseModel) else f" (is {shown(problem['input'])})"
    return ConfigError(key, f"{reason}{given}")


def _item(annotation: Any) -> Any:
    """What a list is of, or the table that may be left out; anything else is itself."""
    inner = get_args(annotation)
    optional = len(inner) == 2 and inner[1] is type(None) and _is_section(inner[0])
    return inner[0] if get_origin(annotation) is list or optional else annotation


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
