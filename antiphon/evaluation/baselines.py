"""The scores of trivial predictions, and targets from which there is nothing to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from antiphon import metrics
from antiphon.common.text import turns_of
from antiphon.config.schema import Config
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs, group_references
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.errors import shown
from antiphon.evaluation.outputs import output_metrics
from antiphon.evaluation.windows import control_scores


def baselines(
    config: Config, codecs: Codecs, train: Sequence[Row], valid: Sequence[Row]
) -> dict[str, dict[str, float]]:
    """The scores of trivial predictions on validation rows, by name: the most frequent training target, and the input;
    of windows simple forecasts.

    For texts, labels and windows; other numbers and the next symbol have none.
    """
    codec = codecs.target
    if isinstance(valid, Windows) and isinstance(train, Windows):
        return control_scores(codecs, train, valid)
    if isinstance(codec, TextCodec):
        groups = group_references(config, codecs, valid)
        references = [[valid[row].target for row in group] for group in groups]
        frequent = Counter(row.target for row in train).most_common(1)[0][0]
        outputs = {f"always {frequent!r}": [frequent] * len(groups)}
        if isinstance(codecs.sources[0], TextCodec):
            outputs = {"copy the input": [turns_of(valid[group[0]].sources[0])[-1] for group in groups]} | outputs
        return {name: output_metrics(codec, [*map(codec.split, texts)], references) for name, texts in outputs.items()}
    if isinstance(codec, LabelCodec):
        frequent = Counter(label for row in train for label in _labels(codec, row)).most_common(1)[0][0]
        truth = [label for row in valid for label in _labels(codec, row)]
        always = [frequent] * len(truth)
        figures = {"accuracy": metrics.accuracy(always, truth), "macro_f1": metrics.macro_f1(always, truth)}
        return {f"always {frequent!r}": figures}
    return {}


def _labels(codec: LabelCodec, row: Row) -> Sequence[str]:
    return row.target if codec.steps else [row.target]


def constant_target(codecs: Codecs, train: Sequence[Row]) -> str | None:
    """A message about targets that are all the same; None if they differ."""
    codec = codecs.target
    if not train or not codec.reads:
        return None
    first = codec.key_of(train[0].target)
    if len(train) < 2 or any(codec.key_of(row.target) != first for row in train):
        return None
    return f"every target is {shown(codec.shown(train[0].target))}: there is nothing to learn; is it the right column?"
