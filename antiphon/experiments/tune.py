"""Searches better settings than the defaults within a time, and says whether they are better by more than luck.

DIR/tune.yaml                what is tuned: configuration and rows
DIR/trials.log               optuna's journal, from which a search that was killed goes on
DIR/trials/7/seed-1          the model of trial 7; trial 0 is the defaults
DIR/best.yaml, DIR/model     the configuration and the model that were chosen
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.api import read_config, user_config
from antiphon.data.load import untrained
from antiphon.errors import AntiphonError, TrainingError
from antiphon.evaluation.metric_names import HIGHER_IS_BETTER
from antiphon.experiments.runs import Command, Run, train_all
from antiphon.experiments.space import Dimension, space
from antiphon.experiments.sweep import record
from antiphon.experiments.table import Setting, Table, table_of
from antiphon.files import write_text
from antiphon.saved import folder as bundle
from antiphon.training.log import LOG
from antiphon.training.prepare import check_names
from antiphon.use.loading import load

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

RECORD, JOURNAL, BEST, MODEL = "tune.yaml", "trials.log", "best.yaml", "model"
SEARCH = 0.6  # the share of the time for the search; the rest is for further seeds
CANDIDATES = 3  # settings that are trained with further seeds beside the defaults, at most
FURTHER_SEEDS = 4
STARTUP = 8  # trials before the sampler learns from them: the defaults, and one key changed at a time
UNPRUNED = 2  # trials before one may be pruned


@dataclass(frozen=True)
class Outcome:
    """What was chosen: the keys that differ from the defaults, and the means over `seeds` of both on validation rows.

    `table` has both on the test data, if there is any.
    """

    settings: dict[str, Any]
    tried: int  # settings beside the defaults that were trained to their end
    metric: str
    seeds: int
    defaults: float
    chosen: float
    table: Table | None


@dataclass
class Search:
    """A running search. Values are those of the watched metric, with a sign so that lower is better."""

    shared: Command
    out: Path
    settings: Mapping[str, Any]
    seed: int
    dimensions: Sequence[Dimension]
    metric: str
    study: Study
    until: float  # of `time.monotonic`: no trial begins that would not end before
    say: Callable[[str], None]
    trials: dict[Run, Trial] = field(default_factory=dict)
    began: dict[Run, float] = field(default_factory=dict)
    reported: dict[Run, int] = field(default_factory=dict)  # validations of a running trial
    pruned: set[Run] = field(default_factory=set)

    def value(self, entry: Mapping[str, Any]) -> float:
        """The watched metric of a validation, lower is better."""
        return float(-entry[self.metric] if self.metric in HIGHER_IS_BETTER else entry[self.metric])

    def run(self, number: int, values: Mapping[str, Any], seed: int) -> Run:
        """A training of a trial's settings."""
        settings = {**self.settings, **values, "train.seed": seed}
        return Run(f"trial {number}, seed {seed}", self.out / "trials" / str(number) / f"seed-{seed}", settings)

    def finished(self) -> list[FrozenTrial]:
        """The trials that were trained to their end, the best first."""
        complete = [trial for trial in self.study.trials if trial.state.name == "COMPLETE"]
        return sorted(complete, key=lambda trial: (trial.value, trial.user_attrs["number"]))

    def seconds(self) -> float:
        """What a trial takes: the median of those that have ended; 0 if none has."""
        return float(statistics.median([trial.user_attrs["seconds"] for trial in self.finished()] or [0.0]))

    def runs(self) -> Iterator[Run]:
        """One trial after another, as long as there is time for another one."""
        while time.monotonic() + self.seconds() < self.until:
            trial = _next_trial(self.study, self.dimensions)
            number = trial.user_attrs.get("number", trial.number)
            values: dict[str, Any] = {}
            for dimension in self.dimensions:
                values |= dimension.suggest(trial)
            trial.set_user_attr("number", number)
            trial.set_user_attr("values", values)
            run = self.run(number, values, self.seed)
            self.trials[run], self.began[run] = trial, time.monotonic()
            yield run

    def is_hopeless(self, run: Run) -> bool:
        """Report new validations of a running trial; whether its best is worse than the median of others so far."""
        trial, log = self.trials[run], run.folder / bundle.TRAINING / LOG
        try:
            lines = log.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be half written
        except OSError:
            return False
        before = self.reported.get(run, 0)
        for place, line in enumerate(lines[before:], before):
            trial.report(self.value(json.loads(line)), place)
        self.reported[run] = max(before, len(lines))
        hopeless = len(lines) > before and trial.user_attrs["number"] != 0 and trial.should_prune()
        if hopeless:
            self.pruned.add(run)
        return hopeless

    def ended(self, run: Run, status: int) -> None:
        """Tell optuna how a trial ended."""
        from optuna.trial import TrialState

        trial = self.trials[run]
        number, values = trial.user_attrs["number"], trial.user_attrs["values"]
        about = ", ".join(f"{key}={json.dumps(value)}" for key, value in values.items()) or "the defaults"
        minutes = f"{max(0.0, self.until - time.monotonic()) / 60:.1f} minutes left for the search"
        if run.finished:
            metrics = bundle.load_metrics(run.folder)
            here = time.monotonic() - self.began[run]  # with its start, but without what was trained before a stop
            trial.set_user_attr("seconds", max(here, 60 * float(metrics["minutes"])))
            self.study.tell(trial, self.value(metrics["valid"]))
            result = f"{self.metric} {metrics['valid'][self.metric]:.4f}"
        elif run in self.pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            result = "stopped, worse than the median"
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            result = f"failed: {run.last_line()}"
            if number == 0:
                raise TrainingError(f"{run.log}: the defaults cannot be trained: {run.last_line()}")
        self.say(f"trial {number}: {result}; {about}; {minutes}")


