"""A trained model as a folder that runs without PyTorch: graphs, vocabularies, and how they go together.

antiphon.json             the structure, the graphs with their inputs and outputs, the state, how to decode
encode.onnx, step.onnx    of a writer, of text or of series; of a language model `step` alone
write.onnx                of a writer of series that reads positions
read.onnx                 of a reader, and `step.onnx` if it answers a live stream; with CTC log p of every frame
vocabulary-*.json         as in the model's folder, and so exceptions.tsv, calibration.json and examples.json

The folder is written only if its graphs compute what PyTorch computes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon import __version__, metrics
from antiphon.common.intervals import ENDS
from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS, UNK
from antiphon.config.decode import Decode
from antiphon.config.files import Files, InMemory
from antiphon.config.load import with_decode_settings
from antiphon.data.batches import Examples, Ints, cut_long, pad
from antiphon.data.codecs.kinds import codec_to_text
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import ScaledCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import encode_rows, group_references, load_rows, side_names
from antiphon.decoding.alignment import written
from antiphon.decoding.batches import batches_by_length
from antiphon.decoding.ctc import labels_of
from antiphon.decoding.plan import check_names, plan
from antiphon.decoding.run import decode_sources
from antiphon.decoding.scoring import forced
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.evaluation.outputs import output_metrics
from antiphon.export.comparing import CLOSE, compare
from antiphon.export.graphs import Graphs, example_of, graphs_of
from antiphon.export.running import Session, Steps, Written, given_sources
from antiphon.export.series import error_of, manifest_of
from antiphon.export.tracing import (
    AFTER,
    ATTENDED,
    EMITTED,
    LABELS,
    LOG_PROBS,
    MEMORY,
    VALUES,
    Graph,
    parts_of,
    quietly,
)
from antiphon.files import make_folder, write_atomically, write_text
from antiphon.model.apart import ApartWriter
from antiphon.model.build import structure_of
from antiphon.model.models import Aligner, LanguageModel, Reader, Writer
from antiphon.model.series import SeriesWriter
from antiphon.model.state import State
from antiphon.saved import calibration, examples, intervals
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.folder import Bundle

FORMAT = 1
SEARCH = {"beam", "length_penalty", "min_length", "max_length", "sample"}  # the keys of `decode` that the runtime knows
WRITES = {"quantiles", "paths"}  # and for series
FORMATS = ("onnx",)
MANIFEST = "antiphon.json"
KINDS = {
    "text", "long_text", "category", "tags", "vector", "image", "frames", "images", "grid", "calendar", "none",
    "label", "labels", "number", "numbers", "series", "next",
}  # fmt: skip
TOKENS = {"chars", "words", "split", "bpe", "unigram"}
PIECE, PIECES = 200, 64  # a language model's test text: symbols of a piece, and pieces


@dataclass(frozen=True)
class Exported:
    """What was written: the largest difference from PyTorch, bytes of the graphs, and what int8 changes."""

    difference: float
    size: int
    quantized_size: int | None = None
    changes: Mapping[str, tuple[float, float]] | None = None


def export(
    folder: str | Path,
    out: str | Path,
    to: str = "onnx",
    int8: bool = False,
    data: Files | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the model in `folder` into the new folder `out`, in the format `to`.

    With `int8` the weights of products, LSTMs and embeddings are whole numbers of 8 bits; what that changes is measured
    on `data`, by default the configured test set if it is there. `settings` are dotted keys of `decode` that the
    exported model has in place of its configured ones: {"decode.beam": 1}.
    """
    target = Path(out)
    if to not in FORMATS:
        raise AntiphonError(f"--to {to}: unknown; choose {', '.join(FORMATS)}")
    if target.exists():
        raise ModelFolderError(f"{target}: exists; name a new folder")
    loaded = bundle.load(Path(folder), torch.device("cpu"))
    if settings:
        loaded = replace(loaded, config=with_decode_settings(loaded.config, settings))
        check_names(loaded.config.decode)
    loaded.model.eval()
    _refuse_unknown(loaded)
    known, sure, kept = (Path(folder) / name for name in (exceptions.FILE, calibration.FILE, examples.FILE))
    if known.is_file():
        exceptions.read(known, loaded.codecs)  # a wrong file is reported now
    calibration.read(sure)
    held = intervals.read(sure)
    if held is not None and held.around == "quantiles" and not loaded.config.decode.quantiles:
        ends = {"decode.quantiles": list(ENDS)}  # which the runtime calibrates
        loaded = replace(loaded, config=with_decode_settings(loaded.config, ends))
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
    _write(loaded, graphs, target, int8, [path for path in (known, sure, kept) if path.is_file()])
    return exported


