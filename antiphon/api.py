"""Training from Python: `antiphon.train("pairs.tsv")` or `antiphon.train(config)`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from antiphon.config.files import InMemory, Parallel
from antiphon.config.load import PATHS, parse_config, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.formats import ENDINGS, is_table, refuse_pipe
from antiphon.data.load import untrained
from antiphon.data.memory import KINDS, files_or_rows, in_memory, plain, reread
from antiphon.errors import AntiphonError, ConfigError, DataError, TrainingError, shown
from antiphon.files import user_path
from antiphon.saved import folder as bundle
from antiphon.saved.ready import model_path
from antiphon.training import defaults
from antiphon.training.autotune import use_threads
from antiphon.training.callbacks import Callback
from antiphon.training.defaults import Completed
from antiphon.training.log import output
from antiphon.training.loop import train as run
from antiphon.training.resume import resumed_folder
from antiphon.use import comparison
from antiphon.use.comparison import Difference
from antiphon.use.keeping import TemporaryFolder
from antiphon.use.loading import load, refuse_other_class
from antiphon.use.predictor import P, Predictor

PORT = 8001  # of the page of a training, unless another is named


def user_config(what: Any, settings: Mapping[str, Any] | None = None) -> Config:
    """The keys that the user sets, without defaults: from a configuration file, a table, rows in memory or a `Config`,
    and `settings`.

    Paths in `settings` are relative to the configuration file; with anything else, to the working folder.
    """
    if isinstance(what, Config):
        tree, folder = what.user_keys, Path.cwd()
    elif (rows := _rows_of(what, settings or {})) is not None:
        tree, folder = {"data": {"train": rows}}, Path.cwd()
    elif isinstance(what, list | tuple | Parallel | Mapping):
        tree, folder = {"data": {"train": files_or_rows(what)}}, Path.cwd()
    elif not isinstance(what, str | Path):
        raise DataError(f"trains from {KINDS}, a file, or a configuration, but this is {shown(what)}")
    elif (path := user_path(what)).suffix in (".yaml", ".yml"):
        return read_config_file(path, settings)
    elif path.is_dir() or is_table(str(path)):
        refuse_pipe(str(path))
        tree, folder = {"data": {"train": str(path.resolve())}}, Path.cwd()
    else:
        raise DataError(f"{path}: is neither a configuration (.yaml) nor a table ({ENDINGS}, text with .gz too)")
    for key, value in (settings or {}).items():
        set_value(tree, key, value)
    return parse_config(tree, folder)


def _rows_of(what: Any, settings: Mapping[str, Any]) -> InMemory | None:
    """Rows from Python; they are streamed if `data.shuffle` is set and they are not in memory already."""
    streamed = reread(what) if settings.get("data.shuffle") is not None else None
    return streamed or in_memory(what)


def with_sides(
    settings: Mapping[str, Any] | None, source: Any = None, target: Any = None, valid: Any = None, test: Any = None
) -> dict[str, Any]:
    """`settings` with the sides and the further rows that Python's functions take as arguments.

    A side is a column (its name or position) or a dict of settings; a list of these is several sources, and of columns
    the columns of a target.
    """
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(
            "settings", f'must be a dict of keys, such as {{"train.epochs": 5}}, but is {shown(settings)}'
        )
    for name, side in (("source", source), ("target", target)):
        if side is not None and any(key == name or key.startswith(f"{name}.column") for key in settings or ()):
            raise ConfigError(f"settings: {name}", f"is also given as {name}=; give it once")
    keys: dict[str, Any] = {}
    if source is not None:
        keys["source"] = [_side(each) for each in source] if isinstance(source, list | tuple) else _side(source)
    if target is not None:
        several = isinstance(target, list | tuple)
        keys["target"] = {"columns": [plain(column) for column in target]} if several else _side(target)
    for name, data in (("data.valid", valid), ("data.test", test)):
        if isinstance(data, float | int):
            keys[name] = data
        elif data is not None:
            files = files_or_rows(data)
            keys[name] = files.of(name) if isinstance(files, InMemory) else _absolute(files)
    return keys | dict(settings or {})


def _side(side: Any) -> dict[str, Any]:
    return dict(side) if isinstance(side, Mapping) else {"column": plain(side)}


def _absolute(files: Any) -> Any:
    """Paths relative to the working folder, also if the configuration stands elsewhere."""
    if isinstance(files, Parallel):
        return Parallel(source=_absolute(files.source), target=_absolute(files.target))
    return [_absolute(path) for path in files] if isinstance(files, list) else os.path.abspath(files)


def read_config(
    what: Any,
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
    models = (init_from, *config.train.teachers[:1])
    like, *teachers = (None if folder is None else bundle.load_config(Path(folder)) for folder in models)
    return defaults.complete(config, like, skip, *teachers)


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
def naming(what: Any) -> Iterator[None]:
    """Within it, a configuration error without a file names this one."""
    try:
        yield
    except ConfigError as error:
        raise (error.within(str(what)) if isinstance(what, str | Path) and not error.file else error) from None


@overload
def train(
    what: Any,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    source: Any = None,
    target: Any = None,
    valid: Any = None,
    test: Any = None,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    watch: bool | int = False,
    predicts: None = None,
) -> Predictor[Any]: ...
@overload
def train(
    what: Any,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    source: Any = None,
    target: Any = None,
    valid: Any = None,
    test: Any = None,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    watch: bool | int = False,
    predicts: type[P],
) -> Predictor[P]: ...
def train(
    what: Any,
    out: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    init_from: str | Path | None = None,
    *,
    source: Any = None,
    target: Any = None,
    valid: Any = None,
    test: Any = None,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
    watch: bool | int = False,
    predicts: type[Any] | None = None,
) -> Predictor[Any]:
    """Train from a table, rows in memory, a configuration file or a `Config`, and return the model.

    Rows in memory are an iterable of tuples or dicts, a dict of columns, or a table of pandas, polars, pyarrow or
    datasets; cells may be numpy arrays. Keys that are not set are chosen from the data, for all of these in the same
    way: the same rows give the same model. A model folder does not contain rows that were in memory, so they must be
    given again to resume.

    `source` and `target` are a column (its name or position), a list of columns (several sources; the numbers of a
    target), or a dict of settings of the side: {"kind": "frames", "column": "x"}. `valid` and `test` are rows as
    `what` or files, `valid` also a fraction of the inputs.

    With `init_from`, the folder of a trained model, training starts from its weights where they fit.

    `settings` are dotted keys that replace those of the configuration, as with `--set`: {"train.epochs": 5}.
    Without `out` the folder is a temporary one, removed with the model; `save` keeps it. Errors are `AntiphonError`s.

    `callbacks` are called while it trains and can stop it (see `Callback`). What happens goes to the logger
    "antiphon", and to standard error unless logging is configured; `quiet` shows warnings alone. `predicts` is as
    `load` takes it, and is checked before the training.

    With `watch` a page shows the training while it runs: curves, and what the model predicts for some validation rows.
    True serves it at http://127.0.0.1:8001, a number at that port (0: any free one, which is logged). It needs the
    extra serve, and changes nothing in the training.
    """
    began = time.monotonic()
    folder, base = None if out is None else user_path(out), None if init_from is None else model_path(init_from)
    if folder is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("several processes need one folder for the model: name out")
    use_threads(threads)
    with naming(what):
        keys = with_sides(settings, source, target, valid, test)
        completed = read_config(what, keys, base, resumed_folder(folder, resume))
        if predicts is not None:
            refuse_other_class(untrained(completed.config).target, predicts, "predicts")

        def trained(into: Path) -> Predictor[Any]:
            with output(quiet), watched(watch, folder) as watches:
                run(
                    completed.config, into, resume, overwrite, device, threads, "", base, completed.about,
                    [*callbacks, *watches] if watches else callbacks, quiet, began,
                )  # fmt: skip
            return load(into, device)

        return _in_temporary_folder(trained) if folder is None else trained(folder)


@contextmanager
def watched(watch: bool | int, folder: Path | None) -> Iterator[list[Callback]]:
    """Within it, the training with these callbacks is shown in a browser, if `watch` is True or a port.

    `folder` is that of the model, if the user names one. Of several processes (`torchrun`) the first serves. Without
    the extra serve, or if the port cannot be bound, it is an `AntiphonError`.
    """
    if watch is False or (int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0"))):
        yield []
        return
    if not isinstance(watch, int):
        raise TrainingError(f"watch: must be True or the number of a port, but is {shown(watch)}")
    try:
        from antiphon.training.watching import watching
    except ModuleNotFoundError as error:
        raise AntiphonError(f"watching a training needs {error.name}: pip install 'antiphon[serve]'") from None
    with watching(PORT if watch is True else watch, folder) as callback:
        yield [callback]


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


def compare(
    models: Sequence[Predictor | str | Path],
    data: Any,
    samples: int = 1000,
    seed: int = 1,
    beam: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> list[Difference]:
    """Every model but the first against the first, on the same rows: what the command `compare` prints.

    `models` are loaded models or folders; `data` are rows in memory or files. See `Difference` for what is returned,
    and `antiphon/use/comparison.py` for `samples` and `seed`. Errors are `AntiphonError`s.
    """
    if isinstance(models, str | Path) or len(models) < 2:
        raise DataError("compare needs a list of two models or more")
    rows = files_or_rows(data)
    loaded = [model if isinstance(model, Predictor) else load(model, device) for model in models]
    return comparison.compare(loaded, rows, samples, seed, beam, settings)
