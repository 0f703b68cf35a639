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
from antiphon.symbols import UNK

ROWS, TOKENS = 256, 16_384  # of one decoding batch: at most so many rows, and padded source symbols
LOGITS = 1 << 24  # elements made at once when scoring


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
        nll_rows, hit_rows = nll.cpu().double().numpy(), hit.cpu().numpy()
        for place, row in enumerate(rows):
            length = int(examples.target.lengths[row])
            log_probs[row], correct[row] = -nll_rows[place, :length], hit_rows[place, :length].copy()
    return RowScores(log_probs, correct)


def _forced(model: Writer, batch: Batch) -> tuple[Tensor, Tensor]:
    """-log p [B, T] of every target token and whether it is the most probable one; zero at padding."""
    features = model(batch.source, batch.source_lengths, batch.target_in)
    kept = features.flatten(0, 1)[batch.positions]
    targets = batch.target_out.flatten()[batch.positions]
    nll = features.new_zeros(batch.target_out.numel())
    hit = torch.zeros(batch.target_out.numel(), dtype=torch.bool, device=features.device)
    piece = max(1, LOGITS // len(model.head.bias))
    for part in torch.split(torch.arange(len(targets), device=targets.device), piece):
        places = batch.positions[part]
        nll[places], hit[places] = model.head.judge(kept[part], targets[part])
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


def likelihood_metrics(scores: RowScores, groups: Sequence[Sequence[int]]) -> dict[str, float]:
    """`loss` (nats a target token, end symbol in), `perplexity`, and the teacher-forced token error rate.

    The last counts the steps at which the most probable symbol is not the reference's (the end symbol's
    step in), over the references' lengths, as `token_error_rate` counts edits; of several references
    the one with the lowest rate counts.
    """
    loss = -sum(scores.totals) / sum(len(row) for row in scores.log_probs)
    wrong = length = 0
    for rows in groups:
        found = [(int((~scores.correct[row]).sum()), len(scores.correct[row]) - 1) for row in rows]
        best = min(found, key=lambda item: (item[0] / max(item[1], 1), item[0]))
        wrong += best[0]
        length += best[1]
    return {
        "loss": loss,
        "perplexity": float(np.exp(min(loss, 700.0))),
        "token_error_rate_teacher": wrong / max(length, 1),
    }


def output_metrics(
    codec: TextCodec, outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`token_error_rate` and `exact_match` of outputs, as symbols, against reference texts."""
    wanted = [[codec.split(text) for text in choices] for choices in references]
    texts = [codec.tokenizer.join(row) for row in outputs]
    truths = [[codec.tokenizer.join(row) for row in choices] for choices in wanted]
    rate = metrics.token_edits(outputs, wanted).rate
    return {"token_error_rate": rate, "exact_match": metrics.exact_match(texts, truths)}


def validate(
    model: Writer, config: Config, codec: TextCodec, rows: Sequence[Row], examples: Examples, device: torch.device
) -> dict[str, float]:
    """What a training watches: likelihood, and greedy outputs fed with themselves.

    `exposure_gap` is the free-running token error rate less the teacher-forced one. The rest tells what
    outputs and rows are like: the share of the commonest output (and reference), the outputs' length over the
    references', and the shares of symbols that the training rows did not have.
    """
    greedy_config = config.model_copy(update={"decode": config.decode.model_copy(update={"beam": 1})})
    corpus = config.train.metric in ("bleu", "chrf", "ter")
    found, _, outputs = _measure(model, greedy_config, codec, rows, examples, device, corpus)
    references = [[codec.split(rows[row].target) for row in group] for group in group_references(config, rows)]
    return found | {
        "exposure_gap": found["token_error_rate"] - found["token_error_rate_teacher"],
        "commonest_output": metrics.commonest(outputs),
        "commonest_reference": metrics.commonest([choices[0] for choices in references]),
        "length_ratio": metrics.length_ratio(outputs, references),
        "unknown_source": float((examples.source.ids == UNK).mean()),
        "unknown_target": float((examples.target.ids == UNK).mean()),
    }


def evaluate(
    model: Writer, config: Config, codec: TextCodec, rows: Sequence[Row], examples: Examples, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics of the design for text, with the configured beam, and sacreBLEU's signatures."""
    found, signatures, outputs = _measure(model, config, codec, rows, examples, device, corpus=True)
    if all(len(row.source.split()) == 1 for row in rows):
        found["wer"] = 1.0 - found["exact_match"]
    found |= {f"distinct_{n}": metrics.distinct(outputs, n) for n in (1, 2)}
    return found | {"rows": len(outputs)}, signatures


def _measure(
    model: Writer,
    config: Config,
    codec: TextCodec,
    rows: Sequence[Row],
    examples: Examples,
    device: torch.device,
    corpus: bool,
) -> tuple[dict[str, float], dict[str, str], list[list[str]]]:
    """Likelihoods, outputs decoded and compared; sacreBLEU's signatures; the outputs as symbols."""
    groups = group_references(config, rows)
    references = [[rows[row].target for row in group] for group in groups]
    found = likelihood_metrics(score_rows(model, examples, device), groups)
    sources = Sequences([examples.source[group[0]].tolist() for group in groups])
    decoded = decode_sources(model, sources, config.decode, device)
    outputs = [codec.symbols(hypotheses[0].tokens) for hypotheses in decoded]
    found |= output_metrics(codec, outputs, references)
    if not corpus:
        return found, {}, outputs
    texts = [codec.tokenizer.join(symbols) for symbols in outputs]
    normal = [[codec.normalize(text) for text in choices] for choices in references]
    scores, signatures = metrics.corpus_scores(texts, normal, config.evaluate.bleu_tokenize)
    return found | scores, signatures, outputs


LOWER_IS_BETTER = {"loss", "perplexity", "token_error_rate", "token_error_rate_teacher", "ter"}
HIGHER_IS_BETTER = {"exact_match", "bleu", "chrf"}
