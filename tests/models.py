"""Small models in every combination, and a covering set of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS
from antiphon.config.schema import Model
from antiphon.data.batches import Padded, Sequences, pad
from antiphon.errors import ConfigError
from antiphon.model.build import many_to_many
from antiphon.model.models import Writer
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.recurrent import Cell

AXES: dict[str, Sequence[Any]] = {
    "cell": tuple(CELLS),
    "varied": (False, True),  # layer normalisation, zoneout and an LSTM's rounds, and what stands between layers
    "encoder_layers": (1, 2),
    "decoder_layers": (1, 2, 3),
    "bidirectional": (True, False),
    "residual": (False, True),
    "context": ("last", "projected_last", "projected_all", "none"),
    "pool": ("mean", "max", "attention"),
    "to": ("initial_state", "every_step"),
    "attention": tuple(ATTENTIONS),
    "query": ("current", "previous"),
    "input_feeding": (False, True),
    "layer": ("last", "first"),
    "tie": (False, True),
}


class SideSizes(NamedTuple):
    """What a structure must know of a side."""

    part: str
    size: int
    steps: bool = True
    part_options: Mapping[str, int] = MappingProxyType({})
    begin: int = BOS


SCALES = {"rnn_relu": 0.35, "selective": 0.35}  # weights of cells whose state is not bounded
NAMES = list(AXES)
Choice = tuple[Any, ...]


def cell_of(kind: str, inputs: int, hidden: int) -> Cell:
    return CELLS.build(kind, {}, "cell", inputs=inputs, hidden=hidden)


def cell_choice(at: Mapping[str, Any]) -> Any:
    """The cell of a choice by axis: with options if it is varied."""
    if not at["varied"]:
        return at["cell"]
    rounds = {"mogrifier": 2} if at["cell"] == "lstm" else {}
    return {"kind": at["cell"], "layer_norm": True, "zoneout": 0.2, **rounds}


def settings(choice: Choice) -> Model:
    """The configuration of a choice; dot and last need decoder states as wide as the encoder's."""
    at = dict(zip(NAMES, choice, strict=True))
    context = {"from": at["context"], "to": at["to"]}
    if at["context"] == "projected_all":
        context["pool"] = at["pool"]
    between = {"norm": True, "feed_forward": 2} if at["varied"] else {}
    return Model.model_validate(
        {
            "cell": cell_choice(at),
            "embedding": 5,
            "encoder": {
                "hidden": 3 if at["bidirectional"] else 6,
                "layers": at["encoder_layers"],
                "bidirectional": at["bidirectional"],
                "residual": at["residual"],
                **between,
            },
            "context": context,
            "attention": {key: at[key] for key in ("query", "input_feeding", "layer")} | {"kind": at["attention"]},
            "decoder": {"hidden": 6, "layers": at["decoder_layers"], "residual": at["residual"], **between},
            "tie": at["tie"],
            "dropout": 0.0,
        }
    )


def refused(choice: Choice) -> bool:
    """What the design refuses: attention's options where none is read, the first of one layer, a decoder that knows
    nothing of its source."""
    at = dict(zip(NAMES, choice, strict=True))
    unread = at["attention"] in ("none", "hard", "hard_monotonic", "transducer")
    without = unread and (at["query"] == "previous" or at["input_feeding"] or at["layer"] == "first")
    blind = at["context"] == "none" and at["attention"] == "none"
    return bool(without or blind or (at["layer"] == "first" and at["decoder_layers"] == 1))


def canonical(choice: Choice) -> bool:
    """Whether a choice differs from all others: the pool only matters with projected_all."""
    at = dict(zip(NAMES, choice, strict=True))
    return bool(at["context"] == "projected_all" or at["pool"] == "mean")


def every_choice() -> Iterator[Choice]:
    """All combinations that are not refused."""
    return (c for c in itertools.product(*AXES.values()) if canonical(c) and not refused(c))


