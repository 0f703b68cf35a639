"""The training state: all that is needed to go on as if nothing had happened.

training/step-000001234.pt    a state: what torch.save wrote, followed by its BLAKE2b digest

The last few are kept. A state is read back before it replaces an older one, and its digest is
checked when it is read, so a damaged one is passed over for the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, cast

import torch

from antiphon.bundle import TRAINING, refuse_links
from antiphon.errors import TrainingError
from antiphon.files import DIGEST, Digesting, make_folder, write_atomically


def states(folder: Path) -> list[Path]:
    """The states in a model folder, the newest first."""
    return sorted((folder / TRAINING).glob("step-*.pt"), reverse=True)


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write the state after update `step`; then remove newer ones, and all but the last `keep`."""
    make_folder(folder / TRAINING)

    def write(file: Digesting) -> None:
        torch.save(state, cast(IO[bytes], file))
        file.write(file.digest)

    write_atomically(folder / TRAINING / f"step-{step:09}.pt", write)
    newest_first = states(folder)
    newer = [path for path in newest_first if path.stem > f"step-{step:09}"]  # of a course that was given up
    for path in newer + newest_first[len(newer) + keep :]:
        with contextlib.suppress(OSError):
            path.unlink()


def load(folder: Path, back: int = 0) -> tuple[dict[str, Any], list[str]]:
    """The newest state that is whole, or one `back` states older if there is one; a message about each damaged one.

    Only plain values and tensors are accepted.
    """
    refuse_links(folder)
    refuse_links(folder / TRAINING)
    messages: list[str] = []
    found: dict[str, Any] | None = None
    for path in states(folder):
        try:
            found = _read(path)
        except (UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
            messages.append(f"{path}: is damaged ({str(error).splitlines()[0]})")
            continue
        if back == 0:
            break
        back -= 1
    if found is not None:
        return found, messages
    if messages:
        raise TrainingError("\n".join([*messages, f"{folder}: no state is left to go on from; train again"]))
    raise TrainingError(f"{folder}: holds no training to go on with ({TRAINING}/step-*.pt is missing)")


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    if hashlib.blake2b(content[:-DIGEST], digest_size=DIGEST).digest() != content[-DIGEST:]:
        raise ValueError("its content is not what was written")
    state: dict[str, Any] = torch.load(io.BytesIO(content[:-DIGEST]), map_location="cpu", weights_only=True)
    return state
