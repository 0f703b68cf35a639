"""A trained model as a folder that runs without PyTorch: graphs, vocabularies, and how they go together.

antiphon.json             the structure, the graphs with their inputs and outputs, the state, how to decode
encode.onnx, step.onnx    of a writer; of a language model `step` alone
read.onnx                 of a reader, and `step.onnx` if it answers a live stream
vocabulary-*.json         as in the model's folder, and so exceptions.tsv and calibration.json

The folder is written only if its graphs compute what PyTorch computes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon import __version__, metrics
from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS, UNK
from antiphon.config.schema import Files, InMemory
from antiphon.data.batches import Examples, Ints, Sequences, cut_long, pad
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.images import ImageCodec, ImagesCodec
from antiphon.data.codecs.kinds import codec_to_text
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import GridCodec, ScaledCodec
from antiphon.data.codecs.text import SourceTextCodec, TextCodec
from antiphon.data.load import encode_rows, group_references, load_rows, side_names
from antiphon.decoding.batches import batches_by_length
from antiphon.decoding.plan import plan
from antiphon.decoding.run import decode_sources
from antiphon.decoding.scoring import forced
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.evaluation.outputs import output_metrics
from antiphon.export.running import Session, Steps, Written, given_sources
from antiphon.export.tracing import (
    AFTER,
    ATTENDED,
    LABELS,
    LOG_PROBS,
    MEMORY,
    ROWS,
    VALUES,
    Graph,
    encode_graph,
    live_graph,
    parts_of,
    quietly,
    read_graph,
    step_graph,
)
from antiphon.files import make_folder, write_atomically, write_text
from antiphon.model.build import structure_of
from antiphon.model.models import Input, LanguageModel, Reader, Writer
from antiphon.model.state import State, Step
from antiphon.saved import calibration
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.folder import Bundle

FORMAT = 1
SEARCH = {"beam", "length_penalty", "min_length", "max_length", "sample"}  # the keys of `decode` that the runtime knows
FORMATS = ("onnx",)
MANIFEST = "antiphon.json"
SHAPES, MOST_ROWS, LONGEST, STEPS, CLOSE = 20, 7, 12, 3, 1e-4  # how graphs are compared with PyTorch
KINDS = {
    "text", "long_text", "category", "vector", "image", "frames", "images", "grid", "none",
    "label", "labels", "number", "numbers", "next",
}  # fmt: skip
TOKENS = {"chars", "words", "split", "bpe", "unigram"}
PIECE, PIECES = 200, 64  # a language model's test text: symbols of a piece, and pieces

Graphs = dict[str, Graph]


@dataclass(frozen=True)
class Exported:
    """What was written: the largest difference from PyTorch, bytes of the graphs, and what int8 changes."""

    difference: float
    size: int
    quantized_size: int | None = None
    changes: Mapping[str, tuple[float, float]] | None = None


def export(
    folder: str | Path, out: str | Path, to: str = "onnx", int8: bool = False, data: Files | None = None
) -> Exported:
    """Write the model in `folder` into the new folder `out`, in the format `to`.

    With `int8` the weights of products, LSTMs and embeddings are whole numbers of 8 bits; what that changes is measured
    on `data`, by default the configured test set if it is there.
    """
    target = Path(out)
    if to not in FORMATS:
        raise AntiphonError(f"--to {to}: unknown; choose {', '.join(FORMATS)}")
    if target.exists():
        raise ModelFolderError(f"{target}: exists; name a new folder")
    loaded = bundle.load(Path(folder), torch.device("cpu"))
    loaded.model.eval()
    _refuse_unknown(loaded)
    known, sure = (Path(folder) / name for name in (exceptions.FILE, calibration.FILE))
    if known.is_file():
        exceptions.read(known, loaded.codecs)  # a wrong file is reported now
    calibration.read(sure)
    if not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise AntiphonError("export needs the extra: pip install 'antiphon[export]'")
    graphs = graphs_of(loaded, int8)
    difference = compare(loaded, graphs)
    if difference > CLOSE:
        raise AntiphonError(f"{folder}: its graphs differ from PyTorch by {difference:.1e}; nothing is written")
    exported = Exported(difference, _size(graphs))
    if int8:
        small = {name: quantized(graph) for name, graph in graphs.items()}
        exported = replace(exported, quantized_size=_size(small), changes=_changes(loaded, graphs, small, data))
        graphs = small
    _write(loaded, graphs, target, int8, [path for path in (known, sure) if path.is_file()])
    return exported


def _refuse_unknown(loaded: Bundle) -> None:
    """Refuse what the runtime does not have, such as what a module of the user's own has added to the tables."""
    if loaded.model.aligns:
        raise AntiphonError("target.ctc: is not exported yet: the runtime has no search over alignments")
    if loaded.config.model.copy_:
        raise AntiphonError("model.copy: is not exported yet: the runtime does not know symbols that only a source has")
    for side, codec in loaded.codecs.named.items():
        if codec.kind not in KINDS:
            raise AntiphonError(f"{side}: the kind {codec.kind} is one of your own, which the runtime cannot read")
        if isinstance(codec, TextCodec) and codec.tokens not in TOKENS:
            raise AntiphonError(f"{side}: the tokenizer {codec.tokens} is one of your own, which the runtime has not")
    for key, value in loaded.config.decode.model_dump(exclude_defaults=True).items():
        if key not in SEARCH:
            reason = f"is {value!r}, which the runtime cannot do; it has {', '.join(sorted(SEARCH))}"
            raise AntiphonError(f"decode.{key}: {reason}; leave it out of the model's config.yaml to export")


