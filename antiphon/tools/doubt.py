"""`antiphon doubt`: which rows of a table are probably wrong, by models that were trained without them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.config.files import InMemory, files_exist
from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.data.load import Codecs, load_rows, untrained
from antiphon.data.memory import files_or_rows
from antiphon.data.rows import Row
from antiphon.errors import DataError, TrainingError
from antiphon.saved import folder as bundle
from antiphon.saved.ready import model_path
from antiphon.training.autotune import use_threads
from antiphon.training.log import output
from antiphon.training.loop import train
from antiphon.use.doubting import Doubt, ranked
from antiphon.use.loading import load


def doubt(
    model: str | Path,
    data: Any = None,
    folds: int = 5,
    cross: bool = True,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    threads: int | None = None,
    *,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Doubt]:
    """The rows of a table, those first whose target is improbable given all other rows.

    `model` is a model folder; `data` are rows as `antiphon.train` takes them, by default its training rows. They are
    divided by their inputs into `folds` parts. For each part a model with the settings of the folder (and `settings`,
    dotted keys: {"train.max_steps": 2000} makes it shorter) is trained on all other parts, and compares log p of the
    given targets with log p of its own predictions: cross-fitting, so that no model has learned a row that it judges
    (Northcutt et al. 2021, arXiv 1911.00068, section 3). Without `cross` the model itself judges all rows at once: in a
    moment, but rows that it has learned by heart seem right to it, also the wrong ones. `tell` takes lines about the
    progress. Errors are `AntiphonError`s.
    """
    folder = model_path(model)
    files = None if data is None else files_or_rows(data)
    config = bundle.load_config(folder)
    use_threads(threads)
    if not cross:
        return load(folder, device).doubt(config.data.train if files is None else files)
    config, codecs, rows = _rows_of(config, folder, files, settings)
    parts = divided(rows, codecs, folds)
    judged: list[Doubt] = []
    with tempfile.TemporaryDirectory() as place, output(quiet):
        for number, part in enumerate(parts, 1):
            held = {id(row) for row in part}
            others = [row for row in rows if id(row) not in held]
            tell(f"part {number} of {len(parts)}: a model of {len(others):,} rows judges {len(part):,} others")
            trained = train(_of_rows(config, others), Path(place) / str(number), device=device, quiet=True)
            judged += load(trained, device).doubt(list(part))
    return ranked(judged)


def _rows_of(
    config: Config, folder: Path, files: Any, settings: Mapping[str, Any] | None
) -> tuple[Config, Codecs, Sequence[Row]]:
    """The configuration of the models, what reads their rows, and all rows."""
    tree = config.model_dump(by_alias=True)
    if files is not None:
        tree["data"]["train"] = files
    valid = config.data.valid
    if valid is not None and not isinstance(valid, float) and not files_exist(valid):
        tree["data"]["valid"] = None
    tree["train"] |= {"teachers": [], "teacher_outputs": "none"}  # which may have learned the rows
    for key, value in (settings or {}).items():
        set_value(tree, key, value)
    config = parse_config(tree, Path.cwd())
    codecs = untrained(config)
    if codecs.sources[0].whole:
        raise TrainingError(f"{folder}: learns one long text, which has no rows to doubt")
    if config.data.window is not None:
        reason = (
            "reads windows of a long table, and neighbouring windows share rows, so that every model would have learned"
        )
        raise TrainingError(f"{folder}: {reason} the rows it judges; let the model itself judge them: --no-cross")
    return config, codecs, load_rows(config, config.data.train, codecs=codecs)


def divided(rows: Sequence[Row], codecs: Codecs, folds: int) -> list[list[Row]]:
    """Rows in parts of equal numbers of inputs, chosen by the input's hash; rows of one input stay together."""
    inputs: dict[Hashable, list[Row]] = {}
    for row in rows:
        inputs.setdefault(codecs.key_of(row), []).append(row)
    if folds < 2:
        raise DataError(f"folds: must be at least 2 (is {folds})")
    if len(inputs) < 2 * folds:
        raise DataError(f"{len(inputs)} distinct inputs are too few for {folds} parts; give more rows or fewer parts")

    def rank(key: Hashable) -> bytes:
        return hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=8).digest()

    order = sorted(inputs, key=rank)
    return [[row for key in order[part::folds] for row in inputs[key]] for part in range(folds)]


def _of_rows(config: Config, rows: list[Row]) -> Config:
    """The configuration of a training on rows that have been read."""
    data = config.data.model_copy(update={"train": InMemory.read(rows), "test": None})
    return config.model_copy(update={"data": data})
