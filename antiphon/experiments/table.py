"""Settings with their seeds as a table: means, intervals, and which differ from a baseline by more than chance."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from antiphon.config.files import Files
from antiphon.errors import ConfigError, DataError, ModelFolderError, nearest
from antiphon.experiments.evaluations import Evaluation, evaluation_of, paths_of
from antiphon.experiments.statistics import difference_p, half_interval, holm
from antiphon.saved import folder as bundle

SEED = re.compile(r"seed-\d+")


@dataclass(frozen=True)
class Setting:
    """A setting and the model folders of its seeds."""

    name: str
    folders: list[Path]


@dataclass(frozen=True)
class Figure:
    """The mean of a metric over seeds, half of its 95% interval (None for one seed), and p against the baseline."""

    mean: float
    half: float | None
    p: float | None


@dataclass(frozen=True)
class Line:
    """A setting in the table; `minutes` of training are a mean over its seeds."""

    name: str
    seeds: int
    figures: dict[str, Figure]
    minutes: float
    parameters: int


@dataclass(frozen=True)
class Table:
    """The settings, the first of `metrics` being what is watched; `data` says what they are measured on."""

    lines: list[Line]
    metrics: list[str]
    baseline: str
    data: str
    notes: list[str] = field(default_factory=list)


def find_settings(folders: Sequence[Path]) -> tuple[list[Setting], list[str]]:
    """The settings in folders, and a note about each run that is not finished.

    A folder is a model's, or has models anywhere below it. Models in folders `seed-1`, `seed-2`, ... of one folder are
    one setting with the name of that folder; any other model is a setting by itself.
    """
    settings: dict[str, list[Path]] = {}
    notes = []
    seen: set[Path] = set()
    for folder in folders:
        models = [folder] if (folder / bundle.CONFIG).is_file() else _models_below(folder)
        if not models:
            reason = "has no model in it; give a folder that sweep or train has written"
            raise ModelFolderError(f"{folder}: {reason if folder.is_dir() else 'no such folder'}")
        for model in models:
            if model.resolve() in seen:
                continue
            seen.add(model.resolve())
            if not ((model / bundle.CARD).is_file() and (model / bundle.METRICS).is_file()):
                notes.append(f"{model}: is not finished and left out")
                continue
            place = model.parent if SEED.fullmatch(model.name) else model
            inside = place.relative_to(folder).as_posix() if place.is_relative_to(folder) else "."
            name = place.name if inside == "." else inside
            if any(path.parent != model.parent for path in settings.get(name, [])) or (
                name in settings and place == model
            ):
                name = place.as_posix()  # two folders with settings of one name
            settings.setdefault(name, []).append(model)
    if not settings:
        raise ModelFolderError("\n".join([*notes, "no run is finished"]))
    return [Setting(name, models) for name, models in settings.items()], notes


def _models_below(folder: Path) -> list[Path]:
    paths = folder.rglob(bundle.CONFIG)
    return sorted((path.parent for path in paths), key=lambda path: [_natural(part) for part in path.parts])


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts seed-2 before seed-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def make_table(
    folders: Sequence[Path],
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    data: Files | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Table:
    """The table of the settings in `folders` (see `find_settings` and `table_of`)."""
    settings, notes = find_settings(folders)
    return table_of(settings, baseline, metrics, data, device, say, notes)


def table_of(
    settings: Sequence[Setting],
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    data: Files | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    notes: Sequence[str] = (),
) -> Table:
    """The table of some settings.

    They are measured on `data`, by default on the configured test data; where there is none, the figures are those
    of the validation rows that training has kept. `baseline` is a setting's name, by default the first; `metrics` are
    by default the one that training watches and the loss.
    """
    names = [setting.name for setting in settings]
    first = baseline or names[0]
    if first not in names:
        raise ConfigError("--baseline", f"unknown setting {first!r}; {nearest(first, names)}")
    measured = _measured(settings, data, device, say)
    config = bundle.load_config(settings[0].folders[0])
    chosen = list(metrics or dict.fromkeys([config.train.metric or "loss", "loss"]))
    for metric in chosen:
        _refuse_unknown(metric, measured)
    figures = {metric: _figures(metric, measured, first) for metric in chosen}
    lines = [
        Line(
            setting.name,
            len(setting.folders),
            {metric: figures[metric][setting.name] for metric in chosen},
            statistics.fmean(bundle.load_metrics(folder)["minutes"] for folder in setting.folders),
            parameters_of(setting.folders[0]),
        )
        for setting in settings
    ]
    about = "validation rows" if _is_validation(data, settings) else _described(data or config.data.test)
    return Table(lines, chosen, first, about, list(notes))


def _described(files: Files | None) -> str:
    return ", ".join(path.name for path in paths_of(files or []))


def _is_validation(data: Files | None, settings: Sequence[Setting]) -> bool:
    return data is None and any(
        bundle.load_config(folder).data.test is None for setting in settings for folder in setting.folders
    )


def _measured(
    settings: Sequence[Setting], data: Files | None, device: str | None, say: Callable[[str], None]
) -> dict[str, list[Evaluation]]:
    """The evaluations of all runs, by setting; all on the same rows."""
    if _is_validation(data, settings):
        return {setting.name: [_of_validation(folder) for folder in setting.folders] for setting in settings}
    count, done = sum(len(setting.folders) for setting in settings), 0
    measured: dict[str, list[Evaluation]] = {}
    rows: dict[str, Path] = {}
    for setting in settings:
        for folder in setting.folders:
            evaluation = evaluation_of(folder, data, device)
            done += 1
            say(f"measured {done} of {count}: {folder}")
            measured.setdefault(setting.name, []).append(evaluation)
            rows.setdefault(evaluation.rows, folder)
    if len(rows) > 1:
        first, other, *_ = rows.values()
        reason = "does not take the same rows; compare models with the same data.max_length and data.references"
        raise DataError(f"{other}: {reason} as {first}")
    return measured


def _of_validation(folder: Path) -> Evaluation:
    entry = bundle.load_metrics(folder)["valid"]
    scores = {name: float(value) for name, value in entry.items() if isinstance(value, int | float)}
    return Evaluation(scores, "", {})


def parameters_of(folder: Path) -> int:
    """How many parameters a saved model has; no weight is read."""
    with safe_open(folder / bundle.WEIGHTS, "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118 no mapping


def _refuse_unknown(metric: str, measured: Mapping[str, Sequence[Evaluation]]) -> None:
    for name, evaluations in measured.items():
        for evaluation in evaluations:
            if metric not in evaluation.scores:
                more = "" if evaluation.rows else "; these are of validation; with --data FILE also those of evaluate"
                reason = f"unknown metric {metric!r} for {name}; {nearest(metric, evaluation.scores, more)}"
                raise ConfigError("--metric", reason)


def _figures(metric: str, measured: Mapping[str, Sequence[Evaluation]], baseline: str) -> dict[str, Figure]:
    """A metric's figure for every setting; p is corrected for the number of settings (Holm)."""
    values = {name: [item.scores[metric] for item in evaluations] for name, evaluations in measured.items()}
    others = [name for name in measured if name != baseline]
    moved = {name: _influence(metric, evaluations) for name, evaluations in measured.items()}
    ps: list[float | None] = []
    for name in others:
        here, there = moved[name], moved[baseline]
        influence = None if here is None or there is None else here - there
        ps.append(difference_p(values[baseline], values[name], influence))
    corrected = dict(zip(others, holm(ps), strict=True))
    return {
        name: Figure(statistics.fmean(seeds), half_interval(seeds), corrected.get(name))
        for name, seeds in values.items()
    }


def _influence(metric: str, evaluations: Sequence[Evaluation]) -> Any:
    """By how much each row moves the mean of a metric over seeds; None for one that is no quotient of sums."""
    if any(metric not in item.sums for item in evaluations):
        return None
    return np.mean([item.sums[metric].influences for item in evaluations], 0)
