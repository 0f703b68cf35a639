"""What clients send and are sent, and JSON to what a model reads. A value is never a path, whatever it spells."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from antiphon.common.pictures import IN_MEMORY
from antiphon.config.schema import Diversity, Mbr, Sample
from antiphon.server.models import Served, Side
from antiphon.server.problems import Details, Problem
from antiphon.server.settings import Settings

DTYPES = ("float32", "float64", "int32", "int64", "uint8")  # of arrays, little-endian
PICTURE = 64  # steps that reading a picture costs as much as

# --- requests -----------------------------------------------------------------------------------------

INPUT = (
    "of `text` and `long_text` a string (of a dialogue also the list of its turns); of `category` a string or number; "
    "of `vector`, `frames` and `grid` (nested) lists of numbers, or an array {dtype, shape, data: base64}; of `image` "
    "the base64 of a PNG, JPEG, WebP, GIF or BMP file, or an array of pixels; of `images` a list of these; with "
    "several sources a list in their order, or an object by their names; without a source null"
)
Input: TypeAlias = Annotated[Any, Field(description=INPUT)]
Target: TypeAlias = Annotated[
    Any,
    Field(
        description="of `text` and `label` a string; of `labels` a list of strings; of `number` a number; of `numbers` "
        "lists of numbers or an array; of a language model (`next`) null"
    ),
]
ModelName: TypeAlias = Annotated[str | None, Field(None, description="may be left out if one model is served")]


class Sent(BaseModel):
    """Part of a request: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Options(Sent):
    """How answers are looked for: the keys of `decode` in a model's configuration, and what is told of answers."""

    beam: int | None = Field(None, ge=1, description="beam width; 1 is greedy")
    n_best: int = Field(1, ge=1, description="outputs an input, at most the beam's width")
    prefix: str | None = Field(None, description="what every output begins with")
    sample: Sample | None = Field(None, description="draw symbols by their probability in place of a beam")
    mbr: Mbr | None = Field(None, description="of many samples the one most like the others")
    length_penalty: float | None = Field(None, ge=0, le=10, description="outputs are ranked by score / length^this")
    min_length: int | None = Field(None, ge=0, description="shortest output in symbols")
    max_length: int | None = Field(None, ge=1, description="longest output in symbols")
    coverage_penalty: float | None = Field(None, ge=0, le=100, description="weight of what is left out of the source")
    diversity: Diversity | None = Field(None, description="a beam in groups that differ")
    require: list[str] | None = Field(None, max_length=32, description="phrases that every output holds")
    allowed: list[str] | None = Field(None, max_length=10_000, description="the only symbols that are said")
    no_repeat_ngram: int | None = Field(None, ge=1, description="so many symbols in a row never occur twice")
    eos_penalty: float | None = Field(None, ge=-1000, le=1000, description="nats taken from the end symbol")
    replace_unknown: bool | None = Field(None, description="a source symbol stands in for an unknown one")
    token_scores: bool = Field(False, description="tell log p of each symbol and of the end symbol")
    align: bool = Field(False, description="tell the source symbol that each symbol has looked at most")
    attention: bool = Field(False, description="tell the attention of each symbol to the source's")

    def asked(self) -> dict[str, Any]:
        """As arguments of `Predictor.answers`, without what each input has of its own."""
        plain = {name: getattr(self, name) for name in ("beam", "n_best", "token_scores", "align", "attention")}
        own = self.model_dump(exclude_none=True, exclude={*plain, "prefix", "sample"})
        settings = {f"decode.{name}": value for name, value in own.items()}
        sample = None if self.sample is None else self.sample.model_dump()
        found = {**plain, "sample": sample, "settings": settings}
        return {name: value for name, value in found.items() if value and (name, value) != ("n_best", 1)}

    @property
    def width(self) -> int:
        """How many outputs are looked at for one input."""
        return max(self.beam or 1, self.mbr.samples if self.mbr else 1)


class PredictRequest(Sent):
    """Inputs to answer."""

    model: ModelName
    inputs: list[Input] = Field(min_length=1, description="one result each, in order")
    options: Options = Options()


