"""The five structures as functions from a configuration to a model: the only place that knows names of both.

one_to_one      one vector, image or category -> one label or number     source, encoder, head
one_to_many     one vector, image or category -> a sequence              source, encoder, bridge, decoder, head
many_to_one     a sequence -> one label or number                        source, encoder, pooling, head
many_to_many    a sequence -> a sequence of another length               source, encoder, bridge, decoder, head
synchronous     a sequence -> one label or vector per step               source, encoder, head
                (with CTC each step predicts a symbol of a shorter text, or nothing)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from antiphon.config.schema import Config, Model
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs, copying_of, untrained
from antiphon.errors import ConfigError
from antiphon.model.aligning import AligningWriter
from antiphon.model.apart import ApartWriter
from antiphon.model.models import Aligner, Channel, LanguageModel, Reader, Writer
from antiphon.model.models import Model as Built
from antiphon.model.parts.attention.alignment import HardAttention
from antiphon.model.parts.attention.base import Attention
from antiphon.model.parts.attention.table import ATTENTIONS
from antiphon.model.parts.bridges import BRIDGES, Bridge
from antiphon.model.parts.cells import CELLS
from antiphon.model.parts.decoders import RecurrentDecoder
from antiphon.model.parts.dropout import Dropout
from antiphon.model.parts.encoders import Encoder, FeedForwardEncoder, RecurrentEncoder
from antiphon.model.parts.heads.apart import Apart, ApartHead
from antiphon.model.parts.heads.base import SymbolHead
from antiphon.model.parts.heads.ctc import CTCHead
from antiphon.model.parts.heads.mixture import MixtureHead
from antiphon.model.parts.heads.recall import CacheHead
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.model.parts.heads.table import HEADS
from antiphon.model.parts.likelihoods.table import LIKELIHOODS
from antiphon.model.parts.pooling import Pooling
from antiphon.model.parts.recurrent import Cell, MakeCell
from antiphon.model.parts.sources import SOURCES, Embedding, TextSource
from antiphon.model.series import Past, SeriesWriter


class SideSizes(Protocol):
    """What a structure needs of a side: the part that reads or writes it and its options, its size, whether it has
    steps, and the symbol before its first one."""

    @property
    def part(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def steps(self) -> bool: ...

    @property
    def part_options(self) -> Mapping[str, int]: ...

    @property
    def begin(self) -> int: ...


def one_to_one(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Reader:
    """One thing -> one answer."""
    return _reader(model, sources, target, pooled=True)


def one_to_many(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Writer:
    """One thing -> a sequence."""
    return _writer(model, sources, target)


def many_to_one(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Reader:
    """A sequence -> one answer."""
    return _reader(model, sources, target, pooled=True)


def many_to_many(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Writer:
    """A sequence -> a sequence of another length."""
    return _writer(model, sources, target)


def synchronous(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Reader:
    """A sequence -> one answer per step."""
    if len(sources) > 1:
        raise ConfigError("source", f"a prediction for each step needs the steps of one source, not of {len(sources)}")
    if target.part == "next":
        return _language_model(model, sources)
    reader = _reader(model, sources, target, pooled=False)
    if isinstance(reader.head, CTCHead):
        return Aligner(Channel(reader.source, reader.encoder), reader.head, reader.dropout)
    return reader


def _language_model(model: Model, sources: Sequence[SideSizes]) -> LanguageModel:
    """A sequence of symbols -> the next one; it never reads backwards."""
    one_way = model.model_copy(update={"encoder": model.encoder.model_copy(update={"bidirectional": False})})
    channels = _channels(one_way, sources)
    source, memory = channels[0].source, channels[0].encoder.size
    if not isinstance(source, TextSource):
        raise ConfigError("source.characters", "a language model reads the symbols it writes; leave characters out")
    if model.tie and memory != model.embedding:
        reason = (
            f"the embedding is {model.embedding} wide and the output {memory}; make encoder.hidden equal to embedding"
        )
        raise ConfigError("model.tie", reason)
    weight = source.embedding.weight if model.tie else None
    if model.cache is None:
        head = SoftmaxHead(memory, sources[0].size, weight)
    else:
        head = CacheHead(memory, sources[0].size, **model.cache.model_dump(), weight=weight)
    dropout = Dropout(model.dropout, model.locked_dropout)
    return LanguageModel(channels[0], head, dropout, sources[0].begin)


def _reader(model: Model, sources: Sequence[SideSizes], target: SideSizes, pooled: bool) -> Reader:
    channels = _channels(model, sources)
    memory = channels[0].encoder.size
    pooling = Pooling(model.pooling, memory, memory * len(channels)) if pooled else None
    size = pooling.size if pooling else memory
    head = HEADS.build(target.part, {}, "target.kind", features=size, symbols=target.size)
    return Reader(channels, pooling, head, Dropout(model.dropout, model.locked_dropout))


def _writer(model: Model, sources: Sequence[SideSizes], target: SideSizes) -> Writer:
    channels = _channels(model, sources)
    memory, hidden = channels[0].encoder.size, model.decoder.hidden
    features = model.embedding if model.tie else hidden
    attention = _attention(model, hidden, features, memory)
    marginal = attention is not None and attention.marginal
    bridge = _bridge(model, channels, attention)
    if model.copy_ and attention is None:
        raise ConfigError("model.copy", "needs an attention; choose model.attention: general, additive or dot")
    if model.copy_ and attention is not None and attention.hard:
        reason = f"{model.attention.kind} attention looks at a single source step, so others could not be copied"
        raise ConfigError("model.copy", f"{reason}; choose model.attention: general, additive or dot")
    if marginal and (
        model.attention.input_feeding or (model.attention.query, model.attention.layer) != ("current", "last")
    ):
        reason = (
            f"{model.attention.kind} attention is not read by the decoder; leave query, input_feeding and layer out"
        )
        raise ConfigError("model.attention", reason)
    embedding = Embedding(target.size, model.embedding)
    copies = model.copy_ and not marginal
    decoder = _decoder(model, features, bridge, None if marginal else attention, memory, copies)
    every_step = model.context.to == "every_step"
    sizes: dict[str, Any] = {
        "features": features, "symbols": target.size, "weight": embedding.weight if model.tie else None
    }  # fmt: skip
    if isinstance(attention, HardAttention):
        mixture = MixtureHead(**sizes, copies=model.copy_)
        return AligningWriter(channels, bridge, embedding, decoder, attention, mixture, every_step)
    head = HEADS.build("pointers" if model.copy_ else target.part, {}, "target.kind", **sizes)
    assert isinstance(head, SymbolHead)
    return Writer(channels, bridge, embedding, decoder, head, every_step)


def series_writer(model: Model, sources: Sequence[SideSizes], target: SeriesCodec) -> SeriesWriter:
    """Anything -> a series: a writer whose decoder has numbers in place of symbols."""
    channels = _channels(model, with_one_number(sources, target))
    memory, hidden, positions = channels[0].encoder.size, model.decoder.hidden, target.reading == "position"
    attention = _attention(model, hidden, hidden, memory)
    for key, chosen in (("tie", model.tie), ("copy", model.copy_)):
        if chosen:
            raise ConfigError(f"model.{key}", "is for symbols, and a series has numbers; set it to false")
    if attention is not None and attention.marginal:
        reason = f"{model.attention.kind} attention is for symbols; choose general, additive or dot"
        raise ConfigError("model.attention", reason)
    if positions and model.attention.input_feeding:
        reason = "with target.read: position no step is fed the one before; set it to false"
        raise ConfigError("model.attention.input_feeding", reason)
    bridge = _bridge(model, channels, attention)
    decoder = _decoder(model, hidden, bridge, attention, memory)
    numbers = target.size if target.learned else 2  # all that a likelihood can be of: how many is not known yet
    options, together = target.likelihood_options, 1 if target.separate else numbers
    likelihood = LIKELIHOODS.build(target.likelihood, options, "target.likelihood", numbers=together)
    head: Any
    if target.separate:
        head = ApartHead(hidden, Apart(likelihood, numbers), target.segment, target.log_unit)
    else:
        head = HEADS.build(
            target.part, {}, "target.kind", features=hidden, symbols=numbers, likelihood=likelihood,
            segment=target.segment, stops=target.horizon is None, log_unit=target.log_unit,
        )  # fmt: skip
    steps = -(-target.horizon // target.segment) if positions and target.horizon else None
    past = None
    if target.window is not None:
        places = tuple(range(target.size)) if target.past is None else target.past
        past = Past(target.past_source, places, target.window)
    every_step = model.context.to == "every_step"
    make = ApartWriter if target.separate else SeriesWriter
    return make(channels, bridge, decoder, head, model.embedding, every_step, steps, past)


@dataclass(frozen=True)
class _OneNumber:
    """A source of frames of which the model reads one column at a time."""

    side: SideSizes
    size: int = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.side, name)


def with_one_number(sources: Sequence[SideSizes], target: SeriesCodec) -> list[Any]:
    """The sources, of which the past of a target whose columns are separate has one number in a step."""
    past = target.past_source if target.separate else None
    return [_OneNumber(side) if number == past else side for number, side in enumerate(sources)]


def _bridge(model: Model, channels: Sequence[Channel], attention: Attention | None) -> Bridge:
    if attention is None and model.context.from_ == "none":
        reason = "without attention the decoder would know nothing of its source; choose projected_last or an attention"
        raise ConfigError("model.context.from", f"is none: {reason}")
    memory = channels[0].encoder.size
    return BRIDGES.build(
        model.context.from_,
        model.context.options,
        "model.context",
        also=model.context.own_keys(),
        memory=memory,
        last=memory * len(channels),
        hidden=model.decoder.hidden,
        layers=model.decoder.layers,
        state_parts=CELLS.row(model.cell.kind, "model.cell").parts,  # type: ignore[attr-defined]
    )


def _decoder(
    model: Model, features: int, bridge: Bridge, attention: Attention | None, memory: int, copies: bool = False
) -> RecurrentDecoder:
    try:
        return RecurrentDecoder(
            model.embedding,
            _cells(model),
            features=features,
            dropout=model.dropout,
            locked_dropout=model.locked_dropout,
            context=bridge.size if model.context.to == "every_step" else 0,
            attention=attention,
            memory=memory,
            query=model.attention.query,
            input_feeding=model.attention.input_feeding,
            layer=model.attention.layer,
            copies=copies,
            **model.decoder.model_dump(),
        )
    except ConfigError as error:
        if error.key.startswith("model."):
            raise
        raise ConfigError(f"model.{error.key}", error.reason) from None


def _cells(model: Model) -> MakeCell:
    def make(inputs: int, hidden: int) -> Cell:
        return CELLS.build(model.cell.kind, model.cell.options, "model.cell", inputs=inputs, hidden=hidden)

    return make


def _channels(model: Model, sources: Sequence[SideSizes]) -> list[Channel]:
    """A source and an encoder for each: recurrent for a sequence, else feed-forward, all with states of one width."""
    width = model.encoder.hidden
    if model.encoder.bidirectional and any(side.steps for side in sources):
        width *= 2
    dropout: dict[str, Any] = {"dropout": model.dropout, "locked_dropout": model.locked_dropout}
    channels = []
    for side in sources:
        options = model.image.model_dump() if side.part in ("image", "images") else {}
        sizes: dict[str, Any] = {"inputs": side.size, "size": model.embedding, **side.part_options}
        source = SOURCES.build(side.part, options, "model.image", **sizes)
        encoder: Encoder
        if side.steps:
            settings = model.encoder.model_dump()
            encoder = RecurrentEncoder(source.size, _cells(model), **settings, **dropout)
        else:
            layers, residual = model.encoder.layers, model.encoder.residual
            encoder = FeedForwardEncoder(source.size, width, layers, residual, **dropout)
        channels.append(Channel(source, encoder))
    return channels


def _attention(model: Model, hidden: int, features: int, memory: int) -> Attention | None:
    """The attention; its queries are the decoder's states, or the readout features where alignments are hidden."""
    chosen = model.attention
    query = features if getattr(ATTENTIONS.row(chosen.kind, "model.attention"), "marginal", False) else hidden
    return ATTENTIONS.build(
        chosen.kind, chosen.options, "model.attention", also=chosen.own_keys(), query=query, memory=memory
    )


