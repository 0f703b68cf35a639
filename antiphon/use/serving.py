"""Models of folders as a server needs them: trained ones, and exported ones through the runtime, if it is there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError, SilentError, TooLongError
from antiphon.server.exported import MANIFEST, served
from antiphon.server.models import CTC_OPTIONS, SERIES_OPTIONS, Loader, Served, example_of, name_of, side_of, size_of


def loader(device: str | None = None, threads: int = 1) -> Loader:
    """How a server loads folders: `device` is for trained models, `threads` for exported ones."""
    from antiphon.inspection.trace import Trace

    return Loader(check, partial(load, device=device, threads=threads), Trace)


def load(folder: Path, device: str | None = None, threads: int = 1) -> Served:
    """The model in a folder, trained or exported; what is wrong with it is a `ModelFolderError`."""
    if not (folder / MANIFEST).is_file():
        return _trained(folder, device)
    runtime = _runtime(folder)
    try:
        return served(folder, runtime, threads)
    except runtime.RuntimeModelError as error:
        raise ModelFolderError(str(error)) from None


def load_exported(folder: Path, threads: int = 1) -> tuple[Any, type[Exception]]:
    """An exported model as the runtime loads it, and the root of the runtime's errors."""
    runtime = _runtime(folder)
    try:
        return runtime.load(folder, threads), runtime.RuntimeModelError
    except runtime.RuntimeModelError as error:
        raise ModelFolderError(str(error)) from None


def check(folder: Path) -> None:
    """Refuse, before anything is loaded, a folder that is not a model, or for which a package is missing."""
    if (folder / MANIFEST).is_file():
        runtime = _runtime(folder)
        try:
            runtime.loading.check(folder)
        except runtime.RuntimeModelError as error:
            raise ModelFolderError(str(error)) from None
    else:
        from antiphon.saved.folder import load_config

        load_config(folder)


def blocks() -> Any:
    """The runtime's module that predicts blocks of rows in the workers of a cluster, where the runtime is installed."""
    try:
        import antiphon_runtime.blocks as module
    except ImportError:
        advice = "pip install 'antiphon[runtime]', or in a clone pip install ./runtime"
        raise AntiphonError(f"workers predict with the package antiphon-runtime: {advice}") from None
    return module


def form_of(files: Mapping[str, bytes], options: Mapping[str, Any]) -> Any:
    """How the worker of an exported model, which consists of `files`, predicts and writes: a `Form` with these options.

    What a worker would refuse is an `AntiphonError` now.
    """
    module = blocks()
    form = module.Form(**options)
    try:
        module.Worker(files, form)
    except module.RuntimeModelError as error:
        raise AntiphonError(str(error)) from None
    return form


def refuse_without_runtime(name: str) -> None:
    """An error if the package that reads the exported model `name` is not installed."""
    _runtime(name)


def _runtime(folder: str | Path) -> Any:
    """The package that reads exported models."""
    try:
        import antiphon_runtime
    except ImportError:
        reason = "is an exported model, which the package antiphon-runtime reads"
        advice = "install it: pip install 'antiphon[runtime]', or in a clone pip install ./runtime"
        raise ModelFolderError(f"{folder}: {reason}; {advice}") from None
    return antiphon_runtime


def _trained(folder: Path, device: str | None) -> Served:
    from antiphon.inspection.explain.entry import unexplained
    from antiphon.model.build import structure_of
    from antiphon.saved import examples
    from antiphon.use.loading import load as load_predictor

    model = load_predictor(folder, device)
    built = model.model
    writes = built.writes
    looked_into = unexplained(built)
    live = model.answers_steps and built.streams and built.head.stepwise
    contents = {side: codec.to_json() for side, codec in model.codecs.named.items()}
    *sources, target = (side_of(side, content) for side, content in contents.items())
    series = target.kind == "series"
    return Served(
        name=name_of(folder),
        format="pytorch",
        structure=structure_of(model.config),
        sources=tuple(sources),
        target=target,
        size=size_of(folder, "*.safetensors"),
        max_length=model.config.data.max_length,
        options=None if writes else CTC_OPTIONS if built.aligns else SERIES_OPTIONS if series else (),
        defaults=model.config.decode.model_dump(exclude_none=True) if writes or series else {},
        streams="tokens" if writes else "steps" if live else None,
        predictor=model,
        wrong=(AntiphonError,),
        codes={
            TooLongError: "input_too_long",
            SilentError: "no_output",
            DataError: "invalid_input",
            ConfigError: "invalid_options",
        },
        example=example_of(list(contents.values())[:-1]),
        examples=examples.read(folder),
        scores=model.scores,
        explain=model.explain if looked_into is None else None,
        refusal=None if looked_into is None else f"{looked_into} cannot be looked into yet",
    )
