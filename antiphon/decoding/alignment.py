"""Which source symbol each output symbol comes from, by attention, and the symbols of an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.common.symbols import EOS, UNK
from antiphon.data.batches import Examples, Sequences, collate
from antiphon.data.codecs.text import TextCodec
from antiphon.data.copying import Copying
from antiphon.data.load import Codecs
from antiphon.decoding.batches import batches_by_length
from antiphon.decoding.mbr import Tokens
from antiphon.decoding.plan import Search, Speaker, written_side
from antiphon.model.models import Aligner, LanguageModel


@torch.inference_mode()
def attention_of(
    model: Speaker, sources: Sequence[Sequences], outputs: Sequence[Tokens], device: torch.device
) -> list[NDArray[np.float32]] | None:
    """Attention [symbols + 1, source steps] of every row's output; None if the model has none."""
    if isinstance(model, LanguageModel | Aligner) or not model.attends:
        return None
    examples = Examples(tuple(sources), Sequences([[*output, EOS] for output in outputs]))
    results: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(examples)
    for rows in batches_by_length(examples.source_lengths + examples.target.lengths):
        batch = collate(examples, rows).to(device)
        attention = model.attention(batch.sources, batch.target.values)
        assert attention is not None
        weights, mask = (values.cpu().numpy() for values in attention)
        for row, row_weights, inside in zip(rows, weights, mask, strict=True):
            results[row] = row_weights[: examples.target.lengths[row], inside].astype(np.float32)
    return results


def alignment(weights: NDArray[np.float32], source: Sequence[str]) -> list[int]:
    """The place of the source symbol with the most attention, for each output symbol; ends of turns are left out.

    `weights` [symbols + 1, source steps] are an output's attention; `source` are the source's symbols, "" at ends.
    """
    ends = [not symbol for symbol in (*source, "")]
    return [int(place) for place in np.where(ends, -1.0, weights[:-1, : len(ends)]).argmax(1)]


def written(
    model: Speaker,
    codecs: Codecs,
    search: Search,
    sources: Sequence[Sequences],
    values: Sequence[Sequence[Any]],
    outputs: Sequence[Tokens],
    device: torch.device,
) -> list[list[str]]:
    """The symbols of every row's output; with `replace_unknown`, the aligned source symbol for an unknown one.

    `values` are what each row's sources hold, `sources` their arrays.
    """
    codec = written_side(model, codecs)
    if model.copies:
        copying = Copying.between(codecs.sources, codecs.target)
        named = [copying.symbols(output, row) for output, row in zip(outputs, values, strict=True)]
    else:
        named = [list(map(codec.vocabulary.symbol, output)) for output in outputs]
    symbols = [[name for name in names if name is not None] for names in named]
    unknown = [row for row, output in enumerate(outputs) if UNK in output]
    if not unknown or not search.settings.replace_unknown:
        return symbols
    reading = codecs.sources[0]
    assert isinstance(reading, TextCodec)
    some = [source.take(unknown) for source in sources]
    weights = attention_of(model, some, [outputs[row] for row in unknown], device)
    assert weights is not None
    for row, row_weights in zip(unknown, weights, strict=True):
        read = reading.split_turns(values[row][0])
        places = alignment(row_weights, read)
        pairs = zip(named[row], places, strict=True)
        symbols[row] = [read[place] if name is None else name for name, place in pairs]
    return symbols
