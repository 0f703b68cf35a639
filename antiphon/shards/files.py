"""The files that are predicted, each a shard, and the file that the predictions of each are written to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.config.files import file_and_array, file_of
from antiphon.data.formats import FORMATS, refuse_pipe, suffix_of
from antiphon.errors import DataError, count_of
from antiphon.files import user_path
from antiphon.shards.finished import MANIFEST

LOG = logging.getLogger("antiphon")
LINES = ""  # the ending of a file of lines such as part-00000
HIDDEN = (".", "_", "~")  # how names of files begin that other programs keep for themselves


@dataclass(frozen=True)
class Shard:
    """A file of inputs, as the user named it, where its predictions go in the output folder, and the digest that the
    file had before it was read."""

    path: str
    name: str
    digest: str = ""


def shards_of(inputs: Sequence[Path], ending: str, out: Path) -> list[Shard]:
    """The shards in files and folders, in order; of a folder all files that can be read, with those of its folders,
    but not those in the output folder `out`.

    Nothing to read, and two files whose predictions would go to the same file, are a `DataError`.
    """
    shards: dict[str, Shard] = {}
    for given in inputs:
        for path, place in _files(str(user_path(given)), out.resolve()):
            name = place + ending
            if name == MANIFEST:
                raise DataError(f"{path}: would be written over {MANIFEST}, which says what is finished; rename it")
            if (out / name).resolve() == Path(file_of(path)).resolve():
                raise DataError(f"{path}: would be written over by its predictions; name another folder")
            if name in shards and shards[name].path != path:
                reason = f"would be written to {name}, as {shards[name].path}; rename one of them"
                raise DataError(f"{path}: {reason}")
            shards[name] = Shard(path, name)
    return list(shards.values())


def _files(given: str, out: Path) -> Iterator[tuple[str, str]]:
    """Every file with its place in the output folder, without an ending."""
    file, array = file_and_array(given)
    top = Path(file)
    if not top.exists():
        raise DataError(f"{given}: no such file or folder")
    refuse_pipe(given)
    if not top.is_dir():
        yield given, _stem(top) + (f"-{array}" if array else "")
        return
    paths = [path for path in sorted(top.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(top))]
    paths = [path for path in paths if not path.resolve().is_relative_to(out)]
    kinds = (LINES, *FORMATS)
    readable = [path for path in paths if suffix_of(path.name) in kinds]
    if not readable:
        raise DataError(f"{given}: holds no file that can be read: {', '.join(FORMATS)}, or without an ending")
    if other := [path for path in paths if suffix_of(path.name) not in kinds]:
        LOG.warning("%s: %s not read, for example %s", given, count_of(len(other), "file") + " are", other[0].name)
    for path in readable:
        yield str(path), str(path.relative_to(top).with_name(_stem(path)))


def _stem(path: Path) -> str:
    """The name of a file without the endings that name its format."""
    name = path.name.removesuffix(".gz")
    return Path(name).stem if suffix_of(name) in FORMATS else name


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(HIDDEN) for part in path.parts)
