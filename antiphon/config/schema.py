"""The configuration: the only schema, its keys and their checks.

Keys whose value may be a table also take the bare name (`attention: general`). Only the tables of the parts know
which names exist and which options each takes; here they are a `Choice`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
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
from ruamel.yaml import YAML

from antiphon.common.options import Section
from antiphon.config.decode import Decode, Evaluate
from antiphon.config.files import Files, Parallel, files_of, files_or_fraction, optional_files, vectors
from antiphon.config.sections import DEEPEST, WIDEST, Choice, WithOptions
from antiphon.config.windows import border, with_sides, wrong_windows


class Window(Section):
    """One long table, cut into windows: rows that are read, and behind them rows that are predicted."""

    past: StrictInt = Field(..., ge=1, le=1_000_000, description="how many rows are read before each prediction")
    horizon: StrictInt = Field(..., ge=1, le=1_000_000, description="how many rows are predicted")
    stride: StrictInt = Field(1, ge=1, description="rows from the start of a window to that of the next")
    valid_from: Annotated[StrictInt | StrictFloat | StrictStr | None, BeforeValidator(border)] = Field(
        None,
        description="the first row to validate with: a time, a share of the rows (0.8), or the number of a row of each "
        "group from 0; by default data.valid is the share at the end",
    )
    test_from: Annotated[StrictInt | StrictFloat | StrictStr | None, BeforeValidator(border)] = Field(
        None, description="the first row to test with, which ends training and validation, given as valid_from is"
    )
    end: Annotated[StrictInt | StrictFloat | StrictStr | None, BeforeValidator(border)] = Field(
        None, description="the first row that is not used at all, given as valid_from is"
    )


class Data(Section):
    """Where the rows come from. Paths are relative to the configuration file; `${VAR}` and
    `${VAR:-default}` expand, an unset variable without a default is an error."""

    train: Annotated[Files, BeforeValidator(files_of)] = Field(
        description="the rows to learn from: a path, a list of paths, or {source: FILE, target: FILE}; a folder of "
        "tables or a pattern, such as shards/*.tsv, is streamed: its rows are never all in memory"
    )
    valid: Annotated[Files | float | None, BeforeValidator(files_or_fraction)] = Field(
        None,
        description="rows to choose the best model by: files, or a fraction of the distinct inputs of training",
    )
    test: Annotated[Files | None, BeforeValidator(optional_files)] = Field(
        None, description="rows that `evaluate` and `score` take by default"
    )
    header: StrictBool = Field(False, description="tables have a header line; also true if a column is named")
    separator: StrictStr | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="the character between the columns of text tables; by default what the ending says, and of .csv "
        "the first lines",
    )
    decimal: Literal[".", ","] = Field(".", description="the decimal mark in text tables; with a comma, 1.234 is 1234")
    references: Literal["rows", "group"] = Field(
        "rows", description="group: rows with the same input are several references of one row"
    )
    group: StrictInt | StrictStr | None = Field(
        None,
        description="a column; neighbouring rows with the same value in it are one row, each a step of its frames, "
        "labels or numbers",
    )
    time: StrictInt | StrictStr | None = Field(
        None, description="the column of the time of each row of one long table, such as 2016-07-01 13:00"
    )
    window: Window | None = Field(
        None,
        description="one long table is cut into windows, to forecast: {past: 96, horizon: 24} reads 96 rows and "
        "predicts the next 24; with data.group each group is a series of its own",
    )
    max_length: StrictInt = Field(500, ge=1, description="the longest row in tokens; a longer one is a bad row")
    hallucinate: StrictInt = Field(
        0,
        ge=0,
        le=10_000_000,
        description="so many further training rows, made by replacing stems that source and target share by the same "
        "random symbols (Anastasopoulos & Neubig 2019): for a few hundred rows of inflected forms and the like",
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="what a bad row does: it stops the training, or it is left out"
    )
    shuffle: StrictInt | None = Field(
        None,
        ge=1,
        description="rows that are shuffled together, and so many are in memory: if it is set the table is streamed; "
        "100,000 for a folder or a pattern",
    )
    sample: Annotated[StrictInt, Field(ge=1)] | Literal["all"] | None = Field(
        None,
        description="of a streamed table, the rows that vocabularies and settings are chosen by, the first of every "
        "shard: 100,000 unless it is set; all: vocabularies are learned from all rows, which are read for it",
    )
    workers: StrictInt | None = Field(
        None,
        ge=0,
        le=64,
        description="of a streamed table, the processes that read and encode rows ahead; by default one for each core "
        "but one, at most 4; 0: none. The order of rows does not depend on it",
    )


class SideKeys(WithOptions):
    """The kind of a side and its columns; the other keys are options of the kind."""

    kind: str = Field(
        "text",
        description="the kind of its values, whose options stand beside it",
    )
    column: StrictInt | StrictStr | None = Field(None, description="the column, by its name or its position from 0")
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


class SourceKeys(SideKeys):
    """The kind of a source, its columns, and which rows of a window it reads; the other keys are options of the
    kind."""

    ahead: StrictBool | None = Field(
        None,
        description="with data.window: it is known beforehand, as a calendar is, and read over the rows that are "
        "predicted, not over the past",
    )


Norm = Annotated[
    StrictBool,
    Field(description="the input of each recurrent layer above the first, and the output of the last, are normalised"),
]
FeedForward = Annotated[
    StrictInt,
    Field(
        ge=0,
        le=16,
        description="a feed-forward network after each recurrent layer, so many times as wide as the layer; 0 is none",
    ),
]


class Encoder(Section):
    """What reads the sources."""

    hidden: StrictInt = Field(256, ge=1, le=WIDEST, description="the width of the states of a direction")
    layers: StrictInt = Field(
        1, ge=1, le=DEEPEST, description="recurrent for a sequence, feed-forward for a vector, category, tags or image"
    )
    bidirectional: StrictBool = Field(True, description="it reads in both directions; a live stream needs false")
    residual: StrictBool = Field(False, description="the input of each layer above the first is added to its output")
    norm: Norm = False
    feed_forward: FeedForward = 0


class Decoder(Section):
    """What writes a text, symbol by symbol."""

    hidden: StrictInt = Field(256, ge=1, le=WIDEST, description="the width of the states")
    layers: StrictInt = Field(1, ge=1, le=DEEPEST, description="the number of recurrent layers")
    residual: StrictBool = Field(False, description="the input of each layer above the first is added to its output")
    norm: Norm = False
    feed_forward: FeedForward = 0


class Context(WithOptions):
    """How the states of the encoder become one vector C for the decoder, and where it enters."""

    from_: str = Field("projected_last", alias="from", description="how C is made of the states of the encoder")
    to: Literal["initial_state", "every_step"] = Field(
        "initial_state",
        description="where C enters: the decoder's first state (Sutskever et al. 2014), or also every step's input and "
        "readout (Cho et al. 2014)",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: object) -> object:
        return {"from": value} if isinstance(value, str) else value


class Attention(Choice):
    """How each step of the decoder looks at the states of the encoder."""

    query: Literal["previous", "current"] = Field(
        "current", description="the decoder state that is the query: current (Luong), or previous (Bahdanau)"
    )
    input_feeding: StrictBool = Field(False, description="the readout is also fed to the next step (Luong)")
    layer: Literal["first", "last"] = Field(
        "last", description="the decoder layer whose state is the query; first: as in GNMT"
    )


class Image(Section):
    """The convolutions that read a picture."""

    channels: list[Annotated[StrictInt, Field(ge=1, le=WIDEST)]] = Field(
        [32, 64, 128],
        min_length=1,
        max_length=8,
        description="the widths of the convolutions that read a picture; each halves its size",
    )
    jitter: StrictFloat = Field(
        0.0,
        ge=0,
        lt=1,
        description="in training, how far (0 to 1) pictures are moved, turned, stretched and lightened at random",
    )
    mirror: StrictBool = Field(False, description="in training, half of the pictures are mirrored left to right")
    norm: Literal["group", "none"] = Field(
        "group", description="the normalisation after each convolution; none keeps colours as they are"
    )


class Cache(Section):
    """What a language model has read lately becomes more probable (Grave et al. 2017, arXiv 1612.04426)."""

    size: StrictInt = Field(500, ge=1, le=1_000_000, description="how many of the last symbols are kept")
    scale: StrictFloat = Field(
        0.3, ge=0, le=1_000, description="how much likeness of the states counts; 0: all kept symbols count alike"
    )
    share: StrictFloat = Field(0.1, ge=0, lt=1, description="the share of probability that the kept symbols have")


class Model(Section):
    """The parts of the model and their sizes."""

    cell: Choice = Field(Choice(kind="lstm"), description="the recurrent cell of all layers")
    embedding: StrictInt = Field(128, ge=1, le=WIDEST, description="the width of the vectors of symbols")
    image: Image = Image()
    encoder: Encoder = Encoder()
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        "last", description="what `label` and `number` make of the states of a sequence"
    )
    context: Context = Context()
    attention: Attention = Field(
        Attention(kind="general"),
        description="how the decoder looks at the states of the encoder",
    )
    decoder: Decoder = Decoder()
    copy_: StrictBool = Field(
        False,
        alias="copy",
        description="symbols of the source that attention looks at may be copied into the output, so that names and "
        "numbers never seen in training pass through (See et al. 2017); the target and at least one source have chars, "
        "or both words or split",
    )
    cache: Cache | None = Field(
        None,
        description="of a language model: symbols that it has read lately become more probable; used after training, "
        "and for a trained model with `--resume`",
    )
    tie: StrictBool = Field(False, description="the target embedding is also the output matrix")
    dropout: StrictFloat = Field(
        0.3, ge=0, lt=1, description="the rate at every layer's input and at the readout, with one layer too"
    )
    locked_dropout: StrictBool = Field(False, description="the same entries are dropped at all steps of a row")
    embeddings: Annotated[str | Parallel | None, BeforeValidator(vectors)] = Field(
        None,
        description="pretrained vectors as text (GloVe, word2vec, fastText): a file for the source, or {source: FILE, "
        "target: FILE}",
    )


class Train(Section):
    """How the weights are learned, how long, and what is kept."""

    epochs: StrictInt = Field(
        20, ge=1, description="a ceiling in passes over the training rows; if one ceiling alone is set, it decides"
    )
    max_steps: StrictInt | None = Field(None, ge=1, description="a ceiling in updates")
    minutes: StrictFloat | None = Field(
        None,
        gt=0,
        le=1e6,
        description="a ceiling in minutes of this machine, as `--minutes`: the schedule of the learning rate fits them",
    )
    validate_every: StrictInt | None = Field(
        None, ge=1, description="updates between validations; by default an epoch, at least 200, at most 2000"
    )
    save_every: StrictInt | None = Field(None, ge=1, description="updates between saved states, beside validations")
    save_minutes: StrictFloat | None = Field(10.0, gt=0, description="minutes between saved states, at most")
    keep: StrictInt = Field(2, ge=1, description="how many of the last saved states are kept")
    patience: StrictInt | None = Field(10, ge=1, description="early stopping: validations without a better metric")
    metric: str | None = Field(
        None,
        description="what judges validations; by default the target's own. Of all loss; of a text token_error_rate, "
        "token_error_rate_teacher, exact_match, perplexity, bleu, chrf, ter; of labels accuracy, macro_f1, span_f1 "
        "(spans marked O, B-TYPE, I-TYPE); of numbers mse, mae",
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
    optimizer: Choice = Field(Choice(kind="adamw"), description="what changes the weights by their gradients")
    learning_rate: Annotated[StrictFloat, Field(gt=0)] | Literal["auto"] = Field(
        1e-3, description="auto: measured by a range test before the first update, whose curve is kept"
    )
    schedule: Choice = Field(Choice(kind="cosine"), description="the learning rate over the updates")
    clip: StrictFloat | None = Field(
        1.0, gt=0, description="the largest norm of all gradients together; longer ones are scaled down to it"
    )
    label_smoothing: StrictFloat = Field(
        0.0, ge=0, lt=1, description="the share of probability that targets give to all symbols alike"
    )
    normalize: Literal["tokens", "rows"] = Field("tokens", description="what the loss of an update is divided by")
    unknown: StrictFloat = Field(
        0.01,
        ge=0,
        lt=1,
        description="the share of source symbols that training replaces by UNK, so that unknown ones can be read",
    )
    feeding: Choice = Field(Choice(kind="teacher"), description="what the decoder is fed in training")
    freeze: list[StrictStr] = Field([], description="parts that stay as they are: encoder, source.embedding, ...")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="of the products in training; auto: bfloat16 where this machine is clearly faster in it, which is "
        "measured and kept with the model",
    )
    reduce: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the gradients that several processes send each other; bfloat16: half as many bytes, for slow "
        "connections; a process alone sends none",
    )
    teachers: list[StrictStr] = Field(
        [], description="folders of trained models whose predictions are learned too, as `antiphon distill` sets them"
    )
    teacher_outputs: Literal["none", "add", "only"] = Field(
        "none", description="add: further rows with the teachers' outputs; only: data.train has inputs without answers"
    )
    teacher_share: StrictFloat = Field(
        0.5,
        ge=0,
        le=1,
        description="the share of the objective that the teachers' distributions have, beside the target",
    )
    r_drop: StrictFloat = Field(
        0.0,
        ge=0,
        le=1_000,
        description="weight of how much two passes with different dropout differ (Liang et al. 2021)",
    )
    ema: StrictFloat | None = Field(
        None, gt=0, lt=1, description="the decay of a moving average of the weights, which is validated and kept"
    )
    average: StrictInt = Field(1, ge=1, description="validate and keep the mean of the last k checkpoints")
    examples: StrictInt = Field(
        6, ge=0, le=100, description="validation inputs that are kept with the model, for the page of `serve`; 0: none"
    )
    seed: StrictInt = Field(1, ge=0, lt=1 << 31, description="of first weights, the order of rows, dropout")
    tensorboard: StrictBool = Field(False, description="also write TensorBoard events (extra `tensorboard`)")

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


class Config(Section):
    """A whole configuration."""

    format: Literal[1] = Field(1, description="the version of these keys")
    structure: Literal["one_to_one", "one_to_many", "many_to_one", "many_to_many", "synchronous"] | None = Field(
        None, description="inferred from the kinds of source and target; if stated, checked"
    )
    data: Data
    sources: list[SourceKeys] = Field(
        [SourceKeys()],
        alias="source",
        description="what the model reads: one source, or a list of several, read as one",
    )
    target: SideKeys = Field(SideKeys(), description="what the model predicts")
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="before")
    @classmethod
    def _sides_of_windows(cls, tree: object) -> object:
        return with_sides(tree) if isinstance(tree, Mapping) else tree

    @field_validator("sources", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if value == []:
            raise ValueError("is an empty list")
        return value if isinstance(value, list) else [value]

    @field_serializer("sources")
    def _one_alone(self, sources: list[SourceKeys], info: SerializationInfo) -> object:
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
        reason = wrong_windows(self.data, self.sources, self.target)
        if reason:
            raise ValueError(reason)
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
