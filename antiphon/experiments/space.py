"""What `tune` tries: a row for each key, for the forms of target that it matters to, if the user leaves it open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from antiphon.config.schema import Attention, Config
from antiphon.data.load import untrained
from antiphon.training.facts import Keys

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Between:
    """A number between two bounds; with `log` its logarithm is uniform."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, key: str, default: Any) -> Any:
        """The value to try."""
        value = trial.suggest_float(key, min(self.low, default), max(self.high, default), log=self.log)
        return default if value == default else float(f"{value:.3g}") if self.log else round(value, 3)

    def next_to(self, default: Any) -> Any:
        """The parameter of a value close to the default: half of it, or a fifth of the way to the other end."""
        if self.log:
            return max(self.low, default / 2)
        return default + 0.2 * ((self.high if default < (self.low + self.high) / 2 else self.low) - default)


@dataclass(frozen=True)
class Times:
    """The default, a whole number, times a factor."""

    factors: Sequence[float]

    def suggest(self, trial: Trial, key: str, default: Any) -> Any:
        """The value to try."""
        return max(1, round(default * trial.suggest_categorical(key, self.factors)))

    def next_to(self, default: Any) -> Any:
        """The parameter of the next larger value."""
        return min(factor for factor in self.factors if factor > 1)


@dataclass(frozen=True)
class OneOf:
    """One of several values, or the default."""

    values: Sequence[Any]

    def suggest(self, trial: Trial, key: str, default: Any) -> Any:
        """The value to try."""
        return json.loads(trial.suggest_categorical(key, [*dict.fromkeys(map(json.dumps, [default, *self.values]))]))

    def next_to(self, default: Any) -> Any:
        """The parameter of the last value that is not the default."""
        return json.dumps([value for value in self.values if value != default][-1])


@dataclass(frozen=True)
class Row:
    """A key and its values, for targets of some forms; it is open if the user sets none of the keys `unless`."""

    key: str
    values: Between | Times | OneOf
    forms: tuple[str, ...] = ("one", "each", "any", "aligned", "next")
    unless: tuple[str, ...] = ()


ROWS = (
    Row("train.learning_rate", Between(3e-4, 6e-3, log=True)),
    Row("model.dropout", Between(0.1, 0.6)),
    Row("model.encoder.hidden", Times([0.5, 1.0, 1.5, 2.0])),
    Row("model.cell.weight_drop", Between(0.0, 0.5), unless=("model.cell",)),
    Row("train.batch_size", Times([0.5, 1.0, 2.0]), unless=("train.batch_tokens", "train.accumulate")),
    Row("train.label_smoothing", OneOf([0.0, 0.05, 0.1, 0.2]), ("any",)),
    Row("model.context.to", OneOf(["initial_state", "every_step"]), ("any",)),
    Row("model.attention", OneOf(["general", "additive", {"kind": "additive", "query": "previous"}]), ("any",)),
    Row("model.pooling", OneOf(["last", "mean", "max", "attention"]), ("one",)),
)


@dataclass(frozen=True)
class Dimension:
    """An open row, with the value that is chosen by default."""

    row: Row
    default: Any

    @property
    def first(self) -> Any:
        """The parameter of the defaults, as optuna keeps it."""
        match self.row.values:
            case Between():
                return self.default
            case Times():
                return 1.0
            case OneOf():
                return json.dumps(self.default)

    @property
    def neighbour(self) -> Any:
        """The parameter of a value close to the default."""
        return self.row.values.next_to(self.default)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The key and the value to try; nothing if it is the default, so that the defaults set no key."""
        value = self.row.values.suggest(trial, self.row.key, self.default)
        if value == self.default:
            return {}
        if self.row.key == "model.cell.weight_drop":  # the cell stays the one that is chosen by default
            return {"model.cell": {"kind": "lstm", "weight_drop": value}}
        return {self.row.key: value}


def space(user_config: Config, completed: Config) -> list[Dimension]:
    """The rows that are open, with the values of the completed configuration."""
    keys, whole = Keys(user_config.user_keys), completed.model_dump(by_alias=True)
    form = untrained(completed).target.form
    long_text = any(side.kind == "long_text" for side in completed.sources)  # its batch is of places
    dimensions = []
    for row in ROWS:
        default = _default(row, whole)
        is_open = not any(keys.gives(key) for key in (row.key, *row.unless))
        is_number = isinstance(default, int | float) or isinstance(row.values, OneOf)
        if form in row.forms and is_open and is_number and not (long_text and row.key == "train.batch_size"):
            dimensions.append(Dimension(row, default))
    return dimensions


def _default(row: Row, whole: Mapping[str, Any]) -> Any:
    """The value of the row's key; one of the row's values if it means the same; None if there is none."""
    here: Any = whole
    for name in row.key.split("."):
        here = here.get(name) if isinstance(here, Mapping) else None
    if row.key == "model.attention" and isinstance(row.values, OneOf):
        same = (value for value in row.values.values if Attention.model_validate(value).model_dump() == here)
        return next(same, here)
    return here
