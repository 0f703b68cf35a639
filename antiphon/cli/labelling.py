"""Commands about labels: doubt, which rows are probably wrong; next, which inputs to label first."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.cli.common import load, refuse_inputs, refuse_options, settings_of
from antiphon.cli.options import Device, Folder, Settings, Threads
from antiphon.cli.output import WRITERS, write_records
from antiphon.errors import DataError

OutTable = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="where the list goes: .tsv, .csv, .jsonl or .parquet; by default stdout"
    ),
]


def doubt(
    folder: Folder,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="rows with targets; by default those of the training")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="so many models, each judges the rows that it was not given")] = 5,
    no_cross: Annotated[
        bool,
        typer.Option(
            "--no-cross",
            help="DIR itself judges, at once; weaker, as rows that it has learned by heart seem right to it",
        ),
    ] = False,
    top: Annotated[int | None, typer.Option(min=1, help="only so many rows; by default all")] = None,
    out: OutTable = None,
    settings: Settings = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """List the rows of a table, those first that are probably wrong: improbable given all others."""
    from antiphon.tools.doubt import doubt as run

    _check_ending(out)
    refuse_inputs(out, table)
    if no_cross:
        reason = "is for the models of the parts, and with --no-cross there are none"
        refuse_options(reason, {"--set": settings, "--folds": None if folds == 5 else folds})
    rows = run(
        folder, None if table is None else str(table), folds, not no_cross, settings_of(settings), device, threads,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    if no_cross:
        note = "judged by the model itself, to which rows learned by heart seem right; without --no-cross others judge"
        print(note, file=sys.stderr)
    _write((item.to_json() for item in rows[:top]), out)


def next_rows(
    folder: Folder,
    inputs: Annotated[Path, typer.Argument(metavar="INPUTS", help="inputs without labels, as predict reads them")],
    count: Annotated[int, typer.Option(min=1, help="how many inputs are chosen")],
    by: Annotated[
        str, typer.Option(metavar="confidence|margin|entropy", help="how uncertainty is measured")
    ] = "confidence",
    out: OutTable = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """List the inputs that are worth a label most: those the model is unsure about, and few that are alike."""
    from antiphon.common.written import record_of

    _check_ending(out)
    refuse_inputs(out, inputs)
    model = load(folder, device, threads)
    chosen = model.next_rows(inputs, count, by)
    if not chosen:
        raise DataError(f"{inputs}: has no inputs without a known answer")
    if len(chosen) < count:
        print(f"{inputs}: has only {len(chosen):,} distinct inputs without a known answer", file=sys.stderr)
    cells = {line: fields for line, _, fields in model.cells(inputs)}
    _write(
        (
            {"line": item.line}
            | dict(record_of(model.source_names, cells[item.line], item.prediction))
            | {"uncertainty": round(item.uncertainty, 4)}
            for item in chosen
        ),
        out,
    )


next_rows.__name__ = "next"  # the command; as the name of a function it would hide Python's own


def _check_ending(out: Path | None) -> None:
    endings = [ending for ending in WRITERS if ending != ".conll"]
    if out is not None and out.suffix.lower() not in endings:
        raise typer.BadParameter(f"must end in {', '.join(endings)}", param_hint="--out")


def _write(records: Iterable[dict[str, Any]], out: Path | None) -> None:
    """Records as a table, to a file or to standard output."""
    if out is not None:
        write_records(records, out)
        return
    WRITERS[".tsv"](records, sys.stdout.buffer)
    sys.stdout.buffer.flush()
