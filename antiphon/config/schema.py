"""The configuration: the only schema, its keys and their checks.

Keys whose value may be a table also take the bare name (`attention: general`). Only the tables of the parts know
which names exist and which options each takes; here they are a `Choice`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from antiphon.config.files import Files, Parallel, files_of, files_or_fraction, optional_files, vectors

WIDEST, DEEPEST = 1 << 16, 256  # the width of a layer, the number of layers: more is a typing error


class Section(BaseModel):
    """A table of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


def keys_of(section: object) -> dict[str, FieldInfo]:
    """The keys of a section as users write them; empty for anything else."""
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in section.model_fields.items()}


class WithOptions(BaseModel):
    """A named choice; further keys are options of the part with this name, checked where it is built."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the named part."""
        return dict(self.model_extra or {})

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys that every choice of this kind takes."""
        return list(keys_of(cls))


class Choice(WithOptions):
    """A named choice with options: `general`, or `{kind: bpe, size: 8000}`."""

    kind: str

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: object) -> object:
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, Mapping) and "kind" not in value:
            raise ValueError("needs the key 'kind', or just the name")
        return value


class Data(Section):
    """Where the rows come from. Paths are relative to the configuration file; `${VAR}` and
    `${VAR:-default}` expand, an unset variable without a default is an error."""

    train: Annotated[Files, BeforeValidator(files_of)] = Field(description="the rows to learn from")
    valid: Annotated[Files | float | None, BeforeValidator(files_or_fraction)] = Field(
        None, description="rows to choose the best model by: files, or a fraction of the training inputs"
    )
    test: Annotated[Files | None, BeforeValidator(optional_files)] = Field(
        None, description="rows that `evaluate` takes by default"
    )
    header: StrictBool = Field(False, description="tables have a header line; also true if a column is named")
    separator: StrictStr | None = Field(
        None, min_length=1, max_length=1, description="what separates the columns of text tables: by default the ending"
    )
    decimal: Literal[".", ","] = Field(".", description="the decimal mark of numbers in text tables")
    references: Literal["rows", "group"] = Field(
        "rows", description="group: rows with equal input are several references of one"
    )
    group: StrictInt | StrictStr | None = Field(
        None, description="a column: neighbouring rows with the same in it are one, a step each"
    )
    max_length: StrictInt = Field(500, ge=1, description="longer rows, in tokens, are errors")
    hallucinate: StrictInt = Field(
        0, ge=0, le=10_000_000, description="so many further training rows, with other stems in source and target"
    )
    on_error: Literal["fail", "skip"] = Field("fail", description="what a bad row does")


class SideKeys(WithOptions):
    """The kind of a side and its columns; the other keys are options of the kind."""

    kind: str = Field("text", description="text, category, vector, image, frames, label, labels, number, ...")
    column: StrictInt | StrictStr | None = Field(None, description="the column, by name or position")
    columns: list[StrictInt | StrictStr] | None = Field(None, description="the columns whose numbers make a vector")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.column is not None and self.columns is not None:
            raise ValueError("column and columns are two ways to one end; choose one of them")
        if self.columns == []:
            raise ValueError("columns: is an empty list")
        return self

    def place(self, otherwise: int) -> int | str | tuple[int | str, ...]:
        """The configured column or columns."""
        if self.columns is not None:
            return tuple(self.columns)
        return otherwise if self.column is None else self.column


class Encoder(Section):
    hidden: StrictInt = Field(256, ge=1, le=WIDEST, description="width of a direction")
    layers: StrictInt = Field(1, ge=1, le=DEEPEST)
    bidirectional: StrictBool = True
    residual: StrictBool = False


class Decoder(Section):
    hidden: StrictInt = Field(256, ge=1, le=WIDEST)
    layers: StrictInt = Field(1, ge=1, le=DEEPEST)
    residual: StrictBool = False


class Context(WithOptions):
    """How the states of the encoder become one vector C for the decoder, and where it enters."""

    from_: str = Field("projected_last", alias="from")
    to: Literal["initial_state", "every_step"] = "initial_state"

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: object) -> object:
        return {"from": value} if isinstance(value, str) else value


class Attention(Choice):
    query: Literal["previous", "current"] = "current"
    input_feeding: StrictBool = False
    layer: Literal["first", "last"] = Field("last", description="the decoder layer that asks; first: GNMT")


class Image(Section):
    channels: list[Annotated[StrictInt, Field(ge=1, le=WIDEST)]] = Field(
        [32, 64, 128], min_length=1, max_length=8, description="of the convolutions; each halves the picture"
    )
    jitter: StrictFloat = Field(
        0.0, ge=0, lt=1, description="in training, how far pictures are moved, turned, stretched, lightened at random"
    )
    mirror: StrictBool = Field(False, description="in training, half of the pictures are mirrored left to right")
    norm: Literal["group", "none"] = Field("group", description="after each convolution; none keeps colours")


class Model(Section):
    cell: Choice = Choice(kind="lstm")
    embedding: StrictInt = Field(128, ge=1, le=WIDEST)
    image: Image = Image()
    encoder: Encoder = Encoder()
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last", description="what a reader makes of the encoder's states"
    )
    context: Context = Context()
    attention: Attention = Attention(kind="general")
    decoder: Decoder = Decoder()
    copy_: StrictBool = Field(
        False, alias="copy", description="symbols of the source that attention looks at may be copied into the output"
    )
    tie: StrictBool = Field(False, description="the target embedding is the output matrix")
    dropout: StrictFloat = Field(0.3, ge=0, lt=1)
    locked_dropout: StrictBool = Field(False, description="dropout of the same entries at all steps of a row")
    embeddings: Annotated[str | Parallel | None, BeforeValidator(vectors)] = Field(
        None, description="pretrained vectors as text: a file for the source, or {source: FILE, target: FILE}"
    )


class Train(Section):
    epochs: StrictInt = Field(20, ge=1, description="a ceiling")
    max_steps: StrictInt | None = Field(None, ge=1, description="a ceiling in updates")
    minutes: StrictFloat | None = Field(
        None,
        gt=0,
        le=1e6,
        description="a ceiling in minutes of this machine: the schedule of the learning rate fits them",
    )
    validate_every: StrictInt | None = Field(
        None, ge=1, description="updates between validations; by default an epoch, at least 200, at most 2000"
    )
    save_every: StrictInt | None = Field(None, ge=1, description="updates between saved states, beside validations")
    save_minutes: StrictFloat | None = Field(10.0, gt=0, description="minutes between saved states, at most")
    keep: StrictInt = Field(2, ge=1, description="how many of the last saved states are kept")
    patience: StrictInt | None = Field(10, ge=1, description="validations without a better metric before it stops")
    metric: str | None = Field(
        None, description="what chooses the best model, on validation data; by default the target's own"
    )
    batch_size: StrictInt = Field(
        64, ge=1, description="rows per update and micro-batch; of one long text: places that are read in parallel"
    )
    batch_tokens: Annotated[StrictInt, Field(ge=1)] | Literal["auto"] | None = Field(
        None, description="padded source and target tokens instead of rows; auto: as many as memory holds"
    )
    accumulate: StrictInt = Field(1, ge=1, description="micro-batches per update")
    bptt: StrictInt = Field(
        128, ge=1, description="of one long text: steps of a piece, through which gradients go back"
    )
    optimizer: Choice = Choice(kind="adamw")
    learning_rate: Annotated[StrictFloat, Field(gt=0)] | Literal["auto"] = Field(
        1e-3, description="auto: measured by a range test before the first update"
    )
    schedule: Choice = Choice(kind="cosine")
    clip: StrictFloat | None = Field(1.0, gt=0, description="largest norm of all gradients")
    label_smoothing: StrictFloat = Field(0.0, ge=0, lt=1)
    normalize: Literal["tokens", "rows"] = "tokens"
    unknown: StrictFloat = Field(0.01, ge=0, lt=1, description="share of source symbols replaced by UNK")
    feeding: Choice = Choice(kind="teacher")
    freeze: list[StrictStr] = Field([], description="parts that stay as they are: encoder, source.embedding, ...")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="of the products in training; auto: bfloat16 where that is clearly faster on this machine",
    )
    teachers: list[StrictStr] = Field([], description="folders of trained models whose predictions are learned, too")
    teacher_outputs: Literal["none", "add", "only"] = Field(
        "none", description="add: further rows with the teachers' outputs; only: data.train has inputs without answers"
    )
    teacher_share: StrictFloat = Field(
        0.5, ge=0, le=1, description="of the objective: the teachers' distribution at every step, beside the target"
    )
    ema: StrictFloat | None = Field(None, gt=0, lt=1, description="decay of a moving average of the weights")
    average: StrictInt = Field(1, ge=1, description="validate and ship the mean of the last k checkpoints")
    examples: StrictInt = Field(
        6, ge=0, le=100, description="validation inputs that are kept with the model, for the page of `serve`; 0: none"
    )
    seed: StrictInt = Field(1, ge=0, lt=1 << 31)
    tensorboard: StrictBool = Field(False, description="also write TensorBoard events (needs the extra)")

    @property
    def token_budget(self) -> int | None:
        """`batch_tokens` as a number; `auto` becomes one before the first update."""
        return self.batch_tokens if isinstance(self.batch_tokens, int) else None

    @property
    def rate(self) -> float:
        """`learning_rate` as a number; `auto` becomes one before the first update."""
        if not isinstance(self.learning_rate, float | int):
            raise TypeError("train.learning_rate is not measured yet")
        return self.learning_rate

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema is not None and self.average > 1:
            raise ValueError("ema and average both average the weights; choose one of them")
        return self


class Sample(Section):
    temperature: StrictFloat = Field(1.0, gt=0, le=100, description="below 1: surer, above 1: more surprising")
    top_k: StrictInt = Field(0, ge=0, description="draw only from this many most probable symbols; 0: from all")
    top_p: StrictFloat = Field(1.0, gt=0, le=1, description="only among the fewest symbols that hold this probability")
    seed: StrictInt = Field(1, ge=0, lt=1 << 31)


class Diversity(Section):
    groups: StrictInt = Field(ge=2, description="groups of a beam, which choose one after the other")
    strength: StrictFloat = Field(0.5, gt=0, le=100, description="what a choice of an earlier group costs, in nats")


class Mbr(Section):
    samples: StrictInt = Field(ge=2, le=10_000, description="outputs drawn, as `sample` says")
    metric: Literal["chrf", "token_error_rate"] = Field("chrf", description="by which the others judge each of them")


class Shortlist(Section):
    likely: StrictInt = Field(20, ge=1, le=1_000, description="symbols for each symbol of the source")
    common: StrictInt = Field(500, ge=1, le=100_000, description="most frequent symbols, for every source")


class Decode(WithOptions):
    """How outputs are decoded; the other keys are rules of decoding, checked where they are built."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, allow_inf_nan=False)

    sample: Sample | None = Field(None, description="draw symbols by their probability in place of a beam")
    mbr: Mbr | None = Field(None, description="of many samples the one most like the others (Eikema & Aziz 2020)")
    beam: StrictInt = Field(5, ge=1, le=10_000)
    length_penalty: StrictFloat = Field(1.0, ge=0, le=10)
    min_length: StrictInt = Field(0, ge=0, description="shortest output in tokens, without the end symbol")
    max_length: StrictInt | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="longest output in tokens; by default half as long again as any training target",
    )
    coverage_penalty: StrictFloat = Field(
        0.0, ge=0, le=100, description="beams that leave out part of their source lose (Wu et al. 2016, eq. 14)"
    )
    diversity: Diversity | None = Field(None, description="a beam in groups that differ (Vijayakumar et al. 2016)")
    require: list[StrictStr] = Field([], description="phrases that every output holds (Hokamp & Liu 2017)")
    allowed: StrictStr | list[StrictStr] | None = Field(
        None, description="the only symbols that may be written: a list, or a file with one on each line"
    )
    lexicon: StrictStr | None = Field(None, description="a file of the only possible outputs, one per line")
    replace_unknown: StrictBool = Field(False, description="a source symbol stands in for an unknown one")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the products: less exact, faster")
    shortlist: Shortlist | None = Field(
        None, description="search only among the target symbols that the source is likely to need"
    )

    @property
    def rules(self) -> dict[str, Any]:
        """The configured rules of decoding, by their names."""
        rules = {"allowed": self.allowed, "lexicon": self.lexicon} | self.options
        return {name: value for name, value in rules.items() if value is not None}


