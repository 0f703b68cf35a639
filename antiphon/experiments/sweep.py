"""Every combination of a grid with every seed, each a model folder: begun, resumed, never trained twice."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from antiphon.api import read_config, user_config
from antiphon.config.load import read_tree
from antiphon.config.schema import Config
from antiphon.errors import ConfigError, TrainingError, shown
from antiphon.experiments.evaluations import digest_of
from antiphon.experiments.runs import Command, Run, train_all
from antiphon.files import make_folder, write_text
from antiphon.saved import folder as bundle
from antiphon.training.prepare import check_names, differences, flat

RECORD = "sweep.yaml"
LONGEST_NAME = 120  # characters of a folder
DEFAULTS = "defaults"  # the name of the setting that sets nothing


def sweep(
    shared: Command,
    out: Path,
    grid: Mapping[str, Sequence[Any]],
    seeds: int,
    settings: Mapping[str, Any],
    say: Callable[[str], None],
) -> list[Run]:
    """Train every combination of `grid` with the seeds 1 to `seeds` into folders of `out`.

    `settings` are keys that all runs set. What `out` has already stays: finished runs are left alone, others resumed.
    Returns the runs that failed. Raises `ConfigError` for a wrong key before anything is trained, `TrainingError` if
    `out` is of other settings.
    """
    for key in (*grid, *settings):
        if key == "train.seed":
            raise ConfigError(key, "is set by --seeds")
        if key in grid and key in settings:
            raise ConfigError(key, "is in the grid and set for all runs; give it once")
    for key, values in grid.items():
        repeated = [value for place, value in enumerate(values) if value in values[:place]]
        if repeated:
            raise ConfigError(key, f"has the value {shown(repeated[0])} twice")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for combination in combinations:
        check_names(read_config(shared.what, {**settings, **combination}).config)
    # another grid and more seeds are no other settings: their runs are added
    content = {"grid": grid, "seeds": seeds, "threads": shared.threads}
    record(out, RECORD, user_config(shared.what, settings), content)
    runs = [
        Run(f"{name_of(values)}/seed-{seed}", out / name_of(values) / f"seed-{seed}", _keys(settings, values, seed))
        for seed in range(1, seeds + 1)
        for values in combinations
    ]
    return train_runs(shared, runs, say)


def _keys(settings: Mapping[str, Any], values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {**settings, **values, "train.seed": seed}


def train_runs(shared: Command, runs: Sequence[Run], say: Callable[[str], None]) -> list[Run]:
    """Train the runs that are not finished, with a line for each that ends; returns those that failed."""
    waiting = [run for run in runs if not run.finished]
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already")
    began = time.monotonic()
    failed: list[Run] = []
    done = 0

    def ended(run: Run, status: int) -> None:
        nonlocal done
        done += 1
        if not run.finished:
            failed.append(run)
        left = (time.monotonic() - began) / done * (len(waiting) - done) / 60
        result = about(run) if run.finished else f"failed: {run.last_line()} (exit status {status}, see {run.log})"
        say(f"{run.name}: {result}; {len(runs) - len(waiting) + done} of {len(runs)} runs, {left:.1f} minutes left")

    train_all(shared, iter(waiting), ended, say)
    return failed


def refuse_failed(failed: Sequence[Run]) -> None:
    """Raise a `TrainingError` that names the runs that failed, if there are any."""
    if failed:
        lines = [f"{run.log}: {run.last_line()}" for run in failed]
        raise TrainingError("\n".join([*lines, f"{len(failed)} of the runs failed; the same command resumes them"]))


def about(run: Run) -> str:
    """The watched metric of a finished run on its validation rows, and its minutes."""
    metric = bundle.load_config(run.folder).train.metric or "loss"
    metrics = bundle.load_metrics(run.folder)
    return f"validation {metric} {metrics['valid'][metric]:.4f} in {metrics['minutes']:.1f} minutes"


def name_of(values: Mapping[str, Any]) -> str:
    """The name of a setting, which is also the name of its folder: `model.cell=gru,train.learning_rate=0.001`.

    Characters that not every file system takes are replaced; then a digest keeps names apart.
    """
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    exact = ",".join(f"{key}={text}" for key, text in texts.items()) or DEFAULTS
    name = re.sub(r"[^\w.+=,-]+", "_", exact)[:LONGEST_NAME]
    return name if name == exact else f"{name}-{hashlib.blake2b(exact.encode(), digest_size=3).hexdigest()}"


def record(out: Path, name: str, config: Config, more: Mapping[str, Any]) -> None:
    """Write what is trained into the file `name`: the user's keys, digests of the rows, and `more`.

    A folder of other keys or other rows is refused; `more` may change.
    """
    data = {"train": digest_of(config.data.train)}
    if config.data.valid is not None and not isinstance(config.data.valid, float):
        data["valid"] = digest_of(config.data.valid)
    tree = json.loads(json.dumps({"config": config.user_keys, "rows": data}))
    _refuse_others(out, name, tree)
    make_folder(out)
    write_text(out / name, _yaml({**tree, **json.loads(json.dumps(more))}))


def _refuse_others(out: Path, name: str, needed: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything else than runs of the same configuration and rows."""
    if not (out / name).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise TrainingError(f"{out}: exists and has no {name}; name another --out")
        return
    before = read_tree(out / name)
    other = differences(*(dict(flat({key: tree.get(key, {}) for key in needed}, "")) for tree in (before, needed)))
    if other:
        lines = "; ".join(line.removeprefix("config.") for line in other)
        raise TrainingError(f"{out}: its runs have other settings: {lines}; give the same, or name another --out")


def _yaml(tree: Mapping[str, Any]) -> str:
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.dump(tree, out)
    return out.getvalue()
