"""The options of a caller, checked: the settings of `decode`, their search, the prefix of every output."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from antiphon.config.decode import Decode
from antiphon.config.load import sample_settings, with_decode_settings
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.plan import Search, Speaker, check_names, plan, refuse_alignment, written_side
from antiphon.decoding.rules import ids_of
from antiphon.decoding.series import MOST_PATHS
from antiphon.errors import ConfigError
from antiphon.evaluation.series import check_series_decoding
from antiphon.model.models import Aligner
from antiphon.model.series import SeriesWriter
from antiphon.use.loaded import Loaded

Settings: TypeAlias = Mapping[str, Any] | None  # keys and their values, if any


@dataclass(frozen=True)
class Options:
    """The options of a prediction, as a caller gives them (see `Predictor.predict`)."""

    beam: int | None = None
    n_best: int = 1
    attention: bool = False
    sample: Settings = None
    settings: Settings = None
    token_scores: bool = False
    align: bool = False
    scores: bool = True  # whether they are read: with a shortlist it takes time to compute the model's own


@dataclass(frozen=True)
class Request:
    """Checked options: how a model that writes searches for outputs, and what is reported of them."""

    decode: Decode
    search: Search | None
    n_best: int = 1
    attention: bool = False
    token_scores: bool = False
    align: bool = False
    scores: bool = True

    @property
    def draws(self) -> bool:
        """Whether symbols are drawn, so that a language model can begin with nothing."""
        return self.decode.sample is not None or self.decode.mbr is not None


def request_of(loaded: Loaded, options: Options) -> Request:
    """What the options ask of a model; what it cannot do is a `ConfigError`."""
    decode = decode_of(loaded, options.beam, options.sample, options.settings)
    most = _most_outputs(loaded, decode)
    if not 1 <= options.n_best <= most:
        what = "the beam's width" if decode.mbr is None else "the number of samples"
        if isinstance(loaded.model, SeriesWriter):
            what = "the most samples" if decode.sample else "without sampling"
        raise ConfigError("n_best", f"must lie between 1 and {what}, {most} (is {options.n_best})")
    model = loaded.model
    if isinstance(model, SeriesWriter):
        check_series_decoding(model, decode, loaded.intervals)
    search = plan(decode, model, loaded.codecs) if isinstance(model, Speaker) else None
    if options.align:
        refuse_alignment(model, loaded.codecs, "align")
    token_scores = options.token_scores and not isinstance(model, Aligner)
    return Request(decode, search, options.n_best, options.attention, token_scores, options.align, options.scores)


def decode_of(loaded: Loaded, beam: int | None, sample: Settings = None, settings: Settings = None) -> Decode:
    """The configured `decode` with a caller's options laid over it."""
    if beam is not None and beam < 1:
        raise ConfigError("beam", f"must be at least 1 (is {beam})")
    decode = (with_decode_settings(loaded.config, settings) if settings else loaded.config).decode
    check_names(decode)
    if beam is not None:
        decode = decode.model_copy(update={"beam": beam})
    return decode if sample is None else decode.model_copy(update={"sample": sample_settings(sample)})


def most_outputs(loaded: Loaded, beam: int | None, settings: Settings, sample: Settings = None) -> int:
    """How many outputs can be asked for: the beam's width, or the number of samples."""
    return _most_outputs(loaded, decode_of(loaded, beam, sample, settings))


def _most_outputs(loaded: Loaded, decode: Decode) -> int:
    if isinstance(loaded.model, SeriesWriter):
        return MOST_PATHS if decode.sample else 1
    return decode.beam if decode.mbr is None else decode.mbr.samples


def prefixes_of(loaded: Loaded, prefix: str | Iterable[str] | None, decode: Decode) -> Iterator[list[int]]:
    """The prefix of the outputs of each input, as ids."""
    if prefix is None:
        return itertools.repeat([])
    model = loaded.model
    if not isinstance(model, Speaker) or isinstance(model, Aligner):
        raise ConfigError("prefix", "is for a model that writes; this one does not")
    codec = written_side(model, loaded.codecs)
    if isinstance(prefix, str):
        return itertools.repeat(_prefix_ids(prefix, codec, decode))
    return (_prefix_ids(text, codec, decode) for text in prefix)


def _prefix_ids(text: str, codec: TextCodec, decode: Decode) -> list[int]:
    try:
        ids = ids_of(text, codec)
    except ConfigError as error:
        raise ConfigError("prefix", error.reason) from None
    if len(ids) > (decode.max_length or 0):
        raise ConfigError("prefix", f"has {len(ids)} tokens, but decode.max_length is {decode.max_length}")
    return ids
