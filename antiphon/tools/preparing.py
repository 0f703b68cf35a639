"""`antiphon prepare`: rows encoded once, in a folder that trainings read in place of the tables."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from antiphon.config.schema import Config
from antiphon.data.encoded_table import TABLE, VOCABULARIES, ShardWriter, Writer, is_encoded
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
    _empty(out, overwrite)
    if not is_streamed(config):
        config = config.model_copy(update={"data": config.data.model_copy(update={"shuffle": WINDOW})})
    parts = read_parts(config)
    assert parts.stream is not None
    assert isinstance(parts.stream.shards, Tables)
    make_folder(out)
    writer = Writer(out)
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


def _empty(out: Path, overwrite: bool) -> None:
    """Refuse a folder that has something else than an encoded table to replace, and empty it."""
    if not out.exists() or (out.is_dir() and all(PARTIAL in path.name for path in out.iterdir())):
        return
    if not overwrite or not (is_encoded(str(out)) or _is_half(out)):
        advice = "it is replaced with --overwrite" if is_encoded(str(out)) else "name another folder"
        raise DataError(f"{out}: exists; {advice}")
    with writing(out):
        for path in sorted(out.iterdir(), key=lambda path: path.name != TABLE):  # first what makes it a table
            path.unlink()


def _is_half(out: Path) -> bool:
    """Whether a folder has only files of a preparation that did not end."""
    suffixes = (".safetensors", ".rows")
    return out.is_dir() and all(
        path.name == VOCABULARIES or path.suffix in suffixes or PARTIAL in path.name for path in out.iterdir()
    )


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
