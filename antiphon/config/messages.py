"""Errors of pydantic in a configuration, as messages for its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from antiphon.common.messages import expected
from antiphon.config.schema import Config
from antiphon.config.sections import keys_of
from antiphon.errors import ConfigError, nearest, shown


def explained(error: ValidationError, tree: Mapping[str, object]) -> ConfigError:
    """The first of pydantic's errors as a `ConfigError` about a key of the configuration `tree`."""
    problem = error.errors()[0]
    steps = [str(step) for step in problem["loc"]]
    if steps[:2] == ["source", "0"] and not isinstance(tree.get("source"), list):
        del steps[1]  # the one source was put into a list
    path, section = _followed(steps)
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return ConfigError(key, f"unknown key; {nearest(path[-1], list(keys_of(section)))}")
    if problem["type"] == "missing":
        return ConfigError(key, "is missing")
    reason = expected(problem["type"], problem.get("ctx", {})) or problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    return ConfigError(key, reason if isinstance(value, dict | BaseModel) else f"{reason} (is {shown(value)})")


def _followed(steps: list[str]) -> tuple[list[str], Any]:
    """The keys and positions on pydantic's path from the root, and the last section on it."""
    section: Any = Config
    path: list[str] = []
    for step in steps:
        keys = keys_of(section)
        if not keys and not step.isdigit():
            break  # pydantic's name for a branch of a union, not a key
        path.append(step)
        if step in keys:
            section = _section_in(keys[step].annotation)
    return path, section


def _section_in(annotation: Any) -> Any:
    """The section inside a list or an optional; any other annotation is returned as it is."""
    inner = get_args(annotation)
    optional = len(inner) == 2 and inner[1] is type(None) and bool(keys_of(inner[0]))
    return inner[0] if get_origin(annotation) is list or optional else annotation
