"""Numbers of a trace: plain floats, rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

DECIMALS = 6


def rounded(values: Any) -> Any:
    """Numbers of a tensor or an array as lists of floats, rounded."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.round(np.asarray(values, dtype=np.float64), DECIMALS).tolist()
