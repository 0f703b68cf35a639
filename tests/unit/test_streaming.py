"""Predictions of a stream need memory for a window of it, however long it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tasks import words

GOLDEN = Path(__file__).parents[1] / "golden" / "v0.1.0"
CODE = """
import resource, sys
sys.argv = ["antiphon", "predict", sys.argv[1], "--beam", "1", "--threads", "1"]
from antiphon.cli.main import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_and_lines(lines: int) -> tuple[int, int]:
    """Peak memory in KiB of predicting so many lines, and the number of lines that came back."""
    chunk = "".join(f"{word}\n" for word in words(1000, 1, "shcteoamn")).encode()
    command = [sys.executable, "-c", CODE, str(GOLDEN)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        import threading

        feed = process.stdin

        def write() -> None:
            for _ in range(lines // 1000):
                feed.write(chunk)
            feed.close()

        writer = threading.Thread(target=write)
        writer.start()
        count = sum(1 for _ in process.stdout)
        writer.join()
        peak = int(process.stderr.read().split()[-1])
    assert process.returncode == 0
    return peak, count


@pytest.mark.parametrize("lines", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_lines(lines: int) -> None:
    small, _ = peak_and_lines(5_000)
    large, count = peak_and_lines(lines)
    assert count == lines
    assert large < small * 1.1 + 20_000
