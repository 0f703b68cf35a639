"""The table of formats: what a model can be exported to."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.errors import UsageError
from antiphon.export import web, wheel
from antiphon.export.refusals import JAVASCRIPT, RUNTIME, Support
from antiphon.export.shipped import Shipped


@dataclass(frozen=True)
class Format:
    """A row: what is written, by which program it is run, and how it is written.

    `place` gives from the user's path and the options the path that is written, and refuses what is wrong with the
    options; `write` writes it. The options are the parameters of both, after these paths.
    """

    about: str
    support: Support
    place: Callable[..., Path]
    write: Callable[..., None]

    @property
    def options(self) -> dict[str, bool]:
        """The options by their names, and whether they are needed."""
        _, *parameters = inspect.signature(self.place).parameters.values()
        return {each.name: each.default is inspect.Parameter.empty for each in parameters}


def _folder(out: Path) -> Path:
    return out


def _copy(shipped: Shipped, target: Path) -> None:
    shutil.copytree(shipped.folder, target)


FORMATS = {
    "onnx": Format("a folder of ONNX graphs, for antiphon-runtime and programs of your own", RUNTIME, _folder, _copy),
    "wheel": Format("a package for pip, with a command, in the folder OUT", RUNTIME, wheel.place, wheel.write),
    "web": Format("a folder for a static host, with a page that runs the model", JAVASCRIPT, web.place, web.write),
}


def format_of(to: str) -> Format:
    """The format called `to`."""
    if to not in FORMATS:
        raise UsageError(f"--to {to}: unknown; choose {', '.join(FORMATS)}")
    return FORMATS[to]


def wrong_option(to: str, options: Mapping[str, Any]) -> tuple[str, str] | None:
    """An option that a format does not have, or lacks, and what is wrong with it; None if all is well."""
    known = format_of(to).options
    for name in options:
        if name not in known:
            others = [other for other, row in FORMATS.items() if name in row.options]
            return name, f"is an option of --to {' and '.join(others)}" if others else "is unknown"
    missing = next((name for name, needed in known.items() if needed and name not in options), None)
    return None if missing is None else (missing, f"--to {to} needs it")


def listed() -> Iterator[str]:
    """What can be exported to which format, and what cannot, a line each."""
    for name, row in FORMATS.items():
        yield f"{name}: {row.about}"
        options = [
            f"--{option.replace('_', '-')}{'' if needed else ' (optional)'}" for option, needed in row.options.items()
        ]
        if options:
            yield f"  options: {', '.join(options)}"
        missing = row.support.missing()
        yield f"  kinds of sides: {', '.join(sorted(row.support.kinds))}"
        yield f"  tokenizers: {', '.join(sorted(row.support.tokens))}"
        yield f"  decode: {', '.join(sorted(row.support.decode))}"
        for what, names in (("kinds of sides", missing["kinds"]), ("tokenizers", missing["tokens"])):
            if names:
                yield f"  not {what}: {', '.join(names)} ({row.support.program} does not have them)"
        yield f"  not decode: {', '.join(missing['decode'])} ({row.support.program} does not have them)"
