"""A series: a sequence of vectors of its own length, as target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np

from antiphon.common.numbers import Array, Floats, as_frames
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.numbers import FramesCodec, Scale, ScaledCodec
from antiphon.errors import ConfigError

Read = Literal["output", "position"]
Window = Literal["last", "mean", "standard"]
Likelihood = str | dict[str, Any]
Columns = Sequence[int | str] | None


class SeriesCodec(ScaledCodec):
    """A sequence of vectors of its own length: a JSON list of numbers or of lists, the name of an .npy file.

    `horizon` is the number of steps of every series; without it each has its own, and the model learns where to stop.
    `likelihood` names the distribution of a step's numbers. With `read: output` a step of the decoder reads the numbers
    before it, with `position` only which step it is (Lin et al. 2023, arXiv 2308.11200), so that all steps are
    independent of each other. A step of the decoder writes a `segment` of so many steps of the series.

    With `window` a source of frames is the past of the same numbers: they are the target's columns of the source, or
    all of as many. Then the `last` value of the past, or its `mean`, is subtracted from past and target, or both are
    made `standard`: less the mean, divided by the deviation of the past. In what is predicted this is undone.
    With `separate` each of several columns is read and predicted alone, with the same weights and a learned vector for
    each column (channel independence; Nie et al. 2023, arXiv 2211.14730).
    """

    kind = "series"
    can_fill = False
    steps = True
    form = "any"
    part = "series"

    def __init__(
        self,
        where: str,
        horizon: int | None = None,
        likelihood: Likelihood = "gaussian",
        read: Read = "output",
        segment: int = 1,
        window: Window | None = None,
        scale: Scale = "each",
        separate: bool = False,
    ) -> None:
        super().__init__(where, scale)
        if horizon is not None and horizon < 1:
            raise ConfigError("horizon", f"must be at least 1 (is {horizon})")
        if segment < 1:
            raise ConfigError("segment", f"must be at least 1 (is {segment})")
        if read == "position" and horizon is None:
            raise ConfigError("read", "position has a learned vector for each step, so it needs target.horizon")
        options = {"kind": likelihood} if isinstance(likelihood, str) else dict(likelihood)
        name = options.pop("kind", None)
        if not isinstance(name, str):
            raise ConfigError("likelihood", "needs the key 'kind', or just the name")
        self.likelihood, self.likelihood_options = name, options
        self.horizon, self.segment = horizon, segment
        self.reading: Read = read
        self.window: Window | None = window
        if separate and (window is None or horizon is None):
            raise ConfigError("separate", "reads the past of each column, so it needs target.window and target.horizon")
        self.separate = separate
        self.learned = False  # whether its numbers are known
        self.past_source = 0  # with a window: the number of the source that is the target's past
        self.past: tuple[int, ...] | None = None  # and which of its numbers are the target's; None: all of them

    @property
    def log_unit(self) -> float:
        """log of the volume, in units of the data, of a step whose scaled numbers each change by 1."""
        return float(np.log(self.deviation.astype(np.float64)).sum())

    def _shaped(self, values: Array) -> Floats:
        return as_frames(values, None)

    def relate(self, sources: Sequence[Codec], columns: Sequence[Columns], target: Columns) -> None:
        """Find the source that is the past of a target with a window, and in it the target's columns."""
        if self.window is None:
            return
        frames = [number for number, source in enumerate(sources) if isinstance(source, FramesCodec)]
        if not frames:
            raise ConfigError(f"{self.where}.window", "needs a source of frames, the past of the same numbers")
        self.past_source = frames[0]
        listed = columns[self.past_source]
        if listed is not None and target is not None:
            missing = [column for column in target if column not in listed]
            if missing:
                reason = f"column {missing[0]!r} of the target is not among the columns of the source"
                raise ConfigError(f"{self.where}.window", f"{reason}, which are its past; add it there")
            self.past = tuple(map(listed.index, target))
        if self.separate and len(listed or ()) != len(target or ()):
            reason = "needs a source of frames with the columns of the target and no others"
            raise ConfigError(f"{self.where}.separate", reason)

    def learn(self, values: Sequence[Floats]) -> None:
        super().learn(values)
        self.learned = True

    def follow(self, sources: Sequence[Codec], pairs: Iterable[tuple[Floats, Floats]] = ()) -> None:
        """After all sides have learned: take the scale of the source that is the past, if there is a window. Its
        outliers then stay as they are, so that what is predicted can be undone exactly.

        `pairs` are pasts and targets of training rows: where a window subtracts a value, the deviation is that of what
        is left, which may be far smaller than that of the numbers.
        """
        if self.window is None:
            return
        source = sources[self.past_source]
        assert isinstance(source, FramesCodec)
        if self.past is None:
            if source.size != self.size:
                reason = f"a step of the source has {source.size:,} numbers and one of the target {self.size:,}"
                raise ConfigError(f"{self.where}.window", f"{reason}; list the columns of both in source and target")
            self.past = tuple(range(self.size))
        places = list(self.past)
        if self.window != "standard" and source.scale == "each" and not source.bits:
            source.deviation[places] = self._left(places, pairs, source.deviation[places])
        self.mean, self.deviation, self.bits = source.mean[places], source.deviation[places], source.bits
        self.means, self.scale, source.clips = self.mean, source.scale, False

    def _left(self, places: Sequence[int], pairs: Iterable[tuple[Floats, Floats]], otherwise: Floats) -> Floats:
        """The deviation of numbers from what their window subtracts; `otherwise` where they never differ from it."""
        squares, count = np.zeros(len(places)), 0
        for read, target in pairs:
            past = read[:, places].astype(np.float64)
            subtracted = past[-1] if self.window == "last" else np.nanmean(past, 0)
            left = np.concatenate([past, target]) - subtracted
            squares, count = squares + np.nansum(left**2, 0), count + len(left)
        deviation = np.sqrt(squares / max(count, 1))
        return np.where(deviation > 1e-6 * np.maximum(1, otherwise), deviation, otherwise).astype(np.float32)

    def encode(self, value: Floats) -> Floats:
        if self.horizon is not None and len(value) != self.horizon:
            raise ValueError(f"has {len(value):,} steps, but target.horizon is {self.horizon:,}")
        if self.likelihood == "bernoulli" and not ((value == 0) | (value == 1)).all():
            raise ValueError("has numbers other than 0 and 1, which target.likelihood: bernoulli needs")
        return self._scaled(value)

    def about(self) -> str:
        steps = "" if self.horizon is None else f", {self.horizon:,} steps"
        return f"{super().about()}{steps}, {self.likelihood}"

    def to_json(self) -> dict[str, Any]:
        further = {
            "horizon": self.horizon,
            "likelihood": {"kind": self.likelihood, **self.likelihood_options},
            "read": self.reading,
            "segment": self.segment,
            "window": self.window,
            **({"separate": True} if self.separate else {}),
            "past_source": self.past_source,
            "past": None if self.past is None else list(self.past),
        }
        return super().to_json() | further

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        names = ("horizon", "likelihood", "read", "segment", "window", "scale")
        made = cls(where, **{name: value[name] for name in names}, separate=value.get("separate", False))
        made._restore(value)
        made.learned = True
        past = value["past"]
        if past is not None and (not isinstance(past, list) or len(past) != made.size):
            raise ValueError("past must have a place for each number of the target")
        if made.window not in (None, *get_args(Window)) or made.reading not in get_args(Read):
            raise ValueError("window or read has an unknown value")
        made.past_source, made.past = int(value["past_source"]), None if past is None else tuple(map(int, past))
        return made
