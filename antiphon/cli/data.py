"""Commands about tables: check the data before training, keep a table of known answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import load, settings_of, show
from antiphon.cli.options import ConfigOrTable, Folder, Settings
from antiphon.errors import AntiphonError, count_of


def check(
    what: ConfigOrTable,
    settings: Settings = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="write the whole configuration and nothing else")] = False,
) -> None:
    """Read all data, report what would be chosen and what would go wrong; train nothing."""
    from antiphon.api import naming, read_config
    from antiphon.tools.checkup import check_completed

    wishes = settings_of(settings)
    with naming(what):
        completed = read_config(what, wishes, skip=True)
        if as_yaml:
            print(completed.config.to_yaml(), end="")
            return
        report = check_completed(completed)
    show(str(report))
    if report.bad_rows:
        raise AntiphonError(
            f"{what}: {count_of(report.bad_rows, 'bad row')}; correct the table, or set data.on_error: skip"
        )


def prepare(
    what: ConfigOrTable,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the encoded rows go")],
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the encoded rows in DIR")] = False,
) -> None:
    """Encode all rows once into a folder, from which trainings start within seconds."""
    from antiphon.api import naming, read_config
    from antiphon.tools.preparing import prepare_table
    from antiphon.training.log import output

    with output(False, always=True), naming(what):
        completed = read_config(what, settings_of(settings))
        print(prepare_table(completed.config, out, overwrite))


def exceptions(
    folder: Folder,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="rows of an input and its output; by default show those")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="also keep outputs with symbols that the model cannot write")
    ] = False,
) -> None:
    """Keep a table of known answers in a model's folder; they are given in place of the model's predictions."""
    from antiphon.saved.known_answers import FILE, texts

    if table is not None:
        count = load(folder, "cpu").use_exceptions(table, allow_unknown)
        print(f"known answers in {folder / FILE}: {count:,}")
    elif (folder / FILE).is_file():
        for line in texts(folder / FILE):
            print(line)
    else:
        from antiphon.saved.folder import load_config

        load_config(folder)  # which says what is wrong with another folder
        print(f"{folder}: has no known answers; antiphon exceptions {folder} TABLE keeps some", file=sys.stderr)


def init(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="a table of rows")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="the file to write; by default standard output")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace FILE.yaml")] = False,
) -> None:
    """Write a short configuration for a table, with its columns as comments."""
    from antiphon.files import write_text
    from antiphon.tools.starter import is_clear, starter

    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise typer.BadParameter("must end in .yaml", param_hint="--out")
    if out is not None and out.exists() and not overwrite:
        raise AntiphonError(f"{out}: exists; name another file, or give --overwrite")
    text = starter(str(table), str(out.parent if out else Path()))
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
    if not is_clear(text):
        name = out or "the configuration"
        print(f"{name}: which columns are source and target is not clear; set them there", file=sys.stderr)
    elif out is not None:
        print(f"written: {out}; next: antiphon train {out} --out DIR", file=sys.stderr)
