"""What the server logs: lines of JSON on standard error, each with its time and level."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

LOG = logging.getLogger("antiphon.server")
"""Its messages are dictionaries, without anything that a client sent."""


class Line(logging.Formatter):
    """A record as a line of JSON. The times are UTC, as ISO 8601 writes them."""

    def format(self, record: logging.LogRecord) -> str:
        """As `logging.Formatter.format`."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower()}
        if isinstance(record.msg, dict):
            line |= record.msg
        else:  # of another package, such as uvicorn about bytes that are not a request
            line |= {"event": record.name.partition(".")[0], "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line |= place_of(record.exc_info[1])
        return json.dumps(line)


def log_to_standard_error(level: str) -> None:
    """Log lines of a level and above it; of other packages only warnings and errors."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(Line())
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(logging.WARNING)
    LOG.setLevel(level.upper())


def log_failure(error: Exception, request: str | None = None) -> None:
    """Log an error's class and where it was raised, without its message, which may hold an input."""
    LOG.error({"event": "error", "request": request, **place_of(error)})


def place_of(error: BaseException) -> dict[str, str]:
    """An error's class, and where it was raised."""
    return {"error": type(error).__name__, "raised": "".join(traceback.format_tb(error.__traceback__, -8))}
