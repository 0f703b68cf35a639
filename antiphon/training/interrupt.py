"""Signals to stop: they take effect between updates, so that the saved state is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from antiphon.errors import DataError
from antiphon.training.distributed import Ranks


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT or SIGTERM is only noted, and the yielded function returns whether it came.

    A second signal interrupts at once. Outside the main thread signals are left as they are.
    """
    requested = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def saved_on_bad_data(save: Callable[[], object], ranks: Ranks) -> Iterator[None]:
    """Within it, a `DataError` (a streamed shard that is damaged or missing, a bad row) saves the training first.

    Of several processes perhaps one alone meets it, so there the last saved state stays the last.
    """
    try:
        yield
    except DataError as error:
        if ranks.world == 1:
            save()
        advice = "the training is saved; correct the data (or set data.on_error: skip, for bad rows) and give --resume"
        raise DataError(f"{error}\n({advice}, in Python resume=True)") from None
