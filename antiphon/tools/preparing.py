"""`antiphon prepare`: rows encoded once, in a folder that trainings read in place of the tables."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from antiphon.config.schema import Config
from antiphon.data.encoded_table import TABLE, ShardWriter, Writer, is_encoded, strange_files
from antiphon.data.load import tell
from antiphon.data.problems import Problems
from antiphon.data.shards import WINDOW, is_streamed
from antiphon.data.stream import Tables
from antiphon.errors import ConfigError, DataError
from antiphon.files import PARTIAL, make_folder, writing
from antiphon.training.prepare import check_names, read_parts
from antiphon.training.streamed import every_chunk, rows_of_shards

LOG = logging.getLogger("antiphon")


def prepare_table(config: Config, out: Path, overwrite: bool = False) -> str:
    """Encode all rows of a configuration into the folder `out`; a line about it.

    The rows, their order in a training and the vocabularies are those of a training from the tables themselves. Bad
    rows of all shards are errors together at the end, unless they are skipped; then no table is written.
    """
    check_names(config)
    if is_encoded(config.data.train):
        raise ConfigError("data.train", f"{config.data.train} is an encoded table already; give the tables")
    if config.data.window is not None:
        raise ConfigError("data.window", "the windows of a long table are cut while it trains, and are not prepared")
    if config.sources[0].kind == "long_text":
        raise ConfigError("source.kind", "one long text is encoded in a moment, and is not prepared")
    _check_folder(out, overwrite)
    if not is_streamed(config):
        config = config.model_copy(update={"data": config.data.model_copy(update={"shuffle": WINDOW})})
    parts = read_parts(config)
    assert parts.stream is not None
    assert isinstance(parts.stream.shards, Tables)
    with _replacing(out) as unfinished:
        writer = Writer(unfinished)
        shards = _encode(config, parts.stream.shards, writer)
        writer.codecs(parts.codecs)
        for name, rows, examples in (("sample", parts.rows, parts.train), ("valid", parts.valid_rows, parts.valid)):
            writer.rows(name, rows)
            writer.examples(name, examples)
        about = {"counted": rows_of_shards(config), "rows": parts.stream.rows}
        writer.end(config, {**about, "identity": parts.stream.shards.identity(), "shards": shards})
    count = sum(piece["rows"] for shard in shards for piece in shard["pieces"])
    return (
        f"{count:,} rows of {len(shards):,} shards are encoded in {out}; train with: antiphon train {out} --out model"
    )


def _check_folder(out: Path, overwrite: bool) -> None:
    """Refuse a folder that has something else than an encoded table to replace."""
    if not out.exists():
        return
    strange = strange_files(out) if out.is_dir() else [out.name]
    if strange and overwrite and is_encoded(str(out)):
        raise DataError(f"{out}: holds {strange[0]!r}, which is not part of an encoded table; move it elsewhere")
    if strange:
        raise DataError(f"{out}: exists; name another folder")
    if not overwrite and any(PARTIAL not in path.name for path in out.iterdir()):
        raise DataError(f"{out}: exists; it is replaced with --overwrite")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Within it, a folder to write the new table into; at its end the new table takes the place of the old one. After
    an error the old table is as it was."""
    made, unfinished = not out.exists(), out / f".encoding{PARTIAL}"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    make_folder(unfinished)
    try:
        yield unfinished
        with writing(out):
            # the description is removed first and comes last: what makes a folder an encoded table
            kept = {unfinished.name, *strange_files(out)}  # such as a file that the user has put there meanwhile
            for path in sorted(out.iterdir(), key=lambda path: path.name != TABLE):
                if path.name not in kept:
                    path.unlink()
            for path in sorted(unfinished.iterdir(), key=lambda path: path.name == TABLE):
                path.rename(out / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if made:
            with suppress(OSError):  # it has the table
                out.rmdir()


def _encode(config: Config, tables: Tables, writer: Writer) -> list[dict[str, Any]]:
    """Write the rows of every shard; what is known of each."""
    met = Problems(config.data.on_error == "skip")
    writers = [ShardWriter(writer, shard) for shard in range(len(tables))]
    with every_chunk(config, tables) as chunks:
        for shard, chunk in chunks:
            if chunk is None:
                writers[shard].end()
                LOG.info("%s is encoded", tables.shards[shard])
            else:
                writers[shard].add(chunk)
                met.join(chunk.problems)
    met.raise_any()
    tell(met)
    return [{"name": str(shard), "pieces": part.pieces} for shard, part in zip(tables.shards, writers, strict=True)]
