"""A finished training as one page: its curves, data and configuration, and its worst examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import FigureBase

from antiphon.data.problems import place
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.files import write_text
from antiphon.inspection.fonts import FIRST
from antiphon.inspection.page import Section, drawing, page, picture, plain, table
from antiphon.inspection.views.drawing import View
from antiphon.model.build import structure_of
from antiphon.tools.checkup import check_config
from antiphon.use.predictor import Predictor
from antiphon.use.scores import Data

HISTORY = Path("training") / "log.jsonl"  # one entry a validation
WORST = 25  # examples
LONGEST = 200  # characters of an example
Entries = Sequence[dict[str, Any]]

GROUPS = {  # curves by picture
    "error rates": ("token_error_rate", "token_error_rate_teacher", "exposure_gap"),
    "shares that are right": ("exact_match", "accuracy", "macro_f1", "span_f1"),
    "perplexity": ("perplexity",),
    "errors of numbers": ("mse", "mae", "nll_per_frame"),
    "learning rate": ("learning_rate",),
    "tokens per second": ("tokens_per_second",),
}


def report(model: Predictor, data: Data, path: Path) -> None:
    """Write the page of a model's training; with `data` also the rows of it with the worst scores."""
    history = read_history(model.folder)
    config = model.config
    with drawing([FIRST]):
        curves = [picture(view, number) for number, view in enumerate(_curves(history))]
    sections = [
        _summary(model, history),
        *curves,
        *([] if data is None else [_worst(model, data)]),
        Section("Data", "What `antiphon check` says of the data now.", plain(_statistics(model))),
        Section(
            "Configuration", "All that was configured; the reference explains every key.", plain([config.to_yaml()])
        ),
    ]
    write_text(path, page(f"Training of {model.folder.resolve().name}", sections))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The validations of a training, from the log in its folder."""
    path = folder / HISTORY
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}; a copy of a model does not have it"
        raise ModelFolderError(f"{path}: {reason}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            kept = entry["kept"] if "kept" in entry else entry["best"]  # logs of earlier versions have only the best
            entries.append({**entry, "step": int(entry["step"]), "kept": bool(kept)})
        except (ValueError, TypeError, KeyError):
            raise ModelFolderError(f"{path}:{number}: is not an entry of a training log") from None
    if not entries:
        raise ModelFolderError(f"{path}: has no validation yet")
    return entries


def _summary(model: Predictor, history: Entries) -> Section:
    kept = next((entry for entry in reversed(history) if entry["kept"]), history[-1])
    last = history[-1]
    size = sum(parameter.numel() for parameter in model.model.parameters())
    rows = [["structure", structure_of(model.config)], ["parameters", f"{size:,}"]]
    rows += [[name, codec.about()] for name, codec in model.codecs.named.items()]
    rows += [["updates", f"{last['step']:,} (kept: {kept['step']:,})"], ["minutes", f"{last.get('minutes', 0):.1f}"]]
    for names in GROUPS.values():
        rows += [[name, f"{kept[name]:.4f}"] for name in names if isinstance(kept.get(name), int | float)]
    return Section("Summary", "Figures are of the kept validation.", table(["", ""], rows))


def _curves(history: Entries) -> list[View]:
    parts = sorted({part for entry in history for part in entry.get("gradients", {})})
    cells = sorted({cell for entry in history for cell in entry.get("cells", {})})
    losses = {name: (name,) for name in ("train_loss", "loss")}
    views = [
        _plot("Loss", "The mean loss of a target step: -log p in nats, of numbers the squared error.", losses, history),
        *(_plot(title.capitalize(), "", {name: (name,) for name in names}, history) for title, names in GROUPS.items()),
        _plot(
            "Gradient norms",
            "Of the update before each validation, before clipping.",
            {part: ("gradients", part) for part in parts},
            history,
            logarithmic=True,
        ),
        _plot(
            "Saturated gates",
            "The share of gates within 0.05 of 0 or 1: little can be learned through them.",
            {cell: ("cells", cell, "saturated") for cell in cells},
            history,
        ),
        _plot(
            "Dead units",
            "The share of units that never leave zero.",
            {cell: ("cells", cell, "dead") for cell in cells},
            history,
        ),
    ]
    return [view for view in views if view is not None]


def _value(entry: dict[str, Any], keys: Sequence[str]) -> float | None:
    """The number under these nested keys; None if there is none."""
    value: Any = entry
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None


def _plot(
    title: str, about: str, lines: Mapping[str, Sequence[str]], history: Entries, logarithmic: bool = False
) -> View | None:
    """Named lines over updates, each with the keys of its values; None if the log has no such values."""
    points = {
        name: [(entry["step"], value) for entry in history if (value := _value(entry, keys)) is not None]
        for name, keys in lines.items()
    }
    points = {name: pairs for name, pairs in points.items() if pairs}
    best = [entry["step"] for entry in history if entry["kept"]]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for name, pairs in points.items():
            axes.plot(*zip(*pairs, strict=True), marker="." if len(pairs) < 40 else None, label=name)
        if best:
            axes.axvline(best[-1], color="grey", linestyle=":", label="kept")
        axes.set(xlabel="update", yscale="log" if logarithmic else "linear")
        if not logarithmic:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.2)

    return View(title, about, (8.0, 3.2), draw) if points else None


def _worst(model: Predictor, data: Data) -> Section:
    """The rows whose targets are least probable for the model, with its predictions."""
    scored = model.scored(data)
    chosen = sorted(scored, key=lambda pair: pair[1])[:WORST]
    whole = model.codecs.sources[0].whole or model.codecs.target.form == "next"
    outputs = [""] * len(chosen)
    if not whole:
        reading = [codec.reads for codec in model.codecs.sources]
        inputs = [tuple(value for value, reads in zip(row.sources, reading, strict=True) if reads) for row, _ in chosen]
        alone = sum(reading) == 1
        outputs = [
            prediction.text for prediction in model.predict([values[0] if alone else values for values in inputs])
        ]
    rows = []
    for (row, score), text in zip(chosen, outputs, strict=True):
        sides = [_short(value) for value in model.codecs.shown(row).values()]
        rows.append([place(row.file, row.line), *sides, *([] if whole else [_short(text)]), f"{score:.3f}"])
    names = [name for name, codec in model.codecs.named.items() if codec.reads]
    head = ["row", *names, *([] if whole else ["output"]), "log p"]
    about = (
        f"Of {len(scored):,} rows the {len(chosen)} whose targets it holds least probable, or numbers it misses most."
    )
    return Section("Worst examples", about, table(head, rows))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _statistics(model: Predictor) -> list[str]:
    try:
        findings = check_config(model.config)
    except AntiphonError as error:
        return [f"cannot be read any more: {error}"]
    return [*findings.lines, *(f"warning: {line}" for line in findings.warnings)]
