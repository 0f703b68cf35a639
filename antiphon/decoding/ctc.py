"""The outputs of a model with CTC: a search over its labels, all steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from antiphon.common.symbols import EOS, UNK
from antiphon.data.batches import Ints, Sequences, pad
from antiphon.decoding.batches import ALONE, Sharing, batches_by_length, by_row, total_lengths
from antiphon.decoding.hypothesis import Hypothesis
from antiphon.model.models import Aligner
from antiphon.model.parts import ctc
from antiphon.model.parts.heads.ctc import BLANK, Aligned, CTCHead


@torch.inference_mode()
def search_labels(
    model: Aligner, sources: Sequence[Sequences], width: int, device: torch.device, sharing: Sharing = ALONE
) -> list[list[Hypothesis]]:
    """The labels that a beam over prefixes finds, with width 1 those of the best path; each with its whole log p."""

    def search_batch(rows: Ints) -> list[list[Hypothesis]]:
        features: Aligned = model([pad(source, rows).to(device) for source in sources])
        return labels_of(model.head, model.head.log_probs(features), features.frames, width)

    model.eval()
    return by_row(batches_by_length(total_lengths(sources), width), search_batch, sharing)


@torch.inference_mode()
def labels_of(head: CTCHead, log_probs: Tensor, frames: Tensor, width: int) -> list[list[Hypothesis]]:
    """The labels of rows with log p [B, S, symbols] of so many frames [B], the best first."""
    searched = log_probs.clone()
    searched[..., UNK] = -torch.inf
    if width == 1:
        labellings = [[tuple(labels)] for labels in ctc.best_path(searched, BLANK)]
    else:
        labellings = ctc.prefix_search(searched, BLANK, width)
    outputs = [(place, labels) for place, row_labellings in enumerate(labellings) for labels in row_labellings]
    places = torch.tensor([place for place, _ in outputs], device=log_probs.device)
    ended = pad(Sequences([[*labels, EOS] for _, labels in outputs]), np.arange(len(outputs)))
    targets = ended.to(log_probs.device).values
    scores = iter(head.score(log_probs[places], frames[places], targets).tolist())
    results = []
    for row_labellings in labellings:
        scored = [Hypothesis(labels, score, score) for labels, score in zip(row_labellings, scores, strict=False)]
        results.append(sorted(scored, key=lambda hypothesis: -hypothesis.score))
    return results
