"""`predict --ray`: the files of a model and of its inputs, to a folder of predictions."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from antiphon.data.load import Codecs
from antiphon.errors import ConfigError, count_of
from antiphon.files import user_path
from antiphon.saved.folder import load_codecs, load_config
from antiphon.server.exported import MANIFEST
from antiphon.shards import cluster
from antiphon.shards.files import Shard, shards_of
from antiphon.shards.finished import Entry, digest, digest_of_model, opened
from antiphon.shards.reading import Reading
from antiphon.shards.writing import write
from antiphon.use.serving import check, form_of


@dataclass(frozen=True)
class Wish:
    """What is asked for: options of `predict`, `settings` of decode among them."""

    as_json: bool = False
    scores: bool = False
    n_best: int = 1
    beam: int | None = None
    sample: Mapping[str, Any] | None = None
    abstain_below: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What came of it: the files of the output folder, how many of them were there before, their rows, the rows with
    unknown symbols and whether the model can copy these, and what was wrong with the files that are not written."""

    files: int
    before: int
    rows: int
    unknown: int
    copies: bool
    errors: Sequence[str]


def predict(
    folder: Path, inputs: Sequence[Path], out: Path, address: str, wish: Wish, workers: int | None = None,
    worker: Any = None,
) -> Summary:  # fmt: skip
    """Write the predictions for every file of `inputs` (files and folders) into the folder `out`.

    The model is trained or exported; `address` is that of a Ray cluster, or `local`. A file with a wrong row is not
    written, and all others are; what is written already by the same model with the same options stays as it is.
    `worker` is the class of the workers.
    """
    out = user_path(out)
    shards = shards_of(inputs, ".jsonl" if wish.as_json else ".tsv", out)
    check(folder)
    reading = reading_of(folder)
    with opened(out, digest_of_model(folder), asdict(wish)) as finished:
        shards = list(map(_digested, shards))
        written = {shard.name: finished.get(shard.name, shard.digest) for shard in shards}
        missing = [shard for shard in shards if written[shard.name] is None]
        before = [entry for entry in written.values() if entry is not None]
        if before:
            print(f"{count_of(len(before), 'file')} of {len(shards):,} are written already", file=sys.stderr)
        entries: list[Entry] = []
        errors: list[str] = []
        if missing:
            cluster.require()
            model = exported(folder, wish.settings)
            form = _form(reading, model, wish)
            with cluster.connected(address, workers) as count:
                done = cluster.predicted(missing, reading, model, form, count, worker)
                entries, errors = write(missing, done, out, finished)
    total = [*before, *entries]
    rows, unknown = sum(entry.rows for entry in total), sum(entry.unknown for entry in total)
    return Summary(len(total), len(before), rows, unknown, reading.copies, errors)


def _digested(shard: Shard) -> Shard:
    """A shard with its digest, taken before it is read: one that changes meanwhile is computed again."""
    try:
        return replace(shard, digest=digest(Path(shard.path)))
    except OSError:  # reading it says what is wrong
        return shard


def reading_of(folder: Path) -> Reading:
    """How the model in a folder, trained or exported, reads files."""
    if not (folder / MANIFEST).is_file():
        config = load_config(folder)
        return Reading(load_codecs(folder, config), config, bool(config.model.copy_))
    described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    sides = [json.loads((folder / side["vocabulary"]).read_text("utf-8")) for side in _sides(described)]
    return Reading(Codecs.from_json(json.dumps(sides)), copies="copied" in described)


def _sides(described: Mapping[str, Any]) -> list[Any]:
    return [*described["sources"], described["target"]]


def exported(folder: Path, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of an exported model; one that is only trained is exported first."""
    if (folder / MANIFEST).is_file():
        if settings:
            key = next(iter(settings))
            advice = "give the folder that it was exported from"
            raise ConfigError(key, f"cannot be set: {folder} is exported, and decodes as it says; {advice}")
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    from antiphon.export.folder import export

    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "model"
        print("exporting the model", file=sys.stderr)
        export(folder, target, settings=dict(settings))
        return {path.name: path.read_bytes() for path in sorted(target.iterdir())}


def _form(reading: Reading, model: Mapping[str, bytes], wish: Wish) -> Any:
    """How workers predict and write."""
    options = {name: value for name, value in asdict(wish).items() if name != "settings"}
    return form_of(model, {"names": tuple(reading.names), **options})
