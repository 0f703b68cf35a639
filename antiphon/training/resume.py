"""What a folder has of a training that was stopped, and whether the job that runs now began it.

torchrun starts all processes again when one is lost (`--max-restarts`), with the same command. So a job writes its
name into the folder of its model, `training/job`, and goes on with a folder that has this name as with `--resume`; the
folder of another job stays refused.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Set
from pathlib import Path
from typing import Any

from antiphon.config.schema import Config
from antiphon.data.load import Codecs
from antiphon.errors import TrainingError
from antiphon.files import make_folder, write_text, writing
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.distributed import Ranks

LOG = logging.getLogger("antiphon")
JOB = "job"  # a file in the subfolder of the training


def begun_by_this_job(out: Path) -> bool:
    """Whether the training in a folder was begun by the job that this process belongs to, before it was restarted."""
    job, path = _job(), out / bundle.TRAINING / JOB
    if job is None or path.is_symlink() or not path.is_file():
        return False
    named = "TORCHELASTIC_RUN_ID" in os.environ and os.environ["TORCHELASTIC_RUN_ID"] != "none"
    return path.read_text(encoding="utf-8") == job and (named or restarts() > 0)


def resumed_folder(out: Path | None, resume: bool) -> Path | None:
    """The folder whose training goes on, by the user's wish or as this job was restarted; None for a new training."""
    return out if out is not None and (resume or begun_by_this_job(out)) else None


def claim(out: Path) -> None:
    """Write the name of this job into the folder, or remove that of another."""
    job, path = _job(), out / bundle.TRAINING / JOB
    if job is not None:
        make_folder(out / bundle.TRAINING)
        write_text(path, job)
        return
    with writing(path):
        path.unlink(missing_ok=True)


def restarts() -> int:
    """How many times torchrun has started the processes of this machine again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _job() -> str | None:
    """A name of the job that torchrun runs, the same after a restart; None without torchrun.

    It is the user's `--rdzv-id`, or a random one with `--standalone`. Where torchrun has none it is the machine and
    the process number of torchrun itself.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()} {os.getppid()}" if name == "none" else name


def saved_state(
    out: Path, ranks: Ranks, restarted: bool, initialised: bool, progress: Set[str]
) -> dict[str, Any] | None:
    """The state to resume, read by the first process for all; None for a training that was stopped before it saved one.

    `restarted`: the job itself began this training, and says so. `progress` are the entries that a state must have.
    """
    state = ranks.by_first(lambda: _read(out, restarted, initialised, progress))
    if restarted and ranks.first:
        update = "its first update" if state is None else f"update {state['progress']['step']}"
        count = f"{ranks.world} processes" if ranks.world > 1 else "one process"
        LOG.warning("this job was interrupted (restart %d): it goes on from %s with %s", restarts(), update, count)
    return ranks.share_state(state)


def _read(out: Path, restarted: bool, initialised: bool, progress: Set[str]) -> dict[str, Any] | None:
    begun = (out / bundle.CONFIG).is_file() and not (out / bundle.WEIGHTS).exists()
    if restarted and not checkpoint.states(out):
        return None
    if begun and not checkpoint.states(out):
        bundle.refuse_strange_files(out)
        again = "" if initialised else ", without --init-from unless it is given again"
        LOG.warning("%s: nothing was saved yet; the training starts from its first update%s", out, again)
        return None
    state, damaged = checkpoint.load(out)
    if state.get("progress", {}).keys() != progress:
        raise TrainingError(f"{out}: its training was saved by another version; train again")
    for message in damaged:
        LOG.warning("%s; going on from update %d", message, state["progress"]["step"])
    return state


def saved_codecs(out: Path, config: Config, ranks: Ranks) -> Codecs:
    """The codecs of a training that is resumed, read by the first process for all."""
    if ranks.world == 1:
        return bundle.load_codecs(out, config)
    codecs = ranks.by_first(lambda: bundle.load_codecs(out, config))
    return Codecs.from_json(ranks.share(codecs.to_json() if codecs else ""))
