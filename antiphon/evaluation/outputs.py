"""The outputs of a model that writes, and how they compare with reference texts."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon import metrics
from antiphon.config.decode import Decode
from antiphon.data.codecs.text import TextCodec
from antiphon.data.problems import place
from antiphon.decoding.alignment import written
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Speaker, plan
from antiphon.decoding.run import decode_sources
from antiphon.evaluation.task import Task


def output_metrics(
    codec: TextCodec, outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`token_error_rate` and `exact_match` of outputs, as symbols, against reference texts."""
    reference_tokens = [[codec.split(text) for text in choices] for choices in references]
    texts = [codec.join(row) for row in outputs]
    truths = [[codec.truth(text) for text in choices] for choices in references]
    rate = metrics.token_edits(outputs, reference_tokens).rate
    return {"token_error_rate": rate, "exact_match": metrics.exact_match(texts, truths)}


def best_outputs(
    task: Task, groups: Sequence[Sequence[int]], decode: Decode
) -> tuple[list[Hypothesis], list[list[str]]]:
    """The best output for the input of each group of rows, and its symbols."""
    assert isinstance(task.model, Speaker)
    firsts = [group[0] for group in groups]
    rows, sources = [task.rows[row] for row in firsts], [source.take(firsts) for source in task.examples.sources]
    search = plan(decode, task.model, task.codecs)
    searched = decode_sources(task.model, sources, search, task.device, sharing=task.sharing)
    best = [best_of(hypotheses, place(row.file, row.line)) for row, hypotheses in zip(rows, searched, strict=True)]
    values, tokens = [row.sources for row in rows], [output.tokens for output in best]
    return best, written(task.model, task.codecs, search, sources, values, tokens, task.device)
