"""The graphs of a model, and random sources to trace and compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from antiphon.common.symbols import EOS, PAD, SPECIALS, UNK
from antiphon.data.batches import Sequences, pad
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.calendar import CalendarCodec
from antiphon.data.codecs.images import ImageCodec, ImagesCodec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import GridCodec, ScaledCodec
from antiphon.data.codecs.tags import TagsCodec
from antiphon.data.codecs.text import SourceTextCodec
from antiphon.data.load import side_names
from antiphon.export.running import ENCODE, READ, STEP
from antiphon.export.series import series_graphs
from antiphon.export.tracing import (
    ROWS,
    Graph,
    encode_graph,
    live_graph,
    read_graph,
    step_graph,
)
from antiphon.model.models import Input, LanguageModel, Reader, Writer
from antiphon.model.series import SeriesWriter
from antiphon.model.state import State
from antiphon.saved.folder import Bundle

Graphs = dict[str, Graph]


def graphs_of(loaded: Bundle) -> Graphs:
    """The graphs of a model by their names."""
    model, codecs = loaded.model, loaded.codecs
    names = side_names(len(codecs.sources))[:-1]
    example = example_of(loaded, [4, 3, 1], np.random.default_rng(0))
    if isinstance(model, Writer):
        with torch.no_grad():
            state = model.start(example)
        return {ENCODE: encode_graph(model, names, example), STEP: step_graph(model, state)}
    if isinstance(model, LanguageModel):
        return {STEP: step_graph(model, State(model.begin(ROWS)))}
    if isinstance(model, SeriesWriter):
        return series_graphs(loaded, example)
    assert isinstance(model, Reader)
    labels = isinstance(codecs.target, LabelCodec)
    graphs = {READ: read_graph(model, names, example, codecs.sources[0].ends, labels)}
    if is_live(model):
        graphs[STEP] = live_graph(model, names[0], example, labels)
    return graphs


def example_of(loaded: Bundle, lengths: Sequence[int], noise: np.random.Generator) -> list[Input]:
    """Random sources as the model reads them; with random ids of copies where it copies, some of the row alone."""
    model, codecs = loaded.model, loaded.codecs
    sources = [random_sources(codec, lengths, noise) for codec in codecs.sources]
    if not isinstance(model, Writer) or not model.copies:
        return sources
    return [
        _with_copies(source, codecs.target.size, noise) if copied else source
        for source, copied in zip(sources, model.copied, strict=True)
    ]


def _with_copies(source: Input, symbols: int, noise: np.random.Generator) -> Input:
    values, lengths = source
    steps = values.shape[1]
    ids = torch.from_numpy(noise.integers(SPECIALS, symbols + steps, tuple(values.shape[:2])))
    inside = torch.arange(steps) < lengths[:, None]
    columns = values if values.dim() == 3 else values[..., None]
    return torch.cat([columns, ids.where(inside, PAD)[..., None]], -1), lengths


def is_live(model: Reader) -> bool:
    """Whether a reader predicts for each step of a live stream, so that it has a graph of one step."""
    return model.streams and model.head.stepwise


def random_sources(codec: Codec, lengths: Sequence[int], noise: np.random.Generator) -> Input:
    """Random values of a source as a batch holds them; where it is not a sequence, rows of one step."""
    each = lengths if codec.steps or isinstance(codec, GridCodec) else [1] * len(lengths)
    return pad(Sequences([_values(codec, steps + codec.ends, noise) for steps in each]), np.arange(len(each)))


def _values(codec: Codec, steps: int, noise: np.random.Generator) -> Any:
    if isinstance(codec, ScaledCodec | CalendarCodec):
        return noise.normal(size=(steps, codec.size)).astype(np.float32)
    if isinstance(codec, ImageCodec | ImagesCodec):
        each = codec.each if isinstance(codec, ImagesCodec) else codec
        assert each.shape is not None
        return noise.integers(0, 256, (steps, *each.shape, codec.size)).astype(np.uint8)
    if isinstance(codec, TagsCodec):
        return noise.integers(0, 2, (1, codec.size)).astype(np.float32)
    ids = noise.integers(UNK, codec.size, steps).astype(np.int32)
    ids[steps - codec.ends :] = EOS
    if not isinstance(codec, SourceTextCodec) or codec.spelling is None:
        return ids
    spelled = noise.integers(UNK, len(codec.spelling.vocabulary), (steps, codec.spelling.width))
    spelled[np.arange(codec.spelling.width) >= noise.integers(1, codec.spelling.width + 1, (steps, 1))] = PAD
    return np.column_stack([ids, spelled]).astype(np.int32)
