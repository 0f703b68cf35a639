"""Before the first update: weights from another model (`--init-from`), pretrained vectors, frozen parts."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable

import torch
from torch import Tensor

from antiphon.common.symbols import SPECIALS
from antiphon.common.vocabulary import Vocabulary
from antiphon.data.codecs.labels import CategoryCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import read_lines
from antiphon.data.load import Codecs
from antiphon.errors import ConfigError, DataError, nearest
from antiphon.model.models import Model
from antiphon.saved.folder import Bundle

BY_SYMBOL = {"source.embedding.weight": 1, "source.characters.weight": 1, "embedding.weight": 1}
BY_SYMBOL |= {"head.weight": 1, "head.bias": 1, "head.start": 1, "head.end": 1}
BY_SYMBOL |= {"head.transitions": 2}  # the number of a parameter's dimensions that have an entry for each symbol


def extended(base: Codecs, learned: Codecs) -> Codecs:
    """The base model's codecs, with the symbols that only the new data has behind theirs.

    Both must treat text in the same way. Learned pieces (bpe, unigram) stay the base's: what they cannot spell is
    unknown.
    """
    if [codec.kind for codec in base.named.values()] != [codec.kind for codec in learned.named.values()]:
        raise ConfigError("source", "the model to start from has other kinds of source and target")
    sources = [new.extended(old) for new, old in zip(learned.sources, base.sources, strict=True)]
    return Codecs(tuple(sources), learned.target.extended(base.target))


def _grown(name: str, old: Tensor, new: Tensor) -> bool:
    """Whether a parameter is larger only because there are more symbols."""
    sides = BY_SYMBOL.get(re.sub(r"^others\.\d+\.", "", name), 0)
    return old.shape[sides:] == new.shape[sides:] and all(map(operator.le, old.shape[:sides], new.shape))


@torch.no_grad()
def take_weights(model: Model, base: Bundle, codecs: Codecs) -> list[str]:
    """Copy the parameters of `base` that fit into `model`; messages for the user on what was taken and what was not.

    A parameter fits if name and shape are equal; with a row for each symbol, the rows of common symbols are copied.
    """
    base_weights = dict(base.model.named_parameters(remove_duplicate=False))  # a tied matrix fits by either name
    left_out: list[str] = []
    taken = 0
    for name, parameter in model.named_parameters():
        other = base_weights.get(name)
        if other is None:
            left_out.append(f"{name} (that model does not have it)")
        elif other.shape == parameter.shape:
            parameter.copy_(other)
            taken += 1
        elif _grown(name, other, parameter):
            parameter[tuple(map(slice, other.shape))] = other
            taken += 1
        else:
            left_out.append(f"{name} (shape {list(other.shape)} in that model, {list(parameter.shape)} in this)")
    messages = [f"{taken} of {taken + len(left_out)} parameters are taken from the model to start from"]
    here = dict(model.named_parameters(remove_duplicate=False))
    left_out += [f"{name} (only that model has it)" for name, _ in base.model.named_parameters() if name not in here]
    for side, codec in codecs.named.items():
        old = base.codecs.named[side]
        if isinstance(codec, TextCodec | CategoryCodec):
            messages.append(
                f"{side}: {old.size - SPECIALS:,} symbols are those of that model, {codec.size - old.size:,} are new"
            )
    return messages + [f"not taken: {name}" for name in left_out]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_vectors(path: str, vocabulary: Vocabulary, size: int) -> dict[int, Tensor]:
    """Vectors of known symbols by id, from a text file: a symbol and `size` numbers per line, white space between.

    A first line of two numbers (word2vec's) is skipped. Raises `DataError` with file and line.
    """
    vectors: dict[int, Tensor] = {}
    for number, line, reason in read_lines(path):
        if line is None:
            raise DataError(f"{path}:{number}: {reason}")
        words = line.split()
        header = number == 1 and len(words) == 2 and all(map(str.isdigit, words))
        if not words or (header and int(words[1]) == size):
            continue
        if number == 1 and (header or all(map(_is_number, words[1:]))) and len(words) - 1 != size:
            wide = int(words[1]) if header else len(words) - 1
            raise DataError(f"{path}:1: the vectors are {wide} wide, but model.embedding is {size}")
        fields = line.rsplit(None, size)  # a symbol may contain spaces
        if len(fields) != size + 1:
            got = len(words) - 1
            raise DataError(f"{path}:{number}: holds {got} numbers, but model.embedding is {size}")
        if fields[0] in vocabulary:
            try:
                values = torch.tensor([float(field) for field in fields[1:]])
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from None
            if not values.isfinite().all():
                raise DataError(f"{path}:{number}: contains NaN or infinity")
            vectors[vocabulary.id(fields[0])] = values
    return vectors


@torch.no_grad()
def take_vectors(model: Model, side: str, path: str, codecs: Codecs) -> str:
    """Put pretrained vectors into the embedding of the source or the target; a message with the hit rate."""
    weights = dict(model.named_parameters())
    weight = weights.get("source.embedding.weight" if side == "source" else "embedding.weight")
    codec = codecs.named[side]
    if weight is None or not isinstance(codec, TextCodec | CategoryCodec):
        raise ConfigError("model.embeddings", f"a {side} of {codec.kind} has no embedding of symbols")
    vocabulary = codec.vocabulary
    vectors = read_vectors(path, vocabulary, weight.shape[1])
    for row, values in vectors.items():
        weight[row] = values
    known = len(vocabulary) - SPECIALS
    if not vectors:
        raise DataError(f"{path}: has no vector for any of the {known:,} symbols; check the keys tokens and lowercase")
    return (
        f"pretrained vectors for {len(vectors):,} of {known:,} symbols ({len(vectors) / max(known, 1):.1%}) from {path}"
    )


def freeze(model: Model, names: Iterable[str]) -> None:
    """Keep the parts of these names (`encoder`, `source.embedding`, ...) as they are: no update changes them."""
    parameters = dict(model.named_parameters(remove_duplicate=False))  # tied ones by both names
    for name in names:
        chosen = [full_name for full_name in parameters if full_name == name or full_name.startswith(f"{name}.")]
        if not chosen:
            known = {
                full_name.rsplit(".", depth)[0] for full_name in parameters for depth in range(full_name.count(".") + 1)
            }
            close = nearest(name, {full_name for full_name in known if full_name.count(".") <= name.count(".") + 1})
            raise ConfigError("train.freeze", f"no part is called {name!r}; {close}")
        for full_name in chosen:
            parameters[full_name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("train.freeze", "nothing is left to learn")
