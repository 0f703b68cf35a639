"""The model card: what a saved model is, what it was made from, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from antiphon import __version__
from antiphon.bundle import CARD
from antiphon.config import Config
from antiphon.dataset import Codecs
from antiphon.files import write_text


def write_card(
    folder: Path,
    config: Config,
    codecs: Codecs,
    best: dict[str, Any],
    last: dict[str, Any],
    rows: int,
    model: nn.Module,
    command: str,
) -> None:
    """Write `README.md` into a model folder."""
    size = sum(p.numel() for p in model.parameters())
    shown = ("loss", "perplexity", "token_error_rate", "token_error_rate_teacher", "exact_match", "exposure_gap")
    table = "\n".join(f"| {name} | {best[name]:.4f} |" for name in shown)
    cell, version = config.model.cell.kind, __version__
    source, target = codecs.source, codecs.target
    write_text(
        folder / CARD,
        f"""# {folder.resolve().name}

A {config.source.kind} -> {config.target.kind} model ({cell}, {size:,} parameters) made with Antiphon {version}.

    antiphon predict {folder.name}        # one input a line, one output a line

## Data

- trained on {rows:,} rows of `{_names(config.data.train)}`
- source symbols: {len(source.vocabulary.symbols):,} ({source.settings.tokens})
- target symbols: {len(target.vocabulary.symbols):,} ({target.settings.tokens})
- what the data did not show, the model does not know: rare symbols and other domains are where it fails first

## Validation

{_valid(config)}; outputs are greedy, fed with themselves; the best of all validations is shown.

| metric | value |
|---|---|
{table}

Chosen by `{config.train.metric}` at update {best["step"]:,} of {last["step"]:,}; {last["minutes"]:.1f} minutes in all.

![curves](curves.png)

## Command

    {command or "(trained from Python)"}

## Configuration

```yaml
{config.to_yaml().rstrip()}
```
""",
    )


def _names(files: Any) -> str:
    if isinstance(files, str):
        return Path(files).name
    if isinstance(files, list):
        return ", ".join(Path(file).name for file in files)
    return f"{Path(files.source).name} + {Path(files.target).name}"


def _valid(config: Config) -> str:
    valid = config.data.valid
    if valid is None or isinstance(valid, float):
        return "Rows held out of the training file by distinct input"
    return f"Rows of `{_names(valid)}`"
