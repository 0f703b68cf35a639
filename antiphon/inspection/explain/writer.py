"""The trace of a model that reads its sources and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.inspection.explain.attribution import attributions, input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import divergence, encoded_reference, log_probs_of, pool_shares
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import ME, EncodedInput, TraceRequest
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.explain.writing import WritingExplainer
from antiphon.inspection.trace import Ablation, Attribution, Run, Source, Trace
from antiphon.model.build import structure_of
from antiphon.model.models import Input, Writer
from antiphon.model.parts.bridges import ProjectedAll
from antiphon.model.state import Encoded, State, Step
from antiphon.symbols import BOS, EOS


@dataclass(frozen=True)
class _Ablated:
    """A writer that is told another context C [1, size] than its sources'."""

    writer: Writer
    context: Tensor

    def eval(self) -> object:
        return self.writer.eval()

    def start(self, sources: Sequence[Input]) -> State:
        encoded = self.writer.encode(sources)
        return self.writer.start_from(encoded, self.context.expand(len(encoded.last), -1))

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        return self.writer.first_read(sources)

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        answer: Step[State] = self.writer.step(tokens, state)
        return answer


class WriterExplainer(WritingExplainer[Writer]):
    """Of a model that reads its sources and writes."""

    def trace(self, given: EncodedInput, asked: TraceRequest) -> Trace:
        """The input's run."""
        sources = self._sources(given)
        found, tree = self._found(given, asked)
        output = found[0].tokens
        observed = Observed(self.model)
        with torch.inference_mode():
            encoded = self.model.encode(self._padded(given))
            context = self.model.bridge.context(encoded)
            start = observed.model.start(self._padded(given))
        encoder = self._encoder(observed, sources)
        run = self._told(observed, start, [*output, EOS], self._symbols(given, output), asked.top)
        wanted = reference = None
        if asked.reference is not None:
            value, wanted = encoded_reference(self.codec, asked.reference)
            reference = self._told(observed, start, wanted, self.codec.split(value), asked.top)
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
            ablation=self._ablation(given, encoded, output, wanted, asked),
            forced=self._forced(given, output, asked),
            attribution=self._attribution(given, sources, [*output, EOS]),
        )

    def _told(self, observed: Observed[Writer], start: State, ids: Sequence[int], symbols: list[str], top: int) -> Run:
        """A run that is told what to say, with the decoder's layers."""
        log_probs, looked = self._follow(observed.model, start, BOS, ids)
        layers = observed.take("decoder", [None, *symbols], self.config.model.cell.kind)
        return self._run(log_probs, ids, [*symbols, None], self.codec.join(symbols), top, looked, layers)

    def _said(self, given: EncodedInput, output: Sequence[int], top: int, start: State | None = None) -> Run:
        if start is None:
            with torch.inference_mode():
                start = self.model.start(self._padded(given))
        log_probs, looked = self._follow(self.model, start, BOS, [*output, EOS])
        symbols = self._symbols(given, output)
        return self._run(log_probs, [*output, EOS], [*symbols, None], self.codec.join(symbols), top, looked)

    def _shares(self, encoded: Encoded) -> list[float] | None:
        bridge = self.model.bridge
        return pool_shares(encoded, bridge.score if isinstance(bridge, ProjectedAll) else None)

    def _ablation(
        self,
        given: EncodedInput,
        encoded: Encoded,
        output: Sequence[int],
        reference: Sequence[int] | None,
        asked: TraceRequest,
    ) -> list[Ablation]:
        found = []
        for other in (None, asked.other) if asked.other is not None else (None,):
            with torch.inference_mode():
                own = self.model.bridge.context(encoded if other is None else self.model.encode(self._padded(other)))
                context = torch.zeros_like(own) if other is None else own
                start = self.model.start_from(encoded, context)
            ablated, where = _Ablated(self.model, context), f"{ME}, with another context"
            best = self._best(given, ablated, self._beginning(asked), where=where)[0]
            found.append(
                Ablation(
                    context="zero" if other is None else "other",
                    other=None if other is None else self._shown(other),
                    run=self._said(given, best.tokens, asked.top, start),
                    output_score=self._score(start, [*output, EOS]),
                    reference_score=None if reference is None else self._score(start, reference),
                )
            )
        return found

    def _shown(self, given: EncodedInput) -> str:
        sides = zip(self.codecs.sources, given.values, strict=True)
        return "\t".join(codec.shown(value) for codec, value in sides if codec.reads)

    def _score(self, start: State, ids: Sequence[int]) -> float:
        log_probs, _ = self._follow(self.model, start, BOS, ids)
        return float(rounded(log_probs_of(log_probs, ids).sum()))

    def _attribution(self, given: EncodedInput, sources: Sequence[Source], ids: Sequence[int]) -> list[Attribution]:
        target = torch.tensor(ids, device=self.device)
        fed = torch.tensor([BOS, *ids[:-1]], device=self.device)

        def said(vectors: list[Input], rows: Tensor) -> Tensor:
            encoded = self.model.encode_vectors(vectors)
            start = self.model.start_from(encoded, self.model.bridge.context(encoded))
            inputs = self.model.embedding(fed.expand(len(rows), -1))
            features = self.model.decoder.unroll(inputs, start).features[row_numbers(rows), rows]
            log_probs: Tensor = self.model.head.log_probs(features)
            return log_probs[row_numbers(rows), target[rows]]

        return attributions(sources, input_x_gradient(self._vectors(given), len(ids), said))
