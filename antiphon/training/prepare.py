"""Before the first update: choices checked, data read and encoded, vocabularies learned, the model built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from antiphon.config.decode import Decode
from antiphon.config.files import InMemory, Parallel
from antiphon.config.schema import Config
from antiphon.data import shortlist
from antiphon.data.batches import Examples, cut_long, in_lanes
from antiphon.data.codecs.labels import LabelsCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.encode import encode_rows
from antiphon.data.encoded_table import EncodedTable
from antiphon.data.hallucinate import check_sides, hallucinated
from antiphon.data.load import Codecs, load_parts, untrained
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.data.stream import Stream
from antiphon.decoding.plan import Speaker, plan, refuse_shortlist
from antiphon.decoding.plan import check_names as check_decoding
from antiphon.decoding.series import check_decoding as check_series
from antiphon.errors import ConfigError, TrainingError, nearest
from antiphon.evaluation.baselines import baselines, constant_target
from antiphon.evaluation.metric_names import metrics_of
from antiphon.model.build import build
from antiphon.model.models import Model, Writer
from antiphon.model.parts.heads.base import SymbolHead
from antiphon.model.series import SeriesWriter
from antiphon.saved.folder import Bundle
from antiphon.training.distributed import ALONE, Ranks
from antiphon.training.feeding import FEEDINGS
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES
from antiphon.training.rate_curve import RateCurve
from antiphon.training.streamed import check_streamed, codecs_of, encoded_table, stream_of, stream_of_encoded
from antiphon.training.teachers import Teachers, guided, with_outputs
from antiphon.training.warm_start import extended, freeze, take_vectors, take_weights

TAIL = 4096  # symbols of a piece of a long validation text, at least; each piece begins with an empty state


@dataclass(frozen=True)
class Prepared:
    """Data and model before the first update: the same in every process."""

    config: Config
    codecs: Codecs
    train: Examples
    valid: Examples
    valid_rows: Sequence[Row]
    model: Model
    notes: list[str]  # messages for the user before the training begins
    baselines: dict[str, dict[str, float]]  # the scores of trivial predictions on the validation rows
    rate_curve: RateCurve | None = None  # of the range test, if there was one
    stream: Stream | None = None  # of a streamed table, whose `train` is a sample of it

    @property
    def learned(self) -> Examples | Stream:
        """What the updates go through."""
        return self.train if self.stream is None else self.stream

    @property
    def rows(self) -> int:
        """How many training rows there are; about, if they are streamed."""
        return len(self.train) if self.stream is None else self.stream.rows

    @property
    def metric(self) -> str:
        """The metric that is watched."""
        return self.config.train.metric or self.codecs.target.metric


def check_names(config: Config) -> None:
    """Raise an error for a wrong choice before any data is read."""
    check_decoding(config.decode)
    check_streamed(config)
    step = nn.Parameter(torch.zeros(1))
    OPTIMIZERS.build(
        config.train.optimizer.kind,
        config.train.optimizer.options,
        "train.optimizer",
        parameters=[step],
        learning_rate=1.0,
    )
    SCHEDULES.build(config.train.schedule.kind, config.train.schedule.options, "train.schedule")
    FEEDINGS.build(config.train.feeding.kind, config.train.feeding.options, "train.feeding")
    codecs = untrained(config)
    if config.data.hallucinate:
        check_sides(codecs.sources, codecs.target)
    with torch.device("meta"):  # no memory is taken
        model = build(config, codecs)
        freeze(model, config.train.freeze)
    feeds = model.feeds if isinstance(model, SeriesWriter) else isinstance(model, Writer)
    if not feeds and config.train.feeding.kind != "teacher":
        kind = f"{config.target.kind}{' read by position' if isinstance(model, SeriesWriter) else ''}"
        raise ConfigError("train.feeding", f"is for decoders; a target of {kind} is not fed")
    if config.train.r_drop and (codecs.sources[0].whole or not isinstance(model.head, SymbolHead)):
        reason = "needs rows whose target has a probability for each symbol or label at each step"
        raise ConfigError("train.r_drop", f"{reason}, and here it has none; set it to 0")
    metric, metrics = config.train.metric, metrics_of(codecs.target)
    if metric is not None and metric not in metrics:
        raise ConfigError(
            "train.metric", f"unknown metric {metric!r} for {config.target.kind}; {nearest(metric, metrics)}"
        )


@dataclass(frozen=True)
class Parts:
    """Training and validation rows, and what was learned from the training rows; of a streamed table, its sample."""

    codecs: Codecs
    rows: Sequence[Row]
    train: Examples
    valid_rows: Sequence[Row]
    valid: Examples
    stream: Stream | None = None


def read_parts(
    config: Config,
    ranks: Ranks = ALONE,
    codecs: Codecs | None = None,
    base: Bundle | None = None,
    met: Mapping[str, Problems] | None = None,
    teachers: Teachers | None = None,
) -> Parts:
    """Read and encode the data, and learn the vocabularies.

    Bad rows are raised, or skipped as configured; or added to the entries "train" and "valid" of `met`.
    """
    met = met or {}
    if (table := encoded_table(config)) is not None:
        return _encoded_parts(config, table, codecs, base)
    reading = codecs or untrained(config)
    rows, valid_rows = load_parts(config, reading, met.get("train"), met.get("valid"))
    if codecs is None:  # one process learns them, since some tokenizers do not learn the same twice
        learned = codecs_of(config, rows, valid_rows) if ranks.first else None
        codecs = Codecs.from_json(ranks.share(learned.to_json() if learned else ""))
        if base is not None:
            codecs = extended(base.codecs, codecs)
    if teachers is not None and teachers.only and not isinstance(config.data.valid, str | list | Parallel | InMemory):
        valid_rows = with_outputs(teachers, valid_rows, "valid")
    rows = with_outputs(teachers, rows, "train")
    if config.data.hallucinate:
        made = hallucinated(rows, codecs.sources, codecs.target, config.data.hallucinate, config.train.seed)
        rows = [*rows, *made]
    rows, train = encode_rows(config, codecs, rows, met.get("train"))
    valid_rows, valid = encode_rows(config, codecs, valid_rows, met.get("valid"))
    return Parts(codecs, rows, train, valid_rows, valid, stream_of(config, codecs, rows, valid_rows, train))


def _encoded_parts(config: Config, table: EncodedTable, codecs: Codecs | None, base: Bundle | None) -> Parts:
    """The parts of an encoded table: nothing is read again or learned."""
    if base is not None:
        reason = "its rows are encoded with vocabularies of their own; to start from a model, train from the tables"
        raise ConfigError("data.train", reason)
    train = table.examples("sample")
    stream = stream_of_encoded(config, table, train)
    rows, valid_rows = table.read_rows("sample"), table.read_rows("valid")
    return Parts(codecs or table.codecs, rows, train, valid_rows, table.examples("valid"), stream)


def prepare(
    config: Config,
    ranks: Ranks = ALONE,
    codecs: Codecs | None = None,
    base: Bundle | None = None,
    resumed: bool = False,
    teachers: Teachers | None = None,
) -> Prepared:
    """Read and encode the data, learn the vocabularies, build the model: the same in every process.

    With `codecs` none are learned; the weights of `base` are copied where they fit, unless a training is resumed.
    """
    prepared = assemble(config, read_parts(config, ranks, codecs, base, teachers=teachers), resumed, base)
    return replace(prepared, train=guided(teachers, prepared.train))


def assemble(config: Config, parts: Parts, resumed: bool = False, base: Bundle | None = None) -> Prepared:
    """The model for the data, with its first weights; what cannot be trained is an error."""
    codecs, train, valid = parts.codecs, parts.train, parts.valid
    if codecs.sources[0].whole:
        train = _pieces(config, codecs, train)
        valid = cut_long(valid, TAIL, config.train.batch_size)
    config = _filled_in(config, codecs, train)
    torch.manual_seed(config.train.seed)
    model = build(config, codecs)
    notes: list[str] = []
    if not resumed:
        if base is not None:
            notes += take_weights(model, base, codecs)
        vectors = config.model.embeddings
        sides = (vectors.source, vectors.target) if isinstance(vectors, Parallel) else (vectors, None)
        for name, path in zip(("source", "target"), sides, strict=True):
            if path is not None:
                notes.append(take_vectors(model, name, path, codecs))
    freeze(model, config.train.freeze)
    if isinstance(model, SeriesWriter):
        check_series(model, config.decode)
    if isinstance(model, Speaker):
        codecs = _with_shortlist(config.decode, model, codecs, train)
        plan(config.decode, model, codecs)  # raises errors now, not at the first validation
    notes += [note for note in [constant_target(codecs, parts.rows)] if note]
    effortless = baselines(config, codecs, parts.rows, parts.valid_rows)
    return Prepared(config, codecs, train, valid, parts.valid_rows, model, notes, effortless, stream=parts.stream)


def _with_shortlist(decode: Decode, model: Speaker, codecs: Codecs, examples: Examples) -> Codecs:
    """The codecs with the shortlist that `decode` configures, learned from the training rows."""
    refuse_shortlist(decode, model, codecs)
    if decode.shortlist is None:
        return codecs
    sizes = decode.shortlist.likely, decode.shortlist.common
    (source,), target = codecs.sources, codecs.target
    assert isinstance(source, TextCodec)
    assert isinstance(target, TextCodec)
    learned = shortlist.learn(examples.sources[0], examples.target, source.size, target.size, *sizes)
    return replace(codecs, shortlist=learned)


def _pieces(config: Config, codecs: Codecs, examples: Examples) -> Examples:
    """One long text as pieces that training reads one after the other, with the state of the piece before."""
    lanes, symbols = config.train.batch_size, len(examples.target.values)
    if config.train.batch_tokens is not None:
        raise ConfigError("train.batch_tokens", "is for rows; a long text is read in train.batch_size places at once")
    if symbols < 2 * lanes:
        reason = f"the training text has {symbols} symbols, too few for {lanes} places at once; set a smaller one"
        raise ConfigError("train.batch_size", reason)
    return in_lanes(examples, codecs.sources[0].begin, lanes, config.train.bptt)


def _filled_in(config: Config, codecs: Codecs, examples: Examples) -> Config:
    """The configuration with the watched metric and the longest output, which depend on the data."""
    target = codecs.target
    if config.train.metric == "span_f1" and isinstance(target, LabelsCodec) and not target.bio:
        raise ConfigError("train.metric", "span_f1 needs labels O, B-TYPE and I-TYPE; the training rows have others")
    if config.train.metric is None:
        config = config.model_copy(update={"train": config.train.model_copy(update={"metric": target.metric})})
    fixed = isinstance(target, SeriesCodec) and target.horizon is not None
    if target.form in ("any", "next") and not fixed:
        config = with_longest(config, int(examples.target.lengths.max()))
    return config


def with_longest(config: Config, target: int) -> Config:
    """The configuration with a longest output, if it has none: half as long again as the longest target."""
    if config.decode.max_length is not None:
        return config
    return config.model_copy(
        update={"decode": config.decode.model_copy(update={"max_length": target + target // 2 + 5})}
    )


HARMLESS: dict[str, set[str] | bool] = {  # keys that may change when a training is resumed
    "train": {
        "epochs",
        "max_steps",
        "minutes",
        "patience",
        "tensorboard",
        "save_every",
        "save_minutes",
        "keep",
        "examples",
    },
    "data": {"test", "train", "valid", "on_error", "workers"},  # the rows must not change, but the paths may
    "model": {"embeddings", "cache"},  # read before the first update only; used after training only
    "decode": {*Decode.model_fields} - {"min_length", "max_length", "sample"},  # validation is greedy, without rules
    "evaluate": True,
}


def identity(prepared: Prepared) -> dict[str, str]:
    """What must not change when a training is resumed, by name: settings, and digests of the rows."""
    settings = prepared.config.model_dump(mode="json", by_alias=True, exclude=HARMLESS)
    for name in prepared.config.decode.options:
        del settings["decode"][name]
    entries = dict(flat(settings, ""))
    for name, examples in (("training", prepared.train), ("validation", prepared.valid)):
        digest = hashlib.blake2b(digest_size=16)
        for side in (*examples.sources, examples.target):
            digest.update(side.values.tobytes() + side.lengths.tobytes())
        entries[f"the {name} rows"] = f"{len(examples):,} with the digest {digest.hexdigest()}"
    return entries if prepared.stream is None else entries | prepared.stream.shards.identity()


def as_the_first(config: Config, ranks: Ranks) -> Config:
    """The configuration with what the first process chose for `train.minutes`; each would measure another time."""
    if ranks.world == 1 or config.train.minutes is None:
        return config
    own = [part.model_dump(mode="json", by_alias=True) for part in (config.model, config.train)]
    chosen = json.loads(ranks.share(json.dumps(own)))
    model, train = type(config.model).model_validate(chosen[0]), type(config.train).model_validate(chosen[1])
    return config.model_copy(update={"model": model, "train": train})


def refuse_other_rows(prepared: Prepared, ranks: Ranks) -> None:
    """Raise an error in a process whose settings or rows are not those of the first, and end the others."""
    if ranks.world == 1:
        return
    here = identity(prepared)
    other = differences(json.loads(ranks.share(json.dumps(here))), here)
    [count] = ranks.totals(float(bool(other)))
    if other:
        reason = f"process {ranks.rank} of {ranks.world} has other settings or rows than the first"
        raise TrainingError(f"{reason}: {'; '.join(other)}; give all machines the same files and the same command")
    if count:
        raise SystemExit(1)


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The values of a tree as JSON, each with its dotted key below `above`."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value)


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What differs between two identities, each as `name: was X, is Y`."""
    names = sorted(old.keys() | new.keys())
    return [
        f"{name}: was {old.get(name, 'not there')}, is {new.get(name, 'not there')}"
        for name in names
        if old.get(name) != new.get(name)
    ]
