"""An encoded table: what `antiphon prepare` writes, and trainings read in place of the rows.

FOLDER/table.json                 the configuration it was encoded by, the shards, the digest of every file
FOLDER/vocabularies.json          the codecs of all sides
FOLDER/sample.rows, valid.rows    the rows of the sample and of the validation as they are read, one a line
FOLDER/*.safetensors              encoded rows: sample, valid, and the pieces of every shard, 00003-000.safetensors

The pieces keep the order of the rows, and how many of each chunk are left (bad rows and those of validation inputs are
not), so a training from them visits the same rows in the same order as one that reads the tables. They are mapped into
memory, not read: only the rows of a window are copied.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from antiphon.config.schema import Config
from antiphon.data.encoded import Examples, Sequences
from antiphon.data.load import Codecs
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.data.stream import Chunk
from antiphon.errors import ConfigError, DataError
from antiphon.files import PARTIAL, write_atomically, write_text

TABLE, VOCABULARIES = "table.json", "vocabularies.json"
FORMAT = 1
PIECE = 100_000  # rows of a file, about
FREE = {"train", "test", "shuffle", "workers"}  # keys of data that change no encoded row
NAMES = re.compile(r"vocabularies\.json|(sample|valid)\.(rows|safetensors)|\d{5,}-\d{3,}\.safetensors")  # of its files
TYPES = {"I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}  # of safetensors


def is_encoded(train: object) -> bool:
    """Whether `data.train` is the folder of an encoded table."""
    return isinstance(train, str) and (Path(train) / TABLE).is_file()


def strange_files(folder: Path) -> list[str]:
    """The files of a folder that are not those of an encoded table, which may be half of one."""
    paths = [path for path in folder.iterdir() if path.is_dir() or not NAMES.fullmatch(path.name)]
    names = [path.name for path in paths if not (path.name.startswith(".") and path.name.endswith(PARTIAL))]
    return sorted(name for name in names if not (name == TABLE and _is_description(folder)))


def _is_description(folder: Path) -> bool:
    """Whether `table.json` was written by `Writer`; a program of the user's may write a file of this name too."""
    try:
        about = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and {"format", "config", "digests"} <= about.keys()


