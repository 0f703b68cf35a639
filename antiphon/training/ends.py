"""The lines before the first update of a training, and all that is written after its last one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.errors import count_of
from antiphon.files import write_atomically
from antiphon.model.build import structure_of
from antiphon.saved import examples
from antiphon.saved import folder as bundle
from antiphon.saved.card import write_card
from antiphon.training.distributed import Ranks
from antiphon.training.health import at_the_end
from antiphon.training.log import TrainingLog, draw_curves
from antiphon.training.prepare import Prepared


def summary(prepared: Prepared, ranks: Ranks, total: int, every: int) -> str:
    """One line about rows, sides, model and updates."""
    sides = ", ".join(f"{name}: {codec.about()}" for name, codec in prepared.codecs.named.items())
    size = sum(p.numel() for p in prepared.model.parameters())
    whole = prepared.train.lanes is not None
    counts = [len(part.target.values) if whole else len(part) for part in (prepared.train, prepared.valid)]
    if prepared.stream is not None:
        counts[0] = prepared.stream.rows
    what = "symbols" if whole else "rows"
    return (
        f"{_about(prepared)}{counts[0]:,} training {what}, {counts[1]:,} validation {what}; {sides}; "
        f"{structure_of(prepared.config)}, {size:,} parameters, {ranks.device}, at most {total:,} updates, "
        f"validation every {every:,}"
    )


def _about(prepared: Prepared) -> str:
    """What to know of a streamed table: whence its vocabularies are, and what is shuffled."""
    if prepared.stream is None:
        return ""
    stream, all_rows = prepared.stream, prepared.config.data.sample == "all"
    learned = "all rows" if all_rows else f"a sample of {len(stream.sample):,}, the first of each shard (data.sample)"
    return (
        f"streamed from {count_of(len(stream.shards), 'shard')}: vocabularies from {learned}; shuffled within "
        f"{stream.window:,} rows (data.shuffle); about "
    )


def finish(
    prepared: Prepared, out: Path, history: list[dict[str, Any]], log: TrainingLog, ceiling: bool, command: str
) -> None:
    """Write metrics, curves and the card, beside the weights that are kept; log warnings and the result.

    `ceiling`: whether all updates are used.
    """
    kept = [entry for entry in history if entry["kept"]][-1]
    bundle.save_metrics(out, {"valid": kept, "updates": history[-1]["step"], "minutes": history[-1]["minutes"]})
    picture = draw_curves(history)
    write_atomically(out / bundle.CURVES, lambda file: file.write(picture))
    write_card(out, prepared.config, prepared.codecs, kept, history[-1], prepared.rows, prepared.model, command)
    log.warn(at_the_end(prepared, history, kept, ceiling))
    if count := len(examples.read(out)):
        log.write(
            f"{examples.FILE} keeps {count_of(count, 'validation input')} for the page of antiphon serve; "
            "if rows are private: train.examples: 0"
        )
    log.write(f"done: {_why_kept(prepared, history, kept)}; the model is in {out}")


def _why_kept(prepared: Prepared, history: Sequence[dict[str, Any]], kept: dict[str, Any]) -> str:
    """Which weights are kept, and why."""
    best, name = next((entry for entry in reversed(history) if entry["best"]), kept), prepared.metric
    value = f"{name} {kept[name]:.4f} at update {kept['step']:,}"
    if kept is best:
        return f"{value}, the best of {len(history)} validations"
    return (
        f"{value}, the latest that {len(prepared.valid_rows):,} validation rows do not show to be worse than the best "
        f"({best[name]:.4f} at update {best['step']:,})"
    )
