"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from antiphon.errors import ModelFolderError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file beside `path`, flush it to disk, and put it in place in one step."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
        raise ModelFolderError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, a failed write is an error that names `path`."""
    try:
        yield
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be written: {error.strerror or error}") from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be made: {error.strerror or error}") from None


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))
