"""A loaded model: what every function of this folder takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from antiphon.common.calibration import Calibration
from antiphon.common.intervals import Intervals
from antiphon.config.schema import Config
from antiphon.data.copying import Copying
from antiphon.data.load import Codecs
from antiphon.decoding.plan import Speaker
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import Model
from antiphon.saved.known_answers import Exceptions


@dataclass(frozen=True)
class Loaded:
    """A model or an ensemble, and what its folder holds for its use."""

    model: Model | Ensemble
    config: Config
    codecs: Codecs
    device: torch.device
    folder: Path
    exceptions: Exceptions  # answers that are known and win over the model
    calibration: Calibration | None
    intervals: Intervals | None  # of a forecast that is calibrated
    copying: Copying | None  # how the sides share ids if the model copies

    @property
    def writes(self) -> bool:
        """Whether its answer is a text."""
        return isinstance(self.model, Speaker)
