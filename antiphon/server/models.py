"""What is served: a model folder or an exported one, behind a protocol that both satisfy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError, SilentError, TooLongError

EXPORTED = "antiphon.json"  # the file that tells an exported folder from a model's
LOOKING = ("beam", "n_best", "sample")  # options of every model that writes
CTC = ("beam", "n_best")


class Predictor(Protocol):
    """What a server asks of a model, from one thread. `antiphon.Predictor` is one, `antiphon_runtime.Model` too."""

    @property
    def answers(self) -> Callable[..., Sequence[Any]]:
        """Inputs, and options by their names -> an answer or an error for each, whatever else is among them."""

    @property
    def say(self) -> Callable[..., Iterator[Any]]:
        """An input, and options by their names -> its answer while it grows, symbol by symbol."""

    def live(self, steps: Iterable[Any]) -> Iterator[Any]:
        """The answer to each step of a stream."""


class Side(BaseModel):
    """What stands on one side of a model."""

    name: str = Field(description="`source`, of further sources `source-2`, ...; `target`")
    kind: str = Field(description="text, category, vector, image, frames, images, grid, label, labels, number, ...")
    symbols: int | None = Field(None, description="of texts, categories and labels: how many there are")
    numbers: int | None = Field(None, description="of vectors, frames and grids: numbers a step")
    pixels: list[int] | None = Field(None, description="of pictures: height and width that they are brought to")
    color: bool | None = Field(None, description="of pictures")
    turns: int | None = Field(None, description="of a dialogue: how many last turns are read, of a list of texts")

    @property
    def reads(self) -> bool:
        """Whether an input has something for it."""
        return self.kind not in ("none", "next")


@dataclass(frozen=True)
class Served:
    """A loaded model, and what a client can know of it."""

    name: str
    format: Literal["pytorch", "onnx"]
    structure: str
    sources: tuple[Side, ...]
    target: Side
    size: int  # bytes of weights
    max_length: int  # steps of an input
    options: Sequence[str] | None  # that it takes; None: all there are
    defaults: Mapping[str, Any]  # of options
    streams: Literal["tokens", "steps"] | None
    predictor: Predictor
    wrong: tuple[type[Exception], ...]  # what it raises of inputs and options
    codes: Mapping[type[Exception], str]  # the code of a problem by what was raised, the narrowest first
    scores: Callable[[Sequence[tuple[Any, Any]]], Sequence[Any]] | None = None
    explain: Callable[..., Any] | None = None
    refusal: str | None = None  # why it cannot be explained

    def code(self, error: Exception) -> str:
        """The code of a problem with one input."""
        return next((code for kind, code in self.codes.items() if isinstance(error, kind)), "invalid_options")


def load(folder: Path, device: str | None = None) -> Served:
    """The model in a folder, trained or exported; what is wrong with it is a `ModelFolderError`."""
    name = folder.resolve().name
    return _exported(folder, name) if (folder / EXPORTED).is_file() else _trained(folder, name, device)


def check(folder: Path) -> None:
    """Refuse, before anything is loaded, a folder that is no model's, or that a package is missing for."""
    if (folder / EXPORTED).is_file():
        _runtime(folder)
    else:
        from antiphon.saved.folder import load_config

        load_config(folder)


def _runtime(folder: Path) -> Any:
    """The package that reads exported models."""
    try:
        import antiphon_runtime
    except ImportError:
        reason = "is an exported model, which the package antiphon-runtime reads"
        advice = "install it: pip install 'antiphon[runtime]', or in a clone pip install ./runtime"
        raise ModelFolderError(f"{folder}: {reason}; {advice}") from None
    return antiphon_runtime


def _trained(folder: Path, name: str, device: str | None) -> Served:
    from antiphon.inspection.explain import unexplained
    from antiphon.model.build import structure_of
    from antiphon.model.ensemble import Ensemble
    from antiphon.model.models import Aligner, LanguageModel, Reader, Writer
    from antiphon.use.loading import load as load_predictor

    model = load_predictor(folder, device)
    built = model.model
    looked_into = None if isinstance(built, Ensemble) else unexplained(built)
    writes = isinstance(built, Writer | LanguageModel)
    live = isinstance(built, Reader) and model.answers_steps and built.streams and built.head.stepwise
    named = model.codecs.named
    *sources, target = (_side(side, codec.to_json()) for side, codec in named.items())
    return Served(
        name=name,
        format="pytorch",
        structure=structure_of(model.config),
        sources=tuple(sources),
        target=target,
        size=_bytes(folder, "*.safetensors"),
        max_length=model.config.data.max_length,
        options=None if writes else CTC if isinstance(built, Aligner) else (),
        defaults=model.config.decode.model_dump(exclude_none=True) if writes else {},
        streams="tokens" if writes else "steps" if live else None,
        predictor=model,
        wrong=(AntiphonError,),
        codes={
            TooLongError: "input_too_long",
            SilentError: "no_output",
            DataError: "invalid_input",
            ConfigError: "invalid_options",
        },
        scores=model.scores,
        explain=model.explain if looked_into is None else None,
        refusal=None if looked_into is None else f"{looked_into} cannot be looked into yet",
    )


def _exported(folder: Path, name: str) -> Served:
    antiphon_runtime = _runtime(folder)
    errors = antiphon_runtime.errors
    try:
        model = antiphon_runtime.load(folder)
    except antiphon_runtime.RuntimeModelError as error:
        raise ModelFolderError(str(error)) from None
    manifest = json.loads((folder / EXPORTED).read_text(encoding="utf-8"))
    sides = {one.get("name", "target"): one["vocabulary"] for one in (*manifest["sources"], manifest["target"])}
    described = [_side(side, json.loads((folder / file).read_text(encoding="utf-8"))) for side, file in sides.items()]
    writes = manifest["decode"] is not None
    live = {"read", "step"} <= manifest["graphs"].keys()
    return Served(
        name=name,
        format="onnx",
        structure=model.structure,
        sources=tuple(described[:-1]),
        target=described[-1],
        size=_bytes(folder, "*.onnx"),
        max_length=manifest["max_length"],
        options=(*LOOKING, "token_scores") if writes else (),
        defaults=manifest["decode"] or {},
        streams="tokens" if writes else "steps" if live else None,
        predictor=model,
        wrong=(errors.RuntimeModelError,),
        codes={
            errors.TooLongError: "input_too_long",
            errors.InputError: "invalid_input",
            errors.OptionError: "invalid_options",
        },
    )


def _side(name: str, value: Mapping[str, Any]) -> Side:
    """A side by what its vocabulary file says."""
    return Side(
        name=name,
        kind=value.get("kind", "text"),
        symbols=len(value["symbols"]) if "symbols" in value else None,
        numbers=len(value["mean"]) if "mean" in value else None,
        pixels=[value["height"], value["width"]] if "height" in value else None,
        color=value.get("color"),
        turns=value.get("turns"),
    )


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))
