"""The facts about a table on which its settings depend, and the settings of model and training that follow from them.

The measurements behind the numbers: docs/results/small.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.config.load import set_value
from antiphon.data.codecs.base import Answers
from antiphon.training.optimizer import UNSCALED

MOST_UPDATES = 200_000
SMALL, MIDDLE = 20_000, 300_000  # training rows
FEW = 200  # training rows: fewer are learned better with the context only at the start
MADE = 3_000  # further rows with other stems, for fewer than FEW rows
FEWEST_ROWS = 16  # of an update of a training that has to be short
HIGHEST = 5e-3  # learning rate of a training that has to be short
MISSING = object()


@dataclass
class Keys:
    """The keys of a configuration: the user's stay, and the open ones are chosen."""

    user_keys: Mapping[str, Any]
    chosen: dict[str, Any] = field(default_factory=dict)

    def __call__(self, key: str, value: Any) -> Any:
        """The value of `key`: the user's, or else `value`, which is then chosen."""
        user_value = self.of(key)
        if user_value is not MISSING:
            return user_value
        set_value(self.chosen, key, value)
        return value

    def of(self, key: str) -> Any:
        """The user's value of `key`, or MISSING."""
        here: Any = self.user_keys
        for name in key.split("."):
            if not isinstance(here, Mapping) or name not in here:
                return MISSING
            here = here[name]
        return here

    def gives(self, key: str) -> bool:
        return self.of(key) is not MISSING


@dataclass(frozen=True)
class Facts:
    """The facts on which the choice of a model and of its training depends."""

    structure: str
    form: Answers  # the target's form
    kinds: tuple[str, ...]  # the kinds of the sources
    target: str  # the kind of the target
    rows: int = 1  # training rows
    steps: int = 1  # symbols of one long text
    rearranged: bool = False  # targets have the symbols of their source in another order
    copied: bool = False  # most symbols of source and target are the same, in the same order
    stems: bool = False  # sources and targets share parts that can be replaced by random ones
    share: float = 1.0  # of the usual updates, that the minutes allow
    narrow: float = 1.0  # widths as a multiple of the usual ones, since so few updates fit
    rows_each: float = 1.0  # rows per update as a multiple of the usual number, for the same reason

    @property
    def small(self) -> bool:
        return self.rows < SMALL

    @property
    def middle(self) -> bool:
        return self.rows < MIDDLE

    def width(self, usual: int) -> int:
        """A width, in eights."""
        return usual if self.narrow == 1 else max(8, 8 * round(usual * self.narrow / 8))

    def drop(self, usual: float) -> float:
        """A dropout: rows that are seen a few times are not learned by heart."""
        return usual if self.share == 1 else round(usual * self.share ** (1 / 3), 2)

    def rate(self, usual: float) -> float:
        """A learning rate: fewer updates take larger steps, and fewer rows each smaller ones."""
        raised = max(usual, min(usual * self.share**-0.5, HIGHEST)) * self.rows_each**0.5
        return usual if self.share == 1 else float(f"{raised:.2g}")


def choose(keys: Keys, facts: Facts) -> None:
    """Choose the open keys of `model` and `train`. Which keys are chosen depends only on the kinds of the sides."""
    if facts.kinds == ("long_text",):
        _long_text(keys, facts)
    elif facts.target == "series":
        _series(keys, facts)
    elif facts.form == "any":
        _written(keys, facts)
    elif facts.form == "aligned":
        _aligned(keys, facts)
    elif facts.form == "next":
        _next(keys, facts)
    else:
        _answered(keys, facts)