class Pair(Sent):
    """An input and what could be said to it."""

    input: Input
    target: Target = None


class ScoreRequest(Sent):
    """Pairs to score."""

    model: ModelName
    pairs: list[Pair] = Field(min_length=1)


class Force(Sent):
    """A symbol to be said at a step."""

    step: int = Field(ge=0, description="counted from 0")
    token: str | None = Field(description="null: the end symbol")


class ExplainRequest(Sent):
    """An input to look into."""

    model: ModelName
    input: Input
    reference: Target = Field(None, description="what should be said, to compare with")
    other: Input = Field(None, description="an input whose context is tried in place of this one's")
    force: list[Force] = Field([], max_length=16, description="say these symbols at these steps, each on its own")
    begin: list[str | None] = Field([], max_length=2000, description="symbols that the output begins with")
    top: int = Field(5, ge=1, le=50, description="so many of the most probable symbols a step")
    options: Options = Options()


# --- answers ------------------------------------------------------------------------------------------


class Output(BaseModel):
    """A text that was said; `score` is log p(text | input) in nats with the end symbol."""

    text: str
    tokens: list[str]
    score: float | None = Field(description="null for an empty input")
    token_scores: list[float] | None = None
    alignment: list[int] | None = None


SURE = "of a model that has been calibrated: the probability that the answer is right"


class Read(BaseModel):
    """What every answer can tell of its input."""

    unknown: int | None = Field(None, description="symbols of the input that the model does not know, if there are any")


class TextResult(Output, Read):
    """Of a model that writes: its best output, with `n_best` above 1 all of them, in order."""

    confidence: float | None = Field(None, description=SURE)

    n_best: list[Output] | None = None
    attention: list[list[float]] | None = None


class LabelResult(Read):
    """Of a target `label`: the most probable one, and the probability of each, the largest first."""

    label: str
    probabilities: dict[str, float]
    confidence: float | None = Field(None, description=SURE)


class LabelsResult(Read):
    """Of a target `labels`: one for each step."""

    labels: list[str]
    probabilities: list[float]
    confidence: list[float] | None = Field(None, description=f"{SURE}, of each label")


class NumberResult(Read):
    """Of a target `number`; null for an empty input."""

    value: float | None


class NumbersResult(Read):
    """Of a target `numbers`: a vector for each step; in a stream of one step the vector."""

    values: list[Any]


class ErrorResult(BaseModel):
    """What is wrong with one input."""

    error: Details


class PredictAnswer(BaseModel):
    """One result for each input, in order."""

    model: str
    results: list[TextResult | LabelResult | LabelsResult | NumberResult | NumbersResult | ErrorResult]


class Score(BaseModel):
    """log p(target | input) in nats with the end symbol; of numbers minus the squared error."""

    score: float


class ScoreAnswer(BaseModel):
    """One result for each pair, in order."""

    model: str
    results: list[Score | ErrorResult]


class Option(BaseModel):
    """An option that a model takes."""

    name: str
    description: str
    default: Any = Field(None, description="of this model, if it has one of its own")


class ModelCard(BaseModel):
    """A served model."""

    name: str
    format: str = Field(description="`pytorch`, or `onnx` for an exported one")
    structure: str
    sources: list[Side]
    target: Side
    size: int = Field(description="bytes of weights")
    max_length: int = Field(description="steps that are read of an input, at most")
    scores: bool = Field(description="whether /v1/score is for it")
    explains: bool = Field(description="whether /v1/explain is for it")
    streams: str | None = Field(description="what /v1/predict/stream tells: `tokens`, `steps`, or it is not for it")
    options: list[Option]


class ModelList(BaseModel):
    """All models of this server, and its bounds."""

    models: list[ModelCard]
    limits: dict[str, int] = Field(
        description="`max_body` in bytes, `max_inputs` of a request, `max_steps` (characters, vectors) of an input, "
        "`max_pixels` of a picture, `max_beam` and `max_output` of options"
    )


