"""The training state: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from antiphon.bundle import TRAINING
from antiphon.errors import TrainingError
from antiphon.files import make_folder, write_atomically

STATE = "state.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the training state in one step; the one before is there until this one is whole."""
    make_folder(folder / TRAINING)
    write_atomically(folder / TRAINING / STATE, lambda file: torch.save(state, file))


def load(folder: Path) -> dict[str, Any]:
    """Read the training state; only plain values and tensors are accepted."""
    path = folder / TRAINING / STATE
    if not path.is_file():
        raise TrainingError(f"{folder}: holds no training to go on with ({TRAINING}/{STATE} is missing)")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise TrainingError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
    return state
