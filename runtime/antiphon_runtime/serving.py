"""`antiphon-runtime serve FOLDER...`: the server of exported models, without PyTorch. It needs the extra `serve`."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

import antiphon_runtime.errors
from antiphon_runtime.errors import FolderError
from antiphon_runtime.loading import check
from antiphon_runtime.server import run
from antiphon_runtime.server.errors import StartError
from antiphon_runtime.server.exported import served
from antiphon_runtime.server.models import Loader
from antiphon_runtime.server.options import Wanted, command, option

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
@command
def serve(
    wanted: Wanted,
    threads: Annotated[int, option("threads", min=1, max=1024, help="CPU threads of each model")] = 1,
) -> None:
    """Answer over HTTP: predictions and streams of one exported model or of several.

    Each option can also be given by the environment variable in its help; the command line wins.
    """
    loader = Loader(check, partial(served, runtime=antiphon_runtime, threads=threads))
    run.serve(wanted.folders, loader, wanted.host, wanted.port, wanted.settings, wanted.allow_open)


def main(arguments: list[str]) -> None:
    """Serve, as the arguments after `serve` say. Exit status 0 stopped, 1 an error that the user can fix, 2 wrong
    usage."""
    try:
        app(arguments, prog_name="antiphon-runtime serve")
    except (FolderError, StartError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
