"""The target symbols that a source can need: a vocabulary shortlist, learned from the training rows.

A large vocabulary is the largest part of a step's work, and nearly all of it cannot follow from this source. For each
symbol of the source a shortlist holds the symbols of the target that translate it with the highest probability, by IBM
Model 1 (Brown et al. 1993, The Mathematics of Statistical Machine Translation), and for every source the most frequent
symbols (Jean et al. 2015, arXiv 1412.2007, section 3.2; Mi et al. 2016, arXiv 1605.03209).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from antiphon.common.symbols import FIRST_OUTPUT, PAD, SPECIALS
from antiphon.data.batches import Ints, Sequences
from antiphon.errors import ConfigError, ModelFolderError
from antiphon.files import write_atomically

FILE = "shortlist.safetensors"
ROUNDS = 5  # expectation and maximisation, so many times
LEAST = 0.9  # a translation is chance if it is expected less often in the rows: less than once, but for rounding
LINKS = 8_000_000  # pairs of a source's and a target's symbol that are counted, at most: larger tables are sampled

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Shortlist:
    """`likely` [source symbols, n]: the ids of the target symbols that translate each, the most probable first, then
    PAD; `common` [m]: the most frequent ids. The target's vocabulary has `symbols` ids."""

    likely: Ids
    common: Ids
    symbols: int

    def cut(self, likely: int, common: int) -> Shortlist:
        """A shortlist with fewer symbols; a `ConfigError` names the number that is too large."""
        sizes = {"likely": (likely, self.likely.shape[1]), "common": (common, len(self.common))}
        for name, (count, available) in sizes.items():
            if min(count, self.symbols - SPECIALS) > available:
                raise ConfigError(name, f"the model's shortlist has {available} (is {count})")
        return Shortlist(self.likely[:, :likely], self.common[:common], self.symbols)

    def allowed(self, sources: Tensor, also: Sequence[Sequence[int]] = ()) -> Tensor:
        """The symbols that may be predicted for each source [B, S], as [B, symbols]: they do not depend on other rows.

        The end symbol and UNK are among them, padding and the begin symbol are not. `also` has further ids of each.
        """
        allowed = torch.zeros(len(sources), self.symbols, dtype=torch.bool, device=sources.device)
        likely = torch.from_numpy(self.likely).to(sources.device)[sources].long()
        allowed.scatter_(1, likely.flatten(1), True)
        allowed[:, torch.from_numpy(self.common).to(sources.device).long()] = True
        allowed[:, FIRST_OUTPUT:SPECIALS] = True
        for row, ids in enumerate(also):
            allowed[row, list(ids)] = True
        allowed[:, :FIRST_OUTPUT] = False
        return allowed


def learn(
    sources: Sequences, targets: Sequences, source_symbols: int, symbols: int, likely: int, common: int
) -> Shortlist:
    """From encoded rows: for each source symbol its `likely` most probable translations, and the `common` symbols.

    t(y | x) of IBM Model 1 is estimated by expectation maximisation from a uniform start. A pair that it expects less
    than once in the rows is left out: most such pairs are words that occur beside a rare word by chance.
    """
    source, target, positions = _links(sources, targets)
    pairs, link = np.unique(source.astype(np.int64) * symbols + target, return_inverse=True)
    of_source, of_target = np.divmod(pairs, symbols)
    probability = count = np.ones(len(pairs))
    for _ in range(ROUNDS):
        share = probability[link]
        share /= np.bincount(positions, share)[
            positions
        ]  # the share of each source symbol in producing this target symbol
        count = np.asarray(np.bincount(link, share, len(pairs)), np.float64)
        probability = count / np.bincount(of_source, count, source_symbols)[of_source]
    order = np.lexsort((of_target, -probability, of_source))
    order = order[count[order] > LEAST]
    of_source, of_target = of_source[order], of_target[order]
    place = np.arange(len(order)) - np.searchsorted(of_source, of_source)
    kept = place < likely
    table = np.full((source_symbols, min(likely, max(1, symbols - SPECIALS))), PAD, np.int32)
    table[of_source[kept], place[kept]] = of_target[kept]
    counts = np.bincount(targets.values, minlength=symbols)[SPECIALS:]
    frequent = np.argsort(-counts, kind="stable")[:common] + SPECIALS
    return Shortlist(table, frequent.astype(np.int32), symbols)


def _links(sources: Sequences, targets: Sequences) -> tuple[Ids, Ids, Ints]:
    """Every pair of a source symbol and a target symbol of a row, without special symbols: the ids of both, and the
    position of the target symbol among all target symbols."""
    wide = np.random.default_rng(1).permutation(len(targets))
    products = np.cumsum(sources.lengths[wide] * targets.lengths[wide])
    rows = np.sort(wide[: max(1, int(np.searchsorted(products, LINKS)))])
    links: list[tuple[Ids, Ids, Ints]] = []
    starts = np.cumsum(targets.lengths[rows]) - targets.lengths[rows]
    for row, place in zip(rows, starts, strict=True):
        source, target = sources[int(row)], targets[int(row)]
        source, places = source[source >= SPECIALS], place + np.flatnonzero(target >= SPECIALS)
        target = target[target >= SPECIALS]
        links.append((np.tile(source, len(target)), np.repeat(target, len(source)), np.repeat(places, len(source))))
    source, target, positions = (np.concatenate(part) for part in zip(*links, strict=True))
    return source, target, positions


def write(folder: Path, shortlist: Shortlist) -> None:
    """Write a model folder's `shortlist.safetensors`."""
    content = save({"likely": shortlist.likely, "common": shortlist.common})
    write_atomically(folder / FILE, lambda file: file.write(content))


def read(path: Path, source_symbols: int, symbols: int) -> Shortlist:
    """The shortlist in a file; a file that is damaged, or of other vocabularies, is a `ModelFolderError`."""
    try:
        arrays = load(path.read_bytes())
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise ModelFolderError(f"{path}: is damaged: {error}") from None
    dimensions = {"likely": 2, "common": 1}
    right = {name: value.ndim for name, value in arrays.items()} == dimensions
    if not right or any(value.dtype != np.int32 for value in arrays.values()):
        raise ModelFolderError(f"{path}: must hold the ids likely [source symbols, n] and common [m]")
    likely, common = arrays["likely"], arrays["common"]
    ids = np.concatenate([likely.flatten(), common])
    inside = ids.min(initial=0) >= 0 and ids.max(initial=0) < symbols
    if len(likely) != source_symbols or not inside or likely[:SPECIALS].any():  # special symbols have no translations
        raise ModelFolderError(f"{path}: is not of this model's vocabularies")
    return Shortlist(likely, common, symbols)
