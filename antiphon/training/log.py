"""The output of a training: a progress bar on a terminal or plain lines, a table of validations, log files."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from antiphon.errors import TrainingError
from antiphon.files import make_folder, write_text, writing
from antiphon.saved.folder import TRAINING

OUTPUT = logging.getLogger("antiphon")
LOG = "log.jsonl"
PLAIN_SECONDS = 30.0  # between plain lines of progress
BAR_SECONDS = 0.5


MEASURES = {  # further columns of a validation, where they were measured; the errors are token error rates
    "teacher error": "token_error_rate_teacher",
    "free-run error": "token_error_rate",
    "accuracy": "accuracy",
    "macro F1": "macro_f1",
    " span F1": "span_f1",
    "      mse": "mse",
}


class Lines(logging.Handler):
    """Records as lines on standard error, above the progress bar if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            prefix = "warning: " if record.levelno >= logging.WARNING else ""
            lines_of_terminal = self.console.is_terminal  # elsewhere a line of text stays one, however long it is
            self.console.print(prefix + record.getMessage(), markup=False, soft_wrap=not lines_of_terminal)
        except Exception:
            self.handleError(record)


@contextmanager
def output(quiet: bool = False, always: bool = False) -> Iterator[None]:
    """Within it, what the logger "antiphon" gets is shown on standard error, unless the user has configured logging.

    That is where the logger or the root has a handler; `always` does not look for one at the root. `quiet` leaves
    warnings alone. A level that the user has set for the logger stays.
    """
    level, lines = OUTPUT.level, None
    if quiet:
        OUTPUT.setLevel(max(level, logging.WARNING))
    if not (OUTPUT.handlers if always else OUTPUT.hasHandlers()):
        lines = Lines()
        OUTPUT.addHandler(lines)
        if OUTPUT.level == logging.NOTSET:
            OUTPUT.setLevel(logging.INFO)
    try:
        yield
    finally:
        OUTPUT.setLevel(level)
        if lines is not None:
            OUTPUT.removeHandler(lines)


class Bar:
    """A progress bar on a terminal or in a notebook."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        text = TextColumn("loss {task.fields[loss]}  {task.fields[rate]} tokens/s  {task.fields[left]}")
        columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(), text)
        self.progress = Progress(*columns, console=console, transient=True)
        self.task = self.progress.add_task("train", total=total, completed=done, loss="-", rate="-", left="")
        self.cell: Any = None  # where the bar stands in a notebook
        if console.is_jupyter:
            self.notebook: Any = import_module("IPython.display")
            self.cell = self.notebook.display(self.progress, display_id=True)
        else:
            self.progress.start()

    def show(self, step: int, loss: str, rate: str, left: str) -> None:
        """Show the number of updates, and the texts beside the bar."""
        self.progress.update(self.task, completed=step, loss=loss, rate=rate, left=left)
        if self.cell is not None:
            self.cell.update(self.progress)

    def close(self) -> None:
        """Remove the bar."""
        if self.cell is None:
            self.progress.stop()
        else:
            self.cell.update(self.notebook.HTML(""))


SPARE = (" tokens/s", "minutes", " epoch")  # columns that a narrow terminal does not show


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
        self.first = first
        self.started = time.monotonic()  # moved on by the time of validations, which is not counted
        self.last_shown = 0.0
        self.bar: Bar | None = None
        self.width: int | None = None  # of the terminal
        self.writer = _tensorboard(folder) if tensorboard and not silent else None
        self.headed = False
        self.warned: set[str] = set()
        if not silent:
            make_folder(folder / TRAINING)
            write_text(folder / TRAINING / LOG, "".join(json.dumps(entry) + "\n" for entry in history))
            console = next((handler.console for handler in OUTPUT.handlers if isinstance(handler, Lines)), None)
            if console and (console.is_terminal or console.is_jupyter) and OUTPUT.isEnabledFor(logging.INFO):
                self.width = console.width
                self.bar = Bar(console, total, self.first)

    def write(self, line: str) -> None:
        """A line of text."""
        if not self.silent:
            OUTPUT.info("%s", line)

    def warn(self, messages: Mapping[str, str]) -> None:
        """Write warnings, each kind once."""
        for kind, message in messages.items():
            if kind not in self.warned and not self.silent:
                self.warned.add(kind)
                OUTPUT.warning("%s", message)

    def wants_progress(self) -> bool:
        """Whether it is time to show progress: then, and only then, the loss is read from the device."""
        if self.silent or not OUTPUT.isEnabledFor(logging.INFO):
            return False
        return time.monotonic() - self.last_shown > (BAR_SECONDS if self.bar else PLAIN_SECONDS)

    def back_to(self, step: int) -> None:
        """The training goes back to an earlier update: rate and remaining time are counted from there."""
        self.first, self.started = step, time.monotonic()

    def progress(self, step: int, loss: float, rate: float) -> None:
        self.last_shown = time.monotonic()
        left = (self.last_shown - self.started) / max(step - self.first, 1) * (self.total - step)
        if self.bar:
            time_left = f"{timedelta(seconds=round(left))} left"
            self.bar.show(step, loss=f"{loss:.4f}", rate=f"{rate:,.0f}", left=time_left)
        else:
            self.write(
                f"update {step}/{self.total}  loss {loss:.4f}  {rate:,.0f} tokens/s  {left / 60:.1f} min left at most"
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
        for title in SPARE:
            if self.width is not None and len("  ".join(columns)) > self.width:
                del columns[title]
        if not self.headed:
            self.headed = True
            self.write("  ".join(columns))
        self.write("  ".join(cell(entry).rjust(len(title)) for title, cell in columns.items()))

    def close(self) -> None:
        if self.bar:
            self.bar.close()
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
    from matplotlib.figure import Figure  # not pyplot, whose figures are the user's

    steps = [entry["step"] for entry in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
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
    return picture.getvalue()
