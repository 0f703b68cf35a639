"""Antiphon: recurrent sequence models, from a table of pairs to a shipped model.

    import antiphon

    model = antiphon.train("pairs.tsv", out="model/")    # or antiphon.load("model/")
    model.predict(["knight"])[0].text

Importing this package is light; torch is imported when a model is trained or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon import track
    from antiphon.api import compare, train
    from antiphon.common.answers import (
        Candidate,
        LabelPrediction,
        LabelsPrediction,
        LiveEnd,
        NumberPrediction,
        NumbersPrediction,
        Prediction,
        SeriesPrediction,
        TextPrediction,
    )
    from antiphon.errors import AntiphonError
    from antiphon.inspection.trace import Trace
    from antiphon.tools.checkup import check
    from antiphon.tools.choose import next_rows
    from antiphon.tools.distill import distill
    from antiphon.tools.doubt import doubt
    from antiphon.tools.hub import pull, push
    from antiphon.tools.lexicon import Lexicon, lexicon
    from antiphon.training.callbacks import Callback, Run
    from antiphon.use.choosing import Chosen
    from antiphon.use.doubting import Doubt
    from antiphon.use.loading import load
    from antiphon.use.predictor import Predictor

__version__ = "0.1.0"
__all__ = [
    "AntiphonError", "Callback", "Candidate", "Chosen", "Doubt", "LabelPrediction", "LabelsPrediction", "Lexicon",
    "LiveEnd", "NumberPrediction", "NumbersPrediction", "Prediction", "Predictor", "Run", "SeriesPrediction",
    "TextPrediction", "Trace", "__version__", "check", "compare", "distill", "doubt",
    "lexicon", "load", "next_rows", "pull", "push", "track",
    "train",
]  # fmt: skip

_HOMES = {
    "AntiphonError": "antiphon.errors",
    "Callback": "antiphon.training.callbacks",
    "Candidate": "antiphon.common.answers",
    "Chosen": "antiphon.use.choosing",
    "Doubt": "antiphon.use.doubting",
    "LabelPrediction": "antiphon.common.answers",
    "LabelsPrediction": "antiphon.common.answers",
    "Lexicon": "antiphon.tools.lexicon",
    "LiveEnd": "antiphon.common.answers",
    "NumberPrediction": "antiphon.common.answers",
    "NumbersPrediction": "antiphon.common.answers",
    "Prediction": "antiphon.common.answers",
    "Predictor": "antiphon.use.predictor",
    "Run": "antiphon.training.callbacks",
    "SeriesPrediction": "antiphon.common.answers",
    "TextPrediction": "antiphon.common.answers",
    "Trace": "antiphon.inspection.trace",
    "check": "antiphon.tools.checkup",
    "compare": "antiphon.api",
    "distill": "antiphon.tools.distill",
    "doubt": "antiphon.tools.doubt",
    "lexicon": "antiphon.tools.lexicon",
    "load": "antiphon.use.loading",
    "next_rows": "antiphon.tools.choose",
    "pull": "antiphon.tools.hub",
    "push": "antiphon.tools.hub",
    "train": "antiphon.api",
}


if not TYPE_CHECKING:  # a type checker knows the names above and no others

    def __getattr__(name: str) -> Any:
        import importlib

        if name == "track":
            return importlib.import_module("antiphon.track")
        if name not in _HOMES:
            raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)
