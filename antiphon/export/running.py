"""Graphs run by ONNX Runtime as models are: tensors in, a state or answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from antiphon.export.tracing import AFTER, ATTENTION, LOG_PROBS, TOKENS, Graph, parts_of, source_inputs, state_of
from antiphon.model.models import Input
from antiphon.model.state import State, Step

ENCODE, STEP, READ, WRITE = GRAPHS = ("encode", "step", "read", "write")  # the names of all graphs


class Session:
    """A graph, ready to run on one thread."""

    def __init__(self, graph: Graph) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.outputs = graph.outputs
        self._session = onnxruntime.InferenceSession(graph.content, options, providers=["CPUExecutionProvider"])
        self._inputs = {value.name for value in self._session.get_inputs()}

    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by the names of inputs (one that the graph has no use for is left out) -> by those of outputs."""
        feed = {name: value.contiguous().numpy() for name, value in tensors.items() if name in self._inputs}
        return dict(zip(self.outputs, map(torch.from_numpy, self._session.run(self.outputs, feed)), strict=True))


def given_sources(names: Sequence[str], sources: Sequence[Input]) -> dict[str, Tensor]:
    """Sources as the inputs of a graph."""
    flat = [value for source in sources for value in source]
    return dict(zip(source_inputs(names), flat, strict=True))


class Steps:
    """The `step` of a writer or language model from its graph, for every way of decoding."""

    def __init__(self, step: Graph) -> None:
        self._step = Session(step)

    def eval(self) -> None:
        """As a module's: there is nothing to switch off."""

    def first_read(self, sources: Sequence[Input]) -> None:
        """As `Writer.first_read`."""

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        """As `Writer.step`."""
        changing, fixed = parts_of(state)
        each = {name: value.repeat_interleave(state.rows // len(value), 0) for name, value in fixed.items()}
        outputs = self._step.run({TOKENS: tokens, **changing, **each})
        after = state_of({name: outputs[AFTER + name] for name in changing}, fixed)
        return Step(outputs[LOG_PROBS], after, outputs.get(ATTENTION))


class Written(Steps):
    """A writer of graphs."""

    def __init__(self, encode: Graph, step: Graph, names: Sequence[str]) -> None:
        super().__init__(step)
        self._encode, self._names = Session(encode), names

    def start(self, sources: Sequence[Input]) -> State:
        """As `Writer.start`."""
        parts = self._encode.run(given_sources(self._names, sources))
        fixed = {name: value for name, value in parts.items() if name.startswith(("memory_", "context"))}
        return state_of({name: value for name, value in parts.items() if name not in fixed}, fixed)