def graphs_of(loaded: Bundle, quantized: bool = False) -> Graphs:
    """The graphs of a model by their names; with `quantized`, of operators that have a quantised form."""
    model, codecs = loaded.model, loaded.codecs
    names = side_names(len(codecs.sources))[:-1]
    example = [_sources(codec, [4, 3, 1], np.random.default_rng(0)) for codec in codecs.sources]
    if isinstance(model, Writer):
        with torch.no_grad():
            state = model.start(example)
        return {
            "encode": encode_graph(model, names, example, quantized),
            "step": step_graph(model, state, quantized),
        }
    if isinstance(model, LanguageModel):
        return {"step": step_graph(model, State(model.begin(ROWS)), quantized)}
    assert isinstance(model, Reader)
    labels = isinstance(codecs.target, LabelCodec)
    graphs = {"read": read_graph(model, names, example, codecs.sources[0].ends, labels, quantized)}
    if _live(model):
        graphs["step"] = live_graph(model, names[0], example, labels, quantized)
    return graphs


def _live(model: Reader) -> bool:
    return model.streams and model.head.stepwise


def _sources(codec: Codec, lengths: Sequence[int], noise: np.random.Generator) -> Input:
    """Random values of a source as a batch holds them; where it is not a sequence, rows of one step."""
    each = lengths if codec.steps or isinstance(codec, GridCodec) else [1] * len(lengths)
    return pad(Sequences([_values(codec, steps + codec.ends, noise) for steps in each]), np.arange(len(each)))


def _values(codec: Codec, steps: int, noise: np.random.Generator) -> Any:
    if isinstance(codec, ScaledCodec):
        return noise.normal(size=(steps, codec.size)).astype(np.float32)
    if isinstance(codec, ImageCodec | ImagesCodec):
        each = codec.each if isinstance(codec, ImagesCodec) else codec
        assert each.shape is not None
        return noise.integers(0, 256, (steps, *each.shape, codec.size)).astype(np.uint8)
    ids = noise.integers(UNK, codec.size, steps).astype(np.int32)
    ids[steps - codec.ends :] = EOS
    if not isinstance(codec, SourceTextCodec) or codec.spelling is None:
        return ids
    spelled = noise.integers(UNK, len(codec.spelling.vocabulary), (steps, codec.spelling.width))
    spelled[np.arange(codec.spelling.width) >= noise.integers(1, codec.spelling.width + 1, (steps, 1))] = PAD
    return np.column_stack([ids, spelled]).astype(np.int32)