def card(served: Served) -> ModelCard:
    """What a client can know of a model."""
    fields = Options.model_fields
    options = [
        Option(name=name, description=fields[name].description or "", default=served.defaults.get(name))
        for name in (fields if served.options is None else served.options)
    ]
    known = ("name", "format", "structure", "target", "size", "max_length", "streams")
    return ModelCard(
        **{name: getattr(served, name) for name in known},
        sources=list(served.sources),
        scores=served.scores is not None,
        explains=served.explain is not None,
        options=options,
    )


def told(answer: Any, n_best: int = 1) -> dict[str, Any]:
    """An answer of a model as JSON, as `antiphon predict --json` writes it."""
    value: dict[str, Any] = answer.to_json()
    if n_best > 1:
        value["n_best"] = [candidate.to_json() for candidate in answer.n_best]
    if (attention := getattr(answer, "attention", None)) is not None:
        value["attention"] = attention.tolist()
    return value


# --- JSON to what a model reads -----------------------------------------------------------------------


def check_options(served: Served, options: Options, settings: Settings) -> None:
    """Refuse options that are not for this model, or that ask for more than the server allows."""
    strange = [] if served.options is None else sorted(options.model_fields_set - set(served.options))
    if strange:
        raise Problem("invalid_options", f"not for this model: {', '.join(strange)}")
    if options.width > settings.max_beam:
        raise Problem("invalid_options", f"beam and mbr.samples are at most {settings.max_beam}")
    if (options.max_length or 0) > settings.max_output:
        raise Problem("invalid_options", f"max_length is at most {settings.max_output}")


def read_input(served: Served, value: Any, settings: Settings) -> Any:
    """An input as `Predictor.answers` takes it; what is wrong with it is a `Problem`."""
    sides = [side for side in served.sources if side.reads]
    if not sides:
        return ""
    if len(sides) == 1:
        return _bounded([_read(sides[0], value, "invalid_input", settings)], settings)[0]
    if isinstance(value, Mapping):
        value = [value.get(side.name) for side in sides] if set(value) == {side.name for side in sides} else None
    if not isinstance(value, list) or len(value) != len(sides):
        raise Problem("invalid_input", f"one value for each source is needed: {', '.join(s.name for s in sides)}")
    read = [_read(side, own, "invalid_input", settings) for side, own in zip(sides, value, strict=True)]
    return tuple(_bounded(read, settings))


def read_target(served: Served, value: Any, settings: Settings) -> Any:
    """What could be said, as it would stand in the target's column."""
    return _bounded([_read(served.target, value, "invalid_target", settings)], settings)[0]


def read_reference(served: Served, value: Any, settings: Settings) -> Any:
    """What should be said: a target; of a language model what should follow the input."""
    if served.target.kind != "next":
        return read_target(served, value, settings)
    side = served.target.model_copy(update={"kind": "text"})
    return _bounded([_read(side, value, "invalid_target", settings)], settings)[0]


def read_pair(served: Served, pair: Pair, settings: Settings) -> tuple[Any, Any]:
    """An input and what could be said to it."""
    return read_input(served, pair.input, settings), read_target(served, pair.target, settings)


def read_step(served: Served, value: Any, settings: Settings) -> Any:
    """A step of a live stream: a symbol, a vector, a picture; an empty string begins a new sequence."""
    side = served.sources[0]
    if value == "":
        return ""
    if side.kind in ("images", "frames"):
        side = side.model_copy(update={"kind": "image" if side.kind == "images" else "vector"})
    return _read(side, value, "invalid_input", settings)


def steps_of(given: Any) -> int:
    """About how many steps reading an input takes: characters, vectors, pictures."""
    if isinstance(given, str):
        return len(given) + 1
    if isinstance(given, tuple | list):
        return sum(map(steps_of, given))
    return PICTURE if isinstance(given, bytes) else len(np.atleast_1d(given))


def _bounded(read: Sequence[Any], settings: Settings) -> Sequence[Any]:
    if steps_of(read) > settings.max_steps:
        raise Problem("input_too_long", f"at most {settings.max_steps} characters or vectors are read")
    return read


