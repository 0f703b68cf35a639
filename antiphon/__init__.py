"""Antiphon: recurrent sequence models, from a table of pairs to a shipped model.

    import antiphon

    model = antiphon.train("pairs.tsv", out="model/")    # or antiphon.load("model/")
    model.predict(["knight"])[0].text

Importing this package is light; torch is imported when a model is trained or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.api import compare, train
    from antiphon.common.answers import Prediction
    from antiphon.errors import AntiphonError
    from antiphon.tools.checkup import check
    from antiphon.use.loading import load
    from antiphon.use.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["AntiphonError", "Prediction", "Predictor", "__version__", "check", "compare", "load", "train"]

_HOMES = {
    "AntiphonError": "antiphon.errors",
    "Prediction": "antiphon.common.answers",
    "Predictor": "antiphon.use.predictor",
    "check": "antiphon.tools.checkup",
    "compare": "antiphon.api",
    "load": "antiphon.use.loading",
    "train": "antiphon.api",
}


if not TYPE_CHECKING:  # a type checker knows the names above and no others

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