@torch.inference_mode()
def compare(loaded: Bundle, graphs: Graphs) -> float:
    """The largest difference between the graphs' answers and PyTorch's, relative to what is larger than 1.

    Random sources of several shapes are read; a writer is compared over several steps and several prefixes a source.
    """
    noise = np.random.default_rng(1)
    difference = _comparison(loaded, graphs)
    worst = 0.0
    for number in range(SHAPES):
        rows = 1 if number == 0 else int(noise.integers(1, MOST_ROWS + 1))
        lengths = noise.integers(1, 1 if number == 1 else LONGEST, rows, endpoint=True).tolist()
        worst = max(worst, difference([_sources(codec, lengths, noise) for codec in loaded.codecs.sources], noise))
    return worst


Difference = Callable[[Sequence[Input], np.random.Generator], float]


def _comparison(loaded: Bundle, graphs: Graphs) -> Difference:
    """The difference over given sources, for a kind of model."""
    model = loaded.model
    names = side_names(len(loaded.codecs.sources))[:-1]
    if isinstance(model, Writer):
        written = Written(graphs["encode"], graphs["step"], names)
        return lambda sources, noise: _stepped(model, written, model.start(sources), written.start(sources), noise)
    if isinstance(model, LanguageModel):
        steps = Steps(graphs["step"])

        def begun(sources: Sequence[Input], noise: np.random.Generator) -> float:
            state = State(model.begin(len(sources[0][0])))
            return _stepped(model, steps, state, state, noise)

        return begun
    assert isinstance(model, Reader)
    read = Session(graphs["read"])
    live = Session(graphs["step"]) if "step" in graphs else None

    def answered(sources: Sequence[Input], _: np.random.Generator) -> float:
        outputs = read.run(given_sources(names, sources))
        worst = _answers_apart(model, loaded.codecs.sources[0].ends, sources, outputs)
        return worst if live is None else max(worst, _live_apart(model, live, names[0], sources[0][0]))

    return answered


def _answers_apart(model: Reader, ends: int, sources: Sequence[Input], outputs: Mapping[str, Tensor]) -> float:
    features = model.features(sources)
    lengths = torch.ones(len(features)) if model.pooling is not None else sources[0][1] - ends
    positions = (torch.arange(features.shape[1]) < lengths[:, None]).flatten().nonzero().flatten()
    values = model.head.answer(features, positions)[1]
    return _apart(values, outputs[LOG_PROBS if LOG_PROBS in outputs else VALUES].flatten(0, 1)[positions])


def _live_apart(model: Reader, live: Session, name: str, values: Tensor) -> float:
    """Over all steps of a stream."""
    layers, worst = model.begin(len(values)), 0.0
    parts, _ = parts_of(State(layers))
    for step in values.unbind(1):
        features, layers = model.read_step(step, layers)
        answer = model.head.answer(features[:, None], torch.arange(len(features)))[1]
        outputs = live.run({name: step, **parts})
        worst = max(worst, _apart(answer, outputs[LOG_PROBS if LOG_PROBS in outputs else VALUES]))
        parts = {name: outputs[AFTER + name] for name in parts}
    return worst


def _stepped(
    model: Writer | LanguageModel, graphs: Steps, state: State, other: State, noise: np.random.Generator
) -> float:
    """Over several steps with the same random symbols."""
    width, worst = int(noise.integers(1, 4)), 0.0
    state, other = state.expand(width), other.expand(width)
    symbols = len(model.head.weight)
    for _ in range(STEPS):
        for left, right in zip(parts_of(state), parts_of(other), strict=True):
            worst = max([worst, *(_apart(value, right[name]) for name, value in left.items())])
        tokens = torch.from_numpy(noise.integers(BOS, symbols, state.rows))
        answers: list[Step[State]] = [model.step(tokens, state), graphs.step(tokens, other)]
        worst = max(worst, _apart(*(answer.log_probs for answer in answers)))
        if answers[0].attention is not None:
            worst = max(worst, _apart(*(answer.attention for answer in answers if answer.attention is not None)))
        rows = torch.from_numpy(noise.integers(0, width, state.rows)) + torch.arange(state.rows) // width * width
        state, other = (answer.state.reorder(rows) for answer in answers)
    return worst