def _refuse_unknown(loaded: Bundle) -> None:
    """Refuse what the runtime does not have, such as kinds and tokenizers that a user has added to the tables."""
    for side, codec in loaded.codecs.named.items():
        if codec.kind not in KINDS:
            raise AntiphonError(f"{side}: the kind {codec.kind} is not part of Antiphon, so the runtime cannot read it")
        if isinstance(codec, TextCodec) and codec.tokens not in TOKENS:
            raise AntiphonError(
                f"{side}: the tokenizer {codec.tokens} is not part of Antiphon, so the runtime does not have it"
            )
    if isinstance(loaded.model, ApartWriter) and loaded.model.feeds:
        raise AntiphonError("target.read: output cannot be exported with separate columns; train with read: position")
    for key, value in loaded.config.decode.model_dump(exclude_defaults=True).items():
        known = SEARCH | WRITES if isinstance(loaded.model, SeriesWriter) else SEARCH
        if key not in known and value is not None:
            default = Decode.model_fields[key].default if key in Decode.model_fields else None
            reason = f"is {value!r}, which the runtime does not support; it supports {', '.join(sorted(known))}"
            raise AntiphonError(f"decode.{key}: {reason}; export without it: --set decode.{key}={json.dumps(default)}")


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
        search = plan(config.decode, model, codecs)
        decoded = decode_sources(writer, sources, search, torch.device("cpu"))
        values = [rows[group[0]].sources for group in groups]
        tokens = [best[0].tokens for best in decoded]
        outputs = written(model, codecs, search, sources, values, tokens, torch.device("cpu"))
        return output_metrics(codecs.target, outputs, [[rows[row].target for row in group] for group in groups])
    if isinstance(model, LanguageModel):
        return {"loss": _loss(model, Steps(graphs["step"]), cut_long(examples, PIECE, PIECES))}
    if isinstance(model, Aligner):
        labels = _labelled(model, Session(graphs["read"]), names, examples, config.decode.beam)
        assert isinstance(codecs.target, TextCodec)
        symbols = [codecs.target.symbols(row) for row in labels]
        return output_metrics(codecs.target, symbols, [[row.target] for row in rows])
    if isinstance(model, SeriesWriter):
        return {"mse": error_of(loaded, graphs, examples)}
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


def _labelled(
    model: Aligner, session: Session, names: Sequence[str], examples: Examples, width: int
) -> list[tuple[int, ...]]:
    """The best labels of every row with CTC."""
    results: list[tuple[int, ...]] = [()] * len(examples)
    for rows in batches_by_length(examples.source_lengths):
        sources = [pad(source, rows) for source in examples.sources]
        log_probs = session.run(given_sources(names, sources))[LOG_PROBS]
        for row, best in zip(rows, labels_of(model.head, log_probs, sources[0].lengths, width), strict=True):
            results[row] = best[0].tokens
    return results


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
    decode = config.decode.model_dump(include=SEARCH) if model.writes or model.aligns else None
    return {
        "format": FORMAT,
        "made_by": f"antiphon {__version__}",
        "structure": structure_of(config),
        "int8": int8,
        "symbols": {"padding": PAD, "begin": BOS, "end": EOS, "unknown": UNK, "first": SPECIALS},
        "sources": sides[:-1],
        **({"aligns": True} if model.aligns else {}),
        **({"series": manifest_of(loaded)} if isinstance(model, SeriesWriter) else {}),
        **({"copied": list(model.copied)} if isinstance(model, Writer) and model.copies else {}),
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
    if isinstance(model, Writer | SeriesWriter):
        started = model.start(example_of(loaded, [2, 1], np.random.default_rng(0)))
        state = started if isinstance(started, State) else started.state
    else:
        assert isinstance(model, Reader)
        state = State(model.begin(1))
    changing, fixed = parts_of(state)
    parts: list[dict[str, Any]] = []
    for name, value in (changing | fixed).items():
        free = ["prefixes", "memory"] if name in (ATTENDED, EMITTED, *MEMORY) else ["prefixes"]
        free += ["symbols"] if name == EMITTED else []
        kind = {torch.bool: "bool", torch.int64: "int64"}.get(value.dtype, "float32")
        after = {"after": AFTER + name} if name in changing else {}
        parts.append({"name": name, "type": kind, "shape": [*free, *value.shape[len(free) :]], **after})
    return parts
