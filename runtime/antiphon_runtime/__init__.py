"""Runs exported models: `antiphon_runtime.load("folder").predict(["knight"])[0].text`.

Importing this package is light; onnxruntime is imported when a model is loaded.
"""

from __future__ import annotations

from antiphon_runtime.common.answers import (
    Candidate,
    LabelPrediction,
    LabelsPrediction,
    LiveEnd,
    NumberPrediction,
    NumbersPrediction,
    SeriesPrediction,
    TextPrediction,
)
from antiphon_runtime.errors import FolderError, InputError, OptionError, RuntimeModelError
from antiphon_runtime.loading import load
from antiphon_runtime.model import Model

__version__ = "0.1.0"
__all__ = [
    "Candidate",
    "FolderError",
    "InputError",
    "LabelPrediction",
    "LabelsPrediction",
    "LiveEnd",
    "Model",
    "NumberPrediction",
    "NumbersPrediction",
    "OptionError",
    "RuntimeModelError",
    "SeriesPrediction",
    "TextPrediction",
    "__version__",
    "load",
]