def _apart(expected: Tensor, actual: Tensor) -> float:
    """The largest difference; infinite where one of both is and the other is not."""
    expected, actual = expected.double(), actual.double()
    finite = expected.isfinite()
    if expected.shape != actual.shape or not torch.equal(finite, actual.isfinite()):
        return float("inf")
    gaps = ((expected - actual).abs() / expected.abs().clamp(min=1))[finite]
    return float(gaps.max()) if len(gaps) else 0.0


def quantized(graph: Graph) -> Graph:
    """A graph whose weights of products, LSTMs and embeddings have 8 bits (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        full.write_bytes(graph.content)
        options = {"EnableSubgraph": True}
        kinds = ["MatMul", "LSTM", "Gather"]
        with quietly():
            quantize_dynamic(full, small, kinds, weight_type=QuantType.QInt8, extra_options=options)
        return replace(graph, content=small.read_bytes())


def _size(graphs: Graphs) -> int:
    return sum(len(graph.content) for graph in graphs.values())


def _changes(
    loaded: Bundle, graphs: Graphs, small: Graphs, data: Files | None
) -> Mapping[str, tuple[float, float]] | None:
    """Each metric with the graphs and with the quantised ones; None without data."""
    files = data if data is not None else loaded.config.data.test
    if files is None or (data is None and not _there(files)):
        return None
    rows, examples = encode_rows(loaded.config, loaded.codecs, load_rows(loaded.config, files, codecs=loaded.codecs))
    before, after = (_measured(loaded, version, rows, examples) for version in (graphs, small))
    return {name: (value, after[name]) for name, value in before.items()}


def _there(files: Files) -> bool:
    if isinstance(files, InMemory):
        return files.records is not None
    paths = [files] if isinstance(files, str) else files if isinstance(files, list) else [files.source, files.target]
    return all(Path(path.partition("#")[0]).exists() for path in paths)


def _measured(loaded: Bundle, graphs: Graphs, rows: Sequence[Any], examples: Examples) -> dict[str, float]:
    """The metrics of graphs on rows that need no likelihood, and a language model's loss."""
    model, codecs, config = loaded.model, loaded.codecs, loaded.config
    names = side_names(len(codecs.sources))[:-1]
    if isinstance(model, Writer):
        assert isinstance(codecs.target, TextCodec)
        groups = group_references(config, codecs, rows)
        sources = [source.take([group[0] for group in groups]) for source in examples.sources]
        writer = Written(graphs["encode"], graphs["step"], names)
        decoded = decode_sources(writer, sources, plan(config.decode, model, codecs), torch.device("cpu"))
        outputs = [codecs.target.symbols(best[0].tokens) for best in decoded]
        return output_metrics(codecs.target, outputs, [[rows[row].target for row in group] for group in groups])
    if isinstance(model, LanguageModel):
        return {"loss": _loss(model, Steps(graphs["step"]), cut_long(examples, PIECE, PIECES))}
    predicted = _predicted(loaded, Session(graphs["read"]), names, examples)
    expected = np.concatenate([examples.target[row] for row in range(len(examples))])
    if isinstance(codecs.target, LabelCodec):
        return {"accuracy": float((predicted == expected).mean())}
    assert isinstance(codecs.target, ScaledCodec)
    return {"mse": metrics.mse(*map(codecs.target.restored, (predicted, expected)))}


def _loss(model: LanguageModel, graphs: Steps, pieces: Examples) -> float:
    rows = np.arange(min(len(pieces), PIECES))
    target, lengths = pad(pieces.target, rows)
    target = target[:, :PIECE]
    log_probs = forced(graphs.step, State(model.begin(len(rows))), target)
    return -float(log_probs.sum()) / int(lengths.clamp(max=PIECE).sum())