def keys_of_rows(tree: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a configuration that change encoded rows, with their values as JSON."""
    data = {name: value for name, value in tree.get("data", {}).items() if name not in FREE}
    copied = {name: value for name, value in tree.get("model", {}).items() if name == "copy"}
    kept = {"data": data, "source": tree.get("source", {}), "target": tree.get("target", {}), "model": copied}
    return dict(_flat(kept, ""))


def _flat(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class EncodedTable:
    """An encoded table in a folder."""

    folder: Path
    about: Mapping[str, Any]  # the content of table.json: `counted` rows of the tables, `rows` to train with, ...

    @classmethod
    def open(cls, folder: str | Path) -> EncodedTable:
        """The table in a folder; one of another format is a `DataError`."""
        path = Path(folder) / TABLE
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise DataError(f"{path}: has format {about['format']}, and format {FORMAT} is read; prepare it again")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: is damaged ({error}); prepare the table again") from None
        return cls(Path(folder), about)

    def __len__(self) -> int:
        return len(self.about["shards"])

    @property
    def tree(self) -> dict[str, Any]:
        """The keys that the rows were encoded by, as a tree."""
        tree: dict[str, Any] = self.about["config"]
        return tree

    @property
    def codecs(self) -> Codecs:
        """The codecs of all sides."""
        return Codecs.from_json(self._checked(VOCABULARIES).decode())

    def refuse_changed(self, tree: Mapping[str, Any], whole: bool = False) -> None:
        """Refuse a configuration by which the rows would be other rows, with the key that changed; only keys that are
        there count, unless the configuration is a `whole` one."""
        before, now = keys_of_rows(self.tree), keys_of_rows(tree)
        for key in sorted(before.keys() | now.keys() if whole else now.keys()):
            was, is_now = (keys.get(key, "not there") for keys in (before, now))
            if was != is_now:
                reason = f"was {was} when {self.folder} was prepared, and is {is_now}; prepare the table again"
                raise ConfigError(key, reason)

    def read_rows(self, name: str) -> list[Row]:
        """The rows of the sample or of the validation, as they were read."""
        lines = self._checked(f"{name}.rows").decode().splitlines()
        return [_row_of(json.loads(line)) for line in lines]

    def examples(self, name: str) -> Examples:
        """The encoded rows of the sample or of the validation."""
        return _examples(self._mapped(f"{name}.safetensors"))

    def chunks(self, shard: int, skip: int) -> Iterator[Chunk]:
        """As `Shards.chunks`."""
        for piece in self.about["shards"][shard]["pieces"]:
            if piece["read"] <= skip:
                continue
            arrays = self._mapped(piece["file"])
            examples, start = _examples(arrays), 0
            for read, kept in zip(arrays["chunks.read"].tolist(), arrays["chunks.kept"].tolist(), strict=True):
                if read > skip:
                    yield Chunk(read, examples.between(start, start + kept), Problems(True))
                start += kept

    def identity(self) -> dict[str, str]:
        """As `Shards.identity`: that of the shards which were encoded."""
        identity: dict[str, str] = self.about["identity"]
        return identity

    def _checked(self, name: str) -> bytes:
        """The content of a file, if it is what was written."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        self._check(path, content)
        return content

    def _check(self, path: Path, content: bytes | mmap.mmap) -> None:
        if self.about["digests"].get(path.name) != digest(content):
            raise DataError(f"{path}: is damaged: its content is not what was prepared; prepare the table again")

    def _mapped(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of a file, mapped into memory, if its content is what was written."""
        path = self.folder / name
        try:
            with open(path, "rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # the latter: it is empty
            raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        self._check(path, content)
        begin = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:begin])
        arrays = {}
        for array, entry in header.items():
            kind, size, start = TYPES[entry["dtype"]], int(np.prod(entry["shape"])), begin + entry["data_offsets"][0]
            values = np.frombuffer(content, kind, size, start) if size else np.zeros(0, kind)
            arrays[array] = values.reshape(entry["shape"])
        return arrays


def digest(content: bytes | mmap.mmap) -> str:
    """The digest of a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _examples(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Examples:
    """The rows of a file."""
    count = sum(name.endswith(".lengths") for name in arrays)
    sides = [
        Sequences.of(arrays[f"{side}.values"], arrays[f"{side}.lengths"].astype(np.int64)) for side in range(count)
    ]
    return Examples(tuple(sides[:-1]), sides[-1])


class Writer:
    """Writes an encoded table, file by file; the description last, so that half a table is not one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests: dict[str, str] = {}

    def examples(self, name: str, examples: Examples, chunks: Sequence[tuple[int, int]] = ()) -> None:
        """Encoded rows, and of each of their chunks the rows that were read with it, and those that are left."""
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for number, side in enumerate((*examples.sources, examples.target)):
            arrays[f"{number}.values"] = np.ascontiguousarray(side.values)
            arrays[f"{number}.lengths"] = side.lengths.astype(np.int32)
        if chunks:
            arrays["chunks.read"], arrays["chunks.kept"] = (
                np.asarray(part, np.int64) for part in zip(*chunks, strict=True)
            )
        self._write(f"{name}.safetensors", save(arrays))

    def rows(self, name: str, rows: Sequence[Row]) -> None:
        """Rows as they are read."""
        self._write(f"{name}.rows", "".join(f"{json.dumps(_plain_row(row))}\n" for row in rows).encode())

    def codecs(self, codecs: Codecs) -> None:
        """The codecs of all sides."""
        self._write(VOCABULARIES, codecs.to_json().encode())

    def end(self, config: Config, about: Mapping[str, Any]) -> None:
        """The description of all: now it is a table."""
        tree = config.model_dump(mode="json", by_alias=True)
        about = {"format": FORMAT, "config": tree, **about, "digests": self.digests}
        write_text(self.folder / TABLE, json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    def _write(self, name: str, content: bytes) -> None:
        write_atomically(self.folder / name, lambda file: file.write(content))
        self.digests[name] = digest(content)


@dataclass
class ShardWriter:
    """The chunks of a shard, written in pieces."""

    writer: Writer
    shard: int

    def __post_init__(self) -> None:
        self.pieces: list[dict[str, Any]] = []
        self.parts: list[Examples] = []
        self.chunks: list[tuple[int, int]] = []
        self.sources = 0

    def add(self, chunk: Chunk) -> None:
        """The next chunk."""
        self.chunks.append((chunk.read, len(chunk.examples)))
        self.sources = len(chunk.examples.sources)
        self.parts += [chunk.examples] if len(chunk.examples) else []
        if sum(map(len, self.parts)) >= PIECE:
            self.end()

    def end(self) -> None:
        """Write what is not yet written."""
        if not self.chunks:
            return
        name = f"{self.shard:05}-{len(self.pieces):03}"
        examples = Examples.joined(self.parts) if self.parts else Examples.empty(self.sources)
        self.writer.examples(name, examples, self.chunks)
        self.pieces.append({"file": f"{name}.safetensors", "rows": len(examples), "read": self.chunks[-1][0]})
        self.parts, self.chunks = [], []


def _plain_row(row: Row) -> list[Any]:
    return [_plain([*row.sources, row.target]), row.file, row.line]


def _row_of(plain: Sequence[Any]) -> Row:
    values, file, line = plain
    *sources, target = map(_value, values)
    return Row(tuple(sources), target, file, line)


def _plain(value: Any) -> Any:
    """A value of a row for JSON: arrays and tuples are objects."""
    if isinstance(value, np.ndarray):
        return {"array": base64.b64encode(value.tobytes()).decode(), "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item) for item in value]}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _value(plain: Any) -> Any:
    if isinstance(plain, dict) and "array" in plain:
        content = np.frombuffer(base64.b64decode(plain["array"]), plain["dtype"])
        return content.reshape(plain["shape"]).copy()
    if isinstance(plain, dict):
        return tuple(map(_value, plain["tuple"]))
    return list(map(_value, plain)) if isinstance(plain, list) else plain
