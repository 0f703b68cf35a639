"""A softmax that may copy symbols of the source."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from antiphon.common.symbols import FIRST_OUTPUT, PAD, UNK
from antiphon.model.parts.attention.base import NEVER
from antiphon.model.parts.heads.base import SymbolHead, at_positions, class_logits, judge_symbols, output_matrix
from antiphon.model.parts.heads.cross_entropy import CrossEntropy, in_pieces
from antiphon.model.state import at_least_float32


class Pointed(NamedTuple):
    """The features of a step that may copy: its readout, and how it points at the source.

    In training each begins with [B, T], for single steps with [R].
    """

    readout: Tensor  # [..., features]
    gate: Tensor  # [...]: the logit of p_gen
    attention: Tensor  # [..., S]
    copy_ids: Tensor  # [..., S]: the id that is written when a step of the source is copied


class PointerHead(SymbolHead[Pointed]):
    """A softmax over the vocabulary, mixed with the symbols that attention points at (See et al. 2017, arXiv
    1704.04368, eq. 9):

    p(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: source step i is w} a_i

    Where attention points at what cannot be copied (a step of another source, whose copy id is PAD), its share of
    1 - p_gen goes to p_gen, so that p adds up to 1. Symbols of a row's source that are not in the vocabulary have ids
    from `symbols` on, of which a row has at most as many as its sources have steps. The matrix may be another part's,
    as in `SoftmaxHead`.
    """

    def __init__(self, features: int, symbols: int, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = output_matrix(symbols, features) if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(symbols))

    def kept(self, features: Pointed, positions: Tensor) -> Pointed:
        return Pointed(*(at_positions(values, positions) for values in features))

    def _logits(self, readout: Tensor) -> Tensor:
        return class_logits(readout, self.weight, self.bias, FIRST_OUTPUT)

    def _shares(self, features: Pointed) -> tuple[Tensor, Tensor]:
        """log p_gen P_vocab [..., symbols], and the logarithm of what is copied [..., symbols + S]."""
        written, attention = _divided(features)
        written = written[..., None]
        generated = torch.log_softmax(self._logits(features.readout), -1)
        lead, steps = attention.shape[:-1], attention.shape[-1]
        copied = attention.new_zeros(*lead, len(self.weight) + steps).scatter_add(-1, features.copy_ids, attention)
        return written + generated, _log_not(features.gate)[..., None] + _log(copied)

    def log_probs(self, features: Pointed) -> Tensor:
        """Features of steps [...] -> log p [..., symbols + S], in float32."""
        generated, copied = self._shares(features)
        beyond = copied.shape[-1] - generated.shape[-1]
        finite = functional.pad(generated.clamp(min=NEVER), (0, beyond), value=NEVER)  # else gradients are NaN
        log_probs = torch.logaddexp(finite, copied)
        return log_probs.masked_fill(log_probs < NEVER / 2, -torch.inf)

    def nll(self, features: Pointed, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features of N steps, targets [N] -> [N]."""
        known = targets < len(self.weight)
        logits = self._logits(features.readout)
        vocabulary_nll = functional.cross_entropy(logits, targets.where(known, UNK), reduction="none")
        written, attention = _divided(features)
        copied = (attention * (features.copy_ids == targets[:, None])).sum(-1)
        generated = (written - vocabulary_nll).masked_fill(~known, -torch.inf)
        return -torch.logaddexp(generated, _log_not(features.gate) + _log(copied))

    def of_targets(self, features: Pointed, targets: Tensor) -> Tensor:
        return -self.nll(features, targets)

    def judge(self, features: Pointed, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return judge_symbols(self, features, targets, positions, len(self.weight) + features.copy_ids.shape[-1])

    def _summed(self, smoothing: float, targets: Tensor, *features: Tensor) -> tuple[Tensor, Tensor]:
        """The objective and -log p, summed over some steps."""
        kept = Pointed(*features)
        nll = self.nll(kept, targets).sum()
        if not smoothing:
            return nll, nll
        symbols = slice(FIRST_OUTPUT, len(self.weight))
        generated, copied = self._shares(kept)
        even = -torch.logaddexp(generated[:, symbols], copied[:, symbols]).mean(-1).sum()
        return (1 - smoothing) * nll + smoothing * even, nll

    def objective(
        self, features: Pointed, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As for `SoftmaxHead`, with smoothing over the vocabulary. Symbols have no weights.

        With many steps the distributions are computed piece by piece, and again in the backward pass.
        """
        kept, kept_targets = self.kept(features, positions), at_positions(targets, positions)
        pieces = list(in_pieces(CrossEntropy.PRODUCT, len(self.weight) + kept.copy_ids.shape[-1], kept_targets, *kept))
        if len(pieces) == 1:
            sums = [self._summed(smoothing, *pieces[0])]
        else:
            sums = [
                checkpoint(self._summed, smoothing, *piece, use_reentrant=False, preserve_rng_state=False)
                for piece in pieces
            ]
        objective, nll = (torch.stack(values).sum() for values in zip(*sums, strict=True))
        return objective, nll.detach()


def _divided(features: Pointed) -> tuple[Tensor, Tensor]:
    """log p_gen with the share of what cannot be copied [...], and the attention at what can [..., S]."""
    attention, gate = at_least_float32(features.attention), features.gate
    nothing = features.copy_ids == PAD
    share = _log(attention.where(nothing, 0.0).sum(-1))
    written = torch.logaddexp(functional.logsigmoid(at_least_float32(gate)), _log_not(gate) + share)
    return written, attention.masked_fill(nothing, 0.0)


def _log(values: Tensor) -> Tensor:
    """log of values that are not negative; for 0 it is -inf, with a gradient that is not NaN."""
    smallest = torch.finfo(values.dtype).tiny
    return torch.where(values > 0, values.clamp(min=smallest).log(), -torch.inf)


def _log_not(gate: Tensor) -> Tensor:
    """log(1 - p) of the logits of p."""
    return functional.logsigmoid(-at_least_float32(gate))
