"""The training loop, read from top to bottom: rows, codecs, model, updates, validations, a model folder."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon import bundle
from antiphon.config import Config, Train
from antiphon.data.batch import Batch, Examples, Ints, collate, epoch_batches, replace_unknown
from antiphon.data.rows import Row
from antiphon.data.text import TOKENIZERS
from antiphon.dataset import Codecs, encode_rows, load_rows, split_rows, train_codecs
from antiphon.errors import ConfigError, TrainingError, nearest
from antiphon.evaluation import HIGHER_IS_BETTER, LOWER_IS_BETTER, validate
from antiphon.model import Writer
from antiphon.structures import build
from antiphon.training import checkpoint
from antiphon.training.average import Average
from antiphon.training.card import write_card
from antiphon.training.distributed import Ranks, joined
from antiphon.training.feeding import FEEDINGS
from antiphon.training.log import TrainingLog, draw_curves
from antiphon.training.optimizer import OPTIMIZERS, SCHEDULES

DEFAULT_FRACTION = 0.05  # of the training inputs, for validation, where none is configured


@dataclass(frozen=True)
class Prepared:
    """Data and model, ready to train: the same in every process."""

    config: Config
    codecs: Codecs
    train: Examples
    valid: Examples
    valid_rows: list[Row]
    model: Writer


@dataclass(frozen=True)
class Update:
    """One update of the weights: its place, and the rows of its micro-batches."""

    step: int
    epoch: float
    batches: list[Ints]


def train(
    config: Config,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    threads: int | None = None,
    command: str = "",
) -> Path:
    """Train a model as configured, and return its folder `out`.

    An existing folder is refused without `resume` (go on with its training) or `overwrite`.
    `threads` bounds the CPU threads of torch. Errors are `AntiphonError`s.
    """
    check_names(config)
    if threads:
        torch.set_num_threads(threads)
    with joined(device) as ranks:
        if ranks.first:
            _make_folder(out, resume, overwrite)
        prepared = prepare(config)
        _run(prepared, out, resume, ranks, command)
    return out


def check_names(config: Config) -> None:
    """Refuse a wrong choice before any data is read."""
    step = nn.Parameter(torch.zeros(1))
    OPTIMIZERS.build(
        config.train.optimizer.kind,
        config.train.optimizer.options,
        "train.optimizer",
        parameters=[step],
        learning_rate=1.0,
    )
    SCHEDULES.build(config.train.schedule.kind, config.train.schedule.options, "train.schedule")
    FEEDINGS.build(config.train.feeding.kind, config.train.feeding.options, "train.feeding")
    for side in ("source", "target"):
        tokens = getattr(config, side).tokens
        TOKENIZERS.build(tokens.kind, tokens.options, f"{side}.tokens")
    build(config, 5, 5)
    metrics = LOWER_IS_BETTER | HIGHER_IS_BETTER
    if config.train.metric not in metrics:
        raise ConfigError(
            "train.metric", f"unknown metric {config.train.metric!r}; {nearest(config.train.metric, metrics)}"
        )


def prepare(config: Config) -> Prepared:
    """Read and encode the data, learn the vocabularies, build the model."""
    rows = load_rows(config, config.data.train)
    valid = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if isinstance(valid, float):
        rows, valid_rows = split_rows(rows, valid, config.train.seed)
    else:
        valid_rows = load_rows(config, valid)
    codecs = train_codecs(config, rows)
    _, train_examples = encode_rows(config, codecs, rows)
    valid_rows, valid_examples = encode_rows(config, codecs, valid_rows)
    if config.decode.max_length is None:
        longest = int(train_examples.target.lengths.max())
        config = config.model_copy(
            update={"decode": config.decode.model_copy(update={"max_length": longest + longest // 2 + 5})}
        )
    torch.manual_seed(config.train.seed)
    model = build(config, len(codecs.source.vocabulary), len(codecs.target.vocabulary))
    return Prepared(config, codecs, train_examples, valid_examples, valid_rows, model)


def updates(settings: Train, examples: Examples, start: int) -> Iterator[Update]:
    """The updates of a training from number `start` on: a pure function of data and settings."""
    step, total = 0, total_steps(settings, examples)
    for epoch in count():
        batches = epoch_batches(examples, settings.batch_size, settings.batch_tokens, settings.seed, epoch)
        groups = math.ceil(len(batches) / settings.accumulate)
        for index in range(groups):
            if step >= total:
                return
            step += 1
            if step > start:
                group = batches[index * settings.accumulate : (index + 1) * settings.accumulate]
                yield Update(step, epoch + (index + 1) / groups, group)


def steps_per_epoch(settings: Train, examples: Examples) -> int:
    """Updates in the first epoch; by tokens, later ones may differ a little."""
    batches = epoch_batches(examples, settings.batch_size, settings.batch_tokens, settings.seed, 0)
    return math.ceil(len(batches) / settings.accumulate)


def total_steps(settings: Train, examples: Examples) -> int:
    """The ceiling in updates."""
    return min(settings.max_steps or 1 << 60, settings.epochs * steps_per_epoch(settings, examples))


def batch_loss(
    model: Writer, batch: Batch, reference: float, smoothing: float, precision: str
) -> tuple[Tensor, Tensor]:
    """What training minimises and -log p in nats, each summed over the batch's target tokens."""
    with torch.autocast(batch.source.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        features = model(batch.source, batch.source_lengths, batch.target_in, reference)
        kept = features.flatten(0, 1)[batch.positions]
        objective, nll = model.head.objective(kept, batch.target_out.flatten()[batch.positions], smoothing)
        return objective.sum(), nll.sum()


def _run(prepared: Prepared, out: Path, resume: bool, ranks: Ranks, command: str) -> None:
    config, settings = prepared.config, prepared.config.train
    model = prepared.model.to(ranks.device)
    parameters = list(model.parameters())
    optimizer = OPTIMIZERS.build(
        settings.optimizer.kind,
        settings.optimizer.options,
        "train.optimizer",
        parameters=parameters,
        learning_rate=settings.learning_rate,
    )
    schedule = SCHEDULES.build(settings.schedule.kind, settings.schedule.options, "train.schedule")
    feeding = FEEDINGS.build(settings.feeding.kind, settings.feeding.options, "train.feeding")
    average = Average(parameters, settings.ema, settings.average)
    total = total_steps(settings, prepared.train)
    every = settings.validate_every or min(max(steps_per_epoch(settings, prepared.train), 200), 2000)
    torch.manual_seed(settings.seed + 1_000_003 * ranks.rank)

    start, spent, bad, history = 0, 0.0, 0, list[dict[str, Any]]()
    if resume:
        state = checkpoint.load(out)
        if state["fingerprint"] != fingerprint(prepared):
            raise TrainingError(
                f"{out}: its training had other data or settings; give the same, or train into another folder"
            )
        bundle.copy_weights(model, state["weights"], str(out))
        optimizer.load_state_dict(state["optimizer"])
        average.restore(state["average"])
        torch.set_rng_state(state["random"])
        torch.set_num_threads(state["threads"])
        start, spent, bad, history = state["step"], state["seconds"], state["bad"], state["history"]
    elif ranks.first:
        bundle.save_description(out, config, prepared.codecs)

    log = TrainingLog(out, total, not ranks.first, settings.tensorboard, history)
    if ranks.first:
        size = sum(p.numel() for p in parameters)
        log.say(
            f"{len(prepared.train):,} training rows, {len(prepared.valid):,} validation rows, "
            f"{len(prepared.codecs.source.vocabulary):,} source and {len(prepared.codecs.target.vocabulary):,} target "
            f"symbols, {size:,} parameters, {ranks.device}, at most {total:,} updates, validation every {every:,}"
        )
    clock = time.monotonic() - spent
    loss_sum = torch.zeros((), device=ranks.device)
    tokens, mark = 0, time.monotonic()
    stop = settings.patience is not None and bad >= settings.patience
    try:
        for update in updates(settings, prepared.train, start):
            if stop:
                break
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(update.step - 1, total)
            loss_sum += _update(model, optimizer, prepared, update, feeding(update.step - 1), ranks, parameters)
            average.update()
            tokens += sum(int(prepared.train.target.lengths[rows].sum()) for rows in update.batches)
            if log.wants_progress():
                log.progress(update.step, float(loss_sum) / max(tokens, 1), tokens / (time.monotonic() - mark))
            if update.step % every and update.step != total:
                continue
            average.snapshot()
            if ranks.first:
                rate, train_loss = tokens / (time.monotonic() - mark), float(loss_sum) / max(tokens, 1)
                with average.shipped():
                    entry = _validation(prepared, ranks, update, train_loss, rate, history)
                    entry["minutes"] = (time.monotonic() - clock) / 60
                    if entry["best"]:
                        bundle.save_weights(out, bundle.parameters(model))
                bad = 0 if entry["best"] else bad + 1
                log.validation(entry)
                stop = settings.patience is not None and bad >= settings.patience
                checkpoint.save(
                    out,
                    {
                        "fingerprint": fingerprint(prepared),
                        "weights": bundle.parameters(model),
                        "optimizer": optimizer.state_dict(),
                        "average": average.state(),
                        "random": torch.get_rng_state(),
                        "threads": torch.get_num_threads(),
                        "step": update.step,
                        "seconds": time.monotonic() - clock,
                        "bad": bad,
                        "history": history,
                    },
                )
            stop = ranks.agree(stop)
            loss_sum.zero_()
            tokens, mark = 0, time.monotonic()
    finally:
        log.close()
    if ranks.first:
        _finish(prepared, out, history, log, command)


def _update(
    model: Writer,
    optimizer: torch.optim.Optimizer,
    prepared: Prepared,
    update: Update,
    reference: float,
    ranks: Ranks,
    parameters: list[nn.Parameter],
) -> Tensor:
    """One update of the weights; the summed -log p of its tokens, still on the device.

    The loss is divided by the tokens (or rows) of all micro-batches of all processes, so the split
    into them changes nothing.
    """
    settings, examples = prepared.config.train, prepared.train
    if settings.normalize == "tokens":
        weight = sum(int(examples.target.lengths[rows].sum()) for rows in update.batches)
    else:
        weight = sum(map(len, update.batches))
    model.train()
    optimizer.zero_grad(set_to_none=True)
    nll_sum = torch.zeros((), device=ranks.device)
    generator = torch.Generator().manual_seed((settings.seed << 32) + update.step)
    for rows in update.batches:
        own = ranks.own(rows)
        if not len(own):
            continue
        batch = replace_unknown(collate(examples, own), settings.unknown, generator).to(ranks.device)
        objective, nll = batch_loss(model, batch, reference, settings.label_smoothing, settings.precision)
        (objective / weight).backward()  # type: ignore[no-untyped-call]
        nll_sum += nll
    ranks.sum_gradients(parameters)
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(parameters, settings.clip)
    optimizer.step()
    return nll_sum * ranks.world


def _validation(
    prepared: Prepared, ranks: Ranks, update: Update, train_loss: float, rate: float, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """An entry of the history: validation metrics, and whether the watched one is the best so far."""
    config = prepared.config
    found = validate(prepared.model, config, prepared.codecs.target, prepared.valid_rows, prepared.valid, ranks.device)
    metric = config.train.metric
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    best = all(sign * found[metric] > sign * entry[metric] for entry in history)
    return {
        "step": update.step,
        "epoch": round(update.epoch, 4),
        "train_loss": train_loss,
        **found,
        "best": best,
        "tokens_per_second": rate,
    }


def _finish(prepared: Prepared, out: Path, history: list[dict[str, Any]], log: TrainingLog, command: str) -> None:
    """Metrics, curves and the card, beside the best weights."""
    best = [entry for entry in history if entry["best"]][-1]
    metrics = {"valid": best, "updates": history[-1]["step"], "minutes": history[-1]["minutes"]}
    bundle.save_metrics(out, metrics)
    draw_curves(history, out / "curves.png")
    write_card(out, prepared.config, prepared.codecs, best, history[-1], len(prepared.train), prepared.model, command)
    metric = prepared.config.train.metric
    log.say(f"done: best {metric} {best[metric]:.4f} at update {best['step']}; the model is in {out}")


def fingerprint(prepared: Prepared) -> str:
    """What must not change between a training and its resumption: data and settings, but not ceilings."""
    harmless = {
        "train": {"epochs", "max_steps", "patience", "tensorboard"},
        "data": {"test", "train", "valid"},
        "evaluate": True,
    }
    digest = hashlib.sha256(prepared.config.model_dump_json(by_alias=True, exclude=harmless).encode())  # type: ignore[arg-type]
    for examples in (prepared.train, prepared.valid):
        for side in (examples.source, examples.target):
            digest.update(side.ids.tobytes() + side.lengths.tobytes())
    return digest.hexdigest()


def _make_folder(out: Path, resume: bool, overwrite: bool) -> None:
    if resume:
        checkpoint.load(out)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not overwrite:
            raise TrainingError(
                f"{out}: exists; go on with --resume, replace it with --overwrite, or name another --out"
            )
        if not out.is_dir() or not (out / bundle.CONFIG).is_file():
            raise TrainingError(f"{out}: is not a model folder, so --overwrite leaves it alone; name another --out")
        shutil.rmtree(out)
