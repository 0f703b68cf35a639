"""Heads: readout features to log-probabilities or to a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from antiphon.common.symbols import EOS, FIRST_OUTPUT, PAD, SPECIALS, UNK
from antiphon.model.parts import crf, ctc
from antiphon.model.state import at_least_float32
from antiphon.registry import Table

F = TypeVar("F")
BLANK = EOS  # of CTC: no frame says the end symbol, so its class is free


class Head(nn.Module, Generic[F]):
    """What readout features say of their steps: a loss in training, an answer in use.

    Features F are a tensor [B, T, features] for most heads. `positions` are the flat indices (row by row) of the N
    steps that are not padding; `targets` are [B, T], or [B, T, numbers]. What a head gives has one entry for each
    position, in their order.
    """

    stepwise: ClassVar[bool] = True  # whether the answer to a step depends on this step's features alone

    def judge(self, features: F, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of every target, and whether the answer is right, each [N]."""
        raise NotImplementedError

    def objective(
        self, features: F, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What training minimises, and the loss of the targets without gradient, each summed over all positions.

        `smoothing` and the `weights` [symbols] of classes act on what is minimised alone, and only where targets are
        classes.
        """
        raise NotImplementedError

    def answer(self, features: F, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What is said, ids [N] or numbers [N, size]; and log p of every class [N, size], or again the numbers."""
        raise NotImplementedError


class SymbolHead(Head[F]):
    """A head whose steps each have a distribution over symbols, so that symbols can be said one by one."""

    weight: nn.Parameter  # [symbols, features]

    def kept(self, features: F, positions: Tensor) -> F:
        """Features of N steps, those at the positions."""
        raise NotImplementedError

    def log_probs(self, features: F) -> Tensor:
        """Features of steps [...] -> log p [..., symbols], in float32."""
        raise NotImplementedError

    def best(self, features: F) -> Tensor:
        """Features of steps [...] -> the most probable symbol's id [...]."""
        return self.log_probs(features).argmax(-1)


class SoftmaxHead(SymbolHead[Tensor]):
    """A softmax over symbols or labels: p(y_t | ...) = softmax(W f_t + b).

    Ids below `first` are no classes of it: their log-probability is -inf. For symbols these are the padding and
    begin symbols. `weight` [symbols, features] may be another part's parameter (tied embeddings, Press & Wolf
    2017, arXiv 1608.05859).
    """

    def __init__(
        self, features: int, symbols: int, weight: nn.Parameter | None = None, first: int = FIRST_OUTPUT
    ) -> None:
        super().__init__()
        self.weight = _matrix(symbols, features) if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.first = first

    def _logits(self, features: Tensor) -> Tensor:
        return _logits(features, self.weight, self.bias, self.first)

    def kept(self, features: Tensor, positions: Tensor) -> Tensor:
        return _kept(features, positions)

    def log_probs(self, features: Tensor) -> Tensor:
        logits = self._logits(features)
        return _consumed(logits) if logits.is_inference() else torch.log_softmax(logits, -1)

    def best(self, features: Tensor) -> Tensor:
        return self._logits(features).argmax(-1)

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features [N, features], targets [N] -> [N]."""
        return functional.cross_entropy(self._logits(features), targets, reduction="none")

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return _judged(self, features, targets, positions, len(self.weight))

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy, each target's times the weight of its class, and -log p of the targets.

        With `smoothing` e the objective is the cross-entropy to (1 - e) of the target and e spread
        evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); without, it is -log p.
        """
        kept, wanted = _kept(features, positions), _kept(targets, positions)
        objective, nll = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
            kept, self.weight, self.bias, wanted, smoothing, self.first, weights
        )
        return objective, nll

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = self.log_probs(_kept(features, positions))
        return log_probs.argmax(-1), log_probs


class Pointed(NamedTuple):
    """The features of a step that may copy: its readout, and how it points at the source.

    In training each begins with [B, T], for single steps with [R].
    """

    readout: Tensor  # [..., features]
    gate: Tensor  # [...]: the logit of p_gen
    attention: Tensor  # [..., S]
    says: Tensor  # [..., S]: the id of the symbol that each step of the source says


