"""The trace of a model that continues its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.common.symbols import EOS
from antiphon.data.batches import EncodedInput
from antiphon.inspection.explain.attribution import input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import divergence, encoded_reference
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import TraceRequest
from antiphon.inspection.explain.writing import WritingExplainer
from antiphon.inspection.trace import Attribution, Run, Token, Trace
from antiphon.model.build import structure_of
from antiphon.model.models import Input, LanguageModel
from antiphon.model.state import State


class LanguageModelExplainer(WritingExplainer[LanguageModel]):
    """Traces a model that continues its input."""

    def trace(self, example: EncodedInput, request: TraceRequest) -> Trace:
        """The prompt's run."""
        sources = self._sources(example)
        outputs, tree = self._search_beam(example, request)
        output, prompt = outputs[0].tokens, self._prompt(example)
        symbols, read = self._symbols(example, output), sources[0].tokens
        observed = Observed(self.model)
        ids = [*prompt, *output, EOS]
        log_probs, _ = self._follow(observed.model, self._start(observed.model), self.model.first, ids)
        reads: list[Token] = [None, *read, *symbols]
        encoder = observed.take("encoder", reads, self.config.model.cell.kind)
        before = [symbol or "" for symbol in read]
        shown = self._run(example, log_probs[: len(prompt)], prompt, read, self.codec.join(before), request.top)
        reference = None
        if request.reference is not None:
            value, reference_ids = encoded_reference(self.codec, request.reference)
            reference_ids = [*reference_ids, EOS][: len(reference_ids) + 1 - self.codec.ends]
            reference = self._after(example, reference_ids, self.codec.split(value), request.top)
        run = self._after(example, [*output, EOS], symbols, request.top)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=run,
            prompt=shown,
            reference=reference,
            divergence=None if reference is None else divergence(run.tokens, reference.tokens),
            encoder=encoder or None,
            beam=tree,
            forced=self._forced(example, output, request),
            attribution=self._attribution(ids, len(prompt), reads),
        )

    def _prompt(self, example: EncodedInput) -> list[int]:
        return list(map(int, example.arrays[0]))

    def _start(self, model: LanguageModel) -> State:
        return State(model.begin(1))

    def _after(self, example: EncodedInput, ids: Sequence[int], symbols: list[str], top: int) -> Run:
        """The run of what follows the prompt."""
        prompt = self._prompt(example)
        log_probs, _ = self._follow(self.model, self._start(self.model), self.model.first, [*prompt, *ids])
        text = self.codec.join([*self.codec.split_turns(example.values[0]), *symbols])
        return self._run(example, log_probs[len(prompt) :], ids, [*symbols, None], text, top)

    def _run_of(self, example: EncodedInput, output: Sequence[int], top: int) -> Run:
        return self._after(example, [*output, EOS], self._symbols(example, output), top)

    def _attribution(self, ids: Sequence[int], prompt: int, reads: Sequence[Token]) -> list[Attribution]:
        read = torch.tensor([[self.model.first, *ids[:-1]]], device=self.device)
        target = torch.tensor(ids[prompt:], device=self.device)
        vectors = self.model.source.embedding(read).detach()

        def output_log_probs(vectors: list[Input], rows: Tensor) -> Tensor:
            ids = read.expand(len(rows), -1)
            features, _ = self.model.run_vectors(vectors[0][0], ids, self.model.begin(len(rows)))
            places = row_numbers(rows) * read.shape[1] + prompt + rows
            log_probs = self.model.head.log_probs(self.model.head.kept(features, places))
            return log_probs[row_numbers(rows), target[rows]]

        lengths = torch.tensor([read.shape[1]], device=self.device)
        ((products, norms),) = input_x_gradient([(vectors, lengths)], len(target), output_log_probs)
        return [Attribution(source="source", tokens=list(reads), values=products, norms=norms)]
