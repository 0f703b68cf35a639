"""Functions that several commands need: load a model, read settings and data, write a line."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from antiphon.config.files import Files
    from antiphon.use.predictor import Predictor

STDIN = "standard input"


def settings_of(pairs: list[str] | None) -> dict[str, Any]:
    """The keys and values of `--set KEY=VALUE`."""
    from antiphon.config.load import parse_value

    settings = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        settings[key] = parse_value(value, key)
    return settings


def load(
    folder: Path,
    device: str | None,
    threads: int | None = None,
    members: list[Path] | None = None,
    combine: str = "log_linear",
) -> Predictor:
    """The model of a folder, or with further `members` an ensemble."""
    if combine != "log_linear" and not members:
        raise typer.BadParameter("needs --ensemble", param_hint="--combine")
    import torch

    from antiphon.use.loading import load as load_model

    if threads:
        torch.set_num_threads(threads)
    return load_model([folder, *(members or [])], device, combine)


def files_of(data: Path | None, source: Path | None, target: Path | None) -> Files | None:
    """The table or the parallel files on the command line; None if there are none."""
    from antiphon.config.files import Parallel

    if (source is None) != (target is None) or (source is not None and data is not None):
        raise typer.BadParameter("give DATA, or both --source and --target")
    if source is not None and target is not None:
        return Parallel(source=str(source), target=str(target))
    return None if data is None else str(data)


def refuse_inputs(out: Path | None, *inputs: Path | None, option: str = "--out") -> None:
    """Refuse to write to a file that is read too."""
    if out is None:
        return
    from antiphon.config.files import file_of
    from antiphon.files import user_path

    for path in inputs:
        if path is not None and user_path(file_of(str(path))).resolve() == out.resolve():
            reason = f"is the file of the inputs, {path}, and what else it holds would be lost; name another file"
            raise typer.BadParameter(reason, param_hint=option)


def refuse_options(reason: str, options: Mapping[str, object]) -> None:
    """Refuse the first of the options that has a value, since nothing would come of it."""
    for name, value in options.items():
        if not (value is None or value is False or value == []):
            raise typer.BadParameter(reason, param_hint=name)


def show(text: str) -> None:
    """Print lines; on a terminal the long ones break between words, indented below their beginning."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in text.split("\n"):
        if width is None or len(line) <= width:
            print(line, flush=True)
        else:
            indent = line[: len(line) - len(line.lstrip())] + "    "
            print(
                textwrap.fill(
                    line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
                    replace_whitespace=False,
                ),
                flush=True,
            )  # fmt: skip