class PointerHead(SymbolHead[Pointed]):
    """A softmax over the vocabulary, mixed with the symbols that attention points at (See et al. 2017, arXiv
    1704.04368, eq. 9):

    p(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: source step i says w} a_i

    Symbols of a row's source that the vocabulary has not are said by ids from `symbols` on, of which a row has as many
    as its source has steps. The matrix may be another part's, as in `SoftmaxHead`.
    """

    def __init__(self, features: int, symbols: int, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = _matrix(symbols, features) if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(symbols))

    def kept(self, features: Pointed, positions: Tensor) -> Pointed:
        return Pointed(*(_kept(values, positions) for values in features))

    def _logits(self, readout: Tensor) -> Tensor:
        return _logits(readout, self.weight, self.bias, FIRST_OUTPUT)

    def _shares(self, features: Pointed) -> tuple[Tensor, Tensor]:
        """log p_gen P_vocab [..., symbols], and the logarithm of what is copied [..., symbols + S]."""
        written = functional.logsigmoid(at_least_float32(features.gate))[..., None]
        generated = torch.log_softmax(self._logits(features.readout), -1)
        attention = at_least_float32(features.attention)
        lead, steps = attention.shape[:-1], attention.shape[-1]
        copied = attention.new_zeros(*lead, len(self.weight) + steps).scatter_add(-1, features.says, attention)
        return written + generated, _log_not(features.gate)[..., None] + _log(copied)

    def log_probs(self, features: Pointed) -> Tensor:
        """Features of steps [...] -> log p [..., symbols + S], in float32."""
        generated, copied = self._shares(features)
        beyond = copied.shape[-1] - generated.shape[-1]
        return torch.logaddexp(functional.pad(generated, (0, beyond), value=-torch.inf), copied)

    def nll(self, features: Pointed, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features of N steps, targets [N] -> [N]."""
        known = targets < len(self.weight)
        logits = self._logits(features.readout)
        own = functional.cross_entropy(logits, targets.where(known, UNK), reduction="none")
        written = functional.logsigmoid(at_least_float32(features.gate))
        pointing = features.says == targets[:, None]
        copied = (at_least_float32(features.attention) * pointing).sum(-1)
        generated = (written - own).masked_fill(~known, -torch.inf)
        return -torch.logaddexp(generated, _log_not(features.gate) + _log(copied))

    def judge(self, features: Pointed, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return _judged(self, features, targets, positions, len(self.weight) + features.says.shape[-1])

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
        """As of `SoftmaxHead`, with smoothing over the vocabulary. Symbols have no weights.

        Of many steps the distributions are made piece by piece, and again in the backward pass.
        """
        kept, wanted = self.kept(features, positions), _kept(targets, positions)
        pieces = list(_pieces(_CrossEntropy.PRODUCT, len(self.weight) + kept.says.shape[-1], wanted, *kept))
        if len(pieces) == 1:
            found = [self._summed(smoothing, *pieces[0])]
        else:
            found = [
                checkpoint(self._summed, smoothing, *piece, use_reentrant=False, preserve_rng_state=False)
                for piece in pieces
            ]
        objective, nll = (torch.stack(values).sum() for values in zip(*found, strict=True))
        return objective, nll.detach()


def _log(values: Tensor) -> Tensor:
    """log of what is not negative; of 0 it is -inf, without a gradient that is no number."""
    smallest = torch.finfo(values.dtype).tiny
    return torch.where(values > 0, values.clamp(min=smallest).log(), -torch.inf)


def _log_not(gate: Tensor) -> Tensor:
    """log(1 - p) of the logits of p."""
    return functional.logsigmoid(-at_least_float32(gate))


Combine = Callable[[Tensor], Tensor]
"""Log-probabilities of several heads [heads, ..., symbols] -> those of one distribution [..., symbols]."""


def log_linear(log_probs: Tensor) -> Tensor:
    """The mean of log p, normalised again."""
    return torch.log_softmax(log_probs.mean(0), -1)


def mean(log_probs: Tensor) -> Tensor:
    """log of the mean of p."""
    return torch.logsumexp(log_probs, 0) - math.log(len(log_probs))


COMBINATIONS: dict[str, Combine] = {"log_linear": log_linear, "mean": mean}


class CombinedHead(SymbolHead[tuple[Any, ...]]):
    """What several heads say of the same step, as one distribution. Features are theirs, one for each head."""

    def __init__(self, heads: Sequence[SymbolHead[Any]], combine: Combine) -> None:
        super().__init__()
        self.heads, self.combine = list(heads), combine

    def combined(self, log_probs: Sequence[Tensor]) -> Tensor:
        """The log-probabilities [..., symbols] of each head as one."""
        return self.combine(torch.stack(list(log_probs)))

    def kept(self, features: tuple[Any, ...], positions: Tensor) -> tuple[Any, ...]:
        return tuple(head.kept(own, positions) for head, own in zip(self.heads, features, strict=True))

    def log_probs(self, features: tuple[Any, ...]) -> Tensor:
        return self.combined([head.log_probs(own) for head, own in zip(self.heads, features, strict=True)])

    def judge(self, features: tuple[Any, ...], targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return _judged(self, features, targets, positions, len(self.heads) * len(self.heads[0].weight))


class LabelHead(SoftmaxHead):
    """A softmax over labels; no special symbol is one."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__(features, symbols, first=SPECIALS)


class CRFHead(Head[Tensor]):
    """A linear-chain CRF over a row's labels (Lafferty et al. 2001; Lample et al. 2016, arXiv 1603.01360, eq. 1):

    log p(y | x) = start[y_1] + sum_t (W f_t + b)[y_t] + sum_t transitions[y_t, y_t+1] + end[y_T] - log Z.

    What is said is the most probable labelling; the probabilities beside it are each label's own. The loss of a label
    is -log p of its row over the row's labels. No special symbol is a label.
    """

    stepwise = False

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        labels = symbols - SPECIALS
        self.weight = _matrix(symbols, features)
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def _chain(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials [B, T, labels], a row's start and end in them, and the mask [B, T] of what is not padding."""
        rows, steps, _ = features.shape
        inside = torch.zeros(rows * steps, dtype=torch.bool, device=features.device)
        mask = inside.index_fill(0, positions, True).view(rows, steps)
        first = mask & ~functional.pad(mask[:, :-1], (1, 0))
        last = mask & ~functional.pad(mask[:, 1:], (0, 1))
        return self.potentials(features, first, last), mask

    def potentials(self, features: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Potentials [B, T, labels], a row's start and end in those of its `first` and `last` steps [B, T]."""
        emissions = _logits(features, self.weight, self.bias, SPECIALS)[..., SPECIALS:]
        return emissions + self.start * first[..., None] + self.end * last[..., None]

    def _less_target(self, potentials: Tensor, targets: Tensor) -> Tensor:
        """The potentials with each step's share of the target's score taken off, so that log Z is -log p(target).

        Nothing large is subtracted from something large, however long a row is.
        """
        labels = (targets - SPECIALS).clamp(min=0)  # padding is no label
        pairs = labels[:, :-1] * len(self.transitions) + labels[:, 1:]
        # an embedding's gradients are always added up in the same order, an index's are not
        moves = functional.embedding(pairs, self.transitions.view(-1, 1)).squeeze(-1)
        own = potentials.gather(-1, labels[..., None]).squeeze(-1) + functional.pad(moves, (1, 0))
        return potentials - own[..., None]

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        potentials, mask = self._chain(features, positions)
        nll = crf.log_partition(self._less_target(potentials, targets), self.transitions, mask)
        losses = (nll / mask.sum(1))[:, None].expand(mask.shape)
        hits = crf.viterbi(potentials, self.transitions, mask) + SPECIALS == targets
        return _kept(losses, positions), _kept(hits, positions)

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The rows' summed cross-entropy, and -log p of the targets.

        With `smoothing` e the cross-entropy is to (1 - e) of the target and e spread evenly over all labellings. With
        transitions of zero this is the softmax's.
        """
        potentials, mask = self._chain(features, positions)
        relative = self._less_target(potentials, targets)
        nll = crf.log_partition(relative, self.transitions, mask).sum()
        even = (relative.mean(-1) * mask).sum() + self.transitions.mean() * mask[:, 1:].sum()
        return nll - smoothing * even, nll.detach()

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        potentials, mask = self._chain(features, positions)
        labels = crf.viterbi(potentials, self.transitions, mask) + SPECIALS
        marginals = crf.log_marginals(potentials, self.transitions, mask)
        return _kept(labels, positions), _kept(functional.pad(marginals, (SPECIALS, 0), value=-torch.inf), positions)


class Aligned(NamedTuple):
    """The features [B, S, features] of every frame, padding included, and how many are a row's own [B]."""

    features: Tensor
    frames: Tensor


class CTCHead(Head[Aligned]):
    """A text that is shorter than its frames (Graves et al. 2006): see `antiphon/model/parts/ctc.py`.

    A frame's classes are the symbols; that of the end symbol is the blank. The loss of a target symbol is -log p of its
    row over the row's symbols, the end symbol counted.
    """

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        self.weight = _matrix(symbols, features)
        self.bias = nn.Parameter(torch.zeros(symbols))

    def log_probs(self, features: Aligned) -> Tensor:
        """log p [B, S, symbols] of every frame, in float32; what is padding is a sure blank."""
        found = torch.log_softmax(_logits(features.features, self.weight, self.bias, FIRST_OUTPUT), -1)
        blank = torch.full_like(found[0, 0], -torch.inf)
        blank[BLANK] = 0.0
        return torch.where(_inside(features)[..., None], found, blank)

    def score(self, log_probs: Tensor, frames: Tensor, targets: Tensor) -> Tensor:
        """log p [B] of targets [B, T], each with its end symbol, by these probabilities of the frames."""
        labels = (targets - FIRST_OUTPUT).clamp(min=0)  # torch's gradient is no number where a class cannot be
        return ctc.log_likelihood(
            log_probs[..., FIRST_OUTPUT:], frames, labels, (targets != PAD).sum(1) - 1, BLANK - FIRST_OUTPUT
        )

    def judge(self, features: Aligned, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """An even share of the row's -log p, and whether the row's best path is its target, each [N]."""
        log_probs, sizes = self.log_probs(features), (targets != PAD).sum(1)
        shares = -self.score(log_probs, features.frames, targets) / sizes
        paths = ctc.best_path(log_probs, BLANK)
        pairs = zip(paths, targets.tolist(), sizes.tolist(), strict=True)
        right = torch.tensor([path == row[: size - 1] for path, row, size in pairs], device=targets.device)
        losses, hits = (_kept(row[:, None].expand(targets.shape), positions) for row in (shares, right))
        return losses, hits

    def objective(
        self, features: Aligned, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The rows' summed -log p, with `smoothing` e as 1 - e of it, and of every frame e of its classes' mean -log p.

        Symbols have no weights.
        """
        log_probs = self.log_probs(features)
        nll = -self.score(log_probs, features.frames, targets).sum()
        if not smoothing:
            return nll, nll.detach()
        even = -log_probs[..., FIRST_OUTPUT:].mean(-1).where(_inside(features), 0.0).sum()
        return (1 - smoothing) * nll + smoothing * even, nll.detach()


def _inside(features: Aligned) -> Tensor:
    """Whether a frame [B, S] is a row's own."""
    return torch.arange(features.features.shape[1], device=features.frames.device) < features.frames[:, None]


class NumbersHead(Head[Tensor]):
    """Numbers y = W f + b; the loss is the squared error, the mean over a step's numbers."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, symbols)

    def _numbers(self, features: Tensor, positions: Tensor) -> Tensor:
        return at_least_float32(self.output(_kept(features, positions)))

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self._numbers(features, positions)
        return numbers, numbers

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        errors = (self._numbers(features, positions) - _kept(targets, positions)).square().mean(-1)
        return errors, torch.zeros_like(errors, dtype=torch.bool)

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        loss = self.judge(features, targets, positions)[0].sum()
        return loss, loss.detach()


class BitsHead(NumbersHead):
    """Bits with p(y_d = 1) = sigmoid(W f + b)_d; the loss is -log p of a step's bits together, in nats.

    (Boulanger-Lewandowski et al. 2012, arXiv 1206.6392, call its mean the negative log-likelihood a frame.)
    What is said of a bit is p.
    """

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.sigmoid(self._numbers(features, positions))
        return probabilities, probabilities

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        logits, bits = self._numbers(features, positions), _kept(targets, positions)
        nll = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(-1)
        return nll, ((logits > 0) == (bits > 0.5)).all(-1)


HEADS: Table[Head[Any]] = Table(
    "part that says a target",
    {
        "symbols": SoftmaxHead,
        "pointers": PointerHead,
        "labels": LabelHead,
        "crf": CRFHead,
        "ctc": CTCHead,
        "numbers": NumbersHead,
        "bits": BitsHead,
    },
)


def _matrix(symbols: int, features: int) -> nn.Parameter:
    """An output matrix [symbols, features] before training."""
    return nn.Parameter(torch.empty(symbols, features).uniform_(-(features**-0.5), features**-0.5))


def _kept(values: Tensor, positions: Tensor) -> Tensor:
    """Of values [B, T, ...] those at the positions: [N, ...]."""
    return values.flatten(0, 1)[positions]


def _logits(features: Tensor, weight: Tensor, bias: Tensor, first: int) -> Tensor:
    """W f + b in at least float32, -inf for what is no class."""
    logits = at_least_float32(functional.linear(features, weight, bias))
    logits[..., :first] = -torch.inf
    return logits


def _consumed(logits: Tensor) -> Tensor:
    """log p in at least float32 of logits that nobody needs any more: on the CPU, which reads and writes less so, in
    their place if they are as exact."""
    exact = at_least_float32(logits)
    return torch.log_softmax(exact, -1, out=exact if exact.device.type == "cpu" else None)


def _judged(
    head: SymbolHead[F], features: F, targets: Tensor, positions: Tensor, symbols: int
) -> tuple[Tensor, Tensor]:
    """-log p of each target, and whether it is the most probable symbol, each [N]; a step costs so many `symbols`."""
    losses, hits = [], []
    for places, target in _pieces(_CrossEntropy.PRODUCT, symbols, positions, _kept(targets, positions)):
        log_probs = head.log_probs(head.kept(features, places))
        losses.append(-log_probs.gather(1, target[:, None])[:, 0])
        hits.append(log_probs.argmax(-1) == target)
    return torch.cat(losses), torch.cat(hits)


def _pieces(most: int, symbols: int, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Values [N, ...] in pieces of so many rows that their logits are at most `most`, or of one row."""
    rows = max(1, most // symbols)
    return zip(*(torch.split(value, rows) for value in values), strict=True)


class _CrossEntropy(torch.autograd.Function):
    """The head's product, softmax, loss and gradients, in pieces that stay in the processor's cache.

    The logits [N, symbols] are by far the largest values of a training with a language's vocabulary.
    Products are made of so many positions that they are fast, softmaxes of so few that they stay in the cache; each
    softmax is turned at once into the gradient (p - q, times what comes from above, a scalar) in the place of its
    logits, so memory is read and written less.
    """

    PRODUCT = 1 << 23  # logits of a product
    PIECE = 1 << 18  # logits of a softmax

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        first: int,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        symbols, learned = len(weight), any(ctx.needs_input_grad[1:3])
        elsewhere = smoothing / (symbols - first)
        objective = at_least_float32(features.new_zeros(()))
        nll = objective.clone()
        slope, slope_of_bias = torch.empty_like(features), torch.zeros_like(bias)
        slope_of_weight: Tensor | None = None
        factor, offset = weight.to(features.dtype), bias.to(features.dtype)  # once, not for every piece
        for part, wanted, part_slope in _pieces(_CrossEntropy.PRODUCT, symbols, features, targets, slope):
            errors = functional.linear(part, factor, offset)  # logits, until each block's are turned into p - q
            errors[:, :first] = -torch.inf
            for logits, target in _pieces(_CrossEntropy.PIECE, symbols, errors, wanted):
                log_probs = _consumed(logits)
                found = log_probs.gather(1, target[:, None])[:, 0].neg()
                nll += found.sum()
                found *= 1 - smoothing
                if smoothing:
                    found -= elsewhere * log_probs[:, first:].sum(1)
                above = log_probs.exp_()
                if smoothing:
                    above[:, first:] -= elsewhere
                above.scatter_add_(1, target[:, None], above.new_full((len(target), 1), smoothing - 1))
                if weights is not None:
                    found *= weights[target]
                    above *= weights[target, None]
                objective += found.sum()
                if learned:
                    slope_of_bias.add_(above.sum(0))
                if above is not logits:
                    logits.copy_(above)
            torch.mm(errors, factor, out=part_slope)
            if not learned:
                continue
            if slope_of_weight is None:
                slope_of_weight = torch.mm(errors.T, part).to(weight.dtype)
            elif part.dtype == weight.dtype:
                slope_of_weight.addmm_(errors.T, part)
            else:
                slope_of_weight.add_(torch.mm(errors.T, part))
        ctx.slopes = slope, slope_of_weight, slope_of_bias if learned else None
        ctx.mark_non_differentiable(nll)
        return objective, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        slopes: tuple[Tensor | None, ...] = ctx.slopes
        ctx.slopes = None  # they are used up: the largest gradient is not copied
        return *(None if slope is None else slope.mul_(above) for slope in slopes), None, None, None, None