class Evaluate(Section):
    bleu_tokenize: Literal["none", "13a", "char", "zh", "intl"] = "13a"


class Config(Section):
    """A whole configuration."""

    format: Literal[1] = 1
    structure: Literal["one_to_one", "one_to_many", "many_to_one", "many_to_many", "synchronous"] | None = Field(
        None, description="inferred from the kinds of source and target; if stated, checked"
    )
    data: Data
    sources: list[SideKeys] = Field(
        [SideKeys()], alias="source", description="what the model reads: one, or a list of several"
    )
    target: SideKeys = Field(SideKeys(), description="what the model predicts")
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    evaluate: Evaluate = Evaluate()

    @field_validator("sources", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value == []:
            raise ValueError("is an empty list")
        return value if isinstance(value, list) else [value]

    @field_serializer("sources")
    def _one_alone(self, sources: list[SideKeys], info: SerializationInfo) -> object:
        tables = [side.model_dump(exclude_none=True, exclude_unset=info.exclude_unset) for side in sources]
        return tables[0] if len(tables) == 1 else tables

    @field_serializer("target")
    def _without_nulls(self, target: SideKeys, info: SerializationInfo) -> object:
        return target.model_dump(exclude_none=True, exclude_unset=info.exclude_unset)

    @model_validator(mode="after")
    def _header_of_a_table(self) -> Self:
        if self.data.header and isinstance(self.data.train, Parallel):
            raise ValueError("data.header: parallel files have no header")
        if self.data.group is not None and isinstance(self.data.train, Parallel):
            raise ValueError("data.group: parallel files have no columns; give a table")
        return self

    @property
    def user_keys(self) -> dict[str, Any]:
        """The keys that the user gave, as a tree of plain values."""
        tree = self.model_dump(by_alias=True, exclude_unset=True)
        tree["data"]["train"] = self.data.model_dump()["train"]
        return tree

    def to_yaml(self) -> str:
        """The configuration as YAML, with every value."""
        out = io.StringIO()
        yaml = YAML()
        yaml.default_flow_style = None
        yaml.width = 120
        yaml.dump(self.model_dump(mode="json", by_alias=True), out)
        return out.getvalue()
