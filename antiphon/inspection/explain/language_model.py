"""The trace of a model that goes on behind what it has read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.inspection.explain.attribution import input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import divergence, encoded_reference
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import EncodedInput, TraceRequest
from antiphon.inspection.explain.writing import WritingExplainer
from antiphon.inspection.trace import Attribution, Run, Token, Trace
from antiphon.model.build import structure_of
from antiphon.model.models import Input, LanguageModel
from antiphon.model.state import State
from antiphon.symbols import EOS


class LanguageModelExplainer(WritingExplainer[LanguageModel]):
    """Of a model that goes on behind what it has read."""

    def trace(self, given: EncodedInput, asked: TraceRequest) -> Trace:
        """The prompt's run."""
        sources = self._sources(given)
        found, tree = self._found(given, asked)
        output, prompt = found[0].tokens, self._prompt(given)
        symbols, read = self._symbols(given, output), sources[0].tokens
        observed = Observed(self.model)
        ids = [*prompt, *output, EOS]
        log_probs, _ = self._follow(observed.model, self._start(observed.model), self.model.first, ids)
        reads: list[Token] = [None, *read, *symbols]
        encoder = observed.take("encoder", reads, self.config.model.cell.kind)
        before = [symbol or "" for symbol in read]
        shown = self._run(log_probs[: len(prompt)], prompt, read, self.codec.join(before), asked.top)
        reference = None
        if asked.reference is not None:
            value, wanted = encoded_reference(self.codec, asked.reference)
            wanted = [*wanted, EOS][: len(wanted) + 1 - self.codec.ends]
            reference = self._after(given, wanted, self.codec.split(value), asked.top)
        run = self._after(given, [*output, EOS], symbols, asked.top)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=run,
            prompt=shown,
            reference=reference,
            divergence=None if reference is None else divergence(run.tokens, reference.tokens),
            encoder=encoder or None,
            beam=tree,
            forced=self._forced(given, output, asked),
            attribution=self._attribution(ids, len(prompt), reads),
        )

    def _prompt(self, given: EncodedInput) -> list[int]:
        return list(map(int, given.arrays[0]))

    def _start(self, model: LanguageModel) -> State:
        return State(model.begin(1))

    def _after(self, given: EncodedInput, ids: Sequence[int], symbols: list[str], top: int) -> Run:
        """The run of what is said behind the prompt."""
        prompt = self._prompt(given)
        log_probs, _ = self._follow(self.model, self._start(self.model), self.model.first, [*prompt, *ids])
        text = self.codec.join([*self.codec.split_turns(given.values[0]), *symbols])
        return self._run(log_probs[len(prompt) :], ids, [*symbols, None], text, top)

    def _said(self, given: EncodedInput, output: Sequence[int], top: int) -> Run:
        return self._after(given, [*output, EOS], self._symbols(given, output), top)

    def _attribution(self, ids: Sequence[int], prompt: int, reads: Sequence[Token]) -> list[Attribution]:
        read = torch.tensor([[self.model.first, *ids[:-1]]], device=self.device)
        target = torch.tensor(ids[prompt:], device=self.device)
        vectors = self.model.source.embedding(read).detach()

        def said(vectors: list[Input], rows: Tensor) -> Tensor:
            states, _ = self.model.encoder.run(vectors[0][0], self.model.begin(len(rows)))
            log_probs = self.model.head.log_probs(states[row_numbers(rows), prompt + rows])
            return log_probs[row_numbers(rows), target[rows]]

        lengths = torch.tensor([read.shape[1]], device=self.device)
        (grid,) = input_x_gradient([(vectors, lengths)], len(target), said)
        return [Attribution(source="source", tokens=list(reads), values=grid)]
