"""The curve of a learning rate range test: how the loss changes while the rate rises."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

from antiphon.files import write_atomically, write_text
from antiphon.saved.folder import RATES, RATES_PICTURE


@dataclass(frozen=True)
class RateCurve:
    """The `losses` (nats per token, smoothed) after updates with these `rates`, and the rate that was `chosen`."""

    rates: list[float]
    losses: list[float]
    chosen: float

    def line(self) -> str:
        """What a user reads about it."""
        return (
            f"train.learning_rate: {self.chosen:g}, a tenth of the rate with the lowest loss in a range test of "
            f"{len(self.rates)} updates ({RATES_PICTURE})"
        )

    def save(self, folder: Path) -> None:
        """Write the curve into a model folder, as JSON and as a picture."""
        write_text(folder / RATES, json.dumps(vars(self)) + "\n")
        picture = self._picture()
        write_atomically(folder / RATES_PICTURE, lambda file: file.write(picture))

    def _picture(self) -> bytes:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
        axis.plot(self.rates, self.losses)
        axis.axvline(self.chosen, color="grey", linestyle=":", label=f"chosen: {self.chosen:g}")
        axis.set(xscale="log", xlabel="learning rate", ylabel="loss, nats per token", title="learning rate range test")
        axis.legend()
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120, format="png")
        pyplot.close(figure)
        return picture.getvalue()
