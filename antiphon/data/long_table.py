"""From a configuration with `data.window` to windows, and to their parts in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.config.files import InMemory
from antiphon.config.schema import Config
from antiphon.data.codecs.base import Codec
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader
from antiphon.data.tracks import Border, Layout, Side, gathers, load_tracks
from antiphon.data.windows import Ahead, Windows, continued, windows_of
from antiphon.errors import ConfigError, DataError

DEFAULT_SHARE = 0.1  # of the rows at the end, for validation


def layout_of(config: Config) -> Layout:
    """How the configuration reads a long table."""
    data, window = config.data, config.data.window
    assert window is not None
    steps = (window.past, window.horizon, window.stride)
    return Layout(data.time, data.group, *steps, data.separator, data.decimal == ",", data.header)


def sides_of_windows(config: Config, codecs: Sequence[Codec], readers: Sequence[SideReader]) -> list[Side]:
    """The sides, of which the target is predicted, so that it lies ahead."""
    ahead = [*(bool(side.ahead) for side in config.sources), True]
    sides = [Side(*parts) for parts in zip(codecs, readers, ahead, strict=True)]
    for side in sides:
        if side.reader.columns is not None and not side.reader.named and side.codec.kind != "calendar":
            raise ConfigError(f"{side.reader.name}.columns", "is missing; with data.window each side names its columns")
        if getattr(side.codec, "width", None) is not None:
            reason = "is for cells that have the numbers of many steps; with data.window each row is a step"
            raise ConfigError(f"{side.reader.name}.width", f"{reason}; to read several at once set segment")
    return sides


def steps_of(config: Config, codecs: Sequence[Codec]) -> list[int | None]:
    """How many steps each source has: those of a window; None where any number can be read."""
    window = config.data.window
    if window is None:
        return [None] * len(config.sources)
    steps = [window.horizon if side.ahead else window.past for side in config.sources]
    return [number if gathers(codec) else None for number, codec in zip(steps, codecs, strict=True)]


def load_windows(
    config: Config, tables: Sequence[str | InMemory], sides: Sequence[Side], problems: Problems
) -> Windows:
    """All windows of long tables. Faults are added to `problems`."""
    layout = layout_of(config)
    tracks, step = load_tracks(tables, sides, layout, problems)
    windows = windows_of(tracks, sides, layout, step)
    if not len(windows) and not problems.first:
        longest = max((track.known for track in tracks), default=0)
        needed = layout.past + layout.horizon
        raise DataError(
            f"{', '.join(map(str, tables))}: has no window: a past of {layout.past} and a horizon of {layout.horizon} "
            f"rows need {needed} rows without a gap, and the longest group has {longest}"
        )
    return windows


def load_continued(
    config: Config, tables: Sequence[str | InMemory], sides: Sequence[Side], problems: Problems
) -> Iterator[Ahead]:
    """What is read to continue each group of long tables behind its last row."""
    layout = layout_of(config)
    tracks, step = load_tracks(tables, sides, layout, problems)
    problems.raise_any()
    return continued(tracks, sides, layout, step)


def parts_in_time(config: Config, windows: Windows) -> dict[str, Windows]:
    """The windows of the training table by part: train, valid (unless that is a file) and test (if configured)."""
    window, valid = config.data.window, config.data.valid
    assert window is not None
    stop: Border | None = window.test_from if window.test_from is not None else window.end
    begin = window.valid_from
    shared = valid is None or isinstance(valid, float)
    if begin is None and shared:
        share = valid if isinstance(valid, float) else DEFAULT_SHARE
        begin = windows.border(1 - share, stop)
    elif begin is not None and not shared:
        raise ConfigError("data.valid", "and data.window.valid_from both say what validates; choose one of them")
    parts = {"train": windows.between(None, begin if shared else stop)}
    if shared:
        parts["valid"] = windows.between(begin, stop)
    if window.test_from is not None:
        parts["test"] = windows.between(window.test_from, window.end)
    for name, part in parts.items():
        if not len(part):
            raise DataError(
                f"{config.data.train}: no window lies in the {name} part: a horizon of {window.horizon} rows must lie "
                "within it, and the past before it; make the part longer, or the horizon shorter"
            )
    return parts
