"""The training state: all that is needed to go on as if nothing had happened.

training/step-000001234.pt    a state: what torch.save wrote, followed by its BLAKE2b digest
training/pause-000001300.pt   one saved between them, as time or the user asked for it

The last few are kept. Pauses are for going on only: a training that goes back for failing updates goes to
the states that every such training has, so that being stopped changes nothing.

A state is read back before it replaces an older one, and its digest is checked when it is read, so a
damaged one is passed over for the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, cast

import torch

from antiphon.errors import TrainingError
from antiphon.files import DIGEST, Digesting, make_folder, write_atomically
from antiphon.saved.folder import TRAINING, refuse_links


def states(folder: Path, pauses: bool = True) -> list[Path]:
    """The states in a model folder, the newest first."""
    found = [*(folder / TRAINING).glob("step-*.pt"), *((folder / TRAINING).glob("pause-*.pt") if pauses else [])]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> str:
    return path.stem.partition("-")[2]


def save(folder: Path, step: int, state: dict[str, Any], keep: int, planned: bool = True) -> None:
    """Write the state after update `step`; then remove newer ones, older pauses, and all but the last `keep`."""
    make_folder(folder / TRAINING)
    path = folder / TRAINING / f"{'step' if planned else 'pause'}-{step:09}.pt"

    def write(file: Digesting) -> None:
        torch.save(state, cast(IO[bytes], file))
        file.write(file.digest)

    write_atomically(path, write)
    newer = [other for other in states(folder) if _step(other) > _step(path)]  # of a course that was given up
    pauses = [other for other in states(folder) if other.stem.startswith("pause") and other != path]
    older = [other for other in states(folder, pauses=False) if other not in newer][keep:]
    for other in newer + pauses + older:
        with contextlib.suppress(OSError):
            other.unlink()


def load(folder: Path, back: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """The newest state that is whole; a message about each damaged one.

    With `back` the newest that is no pause, or one so many states older if there is one.

    Only plain values and tensors are accepted.
    """
    refuse_links(folder)
    refuse_links(folder / TRAINING)
    messages: list[str] = []
    found: dict[str, Any] | None = None
    for path in states(folder, pauses=back is None):
        try:
            found = _read(path)
        except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
            messages.append(f"{path}: is damaged ({str(error).splitlines()[0]})")
            continue
        if not back:
            break
        back -= 1
    if found is not None:
        return found, messages
    if messages:
        raise TrainingError("\n".join([*messages, f"{folder}: no saved state is left to resume from; train again"]))
    raise TrainingError(f"{folder}: has no training to resume ({TRAINING}/step-*.pt is missing)")


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    if hashlib.blake2b(content[:-DIGEST], digest_size=DIGEST).digest() != content[-DIGEST:]:
        raise ValueError("its content is not what was written")
    state: dict[str, Any] = torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True)
    return state
