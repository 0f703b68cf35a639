"""A softmax at every place of the source, mixed by where the decoder may stand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from antiphon.common.symbols import EOS, FIRST_OUTPUT, UNK
from antiphon.model.parts.attention.base import NEVER
from antiphon.model.parts.heads.base import SymbolHead, at_positions, class_logits, judge_symbols, output_matrix
from antiphon.model.parts.heads.cross_entropy import CrossEntropy, in_pieces
from antiphon.model.state import at_least_float32


class Placed(NamedTuple):
    """The features of a step whose place in the source is hidden.

    In training each begins with [B, T], for single steps with [R].
    """

    prior: Tensor  # [..., S]: log p(a_t = i | y_<t)
    places: Tensor  # [..., S, features]: the readout of each place
    copy_ids: Tensor | None = None  # [..., S]: the id that is written when the symbol of a place is copied
    ends: Tensor | None = None  # [..., S]: whether the output may end at a place; None: everywhere
    reference: Tensor | None = None  # [..., S]: log p of the reference at each place, where it is known already
    emission: Tensor | None = None  # [..., S, symbols]: log p of every symbol at each place, likewise


class MixtureHead(SymbolHead[Placed]):
    """p(y_t | y_<t) = sum_i p(a_t = i | y_<t) p(y_t | a_t = i, y_<t), a softmax at each place i of the source.

    With `copies` a place may also write its own symbol: p(y | i) = p_gen,i P_vocab,i(y) + (1 - p_gen,i) [y is x_i],
    where symbols of the source that are not in the vocabulary have ids from `symbols` on, as in `PointerHead`. The
    matrix may be another part's, as in `SoftmaxHead`.
    """

    def __init__(self, features: int, symbols: int, weight: nn.Parameter | None = None, copies: bool = False) -> None:
        super().__init__()
        self.weight = output_matrix(symbols, features) if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.gate = nn.Linear(features, 1) if copies else None

    def kept(self, features: Placed, positions: Tensor) -> Placed:
        prior, places, *others = features
        some = (None if values is None else at_positions(values, positions) for values in others)
        return Placed(at_positions(prior, positions), at_positions(places, positions), *some)

    def _logits(self, places: Tensor) -> Tensor:
        return class_logits(places, self.weight, self.bias, FIRST_OUTPUT)

    def _gates(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """log p_gen and log(1 - p_gen) of every place [..., S]."""
        assert self.gate is not None
        gate = at_least_float32(self.gate(places).squeeze(-1))
        return functional.logsigmoid(gate), functional.logsigmoid(-gate)

    def emission(self, features: Placed) -> Tensor:
        """log p(y | a_t = i) of every symbol [..., S, symbols], or with copies [..., S, symbols + S]."""
        if features.emission is not None:
            return features.emission
        logits = self._logits(features.places)
        if features.ends is not None:
            is_end = torch.arange(logits.shape[-1], device=logits.device) == EOS
            logits = logits.masked_fill(~features.ends[..., None] & is_end, -torch.inf)
        generated = torch.log_softmax(logits, -1).clamp(min=NEVER)
        if features.copy_ids is None:
            return generated
        written, copied = self._gates(features.places)
        whole = written[..., None] + self._with_row_symbols(generated, features.copy_ids)
        ids = features.copy_ids[..., None]
        return whole.scatter(-1, ids, torch.logaddexp(whole.gather(-1, ids), copied[..., None]))

    def _with_row_symbols(self, generated: Tensor, copy_ids: Tensor) -> Tensor:
        """log P_vocab of symbols and of the row's symbols that are not in the vocabulary [..., S, symbols + S].

        These share the probability of UNK evenly, with UNK itself: so one that an alignment has passed can still be
        written, and p of no output is zero.
        """
        symbols, steps = generated.shape[-1], copy_ids.shape[-1]
        places = generated.new_zeros(*copy_ids.shape[:-1], symbols + steps)
        there = places.scatter(-1, copy_ids, torch.ones_like(copy_ids, dtype=places.dtype))[..., symbols:]
        share = generated[..., UNK : UNK + 1] - torch.log1p(there.sum(-1))[..., None, None]
        beyond = torch.where(there[..., None, :] > 0, share, NEVER)
        return torch.cat([generated[..., :UNK], share, generated[..., UNK + 1 :], beyond], -1)

    def emitted(self, features: Placed, targets: Tensor) -> Tensor:
        """log p(y | a_t = i) of the targets alone: features of steps [...], targets [...] -> [..., S]; 0 at padding."""
        if features.reference is not None:
            return features.reference
        if features.emission is not None:
            return gathered(features.emission, targets)
        lead, steps = targets.shape, features.places.shape[-2]
        per_place = (None if value is None else value.flatten(0, -2) for value in (features.copy_ids, features.ends))
        pieces = self._pieces(steps, targets.flatten(), features.places.flatten(0, -3), *per_place)
        made = [checkpoint(self._emitted, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        return torch.cat(made).view(*lead, steps)

    def _pieces(self, steps: int, *values: Tensor | None) -> list[tuple[Tensor | None, ...]]:
        """Values [N, ...], some of them None, in pieces whose distributions at so many places can be kept."""
        there = [value for value in values if value is not None]
        pieces = map(iter, in_pieces(CrossEntropy.PRODUCT, steps * (len(self.weight) + steps), *there))
        return [tuple(None if value is None else next(piece) for value in values) for piece in pieces]

    def _emitted(
        self, targets: Tensor, places: Tensor, copy_ids: Tensor | None = None, ends: Tensor | None = None
    ) -> Tensor:
        return gathered(self.emission(Placed(places[..., 0], places, copy_ids, ends)), targets)

    def log_probs(self, features: Placed) -> Tensor:
        """Features of steps [...] -> log p [..., symbols], with copies [..., symbols + S], in float32."""
        log_probs = torch.logsumexp(features.prior[..., None] + self.emission(features), -2)
        ids = torch.arange(log_probs.shape[-1], device=log_probs.device)
        elsewhere = (ids >= len(self.weight)) & (log_probs < NEVER / 2)  # symbols of sources beside this one
        return log_probs.masked_fill((ids < FIRST_OUTPUT) | elsewhere, -torch.inf)

    def of_targets(self, features: Placed, targets: Tensor) -> Tensor:
        return torch.logsumexp(features.prior + self.emitted(features, targets), -1)

    def judge(self, features: Placed, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        steps = features.places.shape[-2]
        return judge_symbols(self, features, targets, positions, steps * (len(self.weight) + steps))

    def with_emission(self, features: Placed) -> Placed:
        """Features with log p of every symbol at every place, if that is small enough to be kept in training."""
        steps = features.places.shape[-2]
        size = features.prior.numel() * (len(self.weight) + (0 if features.copy_ids is None else steps))
        return features._replace(emission=self.emission(features)) if size <= CrossEntropy.PRODUCT else features

    def _even(self, *features: Tensor | None) -> Tensor:
        """-log p of a class, the mean over all of the vocabulary, summed over some steps."""
        return self._evenly(Placed(*features))  # type: ignore[arg-type]

    def _evenly(self, features: Placed) -> Tensor:
        log_probs = self.log_probs(features)
        first = FIRST_OUTPUT if features.ends is None else EOS + 1  # an end that has to wait is not smoothed
        return -log_probs[:, first : len(self.weight)].mean(-1).sum()

    def objective(
        self, features: Placed, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As for `SoftmaxHead`, with smoothing over the vocabulary. Symbols have no weights.

        With many steps the distributions are computed piece by piece, and again in the backward pass.
        """
        kept = self.kept(features, positions)
        nll = -self.of_targets(kept, at_positions(targets, positions)).sum()
        if not smoothing:
            return nll, nll.detach()
        if kept.emission is not None:
            return (1 - smoothing) * nll + smoothing * self._evenly(kept), nll.detach()
        pieces = self._pieces(kept.places.shape[-2], kept.prior, kept.places, kept.copy_ids, kept.ends)
        even = torch.stack(
            [
                self._even(*piece)
                if len(pieces) == 1
                else checkpoint(self._even, *piece, use_reentrant=False, preserve_rng_state=False)
                for piece in pieces
            ]
        ).sum()
        return (1 - smoothing) * nll + smoothing * even, nll.detach()


def gathered(emission: Tensor, targets: Tensor) -> Tensor:
    """log p of targets [...] at every place [..., S], from that of every symbol; 0 at padding."""
    values = emission.gather(-1, targets[..., None, None].expand(*emission.shape[:-1], 1)).squeeze(-1)
    return values.masked_fill((targets < FIRST_OUTPUT)[..., None], 0.0)
