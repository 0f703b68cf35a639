"""The trace of a model that reads its sources and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.common.symbols import BOS, EOS
from antiphon.data.batches import EncodedInput
from antiphon.inspection.explain.attribution import attributions, input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import divergence, encoded_reference, log_probs_of, pool_shares
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import ME, TraceRequest
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.explain.writing import WritingExplainer
from antiphon.inspection.trace import Ablation, Attribution, Run, Source, Trace
from antiphon.model.aligning import AligningWriter
from antiphon.model.build import structure_of
from antiphon.model.models import Input, Writer
from antiphon.model.parts.bridges import ProjectedAll
from antiphon.model.state import Encoded, State, Step


@dataclass(frozen=True)
class _Ablated:
    """A writer that starts from another context C [1, size] than its sources'."""

    writer: Writer
    context: Tensor

    def eval(self) -> object:
        return self.writer.eval()

    def start(self, sources: Sequence[Input]) -> State:
        vectors = self.writer.vectors(sources)
        encoded = self.writer.encode_vectors(vectors)
        copy_ids = self.writer.copy_ids(sources, vectors)
        return self.writer.start_from(encoded, self.context.expand(len(encoded.last), -1), copy_ids)

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        return self.writer.first_read(sources)

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        answer: Step[State] = self.writer.step(tokens, state)
        return answer


class WriterExplainer(WritingExplainer[Writer]):
    """Traces a model that reads its sources and writes."""

    def trace(self, example: EncodedInput, request: TraceRequest) -> Trace:
        """The input's run."""
        sources = self._sources(example)
        outputs, tree = self._search_beam(example, request)
        output = outputs[0].tokens
        observed = Observed(self.model)
        with torch.inference_mode():
            encoded = self.model.encode(self._padded(example))
            context = self.model.bridge.context(encoded)
            start = observed.model.start(self._padded(example))
        encoder = self._encoder(observed, sources)
        symbols = self._symbols(example, output)
        run = self._run_with_layers(example, observed, start, [*output, EOS], symbols, request.top)
        reference_ids = reference = None
        if request.reference is not None:
            value, reference_ids = encoded_reference(self.codec, request.reference)
            if self._copying is not None:
                reference_ids = self._copying.written(value, example.values)
            symbols = self.codec.split(value)
            reference = self._run_with_layers(example, observed, start, reference_ids, symbols, request.top)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=run,
            reference=reference,
            divergence=None if reference is None else divergence(run.tokens, reference.tokens),
            encoder=encoder,
            pooling=self._shares(encoded),
            context=rounded(context[0]),
            beam=tree,
            ablation=self._ablation(example, encoded, output, reference_ids, request),
            forced=self._forced(example, output, request),
            attribution=self._attribution(example, sources, [*output, EOS]),
        )

    def _run_with_layers(
        self,
        example: EncodedInput,
        observed: Observed[Writer],
        start: State,
        ids: Sequence[int],
        symbols: list[str],
        top: int,
    ) -> Run:
        """A run that is fed the symbols of an output, with the decoder's layers."""
        log_probs, looked = self._follow(observed.model, start, BOS, ids)
        layers = observed.take("decoder", [None, *symbols], self.config.model.cell.kind)
        return self._run(example, log_probs, ids, [*symbols, None], self.codec.join(symbols), top, looked, layers)

    def _follow(self, model: Any, state: Any, first: int, ids: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """With hidden alignments a step's attention is the posterior of its place, which knows the whole output."""
        log_probs, looked = super()._follow(model, state, first, ids)
        if isinstance(self.model, AligningWriter):
            with torch.inference_mode():
                looked = self.model.places(torch.tensor([ids], device=self.device), state)[0]
        return log_probs, looked

    def _run_of(self, example: EncodedInput, output: Sequence[int], top: int, start: State | None = None) -> Run:
        if start is None:
            with torch.inference_mode():
                start = self.model.start(self._padded(example))
        log_probs, looked = self._follow(self.model, start, BOS, [*output, EOS])
        symbols = self._symbols(example, output)
        return self._run(example, log_probs, [*output, EOS], [*symbols, None], self.codec.join(symbols), top, looked)

    def _shares(self, encoded: Encoded) -> list[float] | None:
        bridge = self.model.bridge
        return pool_shares(encoded, bridge.score if isinstance(bridge, ProjectedAll) else None)

    def _ablation(
        self,
        example: EncodedInput,
        encoded: Encoded,
        output: Sequence[int],
        reference: Sequence[int] | None,
        request: TraceRequest,
    ) -> list[Ablation]:
        ablations = []
        copy_ids = self._copy_ids(example)
        for other in (None, request.other) if request.other is not None else (None,):
            with torch.inference_mode():
                from_input = self.model.bridge.context(
                    encoded if other is None else self.model.encode(self._padded(other))
                )
                context = torch.zeros_like(from_input) if other is None else from_input
                start = self.model.start_from(encoded, context, copy_ids)
            ablated, where = _Ablated(self.model, context), f"{ME}, with another context"
            best = self._best(example, ablated, self._prefix(example, request), where=where)[0]
            ablations.append(
                Ablation(
                    context="zero" if other is None else "other",
                    other=None if other is None else self._shown(other),
                    run=self._run_of(example, best.tokens, request.top, start),
                    output_score=self._score(start, [*output, EOS]),
                    reference_score=None if reference is None else self._score(start, reference),
                )
            )
        return ablations

    def _copy_ids(self, example: EncodedInput) -> Tensor | None:
        return self.model.copy_ids(self._padded(example), self._vectors(example))

    def _shown(self, example: EncodedInput) -> str:
        sides = zip(self.codecs.sources, example.values, strict=True)
        return "\t".join(codec.shown(value) for codec, value in sides if codec.reads)

    def _score(self, start: State, ids: Sequence[int]) -> float:
        log_probs, _ = self._follow(self.model, start, BOS, ids)
        return float(rounded(log_probs_of(log_probs, ids).sum()))

    def _attribution(self, example: EncodedInput, sources: Sequence[Source], ids: Sequence[int]) -> list[Attribution]:
        target = torch.tensor(ids, device=self.device)

        copy_ids = self._copy_ids(example)

        def output_log_probs(vectors: list[Input], rows: Tensor) -> Tensor:
            encoded = self.model.encode_vectors(vectors)
            ids = None if copy_ids is None else copy_ids.expand(len(rows), -1)
            start = self.model.start_from(encoded, self.model.bridge.context(encoded), ids)
            features = self.model.unroll(target.expand(len(rows), -1), start)
            kept = self.model.head.kept(features, row_numbers(rows) * len(target) + rows)
            return self.model.head.of_targets(kept, target[rows])

        return attributions(sources, input_x_gradient(self._vectors(example), len(ids), output_log_probs))
