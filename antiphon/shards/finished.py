"""What is finished in an output folder, so that a file that is written is not computed again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from antiphon.config.files import file_of
from antiphon.errors import ModelFolderError
from antiphon.files import PARTIAL, locked, make_folder, remove_partial, writing

MANIFEST = "manifest.jsonl"
FORMAT = 1
MODEL = ("config.yaml", "*.safetensors", "antiphon.json", "*.onnx", "vocabulary*.json", "shortlist*", "exceptions.tsv",
         "calibration.json")  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A finished file: its name in the folder, the digests of its input and of itself, its rows, and how many of them
    have unknown symbols."""

    name: str
    source: str
    output: str
    rows: int
    unknown: int


def digest(path: Path) -> str:
    """The BLAKE2b digest of a file; of an array in a file that of the file."""
    with open(file_of(str(path)), "rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_of_model(folder: Path) -> str:
    """The digest of all files of a model folder, trained or exported, that its predictions depend on."""
    paths = sorted({path for pattern in MODEL for path in folder.glob(pattern) if path.is_file()})
    content = "".join(f"{path.name} {digest(path)}\n" for path in paths)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


class Finished:
    """The finished files of an output folder: a line of JSON for each, behind one about model and options."""

    def __init__(self, folder: Path, file: IO[bytes], entries: Mapping[str, Entry]) -> None:
        self.folder, self._file, self._entries = folder, file, dict(entries)

    def get(self, name: str, source: str) -> Entry | None:
        """The entry of a file that is there as it was written, from an input with the digest `source`."""
        entry, path = self._entries.get(name), self.folder / name
        if entry is None or entry.source != source or not path.is_file():
            return None
        return entry if digest(path) == entry.output else None

    def add(self, entry: Entry) -> None:
        """Write that a file is finished."""
        with writing(self.folder / MANIFEST):
            self._file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._entries[entry.name] = entry


@contextmanager
def opened(folder: Path, model: str, options: Mapping[str, Any]) -> Iterator[Finished]:
    """The finished files of a folder, which is made if it is missing; within it no other process writes there.

    A `ModelFolderError` says if it holds something else, or predictions of another model or with other options.
    """
    about = {"format": FORMAT, "model": model, "options": dict(options)}
    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise ModelFolderError(f"{folder}: is a file; with --ray, --out names a folder")
    if not path.exists() and folder.is_dir() and any(not held.name.endswith(PARTIAL) for held in folder.iterdir()):
        raise ModelFolderError(f"{folder}: exists and has other files in it; name a new folder")
    make_folder(folder)
    with writing(path):
        file = open(path, "a+b")  # noqa: SIM115 closed below
    with file:
        if not locked(file):
            raise ModelFolderError(f"{folder}: another process writes predictions there; wait until it is done")
        with writing(path):
            file.seek(0)
            content = file.read()
            complete = content[: content.rfind(b"\n") + 1]
            head, entries = _read(path, complete)
            _refuse_others(folder, head, about)
            for place in (folder, *(held for held in folder.rglob("*") if held.is_dir())):
                remove_partial(place)
            file.truncate(len(complete))  # a line without its end was being written when the process was killed
            if head is None:
                file.write(json.dumps(about, ensure_ascii=False).encode() + b"\n")
                file.flush()
        yield Finished(folder, file, entries)


def _refuse_others(folder: Path, head: Mapping[str, Any] | None, about: Mapping[str, Any]) -> None:
    """Refuse predictions that were made in another way than those that are to come."""
    for key, reason in (("format", "by another version"), ("model", "with another model")):
        if head is not None and head.get(key) != about[key]:
            raise ModelFolderError(f"{folder}: its predictions were made {reason}; name a new folder")
    if head is not None and head.get("options") != json.loads(json.dumps(about["options"])):
        reason = f"its predictions were made with other options, {json.dumps(head.get('options'), ensure_ascii=False)}"
        raise ModelFolderError(f"{folder}: {reason}; give the same, or name a new folder")


def _read(path: Path, content: bytes) -> tuple[dict[str, Any] | None, dict[str, Entry]]:
    """What a manifest says of model and options, None in an empty one, and its entries."""
    try:
        if not content:
            return None, {}
        head, *rest = map(json.loads, content.decode().splitlines())
        entries = [Entry(**line) for line in rest]
        if not isinstance(head, dict):
            raise TypeError("must begin with an object")
    except (ValueError, TypeError) as error:
        raise ModelFolderError(f"{path}: is damaged: {error}; name a new folder") from None
    return head, {entry.name: entry for entry in entries}
