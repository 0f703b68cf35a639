"""The trace of a model that writes a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.common.answers import series_json
from antiphon.common.series import Floats
from antiphon.data.batches import EncodedInput, Examples, Sequences
from antiphon.data.codecs.numbers import FramesCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.decoding.series import limits_of, write_series
from antiphon.evaluation.scores import score_rows
from antiphon.evaluation.series import quantiles_of
from antiphon.inspection.explain.attribution import attributions, input_x_gradient, row_numbers
from antiphon.inspection.explain.explainer import Explainer, encoded_reference
from antiphon.inspection.explain.observe import Observed
from antiphon.inspection.explain.request import TraceRequest
from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Attribution, Run, Source, Trace
from antiphon.inspection.trace import Step as StepTrace
from antiphon.model.build import structure_of
from antiphon.model.models import Input
from antiphon.model.series import SeriesWriter, Start

LEVELS = [0.05, 0.25, 0.75, 0.95]  # of the quantiles that are shown, unless `decode.quantiles` has others


class SeriesExplainer(Explainer[SeriesWriter]):
    """Traces a model that writes a series."""

    def trace(self, example: EncodedInput, request: TraceRequest) -> Trace:
        """The input's run."""
        codec, sources = self._codec, self._sources(example)
        limits = limits_of(codec, self.config.decode.min_length, self.config.decode.max_length)
        [[answer]] = write_series(self.model, example.sources, limits, self.device)
        quantiles: dict[float, Floats] = {}
        if self.model.head.likelihood.draws:
            levels = self.config.decode.quantiles or LEVELS
            decode = self.config.decode.model_copy(update={"quantiles": levels, "sample": None})
            read = example.sources
            [quantiles] = quantiles_of(self.model, read, limits, self.device, decode, [answer], None)
        observed = Observed(self.model)
        with torch.inference_mode():
            start = observed.model.start(self._padded(example))
            context = self.model.bridge.context(self.model.encode(self._padded(example)))
        encoder = self._encoder(observed, sources)
        output = self._run(example, observed, start, answer, quantiles)
        reference = None
        if request.reference is not None:
            _, encoded = encoded_reference(codec, request.reference)
            reference = self._run(example, observed, start, encoded, {})
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=output,
            reference=reference,
            encoder=encoder,
            context=rounded(context[0]),
            past=self._past(example),
            attribution=self._attribution(example, sources, answer),
        )

    @property
    def _codec(self) -> SeriesCodec:
        codec = self.codecs.target
        assert isinstance(codec, SeriesCodec)
        return codec

    def _past(self, example: EncodedInput) -> list[list[float]] | None:
        """The numbers that the series goes on from: those of its window, or of a source with as many."""
        codec = self._codec
        for number, source in enumerate(self.codecs.sources):
            followed = codec.window is not None and number == codec.past_source
            if isinstance(source, FramesCodec) and (followed or (codec.window is None and source.size == codec.size)):
                places = codec.past if followed and codec.past is not None else range(source.size)
                past: list[list[float]] = rounded(source.restored(np.asarray(example.arrays[number]))[:, list(places)])
                return past
        return None

    @torch.inference_mode()
    def _run(
        self,
        example: EncodedInput,
        observed: Observed[SeriesWriter],
        start: Start,
        series: Floats,
        quantiles: dict[float, Floats],
    ) -> Run:
        """A run that is fed a scaled series [steps, numbers]."""
        codec, model, segment = self._codec, observed.model, self.model.head.segment
        target = torch.from_numpy(series)[None].to(self.device)
        segments = model.segments(target, start.scaling)
        looked, layers = [], None
        if model.feeds:
            state, inputs = start.state, start.inputs
            for step in segments.unbind(1):
                _, state, attention = model.advance(inputs, state)
                looked += [] if attention is None else [attention]
                inputs = model.read(step)
            read = [None, *(str(step * segment) for step in range(1, segments.shape[1]))]
            layers = observed.take("decoder", read, self.config.model.cell.kind)
        else:
            _, attention = model.at_once(start.state, segments.shape[1])
            looked = [] if attention is None else [attention[0]]
            observed.take("decoder", [], self.config.model.cell.kind)
        losses = score_rows(self.model, Examples(tuple(example.sources), Sequences([series])), self.device).losses[0]
        values = codec.restored(series)
        levels = {f"{level:g}": rounded(codec.restored(numbers)) for level, numbers in quantiles.items()}
        steps = [
            StepTrace(
                token=str(place + 1),
                log_prob=rounded(-losses[place]) if self.model.head.likelihood.has_density else None,
                values=rounded(values[place]),
                quantiles={level: numbers[place] for level, numbers in levels.items()} or None,
            )
            for place in range(len(values))
        ]
        attention = torch.cat(looked).repeat_interleave(segment, 0)[: len(values)] if looked else None
        return Run(
            text=str(series_json(values)), tokens=[step.token for step in steps], score=rounded(-losses.sum()),
            steps=steps, attention=None if attention is None else rounded(attention), layers=layers,
        )  # fmt: skip

    def _attribution(self, example: EncodedInput, sources: Sequence[Source], series: Floats) -> list[Attribution]:
        """By the vectors of the sources; of a model with a window these are of the scaled past."""
        target, model = torch.from_numpy(series)[None].to(self.device), self.model
        with torch.no_grad():
            begun = model.start(self._padded(example))
            read, _ = model.scaled(self._padded(example))
            vectors = model.vectors(read)
        segments = model.segments(target, begun.scaling)
        number = segments.shape[1]

        def output_values(copies: list[Input], rows: Tensor) -> Tensor:
            state = model.state_of(model.encode_vectors(copies))
            if model.feeds:
                inputs = torch.cat([begun.inputs[:, None], model.read(segments[:, :-1])], 1)
                features = model.decoder.unroll(inputs.expand(len(rows), -1, -1), state).features
            else:
                features, _ = model.at_once(state, number)
            parameters: Any = model.head.parameters_of(features)
            return model.head.likelihood.center(parameters)[row_numbers(rows), rows].sum(-1)

        return attributions(sources, input_x_gradient(vectors, len(series), output_values))
