"""A model measured on a data set once: its metrics, and what each row adds to them, kept in the model's folder.

evaluation-KEY.npz    KEY is a digest of the weights, the configuration and the content of the data's files
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from antiphon.config.files import Files, InMemory, Parallel, file_of
from antiphon.errors import DataError
from antiphon.evaluation.influences import Sums
from antiphon.evaluation.measure import evaluate_with_rows
from antiphon.files import write_atomically
from antiphon.saved import folder as bundle
from antiphon.use.loaded import Loaded
from antiphon.use.loading import load
from antiphon.use.measuring import task_of


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a data set, a digest of which rows these are, and what each adds to metrics that are
    quotients of sums over rows."""

    scores: dict[str, float]
    rows: str
    sums: dict[str, Sums]


def evaluation_of(folder: Path, files: Files | None = None, device: str | None = None) -> Evaluation:
    """The evaluation of a model folder on `files`, by default its test data: measured, or read if it is kept."""
    files = bundle.load_config(folder).data.test if files is None else files
    if files is None:
        raise DataError(f"{folder}: its configuration has no data.test; name the data")
    content = hashlib.blake2b(digest_size=8)
    for name in (bundle.WEIGHTS, bundle.CONFIG):
        content.update((folder / name).read_bytes())
    content.update(digest_of(files).encode())
    path = folder / f"{bundle.EVALUATION}{content.hexdigest()}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    model = load(folder, device)
    loaded = Loaded(model.model, model.config, model.codecs, model.device, folder, model.exceptions, None, None, None)
    scores, rows, sums = evaluate_with_rows(task_of(loaded, files))
    places = hashlib.blake2b(repr([(row.file, row.line) for row in rows]).encode(), digest_size=16).hexdigest()
    evaluation = Evaluation(scores, places, sums)
    write_atomically(path, lambda file: _write(cast(IO[bytes], file), evaluation))
    return evaluation


def _write(file: IO[bytes], evaluation: Evaluation) -> None:
    about = json.dumps({"scores": evaluation.scores, "rows": evaluation.rows, "sums": list(evaluation.sums)})
    arrays = [array for sums in evaluation.sums.values() for array in (sums.above, sums.below)]
    buffer = io.BytesIO()
    np.savez(buffer, np.frombuffer(about.encode(), np.uint8), *arrays)
    file.write(buffer.getvalue())


def _read(path: Path) -> Evaluation | None:
    """What is kept; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            first, *arrays = (content[f"arr_{number}"] for number in range(len(content.files)))
        about = json.loads(first.tobytes())
        sums = {name: Sums(*arrays[2 * n : 2 * n + 2]) for n, name in enumerate(about["sums"])}
        return Evaluation(about["scores"], about["rows"], sums)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def digest_of(files: Files) -> str:
    """A digest of the content of data files; pictures that a table names are not part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths_of(files):
        try:
            for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if part.is_file():
                    digest.update(part.name.encode() + b"\0" + part.read_bytes())
                elif not part.exists():
                    raise FileNotFoundError(2, "No such file or directory")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def paths_of(files: Files) -> Iterator[Path]:
    """The files, without the array that may be named behind `#`; rows that were in memory are a `DataError`."""
    if isinstance(files, InMemory):
        raise DataError(f"{files.about}; name the data: --data FILE")
    names = (
        [files.source, files.target] if isinstance(files, Parallel) else [files] if isinstance(files, str) else files
    )
    for name in names:
        yield Path(file_of(name))
