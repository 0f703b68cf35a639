"""Training from Python: `antiphon.train("pairs.tsv")` or `antiphon.train(config)`."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon.config.load import parse_config, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.formats import ENDINGS, is_table
from antiphon.errors import ConfigError, DataError, TrainingError
from antiphon.saved import folder as bundle
from antiphon.training import defaults
from antiphon.training.defaults import Completed
from antiphon.training.loop import train as run
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor


def user_config(what: str | Path | Config, settings: Mapping[str, Any] | None = None) -> Config:
    """The keys that the user sets, without defaults: from a configuration file, a table or a `Config`, and `settings`.

    Paths in `settings` are relative to the configuration file; with a table or a `Config`, to the working folder.
    """
    if isinstance(what, Config):
        tree, folder = what.user_keys, Path.cwd()
    elif (path := Path(what)).suffix in (".yaml", ".yml"):
        return read_config_file(path, settings)
    elif path.is_dir() or is_table(str(path)):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: is a pipe or a device, which cannot be read twice; give a file")
        tree, folder = {"data": {"train": str(path.resolve())}}, Path.cwd()
    else:
        raise DataError(f"{path}: is neither a configuration (.yaml) nor a table ({ENDINGS}, text with .gz too)")
    for key, value in (settings or {}).items():
        set_value(tree, key, value)
    return parse_config(tree, folder)


def read_config(
    what: str | Path | Config,
    settings: Mapping[str, Any] | None = None,
    init_from: Path | None = None,
    resumed: Path | None = None,
    skip: bool = False,
) -> Completed:
    """The whole configuration: keys that the user leaves open are chosen from the data (see `complete`).

    With a model to start from (`init_from`) they are chosen as there; a training that is resumed, in the folder
    `resumed`, keeps those that were chosen when it began.
    """
    config = user_config(what, settings)
    if resumed is not None and (resumed / bundle.CONFIG).is_file():
        return Completed(defaults.laid_over(bundle.load_config(resumed), config), [])
    return defaults.complete(config, None if init_from is None else bundle.load_config(init_from), skip)


@contextmanager
def naming(what: str | Path | Config) -> Iterator[None]:
    """Within it, a configuration error without a file names this one."""
    try:
        yield
    except ConfigError as error:
        raise (error if error.file or isinstance(what, Config) else error.within(str(what))) from None


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

    Keys that neither it nor `settings` set are chosen from the data, for all three in the same way.

    With `init_from`, the folder of a trained model, training starts from its weights where they fit.

    `settings` are dotted keys that replace those of the configuration, as with `--set`: {"train.epochs": 5}.
    Without `out` the folder is a temporary one, removed with the model; `save` keeps it.
    """
    base = None if init_from is None else Path(init_from)
    with naming(what):
        completed = read_config(what, settings, base, Path(out) if resume and out is not None else None)
        return _train(completed, out, resume, overwrite, device, threads, base)


def _train(
    completed: Completed,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    device: str | None,
    threads: int | None,
    base: Path | None,
) -> Predictor:
    if out is not None:
        return load(
            run(completed.config, Path(out), resume, overwrite, device, threads, "", base, completed.about), device
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("several processes need one folder for the model: name out")
    temporary = Path(tempfile.mkdtemp(prefix="antiphon-"))
    try:
        model = load(
            run(completed.config, temporary / "model", resume, overwrite, device, threads, "", base, completed.about),
            device,
        )
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("stopped; nothing is kept, as no folder was named") from None
        raise
    weakref.finalize(model, shutil.rmtree, temporary, ignore_errors=True)
    return model
