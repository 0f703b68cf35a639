"""Training from Python: `antiphon.train("pairs.tsv")` or `antiphon.train(config)`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from antiphon.config.load import PATHS, parse_config, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.formats import ENDINGS, is_table
from antiphon.data.load import untrained
from antiphon.errors import ConfigError, DataError, TrainingError
from antiphon.files import user_path
from antiphon.saved import folder as bundle
from antiphon.training import defaults
from antiphon.training.defaults import Completed
from antiphon.training.loop import train as run
from antiphon.use.keeping import TemporaryFolder
from antiphon.use.loading import load, refuse_other_class
from antiphon.use.predictor import P, Predictor


def user_config(what: str | Path | Config, settings: Mapping[str, Any] | None = None) -> Config:
    """The keys that the user sets, without defaults: from a configuration file, a table or a `Config`, and `settings`.

    Paths in `settings` are relative to the configuration file; with a table or a `Config`, to the working folder.
    """
    if isinstance(what, Config):
        tree, folder = what.user_keys, Path.cwd()
    elif (path := user_path(what)).suffix in (".yaml", ".yml"):
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
    if resumed is not None and (resumed / bundle.CONFIG).is_file():
        saved = bundle.load_config(resumed)
        return Completed(defaults.laid_over(saved, user_config(what, _where_it_began(settings, saved))), [])
    config = user_config(what, settings)
    return defaults.complete(config, None if init_from is None else bundle.load_config(init_from), skip)


def _where_it_began(settings: Mapping[str, Any] | None, saved: Config) -> dict[str, Any]:
    """The settings of a training that is resumed, in another working folder too: a relative path of data that is not
    there stands for the file of that name which the training began with."""
    files = {f"data.{name}": getattr(saved.data, name) for name in PATHS["data"]}

    def file_of(key: str, value: Any) -> Any:
        begun = files.get(key)
        if isinstance(value, str) and isinstance(begun, str) and not os.path.exists(value):
            names = Path(value).parts
            return begun if Path(begun).parts[-len(names) :] == names else value
        return value

    return {key: file_of(key, value) for key, value in (settings or {}).items()}


@contextmanager
def naming(what: str | Path | Config) -> Iterator[None]:
    """Within it, a configuration error without a file names this one."""
    try:
        yield
    except ConfigError as error:
        raise (error if error.file or isinstance(what, Config) else error.within(str(what))) from None


@overload
def train(
    what: str | Path | Config,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    predicts: None = None,
) -> Predictor[Any]: ...
@overload
def train(
    what: str | Path | Config,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    predicts: type[P],
) -> Predictor[P]: ...
def train(
    what: str | Path | Config,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    predicts: type[Any] | None = None,
) -> Predictor[Any]:
    """Train from a table, a configuration file or a `Config`, and return the model.

    Keys that neither it nor `settings` set are chosen from the data, for all three in the same way.

    With `init_from`, the folder of a trained model, training starts from its weights where they fit.

    `settings` are dotted keys that replace those of the configuration, as with `--set`: {"train.epochs": 5}.
    Without `out` the folder is a temporary one, removed with the model; `save` keeps it.

    `callbacks` are called while it trains and can stop it (see `Callback`). What happens goes to the logger
    "antiphon", and to standard error unless logging is configured; `quiet` shows warnings alone. `predicts` is as
    `load` takes it, and is checked before the training.
    """
    folder, base = (None if path is None else user_path(path) for path in (out, init_from))
    if folder is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("several processes need one folder for the model: name out")
    with naming(what):
        completed = read_config(what, settings, base, folder if resume else None)
        if predicts is not None:
            refuse_other_class(untrained(completed.config).target, predicts, str(what))

        def trained(into: Path) -> Predictor[Any]:
            return load(
                run(
                    completed.config, into, resume, overwrite, device, threads, "", base, completed.about, callbacks,
                    quiet,
                ),
                device,
            )  # fmt: skip

        return _in_temporary_folder(trained) if folder is None else trained(folder)


def _in_temporary_folder(trained: Callable[[Path], Predictor[Any]]) -> Predictor[Any]:
    """A model that is trained into a temporary folder, which is removed with it."""
    temporary = TemporaryFolder()
    try:
        model = trained(temporary.path / "model")
    except BaseException as error:
        temporary.remove()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("stopped; nothing is kept, as no folder was named") from None
        raise
    model.temporary = temporary
    return model