def _predicted(loaded: Bundle, session: Session, names: Sequence[str], examples: Examples) -> Any:
    """The labels or numbers that a reader predicts for all steps of all rows, one behind the other."""
    results: list[Any] = [None] * len(examples)
    ends = loaded.codecs.sources[0].ends
    for rows in batches_by_length(examples.source_lengths):
        answers = session.run(given_sources(names, [pad(source, rows) for source in examples.sources]))
        values = answers.get(LABELS)
        if values is None:
            values = answers[LOG_PROBS].argmax(-1) if LOG_PROBS in answers else answers[VALUES]
        steps: Ints = examples.sources[0].lengths[rows] - ends
        for row, steps_values, length in zip(rows, values.numpy(), steps, strict=True):
            results[row] = steps_values[:length] if steps_values.shape[0] > 1 else steps_values
    return np.concatenate(results)


def _write(loaded: Bundle, graphs: Graphs, target: Path, int8: bool, added: Sequence[Path]) -> None:
    """All of the folder, or nothing; `added` are files that are shipped as they are."""
    make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    try:
        for name, graph in graphs.items():
            content = graph.content
            write_atomically(unfinished / f"{name}.onnx", lambda file, content=content: file.write(content))  # type: ignore[misc]
        for side, codec in loaded.codecs.named.items():
            write_text(unfinished / f"vocabulary-{side}.json", codec_to_text(codec))
        for path in added:
            shutil.copyfile(path, unfinished / path.name)
        write_text(unfinished / MANIFEST, json.dumps(manifest(loaded, graphs, int8), indent=1) + "\n")
        os.replace(unfinished, target)
    except OSError as error:
        raise ModelFolderError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def manifest(loaded: Bundle, graphs: Graphs, int8: bool) -> dict[str, Any]:
    """The content of `antiphon.json`, for programs that run the graphs."""
    model, codecs, config = loaded.model, loaded.codecs, loaded.config
    sides = [
        {"name": name, "vocabulary": f"vocabulary-{name}.json", "ends": codec.ends}
        for name, codec in codecs.named.items()
    ]
    decode = config.decode.model_dump(include=SEARCH) if model.writes else None
    return {
        "format": FORMAT,
        "made_by": f"antiphon {__version__}",
        "structure": structure_of(config),
        "int8": int8,
        "symbols": {"padding": PAD, "begin": BOS, "end": EOS, "unknown": UNK, "first": SPECIALS},
        "sources": sides[:-1],
        "target": sides[-1],
        "graphs": {
            name: {"file": f"{name}.onnx", "inputs": graph.inputs, "outputs": graph.outputs}
            for name, graph in graphs.items()
        },
        "state": _state(loaded) if "step" in graphs else [],
        "max_length": config.data.max_length,
        "decode": decode,
    }


@torch.inference_mode()
def _state(loaded: Bundle) -> list[dict[str, Any]]:
    """Each part of the state that `step` takes: its shape, a name where a size may vary, and the output that comes
    in its place; a part without `after` stays as it is. Where `encode` does not make them, they begin as zeros."""
    model = loaded.model
    if isinstance(model, Writer):
        state = model.start([_sources(codec, [2, 1], np.random.default_rng(0)) for codec in loaded.codecs.sources])
    else:
        assert isinstance(model, Reader)
        state = State(model.begin(1))
    changing, fixed = parts_of(state)
    parts: list[dict[str, Any]] = []
    for name, value in (changing | fixed).items():
        free = ["prefixes", "memory"] if name in (ATTENDED, *MEMORY) else ["prefixes"]
        kind = "bool" if value.dtype == torch.bool else "float32"
        after = {"after": AFTER + name} if name in changing else {}
        parts.append({"name": name, "type": kind, "shape": [*free, *value.shape[len(free) :]], **after})
    return parts
