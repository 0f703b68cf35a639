"""A model as ONNX graphs, dynamic in rows and steps.

A writer is two graphs: `encode` makes the decoder's first state from the sources, `step` takes the last symbols and a
state. A language model is `step` alone, since it begins with zeros. A reader is `read`; one that answers a live stream
is a `step` too. PyTorch's exporter follows the model's own code. What it cannot follow, loops whose length is not known
and sizes that depend on values, is written differently here, on a copy of the model: cells become ONNX's own recurrent
operators where there is one, else a Scan over their equations.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.common.symbols import PAD, SPECIALS
from antiphon.errors import AntiphonError
from antiphon.export.weights import remove_notes
from antiphon.model.models import Aligner, Input, LanguageModel, Reader, Writer
from antiphon.model.parts.attention.soft import AdditiveAttention
from antiphon.model.parts.encoders import RecurrentEncoder
from antiphon.model.parts.heads.crf import CRFHead
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.model.parts.recurrent import Cell, GruCell, LstmCell, ReluCell, TanhCell
from antiphon.model.parts.sources import NumbersSource, SpelledWordSource
from antiphon.model.state import Layer, Memory, State

ROWS = 3  # rows of an example that is traced: 0 and 1 would be special
LABELS, VALUES, LOG_PROBS, ATTENTION = "labels", "values", "log_probs", "attention"
TOKENS, AFTER = "tokens", "next_"
MEMORY = ("memory_states", "memory_keys", "memory_mask", "memory_copy_ids")
ATTENDED, EMITTED = "attended", "emitted"  # with MEMORY the state's parts with source steps


class Operator(NamedTuple):
    """ONNX's recurrent operator for a cell: its name, its gates as places among the cell's, and its options."""

    name: str
    gates: tuple[int, ...]
    options: dict[str, Any]


OPERATORS: dict[type[Cell], Operator] = {
    TanhCell: Operator("RNN", (0,), {"activations": ["Tanh"]}),
    ReluCell: Operator("RNN", (0,), {"activations": ["Relu"]}),
    GruCell: Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    LstmCell: Operator("LSTM", (0, 3, 1, 2), {}),
}


@dataclass(frozen=True)
class Graph:
    """A graph as the bytes of its file, and the names of its inputs and outputs."""

    content: bytes
    inputs: list[str]
    outputs: list[str]


def parts_of(state: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state by names: what every step changes [R, ...], and what stays, [B, ...]."""
    changing = {
        f"layer_{depth}_{part}": value
        for depth, layer in enumerate(state.layers)
        for part, value in enumerate(layer)
    }  # fmt: skip
    fixed = {} if state.context is None else {"context": state.context}
    if state.memory is not None:
        memory = state.memory
        values = zip(MEMORY, (memory.states, memory.keys, memory.mask, memory.copy_ids), strict=True)
        fixed |= {name: value for name, value in values if value is not None}
    others = {"fed": state.fed, ATTENDED: state.attended, EMITTED: state.emitted}
    return changing | {name: value for name, value in others.items() if value is not None}, fixed


def state_of(changing: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> State:
    """The state that `parts_of` has named."""
    layers: list[list[Tensor]] = []
    for name, value in changing.items():
        if name.startswith("layer_"):
            depth = int(name.split("_")[1])
            layers += [[]] * (depth + 1 - len(layers))
            layers[depth] = [*layers[depth], value]
    memory = Memory(*(fixed[name] for name in MEMORY if name in fixed)) if MEMORY[0] in fixed else None
    fed, attended, emitted = (changing.get(name) for name in ("fed", ATTENDED, EMITTED))
    return State(tuple(map(tuple, layers)), fixed.get("context"), memory, fed, attended, emitted)


class _Encode(nn.Module):
    """Sources -> the parts of the decoder's first state."""

    def __init__(self, model: Writer) -> None:
        super().__init__()
        self.model = model

    def forward(self, sources: Sequence[Input]) -> list[Tensor]:
        changing, fixed = parts_of(self.model.start(sources))
        return [value.clone() for value in (*changing.values(), *fixed.values())]  # no output is an alias of another


class _Step(nn.Module):
    """The last symbols [R] of R prefixes and the state, every part [R, ...] -> what comes next."""

    def __init__(self, model: Writer | LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, changing: dict[str, Tensor], fixed: dict[str, Tensor]) -> list[Tensor]:
        answer = self.model.step(tokens, state_of(changing, fixed))
        outputs = [answer.log_probs, *parts_of(answer.state)[0].values()]
        return outputs if answer.attention is None else [*outputs, answer.attention]


class _Read(nn.Module):
    """Sources -> the answers to all steps, those to padding included: see `read_outputs`."""

    def __init__(self, model: Reader, ends: int) -> None:
        super().__init__()
        self.model, self.ends = model, ends

    def forward(self, sources: Sequence[Input]) -> list[Tensor]:
        features, head = self.model.features(sources), self.model.head
        if isinstance(head, CRFHead):
            return list(_chosen(head, features, sources[0][1] - self.ends))
        rows, steps, _ = features.shape
        return [head.answer(features, torch.arange(rows * steps))[1].view(rows, steps, -1)]


class _Align(nn.Module):
    """Sources -> log p of every frame [B, steps, symbols] with CTC, a blank with probability 1 where there is none."""

    def __init__(self, model: Aligner) -> None:
        super().__init__()
        self.model = model

    def forward(self, sources: Sequence[Input]) -> list[Tensor]:
        return [self.model.head.log_probs(self.model(sources))]


class _Live(nn.Module):
    """A step of R streams and the states before it -> the answers [R, size], the states after it."""

    def __init__(self, model: Reader) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: Tensor, parts: dict[str, Tensor]) -> list[Tensor]:
        features, after = self.model.read_step(values, state_of(parts, {}).layers)
        answer = self.model.head.answer(features[:, None], torch.arange(values.shape[0]))[1]
        return [answer, *parts_of(State(after))[0].values()]


