"""The output of a training: a progress bar on a terminal or plain lines, a table of validations, log files."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from antiphon.errors import TrainingError
from antiphon.files import make_folder, write_text, writing
from antiphon.saved.folder import TRAINING

LOG = "log.jsonl"
PLAIN_SECONDS = 30.0  # between plain lines of progress
BAR_SECONDS = 0.5


MEASURES = {  # further columns of a validation, where they were measured; the errors are token error rates
    "error teacher": "token_error_rate_teacher",
    "error free": "token_error_rate",
    "accuracy": "accuracy",
    "macro F1": "macro_f1",
    " span F1": "span_f1",
    "      mse": "mse",
}


def _column(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda entry: f"{entry[name]:.4f}"


class TrainingLog:
    """All output of the first process; the other processes of a distributed training stay silent."""

    COLUMNS: ClassVar[dict[str, Callable[[dict[str, Any]], str]]] = {  # each at least as wide as its values
        " update": lambda entry: f"{entry['step']}",
        " epoch": lambda entry: f"{entry['epoch']:.1f}",
        "train loss": lambda entry: "-" if entry["train_loss"] is None else f"{entry['train_loss']:.4f}",
        "    loss": lambda entry: f"{entry['loss']:.4f}",
        **{title: _column(name) for title, name in MEASURES.items()},
        "kept": lambda entry: "best" if entry["best"] else "yes" if entry["kept"] else "",
        " tokens/s": lambda entry: f"{entry['tokens_per_second']:,.0f}",
        "minutes": lambda entry: f"{entry['minutes']:.1f}",
    }

    def __init__(
        self, folder: Path, total: int, silent: bool, tensorboard: bool, first: int, history: list[dict[str, Any]]
    ) -> None:
        self.folder, self.total, self.silent = folder, total, silent
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.first = first
        self.started = time.monotonic()
        self.last_shown = 0.0
        self.bar: Progress | None = None
        self.writer = _tensorboard(folder) if tensorboard and not silent else None
        self.headed = False
        self.warned: set[str] = set()
        if not silent:
            make_folder(folder / TRAINING)
            write_text(folder / TRAINING / LOG, "".join(json.dumps(entry) + "\n" for entry in history))
            if self.console.is_terminal:
                self.bar = Progress(
                    TextColumn("{task.completed}/{task.total}"),
                    BarColumn(),
                    TextColumn("loss {task.fields[loss]}  {task.fields[rate]} tokens/s"),
                    TimeRemainingColumn(),
                    console=self.console,
                    transient=True,
                )
                self.task = self.bar.add_task("train", total=total, completed=self.first, loss="-", rate="-")
                self.bar.start()

    def write(self, line: str) -> None:
        """A line of text."""
        if not self.silent:
            self.console.print(line, markup=False)

    def warn(self, messages: Mapping[str, str]) -> None:
        """Write warnings, each kind once."""
        for kind, message in messages.items():
            if kind not in self.warned:
                self.warned.add(kind)
                self.write(f"warning: {message}")

    def wants_progress(self) -> bool:
        """Whether it is time to show progress: then, and only then, the loss is read from the device."""
        return not self.silent and time.monotonic() - self.last_shown > (BAR_SECONDS if self.bar else PLAIN_SECONDS)

    def back_to(self, step: int) -> None:
        """The training goes back to an earlier update: rate and remaining time are counted from there."""
        self.first, self.started = step, time.monotonic()

    def progress(self, step: int, loss: float, rate: float) -> None:
        self.last_shown = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step, loss=f"{loss:.4f}", rate=f"{rate:,.0f}")
        else:
            left = (self.last_shown - self.started) / max(step - self.first, 1) * (self.total - step) / 60
            self.write(
                f"update {step}/{self.total}  loss {loss:.4f}  {rate:,.0f} tokens/s  {left:.1f} min left at most"
            )

    def validation(self, entry: dict[str, Any]) -> None:
        """A row of the table, a line of the log, a point of every curve."""
        if self.silent:
            return
        path = self.folder / TRAINING / LOG
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.writer:
            with writing(self.folder / TRAINING / "tensorboard"):
                for name, value in entry.items():
                    if isinstance(value, int | float) and name != "step":
                        self.writer.add_scalar(name, value, entry["step"])
                self.writer.flush()
        columns = {title: cell for title, cell in self.COLUMNS.items() if MEASURES.get(title, "step") in entry}
        if not self.headed:
            self.headed = True
            self.write("  ".join(columns))
        self.write("  ".join(cell(entry).rjust(len(title)) for title, cell in columns.items()))

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
        if self.writer:
            self.writer.close()


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        command = f"{Path(sys.executable).name} -m pip install 'antiphon[tensorboard]'"
        raise TrainingError(f"train.tensorboard: needs the extra; install it with {command}") from None
    return SummaryWriter(str(folder / TRAINING / "tensorboard"))


def draw_curves(history: list[dict[str, Any]]) -> bytes:
    """A picture (PNG) of training and validation loss, and of the other measures, over updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [entry["step"] for entry in history]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(steps, [entry["train_loss"] for entry in history], label="training")
    left.plot(steps, [entry["loss"] for entry in history], label="validation")
    left.set(xlabel="update", ylabel="per target step", title="loss")
    for title, name in MEASURES.items():
        if name in history[-1]:
            right.plot(steps, [entry[name] for entry in history], label=title.strip())
    right.set(xlabel="update", title="validation")
    for axis in (left, right):
        kept = [entry["step"] for entry in history if entry["kept"]]
        axis.axvline(kept[-1], color="grey", linestyle=":", label="kept")
        axis.set_ylim(bottom=0)
        axis.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    pyplot.close(figure)
    return picture.getvalue()
