"""A model and encoded rows to the losses of their targets and to a reader's answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.common.symbols import EOS
from antiphon.data.batches import Batch, Examples, Ints, Padded, Sequences, collate, pad
from antiphon.decoding.batches import ALONE, TOKENS, Sharing, batches_by_length, by_row, total_lengths
from antiphon.decoding.plan import Speaker
from antiphon.evaluation.answering import Answer
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import LanguageModel, Model, Reader
from antiphon.model.parts.heads.base import Head

READ = 16_384  # symbols that a language model reads at once; it goes on from the state after them


@dataclass(frozen=True)
class RowScores:
    """Forced scoring of every row: the loss of each target step, and whether the best prediction was the target."""

    losses: list[NDArray[np.float64]]
    correct: list[NDArray[np.bool_]]

    @property
    def totals(self) -> list[float]:
        """log p(y|x) of every row in nats, the end symbol counted; for numbers, minus the summed error."""
        return [-float(row.sum()) for row in self.losses]

    @property
    def mean(self) -> float:
        """The mean loss of all steps."""
        return -sum(self.totals) / max(sum(map(len, self.losses)), 1)


@torch.inference_mode()
def score_rows(
    model: Model | Ensemble, examples: Examples, device: torch.device, sharing: Sharing = ALONE
) -> RowScores:
    """The losses of every row's target, teacher-forced where a decoder is fed, in float32."""

    def score(rows: Ints) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        loss, hit = _judged(model, collate(examples, rows).to(device))
        steps = examples.target.lengths[rows]
        return [(row.astype(np.float64), right) for row, right in zip(_cut(loss, steps), _cut(hit, steps), strict=True)]

    model.eval()
    lengths = examples.source_lengths + examples.target.lengths
    any_length = model.goes_on  # a language model, which reads in pieces
    batches = batches_by_length(lengths, tokens=sys.maxsize if any_length else TOKENS)
    scored = by_row(batches, score, sharing)
    return RowScores([loss for loss, _ in scored], [hit for _, hit in scored])


def symbol_scores(
    model: Speaker, sources: Sequence[Sequences], outputs: Sequence[Sequence[int]], device: torch.device
) -> list[list[float]]:
    """log p of each symbol of the outputs, one for each row, and of their end symbols."""
    prompts: list[list[int]] = [[]] * len(outputs)
    if model.goes_on:
        prompts = [sources[0][row].tolist() for row in range(len(outputs))]
    targets = Sequences([[*prompt, *output, EOS] for prompt, output in zip(prompts, outputs, strict=True)])
    read = (targets,) if model.goes_on else tuple(sources)
    losses = score_rows(model, Examples(read, targets), device).losses
    return [(-loss[len(prompt) :]).tolist() for loss, prompt in zip(losses, prompts, strict=True)]


def _cut(values: Tensor, lengths: Ints) -> list[NDArray[Any]]:
    """Values [N, ...] of rows of these lengths, one behind the other, as one array per row."""
    return np.split(values.cpu().numpy(), np.cumsum(lengths)[:-1])


def _judged(model: Model | Ensemble, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of every target step that is not padding and whether the prediction is right, each [N]."""
    target = batch.target.values
    if not model.goes_on:
        return model.head.judge(model(batch.sources, target), target, batch.positions)
    assert isinstance(model, LanguageModel | Ensemble)
    layers: Any = model.begin(len(target))
    head: Head[Any] = model.head
    pieces = []
    steps = max(1, READ // len(target))
    for read, part in zip(torch.split(model.read(target), steps, 1), torch.split(target, steps, 1), strict=True):
        features, layers = model.run(read, layers)
        judged = head.judge(features, part, torch.arange(part.numel(), device=part.device))
        pieces.append([values.view_as(part) for values in judged])
    losses, hits = (torch.cat(values, 1).flatten()[batch.positions] for values in zip(*pieces, strict=True))
    return losses, hits


@torch.inference_mode()
def read_sources(
    model: Reader, sources: Sequence[Sequences], ends: int, device: torch.device, sharing: Sharing = ALONE
) -> list[Answer]:
    """The predictions for every row, in order; the last `ends` steps have none."""

    def read(rows: Ints) -> list[Answer]:
        features = model.features([pad(source, rows).to(device) for source in sources])
        lengths = np.ones_like(rows) if model.pooling is not None else sources[0].lengths[rows] - ends
        positions = Padded(features, torch.from_numpy(lengths)).positions.to(device)
        predicted, values = model.head.answer(features, positions)
        return list(map(Answer, _cut(predicted, lengths), _cut(values.float(), lengths)))

    model.eval()
    return by_row(batches_by_length(total_lengths(sources)), read, sharing)


def token_rate(scores: RowScores, groups: Sequence[Sequence[int]]) -> float:
    """The teacher-forced token error rate.

    It counts the steps at which the most probable symbol is not the reference's (the end symbol's
    step in), over the references' lengths, as `token_error_rate` counts edits; of several references
    the one with the lowest rate counts.
    """
    pairs = [teacher_errors(scores, rows) for rows in groups]
    return sum(wrong for wrong, _ in pairs) / max(sum(length for _, length in pairs), 1)


def teacher_errors(scores: RowScores, rows: Sequence[int]) -> tuple[int, int]:
    """Wrong steps and the length of the best of several references."""
    pairs = [(int((~scores.correct[row]).sum()), len(scores.correct[row]) - 1) for row in rows]
    return min(pairs, key=lambda item: (item[0] / max(item[1], 1), item[0]))