def _written(keys: Keys, facts: Facts) -> None:
    """A decoder writes a text, with attention to the steps of a sequence or to the places of a picture."""
    small, middle = facts.small, facts.middle
    sequence, pictures = facts.structure == "many_to_many", {"image", "grid"} & {*facts.kinds}
    keys("model.embedding", facts.width(128 if middle else 256))
    hidden = _recurrent(keys, facts, 128 if small else 192 if middle else 256, weight_drop=0.3)
    memory = hidden * 2 if sequence and keys("model.encoder.bidirectional", True) else hidden
    keys("model.decoder.hidden", (memory if sequence else 2 * hidden) * _joined(keys, facts))
    keys("model.dropout", facts.drop(0.4 if small else 0.3))
    # rearranged targets need all symbols at every step, and a look at the next one: with it 0.99 instead of 0.87 of 500
    # unseen sorted words are right, but 0.73 instead of 0.77 of pronunciations; from 100 rows it learns less
    moved = facts.rearranged and small and facts.rows >= FEW
    keys("model.context.from", "projected_all" if pictures or moved else "projected_last")
    # 1,000 Turkish forms: 0.86 of unseen ones are right, 0.81 with soft attention and without copying
    # (a search that the user wants may not know of copies)
    plain = not any(keys.gives(key) for key in ("model.attention", "decode.shortlist", "decode.mbr"))
    aligned = facts.copied and small and plain and keys.of("model.copy") is not False
    features = len(facts.kinds) > 1 and (facts.rows >= FEW or aligned)  # all sources must reach every step
    keys("model.context.to", "initial_state" if sequence and not features and not moved else "every_step")
    asks = {"kind": "additive", "query": "previous"} if moved else "general" if sequence or not pictures else "additive"
    if not keys.gives("model.attention"):  # else whoever chose it knows whether it copies
        keys("model.copy", aligned)
        # 100 German forms: 0.60 of unseen ones are right with rows of other stems and tags at every step, 0.32 else
        keys("data.hallucinate", MADE if aligned and facts.stems and facts.rows < FEW else 0)
    keys("model.attention", "hard_monotonic" if aligned else asks)
    batch = 16 if facts.rows < 2_000 else 32 if small else 64 if middle else 128
    _budget(keys, facts, batch, least=3_000, epochs=40 if small else 25, patience=3_000)
    # 100 words to reverse: 0.86 instead of 0.79 of unseen ones are right with half the rate, 0.11 instead of 0.09 of
    # pronunciations; from 300 rows it loses up to 8 points, and with two sources it is not better
    halved = facts.kinds == ("text",) and facts.rows < FEW
    _learning(keys, facts, rate=2e-3 if small and not halved else 1e-3, smoothing=0.1, average=0.999, unknown=0.01)


def _series(keys: Keys, facts: Facts) -> None:
    """A decoder writes numbers, with attention to the steps of a sequence or to the places of a picture."""
    sequence, pictures = facts.structure == "many_to_many", {"image", "grid"} & {*facts.kinds}
    keys("model.embedding", facts.width(64))
    hidden = _recurrent(keys, facts, 128, weight_drop=0.0)
    memory = hidden * 2 if sequence and keys("model.encoder.bidirectional", True) else hidden
    keys("model.decoder.hidden", memory * _joined(keys, facts))
    keys("model.dropout", facts.drop(0.1))
    keys("model.context.from", "projected_all" if pictures else "projected_last")
    keys("model.context.to", "every_step")
    keys("model.attention", "general" if sequence or pictures else "none")
    batch = 16 if facts.rows < 2_000 else 32 if facts.small else 64
    _budget(keys, facts, batch, least=2_000, epochs=20 if facts.small else 12, patience=1_000)
    _learning(keys, facts, rate=2e-3, smoothing=0.0, average=0.998, unknown=0.01)


def _joined(keys: Keys, facts: Facts) -> int:
    """The width of the context as a multiple of a source's states: with `last` the states are concatenated."""
    return len(facts.kinds) if keys.of("model.context.from") == "last" else 1


def _aligned(keys: Keys, facts: Facts) -> None:
    """CTC: the steps of the source predict a text together."""
    keys("model.embedding", facts.width(128))
    _recurrent(keys, facts, 128 if facts.small else 256, weight_drop=0.0)
    keys("model.dropout", facts.drop(0.3))
    batch = 16 if facts.rows < 2_000 else 32
    _budget(keys, facts, batch, least=2_000, epochs=40 if facts.small else 25, patience=2_000)
    _learning(keys, facts, rate=3e-3, smoothing=0.0, average=0.998, unknown=0.01)


def _answered(keys: Keys, facts: Facts) -> None:
    """A reader predicts a label or a number for the whole source, or for each of its steps."""
    text, steps = "text" in facts.kinds, facts.form == "each"
    pictures = {"image", "images"} & {*facts.kinds}
    keys("model.embedding", facts.width(128 if text or pictures else 64))
    _recurrent(keys, facts, 128, weight_drop=0.0)
    if not steps:
        keys("model.pooling", "max" if text else "attention")
    keys("model.dropout", facts.drop(0.5 if text or steps else 0.3))
    batch = 8 if facts.rows < 500 else 16 if facts.rows < 2_000 else 32 if facts.small else 64
    epochs = 20 if facts.rows < 5_000 else 12
    _budget(keys, facts, batch, least=1_500, epochs=epochs, patience=500, validations=5, often=100)
    _learning(keys, facts, rate=2e-3, smoothing=0.0, average=0.998, unknown=0.05 if text else 0.01)


