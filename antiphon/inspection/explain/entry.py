"""The explainer of a model, by its kind."""

from __future__ import annotations

import torch

from antiphon.config.schema import Config
from antiphon.data.load import Codecs
from antiphon.decoding.plan import Search
from antiphon.errors import ConfigError
from antiphon.inspection.explain.language_model import LanguageModelExplainer
from antiphon.inspection.explain.reader import ReaderExplainer
from antiphon.inspection.explain.series import SeriesExplainer
from antiphon.inspection.explain.writer import WriterExplainer
from antiphon.model.apart import ApartWriter
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import LanguageModel, Model, Reader, Writer
from antiphon.model.series import SeriesWriter


def unexplained(model: Model | Ensemble) -> str | None:
    """The key of the configuration for which a model cannot be looked into yet; None: it can."""
    if isinstance(model, ApartWriter):
        return "target.separate"
    return "target.ctc" if model.aligns else None


def explainer_of(
    model: Model, config: Config, codecs: Codecs, device: torch.device, search: Search | None
) -> ReaderExplainer | WriterExplainer | LanguageModelExplainer | SeriesExplainer:
    """The explainer of a model; one that writes needs a search. There is none yet for one
    that is trained with CTC, or whose columns are separate: a `ConfigError`."""
    if (key := unexplained(model)) is not None:
        raise ConfigError(key, "cannot be looked into yet; train a model without it to see inside")
    if isinstance(model, Writer):
        assert search is not None
        return WriterExplainer(model, config, codecs, device, search)
    if isinstance(model, LanguageModel):
        assert search is not None
        return LanguageModelExplainer(model, config, codecs, device, search)
    if isinstance(model, SeriesWriter):
        return SeriesExplainer(model, config, codecs, device)
    assert isinstance(model, Reader)
    return ReaderExplainer(model, config, codecs, device)
