"""One symbol after the other: the most probable one, or one that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, PAD
from antiphon.decoding.hypothesis import Hypothesis, content
from antiphon.decoding.step import Limits, Rule, StepFunction, allowed, largest
from antiphon.model.state import S

Choose = Callable[[Tensor, Tensor], Tensor]
"""ranked log-probabilities [rows, symbols] and the rows' numbers [rows] -> the symbols chosen [rows]."""


class Chosen(NamedTuple):
    """A step of a search without a beam: the `symbols` of the `live` rows [n], log p of each (-inf: the rules forbid
    every symbol, and the end symbol stands there), and the `tokens` of all rows so far [sources, longest], padded."""

    live: Tensor
    symbols: Tensor
    log_probs: Tensor
    tokens: Tensor


def choices(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    first: Tensor | None = None,
    choose: Choose | None = None,
    rules: Sequence[Rule] = (),
) -> Iterator[Chosen]:
    """The most probable symbol at every step, or the one that `choose` draws. Finished rows leave the batch.

    `first` [sources] is what the model reads first, by default BOS.
    """
    live = torch.arange(sources, device=device)
    tokens = torch.full((sources, limits.max_length + 1), PAD, dtype=torch.long, device=device)
    last = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    for length in range(limits.max_length + 1):
        answer = step(last, state)
        prefixes = tokens[live, :length] if rules else tokens[:, :length]
        ranked = allowed(answer.log_probs, prefixes, live, 1, limits, rules)
        last = largest(ranked, 1)[1].squeeze(1) if choose is None else choose(ranked, live)
        log_probs = answer.log_probs.gather(1, last[:, None])[:, 0]
        if rules:  # which may forbid every symbol
            stuck = ranked.gather(1, last[:, None])[:, 0] == -torch.inf
            last, log_probs = last.masked_fill(stuck, EOS), log_probs.masked_fill(stuck, -torch.inf)
        tokens[live, length] = last
        yield Chosen(live, last, log_probs, tokens)
        going = (last != EOS).nonzero().flatten()
        if not len(going):
            break
        state = answer.state
        if len(going) < len(last):
            live, last, state = live[going], last[going], state.select(going)


def greedy(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    first: Tensor | None = None,
    choose: Choose | None = None,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """The outputs that `choices` makes, each with its score."""
    scores = torch.zeros(sources, device=device)
    for chosen in choices(step, state, sources, device, limits, first, choose, rules):
        scores[chosen.live] += chosen.log_probs
    return [
        [Hypothesis(content(row), score, score)] if score > -torch.inf else []
        for row, score in zip(chosen.tokens.tolist(), scores.tolist(), strict=True)
    ]


def sampler(
    temperature: float, top_k: int, top_p: float, noise: Sequence[np.random.Generator], padded: bool = False
) -> Choose:
    """Draw each symbol from softmax(log p / temperature), among the `top_k` most probable (0: all), and of these
    among the fewest that hold `top_p` of the probability (Holtzman et al. 2020, arXiv 1904.09751).

    Each row draws from its own `noise`, by its largest log p / temperature + Gumbel noise, so that it never depends
    on the rows beside it; with `padded` these may add symbols behind its own, which are never drawn.
    """

    def drawn(row: int, symbols: int) -> NDArray[np.float64]:
        generator = np.random.default_rng(noise[row].integers(1 << 62)) if padded else noise[row]
        return generator.gumbel(size=symbols)

    def choose(log_probs: Tensor, rows: Tensor) -> Tensor:
        scores = log_probs.double() / temperature
        if top_k and top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(top_k, -1).values[:, -1:], -torch.inf)
        if top_p < 1:
            ordered, place = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
            beyond = ordered.cumsum(-1) - ordered >= top_p  # the first to reach it still counts
            scores = scores.masked_fill(torch.zeros_like(beyond).scatter(1, place, beyond), -torch.inf)
        gumbel = np.stack([drawn(row, scores.shape[-1]) for row in rows.tolist()])
        return (scores + torch.from_numpy(gumbel).to(scores.device)).argmax(-1)

    return choose
