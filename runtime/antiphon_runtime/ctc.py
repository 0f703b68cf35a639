"""The outputs of a model with CTC: labels found from log p of all frames (Graves et al. 2006, ICML).

The searches are those of `antiphon/model/parts/ctc.py`, for one row at a time: a change of one is a change of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.common.symbols import EOS, UNK
from antiphon_runtime.search import Hypothesis

Array = NDArray[Any]
BLANK = EOS  # no frame predicts the end symbol, so its class is the blank
NEVER = np.float32(-np.inf)


def outputs(log_probs: Array, width: int) -> list[Hypothesis]:
    """The labels of a row with log p [frames, symbols], found by a beam over prefixes (with width 1 by the best path),
    each with its whole log p, the best first. No frame writes the unknown symbol."""
    searched = log_probs.copy()
    searched[:, UNK] = NEVER
    labellings = [best_path(searched)] if width == 1 else prefix_search(searched, width)
    scored = [Hypothesis(labels, log_likelihood(log_probs, labels)) for labels in labellings]
    return sorted(scored, key=lambda hypothesis: -hypothesis.score)


def best_path(log_probs: Array) -> tuple[int, ...]:
    """The labels of the most probable path: one of equal neighbours is kept, then blanks are dropped."""
    path = log_probs.argmax(-1)
    new = np.concatenate([[True], path[1:] != path[:-1]])
    return tuple(path[new & (path != BLANK)].tolist())


def log_likelihood(log_probs: Array, labels: Sequence[int]) -> float:
    """log p of labels, summed over all their paths by the forward algorithm."""
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)  # a label may follow the one before it without a blank if they differ
    skips[3::2] = states[3::2] != states[1:-2:2]
    forward = np.full(len(states), NEVER)
    forward[:2] = log_probs[0, states[:2]]
    for frame in log_probs[1:]:
        before = np.concatenate([[NEVER], forward[:-1]])
        skipped = np.where(skips, np.concatenate([[NEVER, NEVER], forward])[: len(states)], NEVER)
        forward = np.logaddexp(np.logaddexp(forward, before), skipped) + frame[states]
    return float(np.logaddexp.reduce(forward[-2:]))


def prefix_search(log_probs: Array, width: int) -> list[tuple[int, ...]]:
    """The labellings that a beam of `width` prefixes finds, the most probable first (Hannun et al. 2014, arXiv
    1408.2873): paths that lead to one prefix are added up, apart by whether they end with a blank."""
    prefixes: list[tuple[int, ...]] = [()]
    on_blank, on_label = np.zeros(1, np.float32), np.full(1, NEVER)  # log p of the paths of each prefix
    for frame in log_probs:
        whole = np.logaddexp(on_blank, on_label)
        last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])
        rows = np.arange(len(prefixes))
        before = np.repeat(whole[:, None], len(frame), 1)
        before[rows, last] = on_blank  # a label follows itself only after a blank
        longer = before + frame
        longer[:, BLANK] = NEVER
        stays = np.where(last == BLANK, NEVER, on_label + frame[last])
        places = {prefix: place for place, prefix in enumerate(prefixes)}
        for place, prefix in enumerate(prefixes):
            parent = places.get(prefix[:-1]) if prefix else None
            if parent is not None:  # both ways to a prefix of the beam are one
                stays[place] = np.logaddexp(stays[place], longer[parent, prefix[-1]])
                longer[parent, prefix[-1]] = NEVER
        blanks = whole + frame[BLANK]
        total = np.concatenate([np.logaddexp(blanks, stays), longer.ravel()])
        best = np.argsort(-total, kind="stable")[:width]
        best = best[total[best] > NEVER]
        kept = best < len(prefixes)
        origin = np.where(kept, best, (best - len(prefixes)) // len(frame))
        symbol = (best - len(prefixes)) % len(frame)
        on_blank = np.where(kept, blanks[origin], NEVER)
        on_label = np.where(kept, stays[origin], total[best])
        prefixes = [
            prefixes[start] if stay else (*prefixes[start], int(label))
            for stay, start, label in zip(kept, origin, symbol, strict=True)
        ]
    total = np.logaddexp(on_blank, on_label)
    return [prefixes[place] for place in np.argsort(-total, kind="stable") if total[place] > NEVER]
