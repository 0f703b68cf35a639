"""What a model is, for people: in one line, and as a summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from antiphon.model.build import structure_of
from antiphon.model.ensemble import Ensemble
from antiphon.use.loaded import Loaded

FEW = 3  # levels of parts that are shown


def line(loaded: Loaded) -> str:
    """Structure, kinds of the sides, parameters, device and folder in one line."""
    config, model = loaded.config, loaded.model
    kinds = f"{', '.join(side.kind for side in config.sources)} -> {config.target.kind}"
    models = f"ensemble of {len(model.members)}, " if isinstance(model, Ensemble) else ""
    return (
        f"Predictor({models}{structure_of(config)}, {kinds}, {_size(model):,} parameters, {loaded.device}, "
        f"{str(loaded.folder)!r})"
    )


def summary(loaded: Loaded, metrics: Mapping[str, Any]) -> str:
    """Sides, parts and figures of the training, a line each; see `Predictor.summary`."""
    lines = [line(loaded), "", "sides"]
    for name, codec in loaded.codecs.named.items():
        lines.append(f"  {name}: {codec.kind}, {codec.about()}")
    parts = [("all", type(loaded.model).__name__, _size(loaded.model)), *_parts(loaded.model, "", FEW)]
    width, kind_width = max(len(name) for name, _, _ in parts), max(len(kind) for _, kind, _ in parts)
    lines += ["", "parts, and their parameters"]
    lines += [f"  {name:{width}}  {kind:{kind_width}}  {size:>12,}" for name, kind, size in parts]
    figures = {
        name: value for name, value in (metrics.get("valid") or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    } | {name: metrics[name] for name in ("updates", "minutes") if name in metrics}  # fmt: skip
    if figures:
        lines += ["", "training: the validation whose weights are kept, and all updates and minutes"]
        lines += [f"  {name:24}  {value:>12,}" for name, value in _rounded(figures)]
    return "\n".join(lines)


def _size(module: nn.Module) -> int:
    """The number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _parts(module: nn.Module, above: str, levels: int) -> Iterator[tuple[str, str, int]]:
    """Name, class and parameters of the parts that have any; a list counts as its items."""
    for name, part in module.named_children():
        if not _size(part):
            continue
        if not isinstance(part, nn.ModuleList):
            yield f"{above}{name}", type(part).__name__, _size(part)
        if levels > 1:
            yield from _parts(part, f"{above}{name}.", levels - 1)


def _rounded(figures: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        yield name, value if isinstance(value, int) else float(f"{value:.4g}")
