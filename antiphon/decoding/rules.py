"""Rules of decoding that a user can choose: each a key of `decode`, and the name of one definition here.

A rule is a function of the prefixes so far (`antiphon/decoding/step.py:Rule`), so it holds in greedy search, in a beam
and in sampling alike. What it forbids has no score; what else it adds moves the choice and the rank, never the score.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.common.symbols import EOS, UNK
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import read_lines
from antiphon.decoding.step import Rule
from antiphon.errors import ConfigError, DataError
from antiphon.registry import Table


class NoRepeat:
    """No `size` symbols in a row occur twice in an output (Paulus et al. 2017, arXiv 1705.04304, for size 3)."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError("size", f"must be at least 1 (is {size})")
        self.size = size

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        if prefixes.shape[1] < self.size:
            return ranked
        grams = prefixes.unfold(1, self.size, 1)  # [R, length - size + 1, size]
        end = prefixes[:, prefixes.shape[1] - self.size + 1 :]
        row, place = (grams[..., :-1] == end[:, None]).all(2).nonzero(as_tuple=True)
        ranked[row, grams[row, place, -1]] = -torch.inf
        return ranked


class EndPenalty:
    """The end symbol counts as less probable by `penalty` nats, so that outputs get longer (below 0: shorter)."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        ranked[:, EOS] -= self.penalty
        return ranked


class Allowed:
    """Only these symbols are written, none that is copied: a list of them, or the path of a file with one per line."""

    def __init__(self, symbols: str | list[str], codec: TextCodec) -> None:
        names = [line for _, line in _lines(symbols)] if isinstance(symbols, str) else symbols
        self.forbidden = torch.ones(codec.size, dtype=torch.bool)
        self.forbidden[[EOS, UNK, *(_known(codec, [codec.normalize(symbol)])[0] for symbol in names)]] = False

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        beyond = ranked.shape[1] - len(self.forbidden)  # symbols that only a row's source has
        return ranked.masked_fill(functional.pad(self.forbidden, (0, beyond), value=True).to(ranked.device), -torch.inf)


class Lexicon:
    """Only the outputs that stand in a file, one per line."""

    def __init__(self, file: str, codec: TextCodec, max_length: int) -> None:
        outputs = set()
        for number, line in _lines(file):
            try:
                output = tuple(_known(codec, codec.split(line)))
            except ConfigError as error:
                raise DataError(f"{file}:{number}: {error.reason}") from None
            if len(output) > max_length:
                raise DataError(f"{file}:{number}: has {len(output)} tokens, but decode.max_length is {max_length}")
            outputs.add((*output, EOS))
        self.outputs = sorted(outputs)
        self._after: dict[tuple[int, ...], list[int]] = {}

    def after(self, prefix: tuple[int, ...]) -> list[int]:
        """The symbols that go on from a prefix to one of the outputs."""
        if prefix not in self._after:
            place, symbols = bisect_left(self.outputs, prefix), list[int]()
            while place < len(self.outputs) and self.outputs[place][: len(prefix)] == prefix != self.outputs[place]:
                symbols.append(self.outputs[place][len(prefix)])
                place = bisect_left(self.outputs, (*prefix, symbols[-1] + 1), place)
            self._after[prefix] = symbols
        return self._after[prefix]

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        pairs = [(row, symbol) for row, prefix in enumerate(prefixes.tolist()) for symbol in self.after(tuple(prefix))]
        forbidden = torch.ones(ranked.shape, dtype=torch.bool)
        forbidden[tuple(torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1))] = False
        return ranked.masked_fill(forbidden.to(ranked.device), -torch.inf)


class Prefix:
    """Each source's output has a prefix of its own; an empty one leaves it free."""

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        self.lengths = torch.tensor([len(prefix) for prefix in prefixes])
        longest = max(map(len, prefixes), default=0)
        self.prefixes = torch.tensor([[*prefix, *[EOS] * (longest - len(prefix))] for prefix in prefixes])

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        place = prefixes.shape[1]
        if place >= self.prefixes.shape[1]:
            return ranked
        required = self.prefixes.to(prefixes.device)[sources, place]
        other = torch.arange(ranked.shape[1], device=prefixes.device) != required[:, None]
        return ranked.masked_fill(other & (place < self.lengths.to(prefixes.device)[sources])[:, None], -torch.inf)


RULES: Table[Rule] = Table(
    "rule of decoding",
    {"no_repeat_ngram": NoRepeat, "eos_penalty": EndPenalty, "allowed": Allowed, "lexicon": Lexicon},
)


def build_rules(options: Mapping[str, Any], **context: Any) -> list[Rule]:
    """The rules of these names. A table gives a rule's options, any other value its only one.

    A rule gets those of `context` that it has a parameter for: the target's `codec`, the `max_length` of an output.
    """
    rules = []
    for name, value in options.items():
        parameters = inspect.signature(RULES.row(name, f"decode.{name}")).parameters
        arguments = {key: argument for key, argument in context.items() if key in parameters}
        first = next((key for key in parameters if key not in context), "")
        chosen = value if isinstance(value, Mapping) or not first else {first: value}
        rules.append(RULES.build(name, chosen, f"decode.{name}", **arguments))
    return rules


def ids_of(text: str, codec: TextCodec) -> list[int]:
    """The ids of a text that is to be written; a `ConfigError` names a symbol that the model does not know."""
    return _known(codec, codec.split(text))


def _known(codec: TextCodec, symbols: Sequence[str]) -> list[int]:
    ids = list(map(codec.vocabulary.id, symbols))
    if UNK in ids:
        raise ConfigError(
            "", f"{symbols[ids.index(UNK)]!r} is not in the vocabulary of the model, so it cannot be written"
        )
    return ids


def _lines(file: str) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers."""
    for number, line, reason in read_lines(file):
        if line is None:
            raise DataError(f"{file}:{number}: {reason}")
        if line:
            yield number, line
