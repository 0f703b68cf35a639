"""Callbacks that send a training to a service that tracks experiments (extra: track).

    antiphon.train("pairs.tsv", out="model", callbacks=[antiphon.track.WandB(project="names")])

Each training is a run there, with its configuration, the metrics of every validation, and the update as the step.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from antiphon.errors import TrainingError
from antiphon.training.callbacks import Callback, Run


class WandB(Callback):
    """Sends a training to Weights & Biases; `options` go to `wandb.init`, for example `project` and `name`.

    A `TrainingError` if wandb is not installed.
    """

    def __init__(self, **options: Any) -> None:
        self.module, self.options = _module("wandb"), options
        self.run: Any = None

    def begin(self, run: Run) -> None:
        self.run = self.module.init(**{"config": run.config.model_dump(mode="json", by_alias=True), **self.options})

    def validation(self, run: Run) -> None:
        self.run.log(_figures(run), step=run.updates)

    def end(self, run: Run) -> None:
        self.run.finish()


class MLflow(Callback):
    """Sends a training to MLflow, at the address that `MLFLOW_TRACKING_URI` names; `options` go to `mlflow.start_run`.

    A `TrainingError` if mlflow is not installed.
    """

    def __init__(self, **options: Any) -> None:
        self.module, self.options = _module("mlflow"), options

    def begin(self, run: Run) -> None:
        self.module.start_run(**self.options)
        self.module.log_params(dict(_flat(run.config.model_dump(mode="json", by_alias=True))))

    def validation(self, run: Run) -> None:
        self.module.log_metrics(_figures(run), step=run.updates)

    def end(self, run: Run) -> None:
        self.module.end_run()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TrainingError(f"antiphon.track needs {name}: pip install {name}, or 'antiphon[track]'") from None


def _figures(run: Run) -> dict[str, float]:
    """The numbers of the last validation."""
    entry = run.validation or {}
    return {
        name: float(value)
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values."""
    entries: list[tuple[str, Any]] = []
    for name, value in tree.items():
        entries += _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [(f"{above}{name}", value)]
    return entries
