"""The bodies of requests and of answers."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from ..common.options import Diversity, Mbr, Sample
from .models import Served, Side
from .problems import Details

INPUT = (
    "for `text` and `long_text` a string (for a dialogue also the list of its turns); for `category` a string or "
    "number; for `vector`, `frames` and `grid` (nested) lists of numbers, or an array {dtype, shape, data: base64}; "
    "for `calendar` a list of times such as 2016-07-01 13:00; "
    "for `image` the base64 of a PNG, JPEG, WebP, GIF or BMP file, or an array of pixels; for `images` a list of "
    "these; with several sources a list in their order, or an object by their names; without a source null"
)
Input: TypeAlias = Annotated[Any, Field(description=INPUT)]
Target: TypeAlias = Annotated[
    Any,
    Field(
        description="for `text` and `label` a string; for `labels` a list of strings; for `number` a number; for "
        "`numbers` and `series` lists of numbers or an array; for a language model (`next`) null"
    ),
]
ModelName: TypeAlias = Annotated[str | None, Field(None, description="may be left out if one model is served")]


class Sent(BaseModel):
    """Part of a request: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Options(Sent):
    """How outputs are searched for: the keys of `decode` in a model's configuration, and what the answers contain."""

    beam: int | None = Field(None, ge=1, description="beam width; 1 is greedy")
    n_best: int = Field(1, ge=1, description="outputs per input, at most the beam's width")
    prefix: str | None = Field(None, description="the prefix of every output")
    sample: Sample | None = Field(None, description="draw symbols by their probability in place of a beam")
    mbr: Mbr | None = Field(None, description="of many samples the one most like the others")
    length_penalty: float | None = Field(None, ge=0, le=10, description="outputs are ranked by score / length^this")
    min_length: int | None = Field(None, ge=0, description="shortest output in symbols")
    max_length: int | None = Field(None, ge=1, description="longest output in symbols")
    coverage_penalty: float | None = Field(None, ge=0, le=100, description="weight of what is left out of the source")
    diversity: Diversity | None = Field(None, description="a beam in groups that differ")
    require: list[str] | None = Field(None, max_length=32, description="phrases that every output holds")
    allowed: list[str] | None = Field(None, max_length=10_000, description="the only symbols that may be written")
    no_repeat_ngram: int | None = Field(None, ge=1, description="no sequence of this many symbols occurs twice")
    eos_penalty: float | None = Field(None, ge=-1000, le=1000, description="nats taken from the end symbol")
    replace_unknown: bool | None = Field(None, description="a source symbol stands in for an unknown one")
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        None,
        max_length=99,
        description="of a series: probabilities, each with the number below which a step lies with it",
    )
    token_scores: bool = Field(False, description="tell log p of each symbol and of the end symbol")
    align: bool = Field(False, description="tell the source symbol that each symbol has looked at most")
    attention: bool = Field(False, description="tell the attention of each symbol to the source's")

    def arguments(self) -> dict[str, Any]:
        """As arguments of `Predictor.answers`, without the prefix."""
        named = {"beam", "n_best", "prefix", "sample", "token_scores", "align", "attention"}
        settings = self.model_dump(exclude_none=True, exclude=named)
        arguments = {
            "beam": self.beam,
            "n_best": self.n_best if self.n_best > 1 else None,
            "token_scores": self.token_scores,
            "align": self.align,
            "attention": self.attention,
            "sample": None if self.sample is None else self.sample.model_dump(),
            "settings": {f"decode.{name}": value for name, value in settings.items()},
        }
        return {name: value for name, value in arguments.items() if value}

    @property
    def width(self) -> int:
        """How many outputs are looked at for one input."""
        return max(self.beam or 1, self.mbr.samples if self.mbr else 1, self.n_best)


class PredictRequest(Sent):
    """Inputs to answer."""

    model: ModelName
    inputs: list[Input] = Field(min_length=1, description="one result each, in order")
    options: Options = Options()


class Pair(Sent):
    """An input and a target for it."""

    input: Input
    target: Target = None


class ScoreRequest(Sent):
    """Pairs to score."""

    model: ModelName
    pairs: list[Pair] = Field(min_length=1)


