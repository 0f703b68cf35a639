"""The trace of a model that gives one answer, or one per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.common.answers import NumberPrediction, NumbersPrediction
from antiphon.data.batches import EncodedInput, Examples, Sequences
from antiphon.data.codecs.labels import LabelCodec
from antiphon.errors import DataError
from antiphon.evaluation.answering import Answer, answered
from antiphon.evaluation.scores import read_sources, score_rows
from antiphon.inspection.explain.attribution import attributions, input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import Explainer, choices, divergence, encoded_reference, pool_shares
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import ME, TraceRequest
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Attribution, Run, Source, Trace
from antiphon.inspection.trace import Step as StepTrace
from antiphon.model.build import structure_of
from antiphon.model.models import Input, Reader
from antiphon.model.state import Encoded

MOST_LABELS = 50  # the most labels that are shown at a step


class ReaderExplainer(Explainer[Reader]):
    """Traces a model that gives one answer, or one per step."""

    def trace(self, example: EncodedInput, request: TraceRequest) -> Trace:
        """The input's run."""
        sources, top = self._sources(example), max(request.top, MOST_LABELS)
        observed = Observed(self.model)
        with torch.inference_mode():
            encoded = observed.model.encode(self._padded(example))
        (answer,) = self._answers([example])
        output = self._run(answer, top)
        reference = None if request.reference is None else self._reference(example, answer, request.reference, top)
        pooled = self.model.pooling is not None
        labels = self._has_labels
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=output
            if not labels
            else output.model_copy(update={"score": self._score(example, answer.predicted)}),
            reference=reference,
            divergence=None if reference is None or not labels else divergence(output.tokens, reference.tokens),
            encoder=self._encoder(observed, sources),
            pooling=self._shares(encoded),
            beliefs=self._beliefs(example, top) if pooled and self.codecs.sources[0].steps else None,
            attribution=self._attribution(example, sources, answer),
        )

    @property
    def _has_labels(self) -> bool:
        return isinstance(self.codecs.target, LabelCodec)

    def _answers(self, inputs: Sequence[EncodedInput]) -> list[Answer]:
        columns = zip(*(example.arrays for example in inputs), strict=True)
        return read_sources(self.model, list(map(Sequences, columns)), self.codecs.sources[0].ends, self.device)

    def _score(self, example: EncodedInput, target: Any) -> float:
        scores = score_rows(self.model, Examples(tuple(example.sources), Sequences([target])), self.device)
        return float(rounded(scores.totals[0]))

    def _numbers(self, answer: Answer) -> list[list[float]]:
        prediction = answered(self.codecs.target, answer)
        assert isinstance(prediction, NumberPrediction | NumbersPrediction)
        numbers: list[list[float]] = rounded(
            [[prediction.value]] if isinstance(prediction, NumberPrediction) else prediction.values
        )
        return numbers

    def _steps(self, answer: Answer, labels: Sequence[int], top: int) -> list[StepTrace]:
        """A step for each answer; for labels those of `labels`."""
        codec = self.codecs.target
        if not isinstance(codec, LabelCodec):
            return [StepTrace(values=values) for values in self._numbers(answer)]
        name = codec.vocabulary.symbol
        return [
            StepTrace(
                token=name(number),
                log_prob=rounded(values[number]),
                top=choices(torch.from_numpy(values), top, name),
            )
            for number, values in zip(labels, answer.values, strict=True)
        ]

    def _run(self, answer: Answer, top: int) -> Run:
        steps = self._steps(answer, list(map(int, answer.predicted)) if self._has_labels else [], top)
        text = answered(self.codecs.target, answer).text
        return Run(text=text, tokens=[step.token for step in steps], score=None, steps=steps)

    def _reference(self, example: EncodedInput, answer: Answer, reference: Any, top: int) -> Run:
        codec = self.codecs.target
        value, encoded = encoded_reference(codec, reference)
        if len(encoded) != len(answer.predicted):
            reason = f"has {len(encoded)} {codec.unit} for {len(answer.predicted)} {self.codecs.sources[0].unit}"
            raise DataError(f"{ME}: the reference {reason} of the input")
        score = self._score(example, encoded)
        if isinstance(codec, LabelCodec):
            steps = self._steps(answer, [int(number) for number in encoded], top)
        else:
            steps = [StepTrace(values=values) for values in rounded(value)]
        return Run(text=codec.shown(value), tokens=[step.token for step in steps], score=score, steps=steps)

    def _shares(self, encoded: Encoded) -> list[float] | None:
        return pool_shares(encoded, None if self.model.pooling is None else self.model.pooling.score)

    def _beliefs(self, example: EncodedInput, top: int) -> list[StepTrace]:
        """The answer to every prefix of the first source, which ends as a whole one would."""
        codec = self.codecs.sources[0]
        whole = np.asarray(example.arrays[0])
        end = whole[len(whole) - codec.ends :]
        prefixes = []
        for length in range(1, len(whole) - codec.ends + 1):
            cut = whole[:length]
            if not np.array_equal(cut[-1:], end):  # the end of a turn is an end
                cut = np.concatenate([cut, end])
            prefixes.append(EncodedInput(example.values, [cut, *example.arrays[1:]]))
        answers = self._answers(prefixes)
        return [step for answer in answers for step in self._run(answer, top).steps]

    def _attribution(self, example: EncodedInput, sources: Sequence[Source], answer: Answer) -> list[Attribution]:
        steps = len(answer.predicted)
        labels = self._has_labels

        def output_values(vectors: list[Input], rows: Tensor) -> Tensor:
            features = self.model.features_of(self.model.encode_vectors(vectors))[:, :steps]
            positions = torch.arange(len(rows) * steps, device=self.device)
            values = self.model.head.answer(features, positions)[1].view(len(rows), steps, -1)[row_numbers(rows), rows]
            return (
                values[row_numbers(rows), torch.from_numpy(answer.predicted).to(rows)[rows]]
                if labels
                else values.sum(-1)
            )

        return attributions(sources, input_x_gradient(self._vectors(example), steps, output_values))