def _read(side: Side, value: Any, code: str, settings: Settings) -> Any:
    reader = READERS.get("turns" if side.turns else side.kind)
    if reader is None:  # a kind of the user's own
        raise Problem("not_supported", f"what is of the kind {side.kind} cannot be sent")
    try:
        return reader(value, settings)
    except (ValueError, TypeError) as error:
        raise Problem(code, f"{side.name} ({side.kind}): {error}") from None


def _text(value: Any, settings: Settings) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a string")
    if "\0" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValueError("holds a character that no text has")
    return value


def _turns(value: Any, settings: Settings) -> list[str]:
    return [_text(turn, settings) for turn in (value if isinstance(value, list) else [value])]


def _labels(value: Any, settings: Settings) -> Any:
    return _turns(value, settings) if isinstance(value, list) else _text(value, settings)


def _name(value: Any, settings: Settings) -> Any:
    return value if isinstance(value, bool | int | float) else _text(value, settings)


def _array(value: Any, settings: Settings) -> np.ndarray[Any, Any]:
    """Nested lists of numbers, or an array in base64."""
    if isinstance(value, Mapping):
        return _packed(value)
    found = _plain(value)
    if found is None or found.dtype.kind not in "iuf" or not found.size or found.ndim > 4:
        raise ValueError("must be lists of numbers, of equal length")
    return found


def _plain(value: Any) -> np.ndarray[Any, Any] | None:
    try:
        return np.asarray(value)
    except ValueError:
        return None


def _packed(value: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
    if set(value) != {"dtype", "shape", "data"} or value["dtype"] not in DTYPES or not isinstance(value["shape"], list):
        raise ValueError(f"must be {{dtype, shape, data}}, with a dtype of {', '.join(DTYPES)}")
    shape = value["shape"]
    if not 1 <= len(shape) <= 4 or not all(isinstance(length, int) and 0 < length < 1 << 31 for length in shape):
        raise ValueError("must have a shape of 1 to 4 whole numbers")
    values = np.frombuffer(_bytes(value["data"]), np.dtype(value["dtype"]).newbyteorder("<"))
    if not values.size or values.size != np.prod(shape, dtype=object):
        raise ValueError("must have as much data as its shape and dtype say")
    return values.reshape(shape).astype(value["dtype"])


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("must be base64") from None


def _picture(value: Any, settings: Settings) -> Any:
    if isinstance(value, Mapping):
        pixels = _packed(value)
        _few_pixels(pixels.shape[0] * (pixels.shape[1] if pixels.ndim > 1 else 1), settings)
        return pixels
    content = _bytes(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, which are counted below
            with Image.open(io.BytesIO(content), formats=IN_MEMORY) as picture:
                width, height = picture.size
    except Exception:  # decoders raise anything at what is none
        raise ValueError(f"must be a picture: {', '.join(IN_MEMORY)}") from None
    _few_pixels(width * height, settings)
    return content


def _few_pixels(count: int, settings: Settings) -> None:
    if count > settings.max_pixels:
        raise Problem("image_too_large", f"at most {settings.max_pixels} pixels are read")


def _pictures(value: Any, settings: Settings) -> Any:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of pictures")
    read = [_picture(one, settings) for one in value]
    if steps_of(read) > settings.max_steps:
        raise Problem("input_too_long", f"at most {settings.max_steps // PICTURE} pictures are read")
    return read


def _nothing(value: Any, settings: Settings) -> str:
    if value is not None:
        raise ValueError("must be null")
    return ""


READERS: dict[str, Callable[[Any, Settings], Any]] = {
    "text": _text,
    "turns": _turns,
    "long_text": _text,
    "category": _name,
    "label": _name,
    "labels": _labels,
    "vector": _array,
    "frames": _array,
    "grid": _array,
    "number": _array,
    "numbers": _array,
    "image": _picture,
    "images": _pictures,
    "none": _nothing,
    "next": _nothing,
}
"""By the kind of a side: JSON to what stands in its column."""