STRUCTURES: dict[str, Callable[[Model, Sequence[SideSizes], SideSizes], Built]] = {
    "one_to_one": one_to_one,
    "one_to_many": one_to_many,
    "many_to_one": many_to_one,
    "many_to_many": many_to_many,
    "synchronous": synchronous,
}


def structure_of(config: Config) -> str:
    """The structure that the kinds of source and target make; a stated one must agree."""
    codecs = untrained(config)
    sources, target = codecs.sources, codecs.target
    many = any(source.steps for source in sources)
    kinds = f"{' and '.join(side.kind for side in config.sources)} -> {config.target.kind}"
    if target.form == "next" and not isinstance(sources[0], TextCodec):
        raise ConfigError("target.kind", f"{kinds}: the next symbol needs a source of text")
    if any(source.whole for source in sources) and target.form != "next":
        raise ConfigError("target.kind", f"{kinds}: of one long text only the next symbol can be learned; choose next")
    if target.form in ("each", "aligned", "next"):
        if not many:
            pictures = "; read pictures as images, a step each, or as frames" if "image" in kinds.split() else ""
            raise ConfigError("target.kind", f"{kinds}: a prediction for each step needs a source with steps{pictures}")
        if "turns" in config.sources[0].options:
            raise ConfigError("source.turns", f"{kinds}: a dialogue's turns are for a text or one label of their own")
        structure = "synchronous"
    else:
        structure = f"{'many' if many else 'one'}_to_{'many' if target.form == 'any' else 'one'}"
    if config.structure not in (None, structure):
        raise ConfigError("structure", f"is {config.structure}, but {kinds} makes {structure}")
    return structure


def build(config: Config, codecs: Codecs) -> Built:
    """An untrained model for what these codecs have learned."""
    copying = copying_of(config, codecs)  # refused here, before any data is read
    structure = STRUCTURES[structure_of(config)]
    if isinstance(codecs.target, SeriesCodec):
        model: Built = series_writer(config.model, codecs.sources, codecs.target)
    else:
        model = structure(config.model, codecs.sources, codecs.target)
    if config.model.cache is not None and not isinstance(model, LanguageModel):
        raise ConfigError("model.cache", "is for a language model (target.kind: next); leave it out")
    if copying is not None and isinstance(model, Writer):
        model.copied = tuple(source is not None for source in copying.sources)
        if isinstance(model, AligningWriter) and not model.copied[0]:
            reason = (
                f"{config.model.attention.kind} attention aligns with the first source, whose symbols cannot be copied"
            )
            raise ConfigError("model.copy", f"{reason}; give it the tokens of the target, or choose another attention")
    return model
