"""From the settings of `decode` to a search, made once for a model; what cannot work is refused."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.common.options import Sample
from antiphon.config.decode import Decode
from antiphon.data.codecs.text import SourceTextCodec, TextCodec
from antiphon.data.load import Codecs
from antiphon.data.shortlist import Shortlist
from antiphon.decoding.constraints import Diverse, Lanes, Phrases, Together
from antiphon.decoding.mbr import Utility, utility_of
from antiphon.decoding.rules import RULES, build_rules, ids_of
from antiphon.decoding.step import Limits, Rule
from antiphon.errors import IMPORT, ConfigError, nearest
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Aligner, LanguageModel, Model, Writer
from antiphon.model.parts.heads.softmax import SoftmaxHead

Speaker = Writer | LanguageModel | Ensemble | Aligner  # a model whose answer is a text
NO_ATTENTION = "needs the attention of each step, which this model does not have; train with model.attention: general"


@dataclass(frozen=True)
class Search:
    """How outputs are searched for: the settings of `decode`, prepared for a model."""

    settings: Decode
    limits: Limits
    rules: tuple[Rule, ...]
    lanes: Lanes
    sample: Sample | None
    utility: Utility | None  # how much an output is worth if another is right: with `mbr`
    copies: bool = False  # whether outputs may have symbols that only their source has
    shortlist: Shortlist | None = None

    @property
    def width(self) -> int:
        """Prefixes a lane holds; 1 without a beam."""
        if self.sample is not None:
            return 1
        return self.settings.beam // (self.lanes.count if isinstance(self.lanes, Diverse) else 1)


def check_names(decode: Decode) -> None:
    """Refuse keys of `decode` that are neither its own nor a rule."""
    for name in decode.options:
        if name not in RULES:
            known = nearest(name, {*decode.own_keys(), *RULES}, IMPORT)
            raise ConfigError(f"decode.{name}", f"unknown key; {known}")


def plain(decode: Decode) -> Decode:
    """Greedy search within the same bounds, without rules: what a training watches."""
    return Decode(beam=1, min_length=decode.min_length, max_length=decode.max_length)


def plan(decode: Decode, model: Speaker, codecs: Codecs) -> Search:
    """The search of the settings; what cannot work is a `ConfigError`, a bad line of its files a `DataError`."""
    check_names(decode)
    if isinstance(model, Aligner):
        return _plan_alignment(decode)
    codec = written_side(model, codecs)
    assert decode.max_length is not None, "filled in before training"
    draws = decode.mbr is not None or decode.sample is not None
    for key, chosen in (("require", decode.require), ("diversity", decode.diversity)):
        if chosen and draws:
            raise ConfigError(
                f"decode.{key}", "needs beam search, which cannot be combined with sampling; leave out sample and mbr"
            )
    if decode.coverage_penalty and not model.attends:
        raise ConfigError("decode.coverage_penalty", NO_ATTENTION)
    if decode.mbr is not None and decode.mbr.metric == "chrf" and model.copies:
        reason = "chrf is of texts, and what is copied has none before it is read; choose token_error_rate"
        raise ConfigError("decode.mbr.metric", reason)
    if decode.replace_unknown:
        refuse_alignment(model, codecs, "decode.replace_unknown")
    rules = build_rules(decode.rules, codec=codec, max_length=decode.max_length)
    lanes: Lanes = Together()
    if decode.diversity is not None:
        lanes = _diverse(decode)
    if decode.require:
        lanes = _phrases(decode, codec)
        rules.append(lanes)
    limits = Limits(decode.max_length, min(decode.min_length, decode.max_length), decode.replace_unknown)
    sample = decode.sample or (None if decode.mbr is None else Sample())
    utility = None if decode.mbr is None else utility_of(decode.mbr, codec)
    return Search(decode, limits, tuple(rules), lanes, sample, utility, model.copies, _shortlist(decode, model, codecs))


def _plan_alignment(decode: Decode) -> Search:
    """Labels are ranked by their score alone, and there are no more of them than steps."""
    for key in decode.model_dump(exclude_defaults=True):
        if key != "beam":
            raise ConfigError(
                f"decode.{key}", "cannot be used with ctc, only with models that write step by step; leave it out"
            )
    return Search(decode, Limits(0), (), Together(), None, None)


def refuse_shortlist(decode: Decode, model: Speaker, codecs: Codecs) -> None:
    """Refuse `decode.shortlist` where it cannot be, and what does not go with it."""
    if decode.shortlist is None:
        return
    reads = codecs.sources[0]
    plain = isinstance(reads, SourceTextCodec) and reads.spelling is None and len(codecs.sources) == 1
    if not plain or not isinstance(model, Writer) or not isinstance(model.head, SoftmaxHead):
        reason = "is for one model that reads one text (without characters) and writes another, and does not copy"
        raise ConfigError("decode.shortlist", reason)
    for key, chosen in (
        ("require", decode.require),
        ("lexicon", decode.lexicon),
        ("sample", decode.sample),
        ("mbr", decode.mbr),
    ):
        if chosen:
            reason = "needs all symbols, but decode.shortlist leaves most of them out; choose one of them"
            raise ConfigError(f"decode.{key}", reason)


def _shortlist(decode: Decode, model: Speaker, codecs: Codecs) -> Shortlist | None:
    refuse_shortlist(decode, model, codecs)
    if decode.shortlist is None:
        return None
    again = "give this key to antiphon train, with --resume for a model that is trained already"
    if codecs.shortlist is None:
        raise ConfigError("decode.shortlist", f"this model has no shortlist; {again}")
    try:
        return codecs.shortlist.cut(decode.shortlist.likely, decode.shortlist.common)
    except ConfigError as error:
        raise ConfigError(f"decode.shortlist.{error.key}", f"{error.reason}; for more {again}") from None


def written_side(model: Speaker, codecs: Codecs) -> TextCodec:
    """The codec of what the model writes: the target's, or the source's of a language model."""
    codec = codecs.sources[0] if model.goes_on else codecs.target
    assert isinstance(codec, TextCodec)
    return codec


def refuse_alignment(model: Model | Ensemble, codecs: Codecs, key: str) -> None:
    """Refuse what needs to know which source symbol each output symbol comes from."""
    if not isinstance(model, Speaker) or not model.attends:
        raise ConfigError(key, NO_ATTENTION)
    if len(codecs.sources) > 1 or not isinstance(codecs.sources[0], TextCodec):
        raise ConfigError(key, "needs one source of text, from which symbols of an output can be taken")


def _diverse(decode: Decode) -> Diverse:
    assert decode.diversity is not None
    groups = decode.diversity.groups
    if decode.require:
        raise ConfigError(
            "decode.diversity", "cannot be combined with decode.require, since both divide the beam; choose one of them"
        )
    if decode.beam % groups:
        reason = f"{groups} groups cannot share a beam of {decode.beam}; choose a multiple"
        raise ConfigError("decode.diversity.groups", reason)
    return Diverse(groups, decode.diversity.strength)


def _phrases(decode: Decode, codec: TextCodec) -> Phrases:
    try:
        phrases = Phrases([ids_of(phrase, codec) for phrase in decode.require], codec.size)
    except ConfigError as error:
        raise ConfigError("decode.require", error.reason) from None
    except ValueError as error:
        raise ConfigError("decode.require", str(error)) from None
    assert decode.max_length is not None
    if phrases.count - 1 > decode.max_length:
        reason = f"has {phrases.count - 1} tokens in all, but decode.max_length is {decode.max_length}"
        raise ConfigError("decode.require", reason)
    return phrases
