"""The reference pages that are made from the code: configuration keys, commands, Python API, errors."""

from __future__ import annotations

from pathlib import Path


def write_all(folder: Path, code: str) -> None:
    """Write every generated page of a language into a folder."""
    folder.mkdir(exist_ok=True)
