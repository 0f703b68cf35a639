"""A model and encoded rows to scores: likelihoods, decoded outputs, metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon import metrics
from antiphon.config import Config, Decode
from antiphon.data.batch import Batch, Examples, Ints, Sequences, collate
from antiphon.data.encode import TextCodec
from antiphon.data.rows import Row
from antiphon.dataset import group_references
from antiphon.decoding import Hypothesis, Limits, beam, greedy
from antiphon.model import Writer
from antiphon.symbols import PAD

ROWS, TOKENS = 256, 16_384  # of one decoding batch: at most so many rows, and padded source symbols


@dataclass(frozen=True)
class RowScores:
    """Forced scoring of every row: log p of each target token, and whether it was the most probable."""

    log_probs: list[NDArray[np.float64]]
    correct: list[NDArray[np.bool_]]

    @property
    def totals(self) -> list[float]:
        """log p(y|x) of every row in nats, the end symbol counted."""
        return [float(row.sum()) for row in self.log_probs]


def batches_by_length(lengths: Ints, width: int = 1) -> Iterator[Ints]:
    """Row numbers in batches of similar length, the longest first; `width` is the beam's."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, min(ROWS, TOKENS // int(lengths[order[start]])) // width)
        yield order[start : start + rows]
        start += rows


@torch.inference_mode()
def score_rows(model: Writer, examples: Examples, device: torch.device) -> RowScores:
    """Teacher-forced log-probabilities of every row's target, in float32."""
    log_probs: list[NDArray[np.float64]] = [np.empty(0)] * len(examples)
    correct: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)] * len(examples)
    model.eval()
    for rows in batches_by_length(examples.source.lengths + examples.target.lengths):
        batch = collate(examples, rows).to(device)
        nll, hit = _forced(model, batch)
        nll_rows, hit_rows = nll.double().cpu().numpy(), hit.cpu().numpy()
        for place, row in enumerate(rows):
            length = int(examples.target.lengths[row])
            log_probs[row], correct[row] = -nll_rows[place, :length], hit_rows[place, :length]
    return RowScores(log_probs, correct)


def _forced(model: Writer, batch: Batch) -> tuple[Tensor, Tensor]:
    """-log p [B, T] of every target token and whether it is the most probable one; zero at padding."""
    features = model(batch.source, batch.source_lengths, batch.target_in)
    kept = features.flatten(0, 1)[batch.positions]
    targets = batch.target_out.flatten()[batch.positions]
    nll = features.new_zeros(batch.target_out.numel())
    hit = torch.zeros(batch.target_out.numel(), dtype=torch.bool, device=features.device)
    nll[batch.positions] = model.head.nll(kept, targets)
    hit[batch.positions] = model.head.best(kept) == targets
    return nll.view(batch.target_out.shape), hit.view(batch.target_out.shape)


@torch.inference_mode()
def decode_sources(model: Writer, sources: Sequences, settings: Decode, device: torch.device) -> list[list[Hypothesis]]:
    """The best outputs of every source, in order. Batches and padding do not change them."""
    assert settings.max_length is not None, "filled in before training"
    limits = Limits(settings.max_length, min(settings.min_length, settings.max_length))
    results: list[list[Hypothesis]] = [[]] * len(sources)
    model.eval()
    for rows in batches_by_length(sources.lengths, settings.beam):
        ids = torch.from_numpy(sources.padded(rows)).to(device)
        lengths = torch.from_numpy(sources.lengths[rows]).to(device)
        state = model.start(ids, lengths)
        if settings.beam == 1:
            found = greedy(model.step, state, len(rows), device, limits)
        else:
            found = beam(model.step, state, len(rows), device, limits, settings.beam, settings.length_penalty)
        for row, hypotheses in zip(rows, found, strict=True):
            results[row] = hypotheses
    return results


def likelihood_metrics(scores: RowScores) -> dict[str, float]:
    """`loss` (nats a target token, end symbol in), `perplexity`, and the teacher-forced token error rate.

    The last counts the steps at which the most probable symbol is not the reference's (the end symbol's
    step in), over the references' lengths, as `token_error_rate` counts edits.
    """
    tokens = sum(len(row) for row in scores.log_probs)
    wrong = sum(int((~row).sum()) for row in scores.correct)
    loss = -sum(scores.totals) / tokens
    return {
        "loss": loss,
        "perplexity": float(np.exp(min(loss, 700.0))),
        "token_error_rate_teacher": wrong / max(tokens - len(scores.log_probs), 1),
    }


def output_metrics(
    codec: TextCodec, outputs: Sequence[Hypothesis], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`token_error_rate` and `exact_match` of one output a source against its references, as symbols of the target."""
    symbols = [codec.symbols(output.tokens) for output in outputs]
    wanted = [[codec.split(text) for text in choices] for choices in references]
    edits = metrics.token_edits(symbols, wanted)
    texts = [codec.tokenizer.join(row) for row in symbols]
    truths = [[codec.tokenizer.join(row) for row in choices] for choices in wanted]
    return {"token_error_rate": edits.rate, "exact_match": metrics.exact_match(texts, truths)}


def validate(
    model: Writer, config: Config, codec: TextCodec, rows: Sequence[Row], examples: Examples, device: torch.device
) -> dict[str, float]:
    """What a training watches: likelihood, and greedy outputs fed with themselves."""
    first, references = group_references(config, rows)
    found = likelihood_metrics(score_rows(model, examples, device))
    sources = Sequences([examples.source[row].tolist() for row in first])
    settings = config.decode.model_copy(update={"beam": 1})
    outputs = [best[0] for best in decode_sources(model, sources, settings, device)]
    found |= output_metrics(codec, outputs, references)
    found["exposure_gap"] = found["token_error_rate"] - found["token_error_rate_teacher"]
    if config.train.metric in ("bleu", "chrf", "ter"):
        texts = [codec.decode(output.tokens) for output in outputs]
        normal = [[codec.normalize(text) for text in choices] for choices in references]
        found |= metrics.corpus_scores(texts, normal, config.evaluate.bleu_tokenize)[0]
    return found


def evaluate(
    model: Writer, config: Config, codec: TextCodec, rows: Sequence[Row], examples: Examples, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics of the design for text, with the configured beam, and sacreBLEU's signatures."""
    first, references = group_references(config, rows)
    found = likelihood_metrics(score_rows(model, examples, device))
    sources = Sequences([examples.source[row].tolist() for row in first])
    outputs = [best[0] for best in decode_sources(model, sources, config.decode, device)]
    found |= output_metrics(codec, outputs, references)
    if all(len(rows[row].source.split()) == 1 for row in first):
        found["wer"] = 1.0 - found["exact_match"]
    texts = [codec.decode(output.tokens) for output in outputs]
    normal = [[codec.normalize(text) for text in choices] for choices in references]
    corpus, signatures = metrics.corpus_scores(texts, normal, config.evaluate.bleu_tokenize)
    symbols = [codec.symbols(output.tokens) for output in outputs]
    found |= corpus
    found |= {f"distinct_{n}": metrics.distinct(symbols, n) for n in (1, 2)}
    found["rows"] = len(first)
    return found, signatures


LOWER_IS_BETTER = {"loss", "perplexity", "token_error_rate", "token_error_rate_teacher", "ter", "exposure_gap"}
HIGHER_IS_BETTER = {"exact_match", "bleu", "chrf"}
assert PAD == 0  # `Sequences.padded` fills with it and `collate` tells padding by it
