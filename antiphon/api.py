"""Training from Python: `antiphon.train("pairs.tsv")` or `antiphon.train(config)`."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon import bundle, defaults
from antiphon import config as configuration
from antiphon.config import Config
from antiphon.data.rows import ENDINGS, is_table
from antiphon.errors import ConfigError, DataError, TrainingError
from antiphon.predictor import Predictor, load
from antiphon.training.loop import train as run


def read_config(
    path: Path, settings: dict[str, Any] | None = None, init_from: Path | None = None, resumed: Path | None = None
) -> Config:
    """The configuration at `path`, or the one chosen for the table at `path`.

    It is chosen like that of the model to start from; for a training to go on with, in `resumed`, it was chosen then.
    """
    if path.suffix in (".yaml", ".yml"):
        return configuration.load(path, settings)
    if resumed is not None and (resumed / bundle.CONFIG).is_file():
        return configuration.load(resumed / bundle.CONFIG, {"data.train": str(path.resolve()), **(settings or {})})
    if path.is_dir() or is_table(str(path)):
        return defaults.choose(path, settings, None if init_from is None else bundle.load_config(init_from))
    raise DataError(f"{path}: is neither a configuration (.yaml) nor a table ({ENDINGS}, text with .gz too)")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within it, a configuration error that names no file names this one."""
    try:
        yield
    except ConfigError as error:
        raise (error if error.file else error.within(str(path))) from None


def train(
    what: str | Path | Config,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
) -> Predictor:
    """Train from a table, a configuration file or a `Config`, and return the model.

    With `init_from`, the folder of a trained model, training starts from its weights where they fit.

    `settings` are dotted keys laid over the configuration, as `--set` does: {"train.epochs": 5}.
    Without `out` the folder is a temporary one, removed with the model; `save` keeps it.
    """
    if not isinstance(what, Config):
        path = Path(what)
        kept = Path(out) if resume and out is not None else None
        config = read_config(path, settings, None if init_from is None else Path(init_from), kept)
        with naming(path):
            return train(config, out, None, resume, overwrite, device, threads, init_from)
    config = what
    base = None if init_from is None else Path(init_from)
    if out is not None:
        return load(run(config, Path(out), resume, overwrite, device, threads, init_from=base), device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("several processes need one folder for the model: name out")
    temporary = Path(tempfile.mkdtemp(prefix="antiphon-"))
    try:
        model = load(run(config, temporary / "model", resume, overwrite, device, threads, init_from=base), device)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("stopped; nothing is kept, as no folder was named") from None
        raise
    weakref.finalize(model, shutil.rmtree, temporary, ignore_errors=True)
    return model
