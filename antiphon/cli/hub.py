"""Commands for the Hugging Face hub: pull, push."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.options import Folder

Name = Annotated[str, typer.Argument(metavar="NAME", help="the model on the hub, USER/MODEL")]


def pull(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the folder to write; by default the name of the model")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="a branch, tag or commit; by default the newest")] = None,
) -> None:
    """Download a model folder from the Hugging Face hub and check it; interrupted, it goes on (extra: hub)."""
    from antiphon.tools.hub import pull as run

    folder = run(name, out, revision, tell=_tell)
    print(f"the model is in {folder}; next: antiphon predict {folder}", file=sys.stderr)


def push(
    folder: Folder,
    name: Name,
    license: Annotated[  # noqa: A002 the hub's word
        str | None, typer.Option(metavar="ID", help="the licence of the model, such as apache-2.0 or cc-by-4.0")
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="a language of the model, such as fr; several are given apart"),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="a further tag")] = None,
    private: Annotated[bool, typer.Option("--private", help="a new repository is seen by you alone")] = False,
) -> None:
    """Upload a model folder to the Hugging Face hub, its card with licence, languages and metrics (extra: hub)."""
    from antiphon.tools.hub import push as run

    print(run(folder, name, license, language or (), tag or (), private, tell=_tell))
    if license is None:
        print("no licence is named, so others may not use it; --license names one", file=sys.stderr)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
