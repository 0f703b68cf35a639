"""The application: its commands, the options before them, and errors as one message and an exit status.

Torch is imported when a command needs it.
"""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon import __version__
from antiphon.cli.data import check, exceptions, init, prepare
from antiphon.cli.evaluate import calibrate, compare, evaluate, report
from antiphon.cli.examples import EXAMPLES
from antiphon.cli.experiments import sweep, table, tune
from antiphon.cli.export import convert, export
from antiphon.cli.hub import pull, push
from antiphon.cli.inspect import inspect
from antiphon.cli.labelling import doubt, next_rows
from antiphon.cli.lexicon import lexicon
from antiphon.cli.predict import chat, predict, score
from antiphon.cli.serve import serve
from antiphon.cli.tools import bench, demo
from antiphon.cli.train import distill, train
from antiphon.errors import AntiphonError, UsageError, nearest
from antiphon.server.errors import StartError

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Recurrent sequence models, from a table of pairs to a shipped model.",
)

# in the order of the help
COMMANDS = (
    train, distill, evaluate, compare, sweep, table, tune, report, predict, chat, score, calibrate, exceptions, inspect,
    lexicon, doubt, next_rows, export, convert, pull, push, serve, check, prepare, init, demo, bench,
)  # fmt: skip


def _printable(message: str) -> str:
    """A message without control characters that a file's content may have brought into it."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in message)


def _at_home(value: Any) -> Any:
    """An argument, of a path (or paths) with the home folder in the place of `~`."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one message and an exit status."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **{name: _at_home(value) for name, value in kwargs.items()})
            sys.stdout.flush()
        except (AntiphonError, StartError) as error:
            print(_printable(str(error)), file=sys.stderr)
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
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


def _help(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="a command; by default all are listed")] = None,
) -> None:
    """Show the help of a command, as its --help does."""
    above = context.parent
    assert above is not None
    chosen: Any = above.command
    if command is None:
        print(above.get_help())
        return
    if (below := chosen.get_command(above, command)) is None:
        raise typer.BadParameter(f"there is no command {command!r}; {nearest(command, chosen.commands)}")
    print(below.get_help(type(above)(below, info_name=command, parent=above)))


def _examples(name: str) -> str:
    """The examples of a command, as its help shows them: \\b keeps their lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[name])


for _command in COMMANDS:
    app.command(epilog=_examples(_command.__name__))(_guarded(_command))
app.command("help", epilog=_examples("help"))(_guarded(_help))


def main() -> None:
    """The entry point: exit status 0 done, 1 something of the user's is wrong, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app()
