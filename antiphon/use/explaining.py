"""The run of one input seen from inside: the request is checked and handed to the explainer of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.data.batches import EncodedInput
from antiphon.decoding.plan import Speaker, plan
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.inspection.explain.entry import explainer_of
from antiphon.inspection.explain.request import TraceRequest
from antiphon.inspection.trace import Trace
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Writer
from antiphon.use.encoding import encode
from antiphon.use.loaded import Loaded
from antiphon.use.options import Settings, decode_of


def explain(
    loaded: Loaded,
    value: Any,
    reference: Any,
    other: Any,
    force: Sequence[tuple[int, str | None]],
    top: int,
    beam: int | None,
    settings: Settings,
    begin: Sequence[str | None],
) -> Trace:
    """The run of one input; see `Predictor.explain`."""
    model, codecs = loaded.model, loaded.codecs
    if isinstance(model, Ensemble):
        raise ModelFolderError("an ensemble is several models; look into each of them")
    if top < 1:
        raise ConfigError("top", f"must be at least 1 (is {top})")
    if other is not None and not isinstance(model, Writer):
        raise ConfigError("other", "is for a model that has a context C; this one does not")
    for name, symbols in (("force", force), ("begin", begin)):
        if symbols and not loaded.writes:
            raise ConfigError(name, "is for a model that writes; this one does not")
    request = TraceRequest(
        reference, None if other is None else read_input(loaded, other, "other input"), force, top, begin
    )
    search = plan(decode_of(loaded, beam, None, settings), model, codecs) if isinstance(model, Speaker) else None
    explainer = explainer_of(model, loaded.config, codecs, loaded.device, search)
    return explainer.trace(read_input(loaded, value, "input"), request)


def read_input(loaded: Loaded, value: Any, what: str) -> EncodedInput:
    """An input as explainers take it: as the model alone reads it, even if its answer is known."""
    entry = encode(loaded, value, what)
    if not isinstance(entry, EncodedInput):
        raise DataError(f"{what}: is empty")
    return entry