def _next(keys: Keys, facts: Facts) -> None:
    """A language model of rows: names, sentences."""
    _tied(keys, facts.width(128), _recurrent(keys, facts, 256 if facts.small else 512, weight_drop=0.3))
    keys("model.dropout", facts.drop(0.4 if facts.small else 0.3))
    batch = 16 if facts.rows < 2_000 else 32 if facts.small else 64
    _budget(keys, facts, batch, least=1_500, epochs=40 if facts.small else 20, patience=1_500)
    _learning(keys, facts, rate=2e-3, smoothing=0.0, average=0.998, unknown=0.01)


def _long_text(keys: Keys, facts: Facts) -> None:
    """A language model of one long text, read in many places at once."""
    short = facts.steps < 200_000
    _tied(keys, facts.width(64 if short else 128), _recurrent(keys, facts, 256 if short else 384, weight_drop=0.3))
    keys("model.dropout", facts.drop(0.4))
    lanes = keys("train.batch_size", min(32, max(1, facts.steps // 4_000)))
    piece = keys("train.bptt", 128)
    pieces = max(1, math.ceil(facts.steps / (lanes * piece)))
    _ceilings(keys, pieces, max(1_500, min(40 * pieces, 10_000)), patience=1_500)
    keys("train.schedule", {"kind": "cosine", "warmup": 100})
    _learning(keys, facts, rate=3e-3, smoothing=0.0, average=0.995, unknown=0.0)


def _tied(keys: Keys, embedding: int, output: int) -> None:
    """The width of a language model's embedding: with `tie` the width of its output."""
    keys("model.embedding", output if keys.of("model.tie") is True else embedding)


def _recurrent(keys: Keys, facts: Facts, hidden: int, weight_drop: float) -> int:
    """The encoder's width, and the regularisation that keeps a small table from being learned by heart."""
    hidden = keys("model.encoder.hidden", facts.width(hidden))
    keys("model.locked_dropout", facts.small and weight_drop > 0)
    keys(
        "model.cell", {"kind": "lstm", "weight_drop": facts.drop(weight_drop) if facts.small else 0.0}
    )  # a cell that the user names stays plain
    if {"image", "images"} & {*facts.kinds}:
        keys("model.image.channels", [16, 32, 64])
        keys("model.image.jitter", 0.1 if facts.small else 0.0)
    return int(hidden)


def _budget(
    keys: Keys,
    facts: Facts,
    batch: int,
    least: int,
    epochs: int,
    patience: int,
    validations: int = 10,
    often: int = 200,
) -> None:
    """As many updates as a table of this size needs, in batches of rows."""
    size = keys("train.batch_size", max(min(batch, FEWEST_ROWS), int(batch * facts.rows_each)))
    a_batch = size * (1 if keys.of("train.accumulate") is MISSING else keys.of("train.accumulate"))
    updates = max(least, min(epochs * facts.rows // a_batch, MOST_UPDATES))
    by_tokens = keys.of("train.batch_tokens") not in (MISSING, None)  # then updates decide, not epochs
    an_epoch = 1 if by_tokens else max(1, math.ceil(facts.rows / a_batch))
    _ceilings(keys, an_epoch, updates, patience, validations, often)
    keys("train.schedule", {"kind": "cosine", "warmup": 100})


def _ceilings(keys: Keys, an_epoch: int, updates: int, patience: int, validations: int = 10, often: int = 200) -> None:
    """How long it trains at most, and how long it continues without getting better, from the updates of an epoch.

    It validates once per epoch, at least `often` updates apart; its patience is at least `validations` validations and
    `patience` updates. If the user sets a ceiling, it is the only one.
    """
    if keys.gives("train.epochs"):
        keys("train.max_steps", None)
    else:
        updates = keys("train.max_steps", updates) or updates
        keys("train.epochs", max(1, math.ceil(updates / an_epoch)))
    usual = min(max(an_epoch, often), 2_000)
    every = keys("train.validate_every", usual) or usual
    keys("train.patience", max(validations, math.ceil(patience / every)))


def _learning(keys: Keys, facts: Facts, rate: float, smoothing: float, average: float, unknown: float) -> None:
    """Learning rate, smoothing and unknown symbols; a moving average of the weights, unless the user sets another."""
    optimizer = keys.of("train.optimizer")
    kind = optimizer.get("kind") if isinstance(optimizer, Mapping) else optimizer
    keys("train.learning_rate", "auto" if kind in UNSCALED else facts.rate(rate))
    keys("train.label_smoothing", smoothing)
    keys("train.unknown", unknown)
    if not keys.gives("train.average") and kind != "asgd":  # which ships a mean of its own
        updates = facts.share * (keys.chosen.get("train", {}).get("max_steps") or MOST_UPDATES)
        keys("train.ema", average if facts.share == 1 else min(average, round(1 - 10 / max(updates, 20), 4)))
