"""A small model from trained ones: what `antiphon distill` does, as a configuration that trains a student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from antiphon.api import train
from antiphon.config.files import files_exist
from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.data.load import untrained
from antiphon.data.memory import files_or_rows
from antiphon.errors import TrainingError
from antiphon.model.build import build
from antiphon.model.parts.heads.base import SymbolHead
from antiphon.saved import folder as bundle
from antiphon.saved.ready import model_path
from antiphon.use.predictor import Predictor

READING = ("header", "separator", "decimal", "references", "group", "max_length", "on_error", "window", "time")


def distill(
    teachers: Sequence[str | Path] | str | Path,
    out: str | Path | None = None,
    rows: Any = None,
    inputs: Any = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    *,
    callbacks: Iterable[object] = (),
    quiet: bool = False,
) -> Predictor[Any]:
    """Train a student on what trained models predict, and return it: one small model in place of several large ones.

    `rows` are rows with answers, a file or rows in memory, and by default those that the first teacher was trained on;
    the student learns their answers and the teachers' outputs, and at every step the teachers' distribution. `inputs`
    are inputs without answers; only the teachers' outputs are learned. `teachers` are model folders with the same
    vocabularies, which are the student's. The rest is as for `train`: its model is chosen by the number of rows unless
    `settings` name another. Errors are `AntiphonError`s.
    """
    config = student(teachers, rows, inputs, settings)
    return train(config, out, None, resume, overwrite, device, threads, callbacks=callbacks, quiet=quiet)


def student(
    teachers: Sequence[str | Path] | str | Path,
    rows: Any = None,
    inputs: Any = None,
    settings: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of a student, with the keys that the user leaves open still open; see `distill`."""
    folders = [model_path(path) for path in ([teachers] if isinstance(teachers, str | Path) else teachers)]
    if not folders:
        raise TrainingError("a student needs a teacher: name the folder of a trained model")
    if rows is not None and inputs is not None:
        raise TrainingError("a student learns from rows or from inputs; give one of them")
    first = bundle.load_config(folders[0])
    train_files = (
        first.data.train if rows is None and inputs is None else files_or_rows(inputs if rows is None else rows)
    )
    tree: dict[str, Any] = {
        "data": {name: getattr(first.data, name) for name in READING} | {"train": train_files},
        "train": {"teachers": [str(path.absolute()) for path in folders], "examples": first.train.examples},
    }
    valid = first.data.valid
    if isinstance(valid, float) or (valid is not None and files_exist(valid)):
        tree["data"]["valid"] = valid
    if first.data.window is not None:  # the sides of windows name their columns
        tree |= first.model_dump(by_alias=True, include={"sources", "target"})
    codecs = untrained(first)
    if codecs.target.form != "next":
        tree["train"]["teacher_outputs"] = "add" if inputs is None else "only"
    elif inputs is not None:
        raise TrainingError(f"{folders[0]}: is a language model, which answers no inputs; give rows")
    with torch.device("meta"):  # no memory is taken
        head = build(first, bundle.load_codecs(folders[0], first)).head
    if not isinstance(head, SymbolHead):
        tree["train"]["teacher_share"] = 0.0  # it has no distribution at each step
    for key, value in (settings or {}).items():
        set_value(tree, key, value)
    return parse_config(tree, Path.cwd())
