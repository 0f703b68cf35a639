"""Pictures of what a model did."""

from __future__ import annotations

from pathlib import Path

from antiphon.answers import TextPrediction
from antiphon.errors import AntiphonError

END = "⏎"


def draw_attention(prediction: TextPrediction, path: Path) -> None:
    """Attention weights as a grid: a row an output symbol, a column an input symbol. The file's ending is its kind."""
    if prediction.attention is None:
        raise AntiphonError("this model has no attention to draw; train one with model.attention: general")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    weights = prediction.attention
    rows, columns = weights.shape
    figure, axis = pyplot.subplots(figsize=(1.5 + 0.4 * columns, 1.2 + 0.4 * rows), layout="constrained")
    image = axis.imshow(weights, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axis.set_xticks(range(columns), [*prediction.source_tokens, END])
    axis.set_yticks(range(rows), [*prediction.tokens, END])
    axis.xaxis.tick_top()
    axis.set(xlabel="input", ylabel="output")
    axis.xaxis.set_label_position("top")
    figure.colorbar(image, label="attention")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