@cache
def covering() -> list[Choice]:
    """Few combinations in which every possible pair of two axes' values occurs (greedy, fixed seed)."""
    chance = random.Random(1)
    candidates = list(every_choice())

    def pairs(choice: Choice) -> set[tuple[int, Any, int, Any]]:
        return {(i, choice[i], j, choice[j]) for i, j in itertools.combinations(range(len(choice)), 2)}

    missing = {
        (i, left, j, right)
        for i, j in itertools.combinations(range(len(NAMES)), 2)
        for left, right in {(choice[i], choice[j]) for choice in candidates}
    }
    choices: list[Choice] = []
    while missing:
        best = max(chance.sample(candidates, 400), key=lambda choice: len(pairs(choice) & missing))
        gained = pairs(best) & missing
        if not gained:  # a rare pair that the sample did not hold
            expected = min(missing, key=repr)
            best = next(c for c in candidates if expected in pairs(c))
            gained = pairs(best) & missing
        missing -= gained
        choices.append(best)
    return choices


def name(choice: Choice) -> str:
    return "-".join(str(value) for value in choice)


def make(choice: Choice, source_symbols: int = 9, target_symbols: int = 8, seed: int = 0) -> Writer:
    """An untrained model with weights large enough that its outputs differ from row to row.

    A rectified state is not bounded: under such weights it dies or grows by orders of magnitude, and
    rounding with it, so the weights of the cells are smaller and biases positive. A selective cell multiplies
    what it makes of its input three times with each other: the weights of such a cell are smaller too.
    """
    torch.manual_seed(seed)
    kind = choice[NAMES.index("cell")]
    relu, scale = kind == "rnn_relu", SCALES.get(kind, 0.6)
    model = many_to_many(settings(choice), [SideSizes("symbols", source_symbols)], SideSizes("symbols", target_symbols))
    with torch.no_grad():
        for label, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (scale if "cells." in label else 0.6))
            if relu and parameter.dim() == 1:
                parameter.add_(0.3)
        model.embedding.weight[PAD] = 0
        model.get_parameter("source.embedding.weight")[PAD] = 0
    return model.eval()


def sources(count: int, seed: int = 0, symbols: int = 9) -> list[list[int]]:
    """Random sources of 1 to 7 symbols, each with its end symbol."""
    chance = random.Random(seed)
    return [[chance.randrange(SPECIALS, symbols) for _ in range(chance.randint(1, 7))] + [EOS] for _ in range(count)]


def pad_sources(rows: Sequence[Sequence[int]]) -> Padded:
    """Ids padded to [B, S], and their lengths [B]."""
    return pad(Sequences(rows), np.arange(len(rows)))


def targets(count: int, seed: int = 1, symbols: int = 8, longest: int = 6) -> tuple[Tensor, Tensor]:
    """Random targets [count, T]: what a decoder reads, and what it writes."""
    chance = random.Random(seed)
    rows = [
        [chance.randrange(SPECIALS, symbols) for _ in range(chance.randint(0, longest))] + [EOS] for _ in range(count)
    ]
    out, _ = pad_sources(rows)
    return torch.cat([torch.full((count, 1), BOS), out[:, :-1]], 1), out


__all__ = [
    "AXES",
    "ConfigError",
    "covering",
    "every_choice",
    "make",
    "name",
    "pad_sources",
    "refused",
    "settings",
    "sources",
    "targets",
]


def assert_slopes(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Every parameter's gradient of a loss in float64 equals finite differences along a random direction."""
    loss().backward()  # type: ignore[no-untyped-call]
    torch.manual_seed(1)
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{label} has no part in the loss"
        direction = torch.randn_like(parameter)
        slope, step = float((parameter.grad * direction).sum()), 1e-6
        with torch.no_grad():
            parameter.add_(step * direction)
            above = float(loss())
            parameter.sub_(2 * step * direction)
            below = float(loss())
            parameter.add_(step * direction)
        assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-5), label