def tune(
    shared: Command, out: Path, minutes: float, settings: Mapping[str, Any], say: Callable[[str], None]
) -> Outcome:
    """Search for so many minutes, retrain the best few and the defaults with further seeds, and choose by the mean.

    Keys that the configuration or `settings` give stay as they are. The same call goes on with the trials that are in
    `out`, with the time anew. Only validation rows are looked at; the test data is read when all is chosen.
    """
    optuna = _optuna()
    began = time.monotonic()
    deadline = began + 60 * minutes
    user = user_config(shared.what, settings)
    completed = read_config(shared.what, settings).config
    check_names(completed)
    record(out, RECORD, user, {"threads": shared.threads})
    dimensions = space(user, completed)
    if not dimensions:
        raise TrainingError(f"{shared.what}: sets every key that tune would try; leave some of them out")
    say(f"open keys: {', '.join(dimension.row.key for dimension in dimensions)}")
    study = _study(optuna, out, dimensions)
    search = Search(
        shared, out, settings, completed.train.seed, dimensions,
        completed.train.metric or untrained(completed).target.metric, study, began + SEARCH * 60 * minutes, say,
    )  # fmt: skip
    train_all(shared, search.runs(), search.ended, say, search.is_hopeless, deadline)
    if not any(trial.user_attrs["number"] == 0 for trial in search.finished()):
        raise TrainingError(f"{out}: {minutes:g} minutes do not suffice for the defaults; the same command goes on")
    if not _better(search):  # nothing needs further seeds
        search.until = deadline
        train_all(shared, search.runs(), search.ended, say, search.is_hopeless, deadline)
    candidates, seeds = _with_further_seeds(search, deadline)
    return _chosen(search, candidates, seeds)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        command = f"{Path(sys.executable).name} -m pip install 'antiphon[tune]'"
        raise AntiphonError(f"tune: needs the extra; install it with {command}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, out: Path, dimensions: Sequence[Dimension]) -> Study:
    """The study in `out`, where trials that were interrupted are in the queue again, and the defaults come first."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(out / JOURNAL)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=2)
    study: Study = optuna.create_study(storage=storage, study_name="tune", pruner=pruner, load_if_exists=True)
    # the seed differs after an interruption, since the sampler would propose again what it has proposed before
    study.sampler = optuna.samplers.TPESampler(seed=1 + len(study.trials), n_startup_trials=STARTUP)
    if not study.trials:
        first = {dimension.row.key: dimension.first for dimension in dimensions}
        study.enqueue_trial(first, user_attrs={"number": 0})
    for trial in study.trials:
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            number = trial.user_attrs.get("number", trial.number)
            study.enqueue_trial(trial.params, user_attrs={"number": number})
    return study


def _next_trial(study: Study, dimensions: Sequence[Dimension]) -> Trial:
    """What is in the queue; then one key changed at a time; then what the sampler proposes."""
    tried = {trial.user_attrs.get("changed") for trial in study.trials}
    changes = [dimension for dimension in dimensions if dimension.row.key not in tried]
    if changes and not any(trial.state.name == "WAITING" for trial in study.trials):
        first = {dimension.row.key: dimension.first for dimension in dimensions}
        key = changes[0].row.key
        study.enqueue_trial({**first, key: changes[0].neighbour}, user_attrs={"changed": key})
    return study.ask()


def _defaults(search: Search) -> FrozenTrial:
    return next(trial for trial in search.finished() if trial.user_attrs["number"] == 0)


def _better(search: Search) -> list[FrozenTrial]:
    """The trials that are better than the defaults, the best first."""
    bound = _defaults(search).value
    assert bound is not None
    return [trial for trial in search.finished() if trial.value is not None and trial.value < bound]


def _with_further_seeds(search: Search, deadline: float) -> tuple[list[FrozenTrial], list[int]]:
    """Train the defaults and the best with further seeds as long as there is time: as many of these as it suffices for.

    Returns the defaults and the best, and the seeds that all of them have.
    """
    seeds = [search.seed]
    candidates = [_defaults(search), *_better(search)[:CANDIDATES]]
    for seed in range(search.seed + 1, search.seed + 1 + FURTHER_SEEDS):

        def missing(seed: int = seed) -> list[Run]:
            return [run for trial in candidates if not (run := _run_of(search, trial, seed)).finished]

        while len(candidates) > 2 and seeds == [search.seed] and _too_long(search, candidates, missing(), deadline):
            candidates.pop()
        if len(candidates) == 1 or _too_long(search, candidates, missing(), deadline):
            break
        train_all(search.shared, iter(missing()), lambda run, status: None, search.say, until=deadline)
        if missing():
            break
        seeds.append(seed)
        search.say(f"seed {seed}: trained for the {len(candidates)} best settings, the defaults among them")
    return candidates, seeds


def _too_long(search: Search, candidates: Sequence[FrozenTrial], runs: Sequence[Run], deadline: float) -> bool:
    """Whether the runs would not end before the deadline."""
    slowest = max(trial.user_attrs["seconds"] for trial in candidates)
    rounds = math.ceil(len(runs) / search.shared.jobs)
    return bool(runs) and time.monotonic() + rounds * slowest > deadline


def _run_of(search: Search, trial: FrozenTrial, seed: int) -> Run:
    return search.run(trial.user_attrs["number"], trial.user_attrs["values"], seed)


def _chosen(search: Search, candidates: Sequence[FrozenTrial], seeds: Sequence[int]) -> Outcome:
    """The candidate with the best mean over seeds, written into the folder and compared with the defaults."""
    out = search.out

    def mean(trial: FrozenTrial) -> float:
        return statistics.fmean(
            bundle.load_metrics(_run_of(search, trial, seed).folder)["valid"][search.metric] for seed in seeds
        )

    def order(trial: FrozenTrial) -> float:
        return search.value({search.metric: mean(trial)})

    best = min(candidates, key=order)  # of equal ones the first, and that is the defaults
    folder = _run_of(search, best, search.seed).folder
    write_text(out / BEST, (folder / bundle.CONFIG).read_text(encoding="utf-8"))
    with suppress(FileNotFoundError):
        shutil.rmtree(out / MODEL)
    load(folder, "cpu").save(out / MODEL)
    compared = [Setting("defaults", [_run_of(search, candidates[0], seed).folder for seed in seeds])]
    if best is not candidates[0]:
        compared.append(Setting("best", [_run_of(search, best, seed).folder for seed in seeds]))
    has_test = bundle.load_config(folder).data.test is not None
    table = table_of(compared, device=search.shared.device) if has_test else None
    tried = len(search.finished()) - 1
    return Outcome(best.user_attrs["values"], tried, search.metric, len(seeds), mean(candidates[0]), mean(best), table)
