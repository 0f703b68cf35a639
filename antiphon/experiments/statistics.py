"""Intervals over seeds, and whether two settings differ by more than chance: of their seeds and of the test rows.

A setting's mean has an interval of Student's t over its seeds. Two settings are compared by Welch's t (1947, The
generalization of "Student's" problem when several different population variances are involved, Biometrika
34) of the difference of their means, whose squared standard error has three parts:

    s_a^2 / n_a + s_b^2 / n_b     by how much the seeds of each setting differ
    sum over rows of d_r^2        by how much each test row moves the difference of the means, rows paired (the delta
                                  method, Efron & Tibshirani 1993, chapter 5, as in antiphon/training/choice.py)

with the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2), that is
(sum of the parts)^2 / (sum of each part^2 / its degrees of freedom). Seeds and rows are crossed, and the parts of both
are added, which counts their interaction twice: the test errs on the careful side (Owen 2007, The pigeonhole bootstrap,
Annals of Applied Statistics 1, shows the same of drawing both anew). Both belong in it: Bouthillier et al. 2021,
Accounting for variance in machine learning benchmarks, arXiv 2103.03098. Several comparisons with one baseline are
corrected as in Holm (1979, Scandinavian Journal of Statistics 6).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NORMAL = 1e6  # degrees of freedom from which Student's t is as good as normal
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def student_p(t: float, freedom: float) -> float:
    """The two-sided p of Student's t with so many degrees of freedom, at least 1.

    With x = sqrt(freedom) tan(angle) the density is a power of the cosine, which is integrated numerically.
    """
    if freedom >= NORMAL or not math.isfinite(t):
        return 2 * statistics.NormalDist().cdf(-abs(t))
    return _tail(abs(t), freedom) / _tail(0.0, freedom)


def _tail(t: float, freedom: float) -> float:
    """The integral of cos^(freedom - 1) over the angles of all larger t (Gauss-Legendre)."""
    root = math.sqrt(freedom)
    angle, end = math.atan(t / root), math.pi / 2 if freedom < 100 else math.atan((t + 30) / root)  # behind it: nothing
    half = (end - angle) / 2
    return float(half * WEIGHTS @ np.cos(angle + half * (NODES + 1)) ** (freedom - 1))


def student_quantile(freedom: float, p: float = 0.05) -> float:
    """The t whose two-sided p is `p`: 12.7 for 1 degree of freedom, 2.78 for 4."""
    low, high = 0.0, 1e6
    while high - low > 1e-10 * max(1.0, low):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > p else (low, middle)
    return high


def half_interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95% interval of the mean of `values`, one a seed; None for a single one."""
    if len(values) < 2:
        return None
    return student_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def difference_p(
    first: Sequence[float], other: Sequence[float], influence: NDArray[np.float64] | None = None
) -> float | None:
    """The p of the difference of two settings, each with its values, one a seed.

    `influence` [rows] says by how much each test row moves the difference of the means; None if it is not known. None
    if there are neither several seeds nor rows. A setting with a single seed adds no part for its seeds.
    """
    parts = [
        (statistics.variance(values) / len(values), len(values) - 1) for values in (first, other) if len(values) > 1
    ]
    if influence is not None and len(influence) > 1:
        parts.append((float((influence**2).sum()), len(influence) - 1))
    if not parts:
        return None
    difference = statistics.fmean(other) - statistics.fmean(first)
    squared = sum(part for part, _ in parts)
    if difference == 0 or squared == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = squared**2 / sum(part**2 / free for part, free in parts)
    return student_p(difference / math.sqrt(squared), max(1.0, freedom))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The same p, corrected for how many comparisons there are; None stays."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[place] = largest
    return corrected
