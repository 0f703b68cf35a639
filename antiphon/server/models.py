"""What is served: a model folder or an exported one, behind a protocol that both satisfy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError, SilentError, TooLongError
from antiphon.saved import examples

EXPORTED = "antiphon.json"  # the file that only an exported folder has
LOOKING = ("beam", "n_best", "sample")  # options of every model that writes
CTC = ("beam", "n_best")


class Predictor(Protocol):
    """What a server needs of a model, from one thread. `antiphon.Predictor` is one, `antiphon_runtime.Model` too."""

    @property
    def answers(self) -> Callable[..., Sequence[Any]]:
        """Inputs, and options by their names -> an answer or an error for each, whatever else is among them."""

    @property
    def write(self) -> Callable[..., Iterator[Any]]:
        """An input, and options by their names -> its answer while it grows, symbol by symbol."""

    def live(self, steps: Iterable[Any]) -> Iterator[Any]:
        """The answer to each step of a stream."""


class Side(BaseModel):
    """What stands on one side of a model."""

    name: str = Field(description="`source`, of further sources `source-2`, ...; `target`")
    kind: str = Field(description="text, category, vector, image, frames, images, grid, label, labels, number, ...")
    symbols: int | None = Field(None, description="for texts, categories and labels: how many there are")
    numbers: int | None = Field(None, description="for vectors, frames and grids: numbers per step")
    range: list[float] | None = Field(
        None, description="for vectors, frames and grids: what most numbers of the training rows lie between"
    )
    pixels: list[int] | None = Field(None, description="for pictures: height and width that they are brought to")
    color: bool | None = Field(None, description="for pictures: whether they have colours")
    turns: int | None = Field(
        None, description="for a dialogue: how many of the last turns are read, from a list of texts"
    )

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
    defaults: Mapping[str, Any]  # the values of options that are not sent
    streams: Literal["tokens", "steps"] | None
    predictor: Predictor
    wrong: tuple[type[Exception], ...]  # what it raises about inputs and options
    codes: Mapping[type[Exception], str]  # the code of a problem by what was raised, the narrowest first
    scores: Callable[[Sequence[tuple[Any, Any]]], Sequence[Any]] | None = None
    explain: Callable[..., Any] | None = None
    refusal: str | None = None  # why it cannot be explained
    examples: Sequence[Any] = ()  # inputs that training has kept

    def code(self, error: Exception) -> str:
        """The code of a problem with one input."""
        return next((code for kind, code in self.codes.items() if isinstance(error, kind)), "invalid_options")


def load(folder: Path, device: str | None = None) -> Served:
    """The model in a folder, trained or exported; what is wrong with it is a `ModelFolderError`."""
    name = folder.resolve().name
    return _exported(folder, name) if (folder / EXPORTED).is_file() else _trained(folder, name, device)


def check(folder: Path) -> None:
    """Refuse, before anything is loaded, a folder that is not a model, or for which a package is missing."""
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
    from antiphon.inspection.explain.entry import unexplained
    from antiphon.model.build import structure_of
    from antiphon.use.loading import load as load_predictor

    model = load_predictor(folder, device)
    built = model.model
    writes = built.writes
    looked_into = unexplained(built)
    live = model.answers_steps and built.streams and built.head.stepwise
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
        options=None if writes else CTC if built.aligns else (),
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
        examples=examples.read(folder),
    )


def _exported(folder: Path, name: str) -> Served:
    antiphon_runtime = _runtime(folder)
    errors = antiphon_runtime.errors
    try:
        model = antiphon_runtime.load(folder)
    except antiphon_runtime.RuntimeModelError as error:
        raise ModelFolderError(str(error)) from None
    manifest = json.loads((folder / EXPORTED).read_text(encoding="utf-8"))
    entries = (*manifest["sources"], manifest["target"])
    vocabularies = {entry.get("name", "target"): entry["vocabulary"] for entry in entries}
    sides = [
        _side(side, json.loads((folder / file).read_text(encoding="utf-8"))) for side, file in vocabularies.items()
    ]
    aligns = manifest.get("aligns", False)
    writes = manifest["decode"] is not None and not aligns
    live = {"read", "step"} <= manifest["graphs"].keys()
    return Served(
        name=name,
        format="onnx",
        structure=model.structure,
        sources=tuple(sides[:-1]),
        target=sides[-1],
        size=_bytes(folder, "*.onnx"),
        max_length=manifest["max_length"],
        options=(*LOOKING, "token_scores") if writes else CTC if aligns else (),
        defaults=(manifest["decode"] or {}) if writes else {},
        streams="tokens" if writes else "steps" if live else None,
        predictor=model,
        wrong=(errors.RuntimeModelError,),
        codes={
            errors.TooLongError: "input_too_long",
            errors.InputError: "invalid_input",
            errors.OptionError: "invalid_options",
        },
        examples=examples.read(folder),
    )


def _side(name: str, value: Mapping[str, Any]) -> Side:
    """A side, from the content of its vocabulary file."""
    return Side(
        name=name,
        kind=value.get("kind", "text"),
        symbols=len(value["symbols"]) if "symbols" in value else None,
        numbers=len(value["mean"]) if "mean" in value else None,
        range=_range(value),
        pixels=[value["height"], value["width"]] if "height" in value else None,
        color=value.get("color"),
        turns=value.get("turns"),
    )


def _range(value: Mapping[str, Any]) -> list[float] | None:
    """The range of a side's numbers: 0 and 1 of bits, otherwise two deviations around the means, if these were kept."""
    if value.get("bits"):
        return [0, 1]
    if "mean" not in value or value.get("scale") == "none":
        return None
    sides = [(mean, 2 * deviation) for mean, deviation in zip(value["mean"], value["deviation"], strict=True)]
    return [min(mean - reach for mean, reach in sides), max(mean + reach for mean, reach in sides)]


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))
