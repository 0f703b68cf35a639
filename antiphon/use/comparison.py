"""Are two models different, or is it chance? Their metrics on the same rows, and a paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.data.memory import files_or_rows
from antiphon.errors import DataError
from antiphon.evaluation.influences import Sums
from antiphon.use.predictor import Predictor
from antiphon.use.scores import Data

PIECE = 1 << 22  # counts drawn at a time


@dataclass(frozen=True)
class Difference:
    """A metric of the first model and of another on the same rows.

    `low` and `high` bound 95% of the differences (other less first) over rows drawn anew; `p` is how probable a
    difference at least as far from zero would be, were there none: twice the smaller share of draws on either side of
    zero, those at zero counted in both, and one more in each (so that it is never 0, however few the draws are).
    """

    metric: str
    first: str
    other: str
    rows: int
    first_value: float
    other_value: float
    difference: float
    low: float
    high: float
    p: float

    def line(self) -> str:
        """As the command prints it."""
        sure = "significant" if self.p < 0.05 else "may be chance"
        return (
            f"{self.metric:18} {self.first_value:9.4f} {self.first}  {self.other_value:9.4f} {self.other}  "
            f"difference {self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]  p {self.p:.3f}  {sure}"
        )


def compare(
    models: Sequence[Predictor],
    data: Data,
    samples: int = 1000,
    seed: int = 1,
    beam: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Difference]:
    """Every model but the first against the first, on the rows of `data`, metric by metric.

    Metrics are those that are one sum over rows by another; rows are drawn anew `samples` times, as many as there are,
    for both models alike (Koehn 2004, Statistical significance tests for machine translation evaluation). Models need
    not have the same vocabularies; `loss` can be compared only where they write the same symbols.
    """
    data = files_or_rows(data)
    (rows, first_sums), *others = [model.row_sums(data, beam, settings) for model in models]
    first = models[0]
    differences = []
    for model, (other_rows, sums) in zip(models[1:], others, strict=True):
        if [(row.file, row.line) for row in rows] != [(row.file, row.line) for row in other_rows]:
            reason = "does not take the same rows; compare models with the same data.max_length and data.references"
            raise DataError(f"{model.folder}: {reason} as {first.folder}")
        for metric in (name for name in first_sums if name in sums):
            base, other = first_sums[metric], sums[metric]
            drawn = np.concatenate(list(_differences(base, other, samples, seed)))
            low, high = np.quantile(drawn, [0.025, 0.975])
            p = min(1.0, 2 * (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (samples + 1))
            differences.append(
                Difference(
                    metric, str(first.folder), str(model.folder), len(rows),
                    base.total, other.total, other.total - base.total, float(low), float(high), p,
                )
            )  # fmt: skip
    return differences


def _differences(base: Sums, other: Sums, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """The difference of a metric over rows drawn anew, `samples` times in all."""
    count = len(base.above)
    chance = np.random.default_rng(seed)
    columns = np.stack([base.above, base.below, other.above, other.below], 1)
    while samples:
        piece = min(samples, max(1, PIECE // count))
        drawn = chance.multinomial(count, np.full(count, 1 / count), size=piece) @ columns
        yield drawn[:, 2] / np.maximum(drawn[:, 3], 1e-300) - drawn[:, 0] / np.maximum(drawn[:, 1], 1e-300)
        samples -= piece
