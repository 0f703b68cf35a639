"""What sherpa-onnx reads in a lexicon.txt: token ids that its reader makes of a text, through a model that echoes them.

    python tests/sherpa.py lexicon.txt tokens.txt WORD ...

needs `pip install sherpa-onnx` (2.0.1). The model is a graph with the inputs of a VITS voice whose samples are the ids.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper


def echo(path: Path) -> None:
    """Write the graph: x [1, ids] -> y [1, 1, ids], the ids as numbers."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, [1, "L"])]
    inputs += [helper.make_tensor_value_info("x_length", TensorProto.INT64, [1])]
    scales = ("noise_scale", "length_scale", "noise_scale_w")
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in scales]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "L"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["cast", "axes"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "echo", inputs, [output], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    about = {"sample_rate": "16000", "n_speakers": "0", "add_blank": "0", "language": "English", "comment": "echo"}
    helper.set_model_props(model, {**about, "punctuation": ", . ! ?"})
    onnx.save(model, path)


def symbols_read(lexicon: Path, tokens: Path, words: list[str]) -> dict[str, list[str]]:
    """The symbols of words, as sherpa-onnx reads them in a lexicon."""
    import sherpa_onnx

    names = {}
    for line in tokens.read_text(encoding="utf-8").splitlines():
        symbol, number = line.rsplit(" ", 1)
        names[int(number)] = symbol or " "
    with tempfile.TemporaryDirectory() as folder:
        echo(Path(folder) / "echo.onnx")
        vits: Any = sherpa_onnx.OfflineTtsVitsModelConfig(str(Path(folder) / "echo.onnx"), str(lexicon), str(tokens))
        model = sherpa_onnx.OfflineTtsModelConfig(vits=vits)
        voice = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model))
        return {word: [names[round(value)] for value in voice.generate(word).samples] for word in words}


if __name__ == "__main__":
    for word, symbols in symbols_read(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]).items():
        print(word, *symbols)
