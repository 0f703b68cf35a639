"""The tree of a beam's prefixes, put together while the search runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from antiphon.common.symbols import EOS
from antiphon.decoding.beam import Extended
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.decoding.plan import Search
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Beam, Node, Token


@dataclass
class Tree:
    """All prefixes of one source's beam, put together while it is watched."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    prefixes: list[tuple[int, ...]] = field(default_factory=list)
    _rows: list[int] | None = None  # the node of each of the beam's prefixes; at first all are the empty one

    def __call__(self, seen: Extended) -> None:
        if self._rows is None:
            self._add(None, None, 0.0, "kept")
            self._rows = [0] * seen.going.shape[1]
        origin, symbol, score, rank, ends, going, alive = (values[0].tolist() for values in seen[1:])
        kept = {place for place, lives in zip(going, alive, strict=True) if lives}
        made: dict[int, int] = {}
        for place, parent in enumerate(origin):
            if rank[place] > -np.inf:
                status = "finished" if ends[place] else "kept" if place in kept else "pruned"
                made[place] = self._add(self._rows[parent], symbol[place], score[place], status)
        self._rows = [made.get(place, 0) for place in going]  # those that are not alive are never extended

    def _add(self, parent: int | None, symbol: int | None, score: float, status: str) -> int:
        self.nodes.append({"id": len(self.nodes), "parent": parent, "log_prob": rounded(score), "status": status})
        self.prefixes.append(() if parent is None or symbol is None else (*self.prefixes[parent], symbol))
        return len(self.nodes) - 1

    def trace(self, search: Search, name: Callable[[int], Token], hypotheses: Sequence[Hypothesis]) -> Beam:
        """The tree, with the names of its ids and the places of the final outputs."""
        ranks = {(*output.tokens, EOS): (place, rounded(output.rank_score)) for place, output in enumerate(hypotheses)}
        nodes = []
        for node, prefix in zip(self.nodes, self.prefixes, strict=True):
            token = name(prefix[-1]) if prefix else None
            rank, rank_score = ranks.get(prefix, (None, None)) if node["status"] == "finished" else (None, None)
            nodes.append(Node(**node, token=token, rank=rank, rank_score=rank_score))
        settings = search.settings
        return Beam(width=settings.beam, length_penalty=settings.length_penalty, nodes=nodes)
