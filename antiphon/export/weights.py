"""Graphs in fewer bytes: weights as whole numbers of 8 bits, each table once, and without the exporter's notes.

Products and LSTMs have operators of ONNX Runtime that compute with 8 bits, after dynamic quantisation. The weights of
other operators are stored in 8 bits and become float32 again when the graph is loaded; a symbol's row of a table when
it is read. Each row of weights has a scale of its own: w = scale q, with q from -127 to 127.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

QUANTIZED = ["MatMul", "LSTM"]  # operators that have a form with 8 bits
STORED = {
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Conv": (1,),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
}  # and others: the places of weights
LEAST = 64  # numbers of a weight: fewer are not worth the operators that restore them
MOST = 127


class Weight(NamedTuple):
    """An initializer, the graph that holds it, and the operators that read it with the places where."""

    tensor: Any
    graph: Any
    readers: list[tuple[Any, Any, int]]  # graph, node, place


def remove_notes(model: Any) -> None:
    """Remove what the exporter notes of a graph's origin, such as paths of source files, and shapes that ONNX Runtime
    infers itself."""
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in _graphs(model.graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        del graph.value_info[:]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.doc_string = ""
            del value.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:], function.value_info[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def narrowed(content: bytes) -> bytes:
    """A graph whose weights have 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        full.write_bytes(content)
        options = {"EnableSubgraph": True}
        quantize_dynamic(full, small, QUANTIZED, per_channel=True, weight_type=QuantType.QInt8, extra_options=options)
        model = onnx.load_model_from_string(small.read_bytes())
    remove_notes(model)
    for weight in list(_weights(model.graph)):
        operators = {node.op_type for _, node, _ in weight.readers}
        if operators == {"Gather"} and len(weight.tensor.dims) == 2:
            _narrow_table(model.graph, weight)
        elif operators and all(place in STORED.get(node.op_type, ()) for _, node, place in weight.readers):
            _narrow_weight(weight)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those of its loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _weights(top: Any) -> Iterator[Weight]:
    """The float32 initializers that are worth to be made smaller."""
    import onnx

    graphs = list(_graphs(top))
    for graph in graphs:
        for tensor in graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < LEAST:
                continue
            readers = [
                (reading, node, place)
                for reading in graphs
                for node in reading.node
                for place, name in enumerate(node.input)
                if name == tensor.name
            ]
            yield Weight(tensor, graph, readers)


def quantized(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights as q and scales with w = scale q: a scale for each row of the last axis, of a convolution for each
    channel that it writes."""
    axes = tuple(range(1, values.ndim)) if values.ndim > 3 else (values.ndim - 1,)
    scale = np.abs(values).max(axes, keepdims=True).astype(np.float32) / np.float32(MOST)
    scale[scale == 0] = 1
    return np.clip(np.rint(values / scale), -MOST, MOST).astype(np.int8), scale


def _narrow_weight(weight: Weight) -> None:
    """Store a weight in 8 bits; ONNX Runtime restores it once, when it loads the graph."""
    from onnx import TensorProto, helper, numpy_helper

    name = weight.tensor.name
    values, scale = quantized(numpy_helper.to_array(weight.tensor))
    small = f"{name}_8bit"
    weight.graph.initializer.remove(weight.tensor)
    weight.graph.initializer.extend(
        [numpy_helper.from_array(values, small), numpy_helper.from_array(scale, f"{name}_scale")]
    )
    nodes = [
        helper.make_node("Cast", [small], [f"{small}_float"], f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{small}_float", f"{name}_scale"], [name], f"{name}_restore"),
    ]
    _put_first(weight.graph, nodes)


def _narrow_table(top: Any, weight: Weight) -> None:
    """Store a table that rows are taken from in 8 bits; the rows are restored after they are taken. If the table is the
    output matrix too, it is stored once."""
    from onnx import TensorProto, helper, numpy_helper

    name = weight.tensor.name
    table = numpy_helper.to_array(weight.tensor)
    small, scales = f"{name}_8bit", f"{name}_row_scale"
    weight.graph.initializer.remove(weight.tensor)
    shared = _transposed_twin(top, table)
    if shared is None:
        values, scale = quantized(table)
        weight.graph.initializer.append(numpy_helper.from_array(values, small))
    else:
        twin, scale = shared
        _put_first(weight.graph, [helper.make_node("Transpose", [twin], [small], f"{name}_transpose", perm=[1, 0])])
    weight.graph.initializer.append(numpy_helper.from_array(scale, scales))
    for graph, node, _ in weight.readers:
        place = list(graph.node).index(node)
        rows, out = node.input[1], node.output[0]
        nodes = [
            helper.make_node("Gather", [small, rows], [f"{out}_taken"], f"{node.name}_take"),
            helper.make_node("Gather", [scales, rows], [f"{out}_taken_scale"], f"{node.name}_take_scale"),
            helper.make_node(
                "Cast", [f"{out}_taken"], [f"{out}_taken_float"], f"{node.name}_cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{out}_taken_float", f"{out}_taken_scale"], [out], f"{node.name}_restore"),
        ]
        graph.node.remove(node)
        for offset, added in enumerate(nodes):
            graph.node.insert(place + offset, added)


def _transposed_twin(top: Any, table: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]] | None:
    """The 8-bit initializer that is a table [rows, size] transposed, and the scales of the table's rows [rows, 1]."""
    from onnx import TensorProto, numpy_helper

    named = {tensor.name: tensor for tensor in top.initializer}
    for tensor in top.initializer:
        scales = named.get(tensor.name.removesuffix("_quantized") + "_scale")
        if tensor.data_type != TensorProto.INT8 or scales is None or list(tensor.dims) != list(table.shape[::-1]):
            continue
        scale = numpy_helper.to_array(scales).reshape(-1, 1).astype(np.float32)
        if len(scale) != len(table):
            continue
        restored = numpy_helper.to_array(tensor).T * scale
        if (np.abs(restored - table) <= 0.51 * np.abs(scale)).all():
            return tensor.name, scale
    return None


def _put_first(graph: Any, nodes: Sequence[Any]) -> None:
    """Put operators before all others."""
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
