"""The names of metrics: which are for a kind of target, which are better higher, which have a perfect value."""

from __future__ import annotations

from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.nothing import NextCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec

CORPUS = ("bleu", "chrf", "ter")
HIGHER_IS_BETTER = {"exact_match", "bleu", "chrf", "accuracy", "macro_f1", "span_f1"}
PERFECT = dict.fromkeys(("exact_match", "accuracy", "macro_f1", "span_f1"), 1.0)
PERFECT |= {"token_error_rate": 0.0, "token_error_rate_teacher": 0.0, "ter": 0.0}


def metrics_of(target: Codec) -> set[str]:
    """The metrics that can choose the best model for a kind of target."""
    if isinstance(target, TextCodec):
        fed = {"token_error_rate_teacher"} if target.form == "any" else set[str]()
        return {"loss", "perplexity", "token_error_rate", "exact_match", *fed, *CORPUS}
    if isinstance(target, LabelCodec):
        return {"loss", "perplexity", "accuracy", "macro_f1"} | ({"exact_match", "span_f1"} if target.steps else set())
    if isinstance(target, NextCodec):
        return {"loss", "perplexity", "accuracy"}
    if isinstance(target, SeriesCodec):
        return {"loss", "mse", "mae"}
    return {"loss"} if target.steps else {"loss", "mse", "mae"}
