"""The structures as functions from a configuration to a model: the only place that knows names of both.

Today there is `many_to_many`; the schema and everything around it are made for all five.
"""

from __future__ import annotations

from collections.abc import Callable

from antiphon.config import Config, Model
from antiphon.errors import ConfigError
from antiphon.model import Writer
from antiphon.parts.attention import ATTENTIONS, Attention
from antiphon.parts.bridges import BRIDGES
from antiphon.parts.decoders import RecurrentDecoder
from antiphon.parts.encoders import RecurrentEncoder
from antiphon.parts.heads import SoftmaxHead
from antiphon.parts.recurrent import CELLS, Cell
from antiphon.parts.sources import Embedding, TextSource


def many_to_many(model: Model, source_symbols: int, target_symbols: int) -> Writer:
    """text -> text of another length: source, encoder, bridge, decoder, head."""

    def make_cell(inputs: int, hidden: int) -> Cell:
        return CELLS.build(model.cell.kind, model.cell.options, "model.cell", inputs=inputs, hidden=hidden)

    source = TextSource(source_symbols, model.embedding)
    encoder = RecurrentEncoder(source.size, make_cell, dropout=model.dropout, **model.encoder.model_dump())
    decoder_width = model.decoder.hidden
    bridge = BRIDGES.build(
        model.context.from_,
        model.context.options,
        "model.context",
        also=model.context.own_keys(),
        memory=encoder.size,
        hidden=decoder_width,
        layers=model.decoder.layers,
        state_parts=CELLS.row(model.cell.kind, "model.cell").parts,  # type: ignore[attr-defined]
    )
    every_step = model.context.to == "every_step"
    embedding = Embedding(target_symbols, model.embedding)
    attention = _attention(model, decoder_width, encoder.size)
    try:
        decoder = RecurrentDecoder(
            model.embedding,
            make_cell,
            features=model.embedding if model.tie else decoder_width,
            dropout=model.dropout,
            context=bridge.size if every_step else 0,
            attention=attention,
            memory=encoder.size,
            query=model.attention.query,
            input_feeding=model.attention.input_feeding,
            layer=model.attention.layer,
            **model.decoder.model_dump(),
        )
    except ConfigError as error:
        raise ConfigError(f"model.{error.key}", error.reason) from None
    head = SoftmaxHead(decoder.features, target_symbols, embedding.weight if model.tie else None)
    return Writer(source, encoder, bridge, embedding, decoder, head, every_step)


def _attention(model: Model, query: int, memory: int) -> Attention | None:
    chosen = model.attention
    return ATTENTIONS.build(
        chosen.kind, chosen.options, "model.attention", also=chosen.own_keys(), query=query, memory=memory
    )


STRUCTURES: dict[str, Callable[[Model, int, int], Writer]] = {"many_to_many": many_to_many}
BY_KINDS = {("text", "text"): "many_to_many"}


def structure_of(config: Config) -> str:
    """The structure that the kinds of source and target make; a stated one must agree."""
    kinds = (config.source.kind, config.target.kind)
    found = BY_KINDS[kinds]
    if config.structure not in (None, found):
        raise ConfigError("structure", f"is {config.structure}, but {kinds[0]} -> {kinds[1]} makes {found}")
    return found


def build(config: Config, source_symbols: int, target_symbols: int) -> Writer:
    """An untrained model for vocabularies of these sizes (special symbols counted)."""
    return STRUCTURES[structure_of(config)](config.model, source_symbols, target_symbols)
