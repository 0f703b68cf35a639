"""All tables to which a module of `--import` can add rows, and what such rows are made of, in one place.

    from antiphon.extend import CELLS, Cell

The names here stay; the modules that define them may move. See docs/parts.md.
"""

from __future__ import annotations

from antiphon.common.symbols import BOS, EOS, PAD, UNK
from antiphon.common.text import as_text
from antiphon.data.codecs.base import Array, Codec, within
from antiphon.data.codecs.images import ImageCodec
from antiphon.data.codecs.kinds import SOURCES, TARGETS
from antiphon.data.codecs.labels import CategoryCodec, LabelCodec, LabelsCodec
from antiphon.data.codecs.numbers import FramesCodec, NumberCodec, NumbersCodec, VectorCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import FORMATS, Column, Numbered, Record
from antiphon.data.tokenizers import TOKENIZERS, Tokenizer
from antiphon.decoding.rules import RULES, ids_of
from antiphon.decoding.step import Rule
from antiphon.errors import ConfigError, DataError
from antiphon.inspection.trace import Trace
from antiphon.inspection.views.drawing import Draw, View
from antiphon.inspection.views.table import VIEWS
from antiphon.model.parts.attention.base import Attention, masked_softmax
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.bridges import BRIDGES, Bridge
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.heads.base import Head, SymbolHead
from antiphon.model.parts.heads.combined import COMBINATIONS, Combine
from antiphon.model.parts.heads.table import HEADS
from antiphon.model.parts.likelihoods.base import Likelihood
from antiphon.model.parts.likelihoods.table import LIKELIHOODS
from antiphon.model.parts.recurrent import Cell
from antiphon.model.parts.sources import SOURCES as SOURCE_PARTS
from antiphon.model.parts.sources import Embedding, Source
from antiphon.model.state import Encoded, Layer, Memory
from antiphon.registry import Table
from antiphon.training.feeding import FEEDINGS, Feeding
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES, Schedule

__all__ = [
    "ATTENTIONS", "BOS", "BRIDGES", "CELLS", "COMBINATIONS", "EOS", "FEEDINGS", "FORMATS", "HEADS", "LIKELIHOODS",
    "OPTIMIZERS", "PAD", "RULES", "SCHEDULES", "SOURCES", "SOURCE_PARTS", "TARGETS", "TOKENIZERS", "UNK", "VIEWS",
    "Array", "Attention", "Bridge", "CategoryCodec", "Cell", "Codec", "Column", "Combine", "ConfigError", "DataError",
    "Draw", "Embedding", "Encoded", "Feeding", "FramesCodec", "Head", "ImageCodec", "LabelCodec", "LabelsCodec",
    "Layer", "Likelihood", "Memory", "NumberCodec", "Numbered", "NumbersCodec", "Record", "Rule", "Schedule", "Source",
    "SymbolHead", "Table", "TextCodec", "Tokenizer", "Trace", "VectorCodec", "View", "as_text", "ids_of",
    "masked_softmax", "within",
]  # fmt: skip
