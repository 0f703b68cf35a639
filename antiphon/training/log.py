"""What a training tells: a progress bar on a terminal and plain lines elsewhere, a table of validations, files."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from antiphon.bundle import TRAINING
from antiphon.errors import TrainingError
from antiphon.files import make_folder, write_text, writing

LOG = "log.jsonl"
PLAIN_SECONDS = 30.0  # between plain lines of progress
BAR_SECONDS = 0.5


class TrainingLog:
    """Everything that one process tells; the others of a distributed training stay silent."""

    COLUMNS = (
        ("step", 7),
        ("epoch", 6),
        ("train loss", 10),
        ("loss", 8),
        ("TER teacher", 11),
        ("TER free", 8),
        ("best", 4),
        ("tokens/s", 9),
        ("minutes", 7),
    )

    def __init__(
        self, folder: Path, total: int, silent: bool, tensorboard: bool, first: int, history: list[dict[str, Any]]
    ) -> None:
        self.folder, self.total, self.silent = folder, total, silent
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.first = first
        self.started = time.monotonic()
        self.told = 0.0
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

    def say(self, line: str) -> None:
        """A line of text."""
        if not self.silent:
            self.console.print(line, markup=False)

    def warn(self, found: Mapping[str, str]) -> None:
        """Say what is wrong, each kind once."""
        for kind, message in found.items():
            if kind not in self.warned:
                self.warned.add(kind)
                self.say(f"warning: {message}")

    def wants_progress(self) -> bool:
        """Whether it is time to show progress: then, and only then, the loss is read from the device."""
        return not self.silent and time.monotonic() - self.told > (BAR_SECONDS if self.bar else PLAIN_SECONDS)

    def back_to(self, step: int) -> None:
        """The training goes on from an earlier update: rate and time left are counted from there."""
        self.first, self.started = step, time.monotonic()

    def progress(self, step: int, loss: float, rate: float) -> None:
        self.told = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step, loss=f"{loss:.4f}", rate=f"{rate:,.0f}")
        else:
            left = (self.told - self.started) / max(step - self.first, 1) * (self.total - step) / 60
            self.say(f"step {step}/{self.total}  loss {loss:.4f}  {rate:,.0f} tokens/s  {left:.1f} min left at most")

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
        if not self.headed:
            self.headed = True
            self.say("  ".join(name.rjust(width) for name, width in self.COLUMNS))
        cells = (
            f"{entry['step']}",
            f"{entry['epoch']:.1f}",
            "-" if entry["train_loss"] is None else f"{entry['train_loss']:.4f}",
            f"{entry['loss']:.4f}",
            f"{entry['token_error_rate_teacher']:.4f}",
            f"{entry['token_error_rate']:.4f}",
            "*" if entry["best"] else "",
            f"{entry['tokens_per_second']:,.0f}",
            f"{entry['minutes']:.1f}",
        )
        self.say("  ".join(cell.rjust(width) for cell, (_, width) in zip(cells, self.COLUMNS, strict=True)))

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
    """A picture (PNG) of training and validation loss, and of both token error rates, over updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [entry["step"] for entry in history]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(steps, [entry["train_loss"] for entry in history], label="training")
    left.plot(steps, [entry["loss"] for entry in history], label="validation")
    left.set(xlabel="update", ylabel="nats a target token", title="loss")
    right.plot(steps, [entry["token_error_rate_teacher"] for entry in history], label="fed the reference")
    right.plot(steps, [entry["token_error_rate"] for entry in history], label="fed its own output")
    right.set(xlabel="update", ylabel="token error rate", title="validation errors")
    for axis in (left, right):
        best = [entry["step"] for entry in history if entry["best"]]
        axis.axvline(best[-1], color="grey", linestyle=":", label="best")
        axis.set_ylim(bottom=0)
        axis.legend()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    pyplot.close(figure)
    return picture.getvalue()
