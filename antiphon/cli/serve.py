"""The command that answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.options import Device, Threads
from antiphon.errors import AntiphonError


def serve(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="model folders, trained or exported")],
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port, which is printed")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="clients must show the token in it (Authorization: Bearer ...)")
    ] = None,
    allow_open: Annotated[bool, typer.Option("--allow-open", help="let other machines ask without a token")] = False,
    origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="pages of this origin may ask (CORS)")] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="seconds until a request gets status 504")] = 30.0,
    queue: Annotated[
        int, typer.Option(min=1, help="how many inputs may wait for a model before new ones get status 429")
    ] = 1024,
    batch_steps: Annotated[
        int, typer.Option(min=1, help="characters or frames in a batch; 1: every input alone")
    ] = 16_384,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Answer over HTTP: predictions, scores, traces and streams of one model or of several (extra: serve)."""
    try:
        from antiphon.server.run import serve as run
        from antiphon.server.settings import Settings
    except ModuleNotFoundError as error:
        raise AntiphonError(f"serve needs {error.name}: pip install 'antiphon[serve]'") from None
    if threads:
        import torch

        torch.set_num_threads(threads)
    hosts = () if allow_open or token_file else (host, "localhost", "127.0.0.1", "[::1]")
    token = None if token_file is None else _token(token_file)
    settings = Settings(
        token=token, origins=tuple(origin or ()), hosts=hosts, deadline=deadline, queue=queue, batch_steps=batch_steps
    )
    run(folders, host, port, settings, allow_open, device)


def _token(path: Path) -> str:
    """The token that a file holds."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise AntiphonError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise AntiphonError(f"{path}: must hold a token of 16 or more ASCII characters without spaces")
    return token
