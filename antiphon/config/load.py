"""Reads a configuration file, and settings that replace keys of it, as a checked `Config`."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from antiphon.common.options import Sample
from antiphon.config.files import Files, Parallel
from antiphon.config.messages import explained
from antiphon.config.schema import Config
from antiphon.config.sections import Choice, keys_of
from antiphon.errors import ConfigError, shown

LONGEST_YAML = 1 << 20  # characters
PATHS = {
    "data": ("train", "valid", "test"),
    "model": ("embeddings",),
    "train": ("teachers",),
    "decode": ("allowed", "lexicon"),
}
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}$]*))?\}")  # ${NAME}, ${NAME:-default}


def read_yaml(text: str) -> Any:
    """YAML 1.2 as plain values; what is wrong is a `ValueError` of one line.

    Aliases are refused, since a few lines of them can mean more values than fit into memory.
    """
    if len(text) > LONGEST_YAML:
        raise ValueError(f"is longer than {LONGEST_YAML >> 10} KiB")
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise ValueError(f"line {line}: aliases (*name) are not read; write the value again")  # noqa: TRY004
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        problem = " ".join(str(error.problem).partition(" with value ")[0].split())[:200]
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{problem}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None


def parse_value(text: str, key: str) -> Any:
    """The value of `--set key=text`, read as YAML 1.2; a single punctuation mark is text."""
    if text in string.punctuation.replace("~", "") and len(text) == 1:
        return text
    try:
        return read_yaml(text)
    except ValueError as error:
        raise ConfigError(key, f"not a YAML value: {error}") from None


def set_value(tree: dict[str, Any], key: str, value: object) -> None:
    """Set `a.b.c` in a tree of tables; a bare name on the way becomes `{kind: name}`."""
    *path, last = key.split(".")
    for depth, name in enumerate(path, 1):
        if tree.get(name) is None:
            tree[name] = _default_choice(path[:depth])
        below = tree[name]
        if isinstance(below, str):
            below = tree[name] = {"from" if name == "context" else "kind": below}
        if not isinstance(below, dict):
            raise ConfigError(key, f"{name!r} is not a table here, so nothing below it can be set")
        tree = below
    tree[last] = value


def _default_choice(path: Sequence[str]) -> dict[str, Any]:
    """The value of a table that is not configured: the default's name for a choice, so that an option can be set."""
    section: Any = Config
    default: object = None
    for name in path:
        keys = keys_of(section)
        if name not in keys:
            return {}
        default = keys[name].default
        section = type(default) if isinstance(default, BaseModel) else keys[name].annotation
    return {"kind": default.kind} if isinstance(default, Choice) else {}


def read_tree(path: Path) -> dict[str, Any]:
    """The YAML file at `path` as plain values."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("", f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("", "is not UTF-8 text", str(path)) from None
    try:
        tree = read_yaml(text)
    except ValueError as error:
        raise ConfigError("", f"is not YAML: {error}", str(path)) from None
    if not isinstance(tree, dict):
        raise ConfigError("", "must be a table of keys such as data, model and train", str(path))
    return tree


def read_config_file(path: Path, settings: Mapping[str, object] | None = None) -> Config:
    """The configuration at `path`, with dotted `settings` in place of its keys and its paths made absolute."""
    tree = read_tree(path)
    try:
        for key, value in (settings or {}).items():
            set_value(tree, key, value)
        return parse_config(tree, path.parent)
    except ConfigError as error:
        raise error.within(str(path)) from None


def parse_config(tree: Mapping[str, object], folder: Path) -> Config:
    """Check plain values against the schema; data paths are taken relative to `folder`."""
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise explained(error, tree) from None
    return _with_absolute_paths(config, folder)


def with_decode_settings(config: Config, settings: Mapping[str, object]) -> Config:
    """The configuration of a trained model with keys of `decode` changed; paths are relative to the working folder."""
    tree = config.model_dump(by_alias=True)
    for key, value in settings.items():
        if not key.startswith("decode."):
            raise ConfigError(
                key, "cannot be changed in a trained model; only keys of decode can be set, as in decode.beam"
            )
        set_value(tree, key, value)
    return parse_config(tree, Path())


def sample_settings(options: Mapping[str, Any]) -> Sample:
    """How to sample, from plain values; what is wrong is a `ConfigError`."""
    try:
        return Sample.model_validate(options)
    except ValidationError as error:
        problem = error.errors()[0]
        reason = f"{problem['msg']} (is {shown(problem['input'])})"
        raise ConfigError(".".join(map(str, problem["loc"])), reason) from None


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    for section, names in PATHS.items():
        keys = getattr(config, section)
        absolute = {}
        for name in names:
            files = getattr(keys, name)
            symbols = section == "decode" and isinstance(files, list)
            if files is not None and files != [] and not symbols:
                absolute[name] = _absolute_files(files, folder, f"{section}.{name}")
        if absolute:
            config = config.model_copy(update={section: keys.model_copy(update=absolute)})
    return config


def _absolute_files(files: Files | float, folder: Path, key: str) -> Files | float:
    match files:
        case str():
            return _absolute_path(files, folder, key)
        case list():
            return [_absolute_path(path, folder, key) for path in files]
        case Parallel():
            source, target = (_absolute_path(path, folder, key) for path in (files.source, files.target))
            return Parallel(source=source, target=target)
    return files  # a fraction


def _absolute_path(path: str, folder: Path, key: str) -> str:
    """The absolute path, with the values of environment variables in their places."""

    def value_of(variable: re.Match[str]) -> str:
        value = os.environ.get(variable[1]) or variable[2]
        if value is None:
            raise ConfigError(key, f"the environment variable {variable[1]} is not set")
        return value

    expanded = VARIABLE.sub(value_of, path)
    if not expanded:
        raise ConfigError(key, "is an empty path")
    return os.path.abspath(folder / os.path.expanduser(expanded))
