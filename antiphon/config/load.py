"""A configuration file, and settings laid over it, as a checked `Config`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from antiphon.config.messages import _explain, _is_section
from antiphon.config.schema import Choice, Config, Files, Parallel, Sample
from antiphon.errors import ConfigError, shown

LONGEST_YAML = 1 << 20  # characters
PATHS = {"data": ("train", "valid", "test"), "model": ("embeddings",), "decode": ("allowed", "lexicon")}


def _read_yaml(text: str) -> Any:
    """YAML 1.2 as plain values; what is wrong is a `ValueError` of one line.

    Aliases are refused, since a few lines of them can stand for more values than there is memory.
    """
    if len(text) > LONGEST_YAML:
        raise ValueError(f"is longer than {LONGEST_YAML >> 10} KiB")
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise ValueError(f"line {line}: write the value again in place of the alias *")  # noqa: TRY004
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
    """The value of `--set key=text`, read as YAML 1.2."""
    try:
        return _read_yaml(text)
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
    """What stands at a table nobody gave: the default's name if it is a choice, so that an option can be set."""
    section: Any = Config
    default: object = None
    for name in path:
        if not _is_section(section) or name not in section.model_fields:
            return {}
        field = section.model_fields[name]
        default = field.default
        section = type(default) if isinstance(default, BaseModel) else field.annotation
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
        tree = _read_yaml(text)
    except ValueError as error:
        raise ConfigError("", f"is not YAML: {error}", str(path)) from None
    if not isinstance(tree, dict):
        raise ConfigError("", "must be a table of keys such as data, model and train", str(path))
    return tree


def read_config_file(path: Path, settings: Mapping[str, object] | None = None) -> Config:
    """The configuration at `path`, with dotted `settings` laid over it and its paths made absolute."""
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
        raise _explain(error, tree) from None
    for section, names in PATHS.items():
        here = getattr(config, section)
        files = {name: getattr(here, name) for name in names}
        found = {
            name: _absolute(value, folder, f"{section}.{name}")
            for name, value in files.items()
            if value is not None and (section != "decode" or isinstance(value, str))  # there a list is of symbols
        }
        if found:
            config = config.model_copy(update={section: here.model_copy(update=found)})
    return config


def decoding(config: Config, settings: Mapping[str, object]) -> Config:
    """The configuration of a trained model with keys of `decode` changed; paths are the user's own."""
    tree = config.model_dump(by_alias=True)
    for key, value in settings.items():
        if not key.startswith("decode."):
            raise ConfigError(key, "a trained model stays as it is; only keys of decode can be set, as in decode.beam")
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


def _absolute(files: Files | float | None, folder: Path, key: str) -> Files | float | None:
    def one(path: str) -> str:
        def variable(match: re.Match[str]) -> str:
            value = os.environ.get(match[1]) or match[2]
            if value is None:
                raise ConfigError(key, f"the environment variable {match[1]} is not set")
            return value

        expanded = re.sub(r"\$\{(\w+)(?::-([^}$]*))?\}", variable, path)
        if not expanded:
            raise ConfigError(key, "is an empty path")
        return os.path.abspath(folder / expanded)

    match files:
        case str():
            return one(files)
        case list():
            return [one(path) for path in files]
        case Parallel():
            return Parallel(source=one(files.source), target=one(files.target))
    return files