class Force(Sent):
    """A symbol to write at a step."""

    step: int = Field(ge=0, description="counted from 0")
    token: str | None = Field(description="null: the end symbol")


class ExplainRequest(Sent):
    """An input to look into."""

    model: ModelName
    input: Input
    reference: Target = Field(None, description="the expected output, to compare with")
    other: Input = Field(None, description="an input whose context is tried in place of this one's")
    force: list[Force] = Field([], max_length=16, description="write these symbols at these steps, each on its own")
    begin: list[str | None] = Field([], max_length=2000, description="the prefix of the output, in symbols")
    top: int = Field(5, ge=1, le=50, description="the number of most probable symbols shown for each step")
    options: Options = Options()


class Output(BaseModel):
    """A text that was written; `score` is log p(text | input) in nats with the end symbol."""

    text: str
    tokens: list[str]
    score: float | None = Field(description="null for an empty input")
    token_scores: list[float] | None = None
    alignment: list[int] | None = None


SURE = "if the model is calibrated: the probability that the prediction is right"


class Read(BaseModel):
    """What every answer can have about its input."""

    unknown: int | None = Field(None, description="symbols of the input that the model does not know, if there are any")


class TextResult(Output, Read):
    """The best output of a model that writes, and with `n_best` above 1 all of them, in order."""

    confidence: float | None = Field(None, description=SURE)

    n_best: list[Output] | None = None
    attention: list[list[float]] | None = None


class LabelResult(Read):
    """For a target `label`: the most probable one, and the probability of each, the largest first."""

    label: str
    probabilities: dict[str, float]
    confidence: float | None = Field(None, description=SURE)


class LabelsResult(Read):
    """For a target `labels`: one for each step."""

    labels: list[str]
    probabilities: list[float]
    confidence: list[float] | None = Field(None, description=f"{SURE}, of each label")


class NumberResult(Read):
    """For a target `number`; null for an empty input."""

    value: float | None


class NumbersResult(Read):
    """For a target `numbers`: a vector for each step; for one step of a stream the vector. For a target `series` the
    numbers of each step, their quantiles by probability if asked for, and all series that were drawn."""

    values: list[Any]
    quantiles: dict[str, list[Any]] | None = None
    samples: list[list[Any]] | None = None


class ErrorResult(BaseModel):
    """What is wrong with one input."""

    error: Details


class PredictAnswer(BaseModel):
    """One result for each input, in order."""

    model: str
    results: list[TextResult | LabelResult | LabelsResult | NumberResult | NumbersResult | ErrorResult]


class Score(BaseModel):
    """log p(target | input) in nats with the end symbol; for numbers minus the squared error."""

    score: float


class ScoreAnswer(BaseModel):
    """One result for each pair, in order."""

    model: str
    results: list[Score | ErrorResult]


class ReloadAnswer(BaseModel):
    """The models that were loaded again."""

    models: list[str]


class Option(BaseModel):
    """An option that a model takes."""

    name: str
    description: str
    default: Any = Field(None, description="the value of this model, if it has its own")


class ModelCard(BaseModel):
    """A served model."""

    name: str
    format: str = Field(description="`pytorch`, or `onnx` for an exported one")
    structure: str
    sources: list[Side]
    target: Side
    size: int = Field(description="bytes of weights")
    max_length: int = Field(description="steps that are read of an input, at most")
    scores: bool = Field(description="whether /v1/score can be used")
    explains: bool = Field(description="whether /v1/explain can be used")
    streams: str | None = Field(
        description="what /v1/predict/stream sends: `tokens` or `steps`; null: it cannot be used"
    )
    options: list[Option]
    examples: list[Any] = Field(description="inputs that it can be tried with, from the validation rows")


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
        examples=list(served.examples),
    )


def answer_json(answer: Any, n_best: int = 1) -> dict[str, Any]:
    """An answer as JSON, as `antiphon predict --json` writes it: with all outputs if several are asked for, and with
    the attention of a text if it has any."""
    result: dict[str, Any] = answer.to_json()
    if n_best > 1 and hasattr(answer, "n_best"):
        result["n_best"] = [candidate.to_json() for candidate in answer.n_best]
    attention = getattr(answer, "attention", None)  # only texts have it
    if attention is not None:
        result["attention"] = attention.tolist()
    return result
