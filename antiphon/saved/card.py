"""The model card: a saved model's structure, data, settings and metrics."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from torch import nn

from antiphon import __version__
from antiphon.config.files import InMemory
from antiphon.config.schema import Config
from antiphon.data.load import Codecs
from antiphon.errors import ModelFolderError
from antiphon.files import write_text
from antiphon.model.build import structure_of
from antiphon.model.parts.recurrent import Cell
from antiphon.saved import examples
from antiphon.saved.calibration import Report
from antiphon.saved.folder import CARD
from antiphon.saved.intervals import IntervalReport

SHOWN = (
    *("loss", "perplexity", "token_error_rate", "token_error_rate_teacher", "exact_match", "exposure_gap"),
    *("accuracy", "macro_f1", "span_f1", "mse", "mae", "nll_per_frame"),
)


def write_card(
    folder: Path,
    config: Config,
    codecs: Codecs,
    kept: dict[str, Any],
    last: dict[str, Any],
    rows: int,
    model: nn.Module,
    command: str,
) -> None:
    """Write `README.md` into a model folder."""
    size = sum(p.numel() for p in model.parameters())
    table = "\n".join(f"| {name} | {kept[name]:.4f} |" for name in SHOWN if name in kept)
    recurrent = any(isinstance(part, Cell) for part in model.modules())
    cell, version = f"{config.model.cell.kind}, " if recurrent else "", __version__
    sides = "\n".join(f"- {name}: {codec.about()}" for name, codec in codecs.named.items())
    kinds = f"{' and '.join(codec.kind for codec in codecs.sources)} -> {codecs.target.kind}"
    metric = config.train.metric or codecs.target.metric
    free = "outputs are greedy, fed with themselves; " if "exposure_gap" in kept else ""
    write_text(
        folder / CARD,
        f"""# {folder.resolve().name}

A {kinds} model ({structure_of(config)}, {cell}{size:,} parameters) made with Antiphon {version}.

    antiphon predict {shlex.quote(folder.resolve().name)}        # one input per line, one output per line

## Data

- trained on {_rows(rows, config)}
{sides}
{_kept(folder)}
- what the data did not show, the model does not know: rare symbols and other domains are where it fails first

## Validation

{_valid(config)}; {free}the validation of the weights that were kept is shown.

| metric | value |
|---|---|
{table}

Kept by `{metric}` from update {kept["step"]:,} of {last["step"]:,}: the latest that these rows do not show to be worse
than the best; {last["minutes"]:.1f} minutes in all.

![curves](curves.png)

## Command

    {command or "(trained from Python)"}

## Configuration

```yaml
{config.to_yaml().rstrip()}
```
""",
    )


SECTION = "## Calibration\n"


def read_card(folder: Path) -> str:
    """The card of a model folder, empty if it has none; one that is not text is a `ModelFolderError`."""
    path = folder / CARD
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ModelFolderError(f"{path}: is not UTF-8 text; correct it, or remove it") from None


def add_calibration(folder: Path, report: Report | IntervalReport) -> None:
    """Put a calibration into the card of a model folder, if it has a card; it replaces an earlier calibration."""
    path = folder / CARD
    if not path.is_file():
        return
    before, _, rest = read_card(folder).partition(SECTION)
    _, heading, after = rest.partition("\n## ")
    section = f"{SECTION}\n{report.section()}"
    write_text(path, f"{before.rstrip()}\n\n{section}{heading}{after}")


def _rows(count: int, config: Config) -> str:
    """How many training rows there were, and those made of them."""
    made = config.data.hallucinate
    names = f"`{_names(config.data.train)}`"
    return f"{count - made:,} rows of {names} and {made:,} made of them" if made else f"{count:,} rows of {names}"


def _kept(folder: Path) -> str:
    """What of the data is in the folder."""
    count = len(examples.read(folder))
    if not count:
        return "- no example inputs are kept in this folder (`train.examples`); vocabularies hold symbols of the data"
    return f"- `{examples.FILE}` keeps {count} validation inputs, for the page of `antiphon serve` (`train.examples`)"


def _names(files: Any) -> str:
    if isinstance(files, InMemory):
        return str(files)
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
