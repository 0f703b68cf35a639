"""The reference of the command line, made from the application itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from wording import definition, prose, sentence, text_of, word

from antiphon.cli.examples import EXAMPLES
from antiphon.cli.main import app

KINDS = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def every_command() -> dict[str, Any]:
    """All commands by name, in the order of the help; the program itself has no name."""
    group: Any = typer.main.get_command(app)
    return {"": group, **group.commands}


def description(command: Any) -> str:
    """What a command does, in English."""
    return sentence(" ".join((command.help or "").split("\n\n")[0].split()))


def every_help() -> set[str]:
    """The descriptions of all arguments and options, in English."""
    return {parameter.help or "" for command in every_command().values() for parameter in command.params}


def page(code: str) -> str:
    """Every command with its arguments, options and examples."""
    blocks = []
    for name, command in every_command().items():
        if name:
            blocks += [f"## {name}", prose(text_of("commands", name, description(command), code))]
            blocks.append(f"```text\n{_usage(name, command)}\n```")
        else:
            blocks.append({"en": "## Before every command", "zh": "## 写在所有命令之前的选项"}[code])
        blocks += [_parameter(parameter, code) for parameter in command.params]
        if name in EXAMPLES:
            blocks.append(f"{word('examples', code)}:" if code == "en" else f"{word('examples', code)}：")
            blocks.append("```console\n" + "\n".join(f"$ {line}" for line in EXAMPLES[name]) + "\n```")
    return "\n\n".join(blocks) + "\n"


def _usage(name: str, command: Any) -> str:
    arguments = [_value(parameter) for parameter in command.params if _is_argument(parameter)]
    needed = [_name(parameter) for parameter in command.params if parameter.required and not _is_argument(parameter)]
    return " ".join(["antiphon", name, *arguments, *needed, "[OPTIONS]"])


def _parameter(parameter: Any, code: str) -> str:
    default = parameter.default
    shown = "" if default in (None, False, ()) else word("comma", code) + word("default", code, default)
    required = word("comma", code) + word("required", code) if parameter.required else ""
    facts = (required + shown).removeprefix(word("comma", code))
    described = prose(text_of("options", parameter.help or "", parameter.help or "", code))
    again = {"en": " May be given several times.", "zh": "可多次给出。"}[code] if _is_repeated(parameter) else ""
    name = _value(parameter) if _is_argument(parameter) else _name(parameter)
    return definition(f"`{name}` {facts}".rstrip(), described + again)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _is_repeated(parameter: Any) -> bool:
    return bool(parameter.multiple) if not _is_argument(parameter) else False


def _name(parameter: Any) -> str:
    option = ", ".join(parameter.opts)
    return option if parameter.is_flag else f"{option} {_value(parameter)}"


def _value(parameter: Any) -> str:
    """The name of a value in the usage, such as DIR."""
    if parameter.metavar:
        return str(parameter.metavar)
    if _is_argument(parameter):
        name = parameter.name.upper()
        return name if parameter.required else f"[{name}]"
    return KINDS.get(parameter.type_descriptor.annotation, "TEXT")
