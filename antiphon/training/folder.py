"""The folder that a training writes into: whether it may, and the old model in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from antiphon.errors import TrainingError
from antiphon.files import PARTIAL
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions


def check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is not empty, unless it is a model's and may be resumed or replaced."""
    if resume or not out.exists() or (out.is_dir() and all(PARTIAL in path.name for path in out.iterdir())):
        return
    if not overwrite:
        advice = "resume it (--resume, resume=True), replace it (--overwrite, overwrite=True), or name another"
        raise TrainingError(f"{out}: exists; {advice}")
    if out.is_symlink() or not (out / bundle.CONFIG).is_file():
        raise TrainingError(f"{out}: is not a model folder, so it is not replaced; name another")
    bundle.refuse_strange_files(out)


def clear_folder(out: Path) -> None:
    """Remove the old model, but not the user's known answers: only now, since the new model's data is right."""
    try:
        if (out / bundle.TRAINING).exists():
            shutil.rmtree(out / bundle.TRAINING)
        # the configuration last: if this is interrupted, the folder is still a model's
        for path in sorted(out.glob("*"), key=lambda path: path.name == bundle.CONFIG):
            if path.name != exceptions.FILE:
                path.unlink()
    except OSError as error:
        raise TrainingError(f"{out}: cannot be replaced: {error.strerror or error}") from None
