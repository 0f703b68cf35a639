"""Commands about tables: check the data before training, keep a table of known answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import load, settings_of, show
from antiphon.cli.options import ConfigOrTable, Folder, Settings
from antiphon.errors import AntiphonError


def check(
    what: ConfigOrTable,
    settings: Settings = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="write the whole configuration and nothing else")] = False,
) -> None:
    """Read all data, report what would be chosen and what would go wrong; train nothing."""
    from antiphon.api import naming, read_config
    from antiphon.tools.checkup import check as run

    wishes = settings_of(settings)
    with naming(what):
        completed = read_config(what, wishes, skip=True)
        if as_yaml:
            print(completed.config.to_yaml(), end="")
            return
        report = run(completed.config)
    show("\n".join(report.lines))
    for line in completed.about:
        show(f"chosen: {line}")
    for warning in report.warnings:
        show(f"warning: {warning}")
    if report.bad_rows:
        raise AntiphonError(f"{what}: {report.bad_rows:,} bad rows; mend them, or set data.on_error to skip")


def exceptions(
    folder: Folder,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="rows of an input and its output; by default show those")
    ] = None,
) -> None:
    """Keep answers that are known in a model's folder: they win over the model."""
    from antiphon.saved.known_answers import FILE

    if table is not None:
        count = load(folder, "cpu").use_exceptions(table)
        print(f"known answers in {folder / FILE}: {count:,}")
    elif (folder / FILE).is_file():
        sys.stdout.write((folder / FILE).read_text(encoding="utf-8"))
