"""Problems of a training before its loss shows them: measured at every validation, and written as warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.data.batches import Batch, Padded
from antiphon.evaluation.metric_names import HIGHER_IS_BETTER
from antiphon.model.models import Model
from antiphon.model.parts.encoders import length_mask
from antiphon.model.parts.recurrent import Cell
from antiphon.model.series import SeriesWriter
from antiphon.training.plan import total_steps
from antiphon.training.prepare import Prepared

SATURATED = 0.05  # a gate is saturated if it is nearer than this to 0 or 1
DEAD = 1e-3  # a unit is dead if its absolute value is never larger

IDENTICAL_OUTPUTS, SATURATED_GATES, DEAD_UNITS, UNKNOWN_SYMBOLS = 0.5, 0.9, 0.25, 0.05  # shares that are too much
SHORT, LONG = 0.5, 2.0  # the length of outputs divided by that of references
STILL_FALLING = 0.05  # the training still gets better if its loss falls by this share between the last two validations


def gradient_norms(model: Model, before_clipping: float) -> dict[str, float]:
    """The norm of every part's gradient in the last update, and of all (`before_clipping`); empty if it failed."""
    if not math.isfinite(before_clipping):
        return {}
    squares: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = "attention" if name.startswith("decoder.attention.") else name.split(".")[0]
            squares[part] = squares.get(part, parameter.new_zeros(())) + parameter.grad.square().sum()
    clipped = float(sum(squares.values(), torch.zeros(()))) ** 0.5
    factor = before_clipping / clipped if clipped else 1.0
    return {"all": before_clipping} | {part: float(square) ** 0.5 * factor for part, square in squares.items()}


@torch.no_grad()
def cell_health(model: Model, batch: Batch) -> dict[str, dict[str, float]]:
    """For every cell that runs over whole sequences, by its name: the shares of saturated gates and of dead units."""
    shares: dict[str, dict[str, float]] = {}
    segments = [source.segment for source, _ in model.channels]
    written = model.head.segment if isinstance(model, SeriesWriter) else 1
    masks = {"encoder.": _inside(batch.sources[0], segments[0]), "decoder.": _inside(batch.target, written)}
    others = zip(batch.sources[1:], segments[1:], strict=True)
    masks |= {f"others.{number}.encoder.": _inside(*other) for number, other in enumerate(others)}

    def watch(name: str) -> Any:
        def hook(cell: nn.Module, arguments: tuple[Any, ...], answer: tuple[Tensor, Any]) -> None:
            assert isinstance(cell, Cell)
            inputs, state = arguments
            outputs, kept = answer[0], next(mask for part, mask in masks.items() if name.startswith(part))
            kept = kept.repeat(len(outputs) // len(kept), 1)  # where a row's columns are rows of their own
            gates = cell.gate_values(cell.read(inputs, state), torch.cat([state[0][:, None], outputs[:, :-1]], 1))
            beyond = (gates - 0.5).abs() > 0.5 - SATURATED if gates is not None else None
            shares[name] = {
                "saturated": 0.0 if beyond is None else float(beyond[kept].float().mean()),
                "dead": float((outputs[kept].abs().amax(0) < DEAD).float().mean()),
            }

        return hook

    hooks = [
        part.register_forward_hook(watch(name))
        for name, part in model.named_modules()
        if isinstance(part, Cell) and name.startswith(tuple(masks))
    ]
    try:
        model.eval()
        model(batch.sources, batch.target.values)
    finally:
        for hook in hooks:
            hook.remove()
    return shares


def _inside(side: Padded, segment: int) -> Tensor:
    """Which steps of a cell are not padding; each takes a segment of so many steps of the side."""
    return length_mask(-(-side.lengths // segment), -(-side.values.shape[1] // segment))


def at_the_end(
    prepared: Prepared, history: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], ceiling: bool
) -> dict[str, str]:
    """Warnings at the end of a training, by kind; `ceiling`: whether it has used all its updates."""
    messages: dict[str, str] = {}
    name, train, last = prepared.metric, prepared.config.train, history[-1]
    sign = -1 if name in HIGHER_IS_BETTER else 1
    better = {
        what: scores[name]
        for what, scores in prepared.baselines.items()
        if name in scores and sign * kept[name] >= sign * scores[name]
    }
    if better:
        listed = ", ".join(f"{what} {score:.4f}" for what, score in better.items())
        messages["baseline"] = (
            f"the model is not better than simple baselines ({listed}): {name} {kept[name]:.4f}; "
            "train longer or on more rows, and check the rows with: antiphon check"
        )
    before = next((entry["train_loss"] for entry in reversed(history[:-1]) if entry["train_loss"] is not None), None)
    falls = before is None or (last["train_loss"] or before) < (1 - STILL_FALLING) * before
    if ceiling and last["best"] and falls:
        key = f"train.max_steps: {train.max_steps}" if train.max_steps else f"train.epochs: {train.epochs}"
        most = total_steps(train, prepared.learned)
        if train.max_steps and most < train.max_steps:
            key = f"train.epochs: {train.epochs}"
        if train.minutes and last["step"] < most:
            key = f"train.minutes: {train.minutes:g}"
        messages["ceiling"] = f"the training ended at update {last['step']:,} while it still improved; raise {key}"
    return messages


def warnings(entry: Mapping[str, Any]) -> dict[str, str]:
    """Warnings from a validation's numbers, by kind, each with advice."""
    messages: dict[str, str] = {}
    share = entry.get("commonest_output", 0.0)
    if share > IDENTICAL_OUTPUTS and share > entry["commonest_reference"] + 0.25:
        advice = "train longer, choose an attention, or raise train.learning_rate"
        if "accuracy" in entry:
            advice = "train longer, raise train.learning_rate, or let rare labels weigh more (target.weights: balanced)"
        messages["identical outputs"] = (
            f"outputs are identical for {share:.0%} of inputs: the model does not use its input; {advice}"
        )
    ratio = entry.get("length_ratio", 1.0)
    if ratio < SHORT or ratio > LONG:
        messages["length"] = (
            f"outputs are {ratio:.2g} times as long as their references; "
            "train longer, or look at decode.length_penalty, min_length and max_length"
        )
    for side in ("source", "target"):
        unknown = entry.get(f"unknown_{side}", 0.0)
        if unknown > UNKNOWN_SYMBOLS:
            messages[f"unknown {side}"] = (
                f"{unknown:.0%} of the validation {side} symbols are unknown: they are not in the training rows; "
                f"choose {side}.tokens with smaller pieces (chars, bpe), or train on rows like them"
            )
    for name, cell in entry["cells"].items():
        if cell["saturated"] > SATURATED_GATES:
            messages[f"saturated {name}"] = (
                f"{cell['saturated']:.0%} of the gates in {name} are saturated, so little can be learned through them; "
                "lower train.learning_rate"
            )
        if cell["dead"] > DEAD_UNITS:
            messages[f"dead {name}"] = (
                f"{cell['dead']:.0%} of the units in {name} are dead; lower train.learning_rate, or choose another cell"
            )
    for part, norm in entry["gradients"].items():
        if norm == 0:
            messages[f"gradient {part}"] = f"no gradient reaches {part}: it does not learn"
    if entry["skipped"]:
        messages["skipped"] = (
            f"{entry['skipped']:,} updates were skipped, as their loss or gradient was NaN or infinite; "
            "lower train.learning_rate"
        )
    return messages