def read_outputs(model: Reader, labels: bool) -> list[str]:
    """The outputs of `read`: log p of every label (and the labels that a CRF has chosen), or numbers."""
    if isinstance(model.head, CRFHead):
        return [LABELS, LOG_PROBS]
    return [LOG_PROBS] if labels or isinstance(model, Aligner) else [VALUES]


def source_inputs(names: Sequence[str]) -> list[str]:
    """The inputs that sources called so are: the values of each, and its lengths."""
    return [name for source in names for name in (source, f"{source}_lengths")]


def encode_graph(model: Writer, names: Sequence[str], sources: Sequence[Input]) -> Graph:
    """The sources [B, steps, ...] and their lengths [B] -> the state's parts by their names."""
    with torch.no_grad():
        changing, fixed = parts_of(model.start(sources))
    return traced(_Encode(traceable(model)), plain(sources), dims_of(sources), source_inputs(names),
                   [*changing, *fixed])  # fmt: skip


def step_graph(model: Writer | LanguageModel, state: State) -> Graph:
    """The last symbols and the state (an example) -> log-probabilities, what changes of the state, and attention."""
    changing, fixed = map(apart, parts_of(state))
    rows, steps = dim("prefixes"), dim("memory")

    def free(parts: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
        long = {name for name in (ATTENDED, EMITTED, *MEMORY) if name in parts and parts[name].shape[1] > 1}
        dims = {name: {0: rows, 1: steps} if name in long else {0: rows} for name in parts}
        if EMITTED in long and isinstance(model, Writer) and model.copies:  # symbols, and then those of the source
            dims[EMITTED][2] = steps + len(model.head.weight)
        return dims

    dims = {0: rows}, free(changing), free(fixed)
    example = torch.full((state.rows,), SPECIALS), changing, fixed
    outputs = [LOG_PROBS, *(AFTER + name for name in changing), *([ATTENTION] if state.memory is not None else [])]
    stepping = traceable(model)
    if isinstance(stepping, Writer):
        _fold_embedding(stepping)
    return traced(_Step(stepping), example, dims, [TOKENS, *changing, *fixed], outputs)


def read_graph(model: Reader, names: Sequence[str], sources: Sequence[Input], ends: int, labels: bool) -> Graph:
    """The sources [B, steps, ...] and their lengths [B] -> the answers [B, steps or 1, ...]."""
    copied = traceable(model)
    module = _Align(copied) if isinstance(model, Aligner) else _Read(copied, ends)
    return traced(module, plain(sources), dims_of(sources), source_inputs(names), read_outputs(model, labels))


def live_graph(model: Reader, name: str, sources: Sequence[Input], labels: bool) -> Graph:
    """A step [R, ...] of live streams and their states -> the answers [R, size] and the states after it."""
    parts = apart(parts_of(State(model.begin(ROWS)))[0])
    rows = dim("streams")
    dims = {0: rows}, {part: {0: rows} for part in parts}
    outputs = [*read_outputs(model, labels), *(AFTER + part for part in parts)]
    example = sources[0][0][:, 0].clone(), parts
    return traced(_Live(traceable(model)), example, dims, [name, *parts], outputs)


def traceable(model: Any) -> Any:
    """A copy of the model that PyTorch's exporter can follow."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, Cell):
            operator = _operator(module)
            run: Any = partial(_looped, module) if operator is None else _operated(module, operator)
            module.forward = run  # type: ignore[method-assign]
        elif isinstance(module, RecurrentEncoder):
            if module.backward_cells and (operator := _operator(module.forward_cells.at(0))):
                module.layer = _both_ways(module, operator)  # type: ignore[assignment, method-assign]
        elif isinstance(module, AdditiveAttention):
            module._in_pieces = module._pairs  # type: ignore[method-assign]
        elif isinstance(module, NumbersSource) and module.segment > 1:
            module.forward = MethodType(_segmented, module)  # type: ignore[method-assign]
        elif isinstance(module, SpelledWordSource):
            module.forward = MethodType(_spelled, module)  # type: ignore[method-assign]
        elif isinstance(module, SoftmaxHead):
            module.bias[: module.first] = -torch.inf
            module._logits = MethodType(_logits, module)  # type: ignore[method-assign]
    return copied


def _fold_embedding(writer: Writer) -> None:
    """Let symbols be looked up as W y + b, the first cell's share of them, where that is no more than W itself."""
    table, decoder = writer.embedding, writer.decoder
    cell = decoder.cells.at(0)
    symbols, size = table.weight.shape
    read_elsewhere = decoder.reads_input or decoder.gate is not None or cell.input_weight.shape[1] != size
    if read_elsewhere or symbols > size or type(cell) not in OPERATORS or not cell.plain:
        return
    shares = functional.linear(table.weight, cell.input_weight, cell.input_bias)
    writer.embedding = type(table)(*shares.shape)
    writer.embedding.weight = nn.Parameter(shares, requires_grad=False)

    def gates(share: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return share, functional.linear(h, cell.state_weight, cell.state_bias)

    cell._gates = gates  # type: ignore[assignment, method-assign]


def _scan(step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, reverse: bool = False) -> Any:
    """`step` (carried, input) -> (carried, output) over the first axis of inputs: what is carried at last, outputs."""
    from torch._higher_order_ops.scan import scan

    return scan(step, start, inputs, reverse=reverse)


def _looped(cell: Cell, inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
    """A cell's equations in a loop, as `Cell.forward`."""

    def step(before: Layer, value: Tensor) -> tuple[Layer, Tensor]:
        after = cell.advance(value, before)
        return after, after[0].clone()

    start = tuple(value.clone() for value in state)  # both parts of an LSTM's state may be one tensor of zeros
    final, outputs = _scan(step, start, inputs.transpose(0, 1))
    return outputs.transpose(0, 1), tuple(final)


def _operator(cell: Cell) -> Operator | None:
    """ONNX's operator for a cell, if it has one."""
    return OPERATORS.get(type(cell)) if cell.plain else None


def _arranged(cells: Sequence[Cell], operator: Operator) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of cells, a direction each, as an operator takes them: of inputs, of states, and biases."""
    gates = [
        [torch.cat([weight.chunk(cell.gates)[gate] for gate in operator.gates]).detach() for weight in cell.weights]
        for cell in cells
    ]
    input_weights, state_weights, *biases = (torch.stack(each) for each in zip(*gates, strict=True))
    return input_weights, state_weights, torch.cat(biases, 1)


def _operated(cell: Cell, operator: Operator) -> Callable[[Tensor, Layer], tuple[Tensor, Layer]]:
    """A cell as an operator of ONNX, as `Cell.forward`."""
    weights = _arranged([cell], operator)
    options = {"hidden_size": cell.hidden, **operator.options}

    def forward(inputs: Tensor, state: Layer) -> tuple[Tensor, Layer]:
        rows, steps, _ = inputs.shape
        outputs, *final = torch.onnx.ops.symbolic_multi_out(
            operator.name,
            (inputs.transpose(0, 1), *weights, None, *(value[None] for value in state)),
            options,
            dtypes=[inputs.dtype] * (1 + cell.parts),
            shapes=[[steps, 1, rows, cell.hidden], *[[1, rows, cell.hidden]] * cell.parts],
        )
        return outputs.squeeze(1).transpose(0, 1), tuple(value.squeeze(0) for value in final)

    return forward


def _both_ways(encoder: RecurrentEncoder, operator: Operator) -> Callable[[int, Tensor, Tensor], Tensor]:
    """A layer's two directions as one operator, which reads each row within its length: as `RecurrentEncoder.layer`."""
    pairs = zip(encoder.forward_cells, encoder.backward_cells, strict=True)
    weights = [_arranged(pair, operator) for pair in pairs]
    each = {"activations": operator.options["activations"] * 2} if "activations" in operator.options else {}
    options = {"hidden_size": encoder.hidden, "direction": "bidirectional", **operator.options, **each}

    def layer(depth: int, inputs: Tensor, lengths: Tensor) -> Tensor:
        rows, steps, _ = inputs.shape
        (outputs,) = torch.onnx.ops.symbolic_multi_out(
            operator.name,
            (inputs.transpose(0, 1), *weights[depth], lengths.to(torch.int32)),
            options,
            dtypes=[inputs.dtype],
            shapes=[[steps, 2, rows, encoder.hidden]],
        )
        return outputs.permute(2, 0, 1, 3).flatten(2)

    return layer


def _spelled(source: SpelledWordSource, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Every word is spelled, also one that was met before."""
    words, spelled = values[..., 0], values[..., 1:].flatten(0, 1)
    sizes = (spelled != PAD).sum(1).clamp(min=1)
    spelling = source.encoder(source.characters(spelled), sizes).last
    return torch.cat([source.embedding(words), spelling.unflatten(0, words.shape)], -1), lengths


def _segmented(source: NumbersSource, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Segments as a convolution, whose steps the exporter counts, and one more of padding: a single one would be a
    special case."""
    inside = (torch.arange(values.shape[1]) < lengths[:, None]).to(values.dtype)[..., None]
    marked = functional.pad(torch.cat([values * inside, inside], 2), (0, 0, 0, 2 * source.segment - 1)).transpose(1, 2)
    kernel = source.project.weight.reshape(source.size, source.segment, -1).transpose(1, 2)
    vectors = functional.conv1d(marked, kernel, source.project.bias, stride=source.segment)
    return vectors.transpose(1, 2), (lengths + source.segment - 1) // source.segment


def _logits(head: SoftmaxHead, features: Tensor) -> Tensor:
    """With biases of -inf for ids that are not classes."""
    return functional.linear(features, head.weight, head.bias)


def _chosen(head: CRFHead, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable labelling [B, T], and log p of every label [B, T, symbols]: `parts/crf.py` as loops.

    Each loop carries its start unchanged over the step that the start belongs to.
    """
    place, ends = torch.arange(features.shape[1])[:, None], lengths[None]
    potentials = head.potentials(features, (place == 0).mT.expand(features.shape[:2]), (place == ends - 1).mT)
    potentials, moves = potentials.transpose(0, 1), head.transitions
    goes_on, comes = ((place > 0) & (place < ends))[..., None], (place + 1 < ends)[..., None]

    def reached(over: Callable[[Tensor, int], Tensor]) -> Tensor:
        def step(before: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            potential, going = inputs
            after = torch.where(going, over(before[:, :, None] + moves, 1) + potential, before)
            return after, after.clone()

        _, scores = _scan(step, potentials[0].clone(), (potentials, goes_on))
        return scores  # type: ignore[no-any-return]

    def choose(after: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scores, going = inputs
        label = torch.where(going[:, 0], (scores + moves.T[after]).argmax(-1), after)
        return label, label.clone()

    def marginal(after: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scores, going = inputs
        joint = (scores[:, :, None] + moves).log_softmax(1) + after[:, None]
        log_marginals = torch.where(going, joint.logsumexp(2), after)
        return log_marginals, log_marginals.clone()

    best, all_ = reached(torch.amax), reached(torch.logsumexp)
    _, labels = _scan(choose, best[-1].argmax(-1), (best, comes), reverse=True)
    _, marginals = _scan(marginal, all_[-1].log_softmax(-1), (all_, comes), reverse=True)
    log_probs = functional.pad(marginals.transpose(0, 1), (SPECIALS, 0), value=-torch.inf)
    return labels.transpose(0, 1) + SPECIALS, log_probs


def apart(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parts of an example, none of which is another's alias: the exporter would take both for one input."""
    return {name: value.clone() for name, value in parts.items()}


def dim(name: str) -> Any:
    """A size that may vary, by its name."""
    return torch.export.Dim(name, min=1)


def plain(sources: Sequence[Input]) -> tuple[list[Input]]:
    """Sources as a module's one argument, of plain tuples."""
    return ([(values, lengths) for values, lengths in sources],)


def dims_of(sources: Sequence[Input]) -> tuple[Any]:
    """Rows of any number, and steps where the example has several."""
    rows = dim("sources")
    steps = [{1: dim(f"steps_{number}")} if values.shape[1] > 1 else {} for number, (values, _) in enumerate(sources)]
    return ([({0: rows} | some, {0: rows}) for some in steps],)


def traced(
    module: nn.Module, example: tuple[Any, ...], dims: tuple[Any, ...], inputs: list[str], outputs: list[str]
) -> Graph:
    """A module as a graph, by an example of its arguments and the sizes of them that may vary."""
    with torch.no_grad(), quietly():
        try:
            exported = torch.export.export(module.eval(), example, dynamic_shapes=dims, strict=False)
            program = torch.onnx.export(exported, dynamo=True, input_names=inputs, output_names=outputs, verbose=False)
            assert program is not None
            written = program.model_proto
            remove_notes(written)
            return Graph(written.SerializeToString(deterministic=True), inputs, outputs)
        except Exception as error:  # a part of the user's own may fail in any way
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise AntiphonError(f"a part of this model cannot be put into an ONNX graph: {reason}") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Within it, the exporter logs no warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
