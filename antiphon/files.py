"""Writes files so that nobody ever reads half a file, and a failing disk is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from antiphon.errors import ModelFolderError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

DIGEST = 32  # bytes of a digest
PARTIAL = ".partial"  # how the names of files being written end


def user_path(path: str | Path) -> Path:
    """The path that a user gives, with the home folder in the place of `~`."""
    return Path(os.path.expanduser(path))


class Digesting:
    """A file that is being written, and the BLAKE2b digest of its content so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self._hash = file, hashlib.blake2b(digest_size=DIGEST)

    def write(self, data: bytes) -> int:
        """Write, and add to the digest."""
        self._hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """As `flush` of a file."""
        self.file.flush()

    @property
    def digest(self) -> bytes:
        """The digest of all that was written."""
        return self._hash.digest()


def write_atomically(path: Path, write: Callable[[Digesting], object]) -> None:
    """Write to a temporary file beside `path`, flush it to disk, read it back, and put it in place in one step."""
    try:
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{PARTIAL}"
        try:
            with open(temporary, "x+b") as file:
                digesting = Digesting(file)
                write(digesting)
                file.flush()
                os.fsync(file.fileno())
                if hasattr(os, "posix_fadvise"):  # so that it is read from the disk, not from memory
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                file.seek(0)
                if hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).digest() != digesting.digest:
                    raise ModelFolderError(f"{path}: does not read back as it was written; the disk may be failing")
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
        raise ModelFolderError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _sync_folder(folder: Path) -> None:
    """Flush a folder, so that a new name in it is on the disk; not every system can do this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_partial(folder: Path) -> None:
    """Remove files in a folder that a killed process left half-written. No other process may be writing there."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, a failed write is an error that names `path`."""
    try:
        yield
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be written: {error.strerror or error}") from None


def make_folder(path: Path) -> None:
    """Make a folder and its parents, where they are missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be made: {error.strerror or error}") from None


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def locked(file: IO[bytes]) -> bool:
    """Whether the lock of a file was free, and is now held; always true on Windows, which has no such locks."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
