"""The application: its commands, the options before them, and errors as one message and an exit status.

Torch is imported when a command needs it.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from antiphon import __version__
from antiphon.cli.data import check, exceptions, init
from antiphon.cli.evaluate import calibrate, compare, evaluate, report
from antiphon.cli.experiments import sweep, table, tune
from antiphon.cli.export import convert, export
from antiphon.cli.inspect import inspect
from antiphon.cli.predict import chat, predict, score
from antiphon.cli.serve import serve
from antiphon.cli.tools import bench, demo
from antiphon.cli.train import train
from antiphon.errors import AntiphonError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Recurrent sequence models, from a table of pairs to a shipped model.",
)

# in the order of the help
COMMANDS = (
    train, evaluate, compare, sweep, table, tune, report, predict, chat, score, calibrate, exceptions, inspect,
    export, convert, serve, check, init, demo, bench,
)  # fmt: skip


def _printable(message: str) -> str:
    """A message without control characters that a file's content may have brought into it."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in message)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one message and an exit status."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except AntiphonError as error:
            print(_printable(str(error)), file=sys.stderr)
            raise typer.Exit(1) from None
        except typer.Exit:  # a RuntimeError, by its base
            raise
        except (MemoryError, RuntimeError) as error:
            from antiphon.training.update import is_out_of_memory

            if not is_out_of_memory(error):
                raise
            print("out of memory; give fewer or shorter inputs at once, or a narrower beam", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interrupt:
            print(interrupt if interrupt.args else "interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader, for example `head`, has stopped reading
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:  # errors of the user's files are caught where they are opened; this is a full disk
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print(f"standard output: cannot be written: {error.strerror or error}", file=sys.stderr)
            raise typer.Exit(1) from None

    return guarded


@app.callback(invoke_without_command=True)
@_guarded
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="import a module that adds parts")
    ] = None,
) -> None:
    if version:
        print(f"antiphon {__version__}")
        raise typer.Exit
    import importlib

    if imports:
        sys.path.insert(0, os.getcwd())
    for module in imports or []:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError, TypeError) as error:
            raise AntiphonError(f"--import {module}: {error}") from None
    if context.invoked_subcommand is None:
        print(context.get_help())


for _command in COMMANDS:
    app.command()(_guarded(_command))


def main() -> None:
    """The entry point: exit status 0 done, 1 something of the user's is wrong, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app()
