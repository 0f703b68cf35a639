"""Before the first update: choices checked, data read and encoded, vocabularies learned, the model built."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from antiphon.config import Config
from antiphon.data.batch import Examples
from antiphon.data.rows import Row
from antiphon.data.text import TOKENIZERS
from antiphon.dataset import DEFAULT_FRACTION, Codecs, encode_rows, load_rows, split_rows, train_codecs
from antiphon.errors import ConfigError, nearest
from antiphon.evaluation import HIGHER_IS_BETTER, LOWER_IS_BETTER
from antiphon.model import Writer
from antiphon.structures import build
from antiphon.training.distributed import ALONE, Ranks
from antiphon.training.feeding import FEEDINGS
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class Prepared:
    """Data and model, ready to train: the same in every process."""

    config: Config
    codecs: Codecs
    train: Examples
    valid: Examples
    valid_rows: list[Row]
    model: Writer


def check_names(config: Config) -> None:
    """Refuse a wrong choice before any data is read."""
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
    for side in ("source", "target"):
        tokens = getattr(config, side).tokens
        TOKENIZERS.build(tokens.kind, tokens.options, f"{side}.tokens")
    build(config, 5, 5)
    metrics = LOWER_IS_BETTER | HIGHER_IS_BETTER
    if config.train.metric not in metrics:
        raise ConfigError(
            "train.metric", f"unknown metric {config.train.metric!r}; {nearest(config.train.metric, metrics)}"
        )


def prepare(config: Config, ranks: Ranks = ALONE, codecs: Codecs | None = None) -> Prepared:
    """Read and encode the data, learn the vocabularies unless given, build the model: the same in every process."""
    rows = load_rows(config, config.data.train)
    valid = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if isinstance(valid, float):
        rows, valid_rows = split_rows(rows, valid, config.train.seed)
    else:
        valid_rows = load_rows(config, valid)
    if codecs is None:  # one process learns them, since not every tokenizer learns the same twice
        learned = train_codecs(config, rows) if ranks.first else None
        codecs = Codecs.from_json(ranks.share(learned.to_json() if learned else ""))
    _, train_examples = encode_rows(config, codecs, rows)
    valid_rows, valid_examples = encode_rows(config, codecs, valid_rows)
    if config.decode.max_length is None:
        longest = int(train_examples.target.lengths.max())
        config = config.model_copy(
            update={"decode": config.decode.model_copy(update={"max_length": longest + longest // 2 + 5})}
        )
    torch.manual_seed(config.train.seed)
    model = build(config, len(codecs.source.vocabulary), len(codecs.target.vocabulary))
    return Prepared(config, codecs, train_examples, valid_examples, valid_rows, model)


def fingerprint(prepared: Prepared) -> str:
    """What must not change between a training and its resumption: data and settings, but not ceilings."""
    harmless = {
        "train": {"epochs", "max_steps", "patience", "tensorboard"},
        "data": {"test", "train", "valid"},
        "evaluate": True,
    }
    digest = hashlib.sha256(prepared.config.model_dump_json(by_alias=True, exclude=harmless).encode())  # type: ignore[arg-type]
    for examples in (prepared.train, prepared.valid):
        for side in (examples.source, examples.target):
            digest.update(side.ids.tobytes() + side.lengths.tobytes())
    return digest.hexdigest()
