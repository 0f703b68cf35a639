"""The output of a training: through the logger "antiphon", shown by default, quiet if asked."""

from __future__ import annotations

import itertools
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tasks import tiny_config

from antiphon.training import checkpoint, loop
from antiphon.training import log as log_module
from antiphon.training.log import Bar, TrainingLog, output
from antiphon.training.loop import train

WARNED: dict[str, Any] = {"train__max_steps": 20, "train__validate_every": 2, "train__learning_rate": 1e-9}
PROGRAM = """
import logging, sys
import antiphon
{setup}
antiphon.train(sys.argv[1], out=sys.argv[2], device="cpu", threads=1{options})
"""


def printed(folder: Path, setup: str = "", options: str = "") -> str:
    """What a program that trains writes to standard error."""
    (folder / "c.yaml").write_text(tiny_config(folder, **WARNED).to_yaml(), encoding="utf-8")
    program = PROGRAM.format(setup=setup, options=options)
    command: list[str | Path] = [sys.executable, "-c", program, folder / "c.yaml", folder / "m"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_program_shows_lines_and_warnings(tmp_path: Path) -> None:
    lines = printed(tmp_path).splitlines()
    assert any(line.startswith("100 training rows, 20 validation rows; ") for line in lines), "a pipe has long lines"
    assert any(line.startswith("warning: ") for line in lines)
    assert lines[-1].startswith("done: ")
    assert sum(line.startswith(" update   epoch") for line in lines) == 1


@pytest.mark.parametrize(
    ("setup", "options"),
    [("logging.getLogger('antiphon').setLevel(logging.WARNING)", ""), ("", ", quiet=True")],
    ids=["level", "quiet"],
)
def test_quiet_leaves_warnings_alone(tmp_path: Path, setup: str, options: str) -> None:
    lines = printed(tmp_path, setup, options).splitlines()
    assert lines
    assert all(line.startswith("warning: ") for line in lines)


def test_logging_that_a_user_has_configured_gets_all_and_nothing_is_shown_twice(tmp_path: Path) -> None:
    setup = "logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s %(message)s')"
    lines = printed(tmp_path, setup).splitlines()
    assert lines[-1].startswith("INFO antiphon done: ")
    assert any(line.startswith("WARNING antiphon ") for line in lines)
    assert all(re.match("(INFO|WARNING) ", line) for line in lines)


def test_the_command_is_quiet_if_asked(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(tiny_config(tmp_path, **WARNED).to_yaml(), encoding="utf-8")
    command: list[str | Path] = [sys.executable, "-m", "antiphon", "train", tmp_path / "c.yaml"]
    command += ["--out", tmp_path / "m", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())


def test_levels_and_handlers_are_afterwards_as_before() -> None:
    logger = logging.getLogger("antiphon")
    before = (logger.level, list(logger.handlers))
    with output(always=True):
        assert logger.isEnabledFor(logging.INFO)
        assert len(logger.handlers) == len(before[1]) + 1
        with output(quiet=True):
            assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.INFO)
    assert (logger.level, list(logger.handlers)) == before


def on_terminal(command: list[Any], columns: int) -> str:
    """What a command writes on a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    pieces = []
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(leader)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r", b"".join(pieces).decode())


def test_on_a_narrow_terminal_nothing_breaks_within_a_word(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(tiny_config(tmp_path).to_yaml(), encoding="utf-8")
    shown = on_terminal([sys.executable, "-m", "antiphon", "train", config, "--out", tmp_path / "m"], 70)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown)]
    assert max(map(len, lines)) <= 70 or all(" " not in line.strip() for line in lines if len(line) > 70)
    assert any("tokens/s" in line and "left" in line for line in lines), "the bar"
    head = next(line for line in lines if line.startswith(" update"))
    assert "kept" in head
    assert "minutes" not in head
    text = " ".join(" ".join(lines).split())
    assert "100 training rows, 20 validation rows; source: " in text
    checked = on_terminal([sys.executable, "-m", "antiphon", "check", config], 70).splitlines()
    assert max(map(len, checked)) <= 70 or all(" " not in line.strip() for line in checked if len(line) > 70)


def test_in_a_notebook_the_bar_is_an_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    class Cell:
        def update(self, value: Any) -> None:
            shown.append(value if isinstance(value, str) else value._repr_mimebundle_([], [])["text/plain"])

    class Display:
        def display(self, value: Any, display_id: bool) -> Cell:
            assert display_id
            return Cell()

        def HTML(self, text: str) -> str:  # noqa: N802
            return text

    monkeypatch.setattr("antiphon.training.log.import_module", lambda name: Display())
    bar = Bar(Console(force_jupyter=True), 10, 2)
    bar.show(5, "1.2345", "678", "0:00:09 left")
    bar.close()
    assert "5/10" in shown[0]
    assert all(text in shown[0] for text in ("1.2345", "678 tokens/s", "0:00:09 left"))
    assert shown[1:] == [""], "it is removed at the end"


class Clock:
    """Stands still but where it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_validations_do_not_count_in_rate_and_remaining_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update takes 2 seconds, a validation 10,000, a save 500."""
    clock, shown = Clock(), []
    learn, measure, save = loop._learn, loop._measured, checkpoint.save

    def slowly(seconds: float, work: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            clock.now += seconds
            return work(*arguments, **named)

        return call

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(log_module, "time", clock)
    monkeypatch.setattr(loop, "_learn", slowly(2, learn))
    monkeypatch.setattr(loop, "_measured", slowly(10_000, measure))
    monkeypatch.setattr(checkpoint, "save", slowly(500, save))
    monkeypatch.setattr(TrainingLog, "wants_progress", lambda log: True)
    monkeypatch.setattr(TrainingLog, "write", lambda log, line: shown.append(line))
    train(tiny_config(tmp_path, train__max_steps=8, train__validate_every=2), tmp_path / "m", threads=1)
    lines = [line for line in shown if line.startswith("update ")]
    left = [float(line.split()[-5]) for line in lines]
    assert left == [pytest.approx(2 * (8 - step) / 60, abs=0.051) for step in range(1, 9)]
    rates = [float(line.split("  ")[2].split()[0].replace(",", "")) for line in lines]
    assert max(rates) < 10 * min(rates)
    assert all(low > 1 for low, _ in itertools.pairwise(rates))
