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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from antiphon import __version__, metrics
from antiphon.common.intervals import ENDS
from antiphon.common.symbols import BOS, EOS, PAD, SPECIALS, UNK
from antiphon.config.files import Files, files_exist
from antiphon.config.load import with_decode_settings
from antiphon.data.batches import Examples, Ints, cut_long, pad
from antiphon.data.codecs.kinds import codec_to_text
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import ScaledCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.encode import encode_rows
from antiphon.data.load import group_references, load_rows, load_test, side_names
from antiphon.data.long_table import steps_of
from antiphon.decoding.alignment import written
from antiphon.decoding.batches import batches_by_length
from antiphon.decoding.ctc import labels_of
from antiphon.decoding.plan import check_names, plan
from antiphon.decoding.run import decode_sources
from antiphon.decoding.scoring import forced
from antiphon.errors import AntiphonError, ModelFolderError, UsageError
from antiphon.evaluation.outputs import output_metrics
from antiphon.evaluation.series import check_series_decoding
from antiphon.export.comparing import CLOSE, compare
from antiphon.export.formats import FORMATS, format_of, wrong_option
from antiphon.export.graphs import Graphs, example_of, graphs_of
from antiphon.export.refusals import RUNTIME
from antiphon.export.running import Session, Steps, Written, given_sources
from antiphon.export.series import error_of, manifest_of
from antiphon.export.shipped import Shipped
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
from antiphon.export.weights import narrowed
from antiphon.files import make_folder, write_atomically, write_text
from antiphon.model.build import structure_of
from antiphon.model.models import Aligner, LanguageModel, Reader, Writer
from antiphon.model.series import SeriesWriter
from antiphon.model.state import State
from antiphon.saved import calibration, examples, intervals
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.folder import Bundle

FORMAT = 1
MANIFEST = "antiphon.json"
PIECE, PIECES = 200, 64  # a language model's test text: symbols of a piece, and pieces


@dataclass(frozen=True)
class Exported:
    """What was written and where: the largest difference from PyTorch, bytes of the graphs, and what int8 changes."""

    path: Path
    difference: float
    size: int
    quantized_size: int | None = None
    changes: Mapping[str, tuple[float, float]] | None = None
    examples: str | None = None  # the file of kept inputs that goes with it


def export(
    folder: str | Path,
    out: str | Path,
    to: str = "onnx",
    int8: bool = False,
    data: Files | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the model in `folder` in the format `to`: into the new folder `out`, or as a new file in it.

    With `int8` the weights are whole numbers of 8 bits; what that changes is measured on `data`, by default the
    configured test set if it is there. `settings` are dotted keys of `decode` that the exported model has in place of
    its configured ones: {"decode.beam": 1}. `options` are those of the format: {"name": "my-g2p"} of a wheel.
    """
    row, given = format_of(to), dict(options or {})
    wrong = wrong_option(to, given)
    if wrong is not None:
        raise UsageError(f"--{wrong[0]}: {wrong[1]}")
    target = row.place(Path(out), **given)
    if target.exists():
        raise ModelFolderError(f"{target}: exists; name a new {'file' if target.suffix == '.whl' else 'folder'}")
    loaded = bundle.load(Path(folder), torch.device("cpu"))
    if settings:
        loaded = replace(loaded, config=with_decode_settings(loaded.config, settings))
        check_names(loaded.config.decode)
    loaded.model.eval()
    refusal = next(row.support.refusals(loaded), None)
    if refusal is not None:
        raise AntiphonError(refusal)
    known, sure, kept = (Path(folder) / name for name in (exceptions.FILE, calibration.FILE, examples.FILE))
    if known.is_file():
        exceptions.read(known, loaded.codecs)  # a wrong file is reported now
    examples.read(Path(folder))
    calibration.read(sure)
    held = intervals.read(sure)
    if held is not None and held.around == "quantiles" and not loaded.config.decode.quantiles:
        ends = {"decode.quantiles": list(ENDS)}  # which the runtime calibrates
        loaded = replace(loaded, config=with_decode_settings(loaded.config, ends))
    if isinstance(loaded.model, SeriesWriter):
        check_series_decoding(loaded.model, loaded.config.decode, held)
    if not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        raise AntiphonError("export needs the extra: pip install 'antiphon[export]'")
    graphs = graphs_of(loaded)
    difference = compare(loaded, graphs)
    if difference > CLOSE:
        raise AntiphonError(f"{folder}: its graphs differ from PyTorch by {difference:.1e}; nothing is written")
    exported = Exported(target, difference, _size(graphs), examples=kept.name if kept.is_file() else None)
    if int8:
        small = {name: quantized(graph) for name, graph in graphs.items()}
        exported = replace(exported, quantized_size=_size(small), changes=_changes(loaded, graphs, small, data))
        graphs = small
    with TemporaryDirectory() as temporary:
        shipped = Shipped(loaded, Path(folder), Path(temporary) / "model", manifest(loaded, graphs, int8))
        _write(shipped, graphs, [path for path in (known, sure, kept) if path.is_file()])
        _put(target, lambda unfinished: row.write(shipped, unfinished, **given))
    return exported


def exportable(folder: Path) -> dict[str, list[str]]:
    """For each format why the model in `folder` cannot be exported to it; nothing if it can."""
    loaded = bundle.load(folder, torch.device("cpu"))
    return {name: list(row.support.refusals(loaded)) for name, row in FORMATS.items()}


def quantized(graph: Graph) -> Graph:
    """A graph whose weights have 8 bits."""
    with quietly():
        return replace(graph, content=narrowed(graph.content))


def _size(graphs: Graphs) -> int:
    return sum(len(graph.content) for graph in graphs.values())


def _changes(
    loaded: Bundle, graphs: Graphs, small: Graphs, data: Files | None
) -> Mapping[str, tuple[float, float]] | None:
    """Each metric with the graphs and with the quantised ones; None without data."""
    config, codecs = loaded.config, loaded.codecs
    configured = config.data.train if config.data.test is None else config.data.test  # which may have a part to test
    if data is None and not files_exist(configured):
        return None
    measured = load_test(config, codecs) if data is None else load_rows(config, data, codecs=codecs)
    if measured is None:
        return None
    rows, examples = encode_rows(config, codecs, measured)
    before, after = (_measured(loaded, version, rows, examples) for version in (graphs, small))
    return {name: (value, after[name]) for name, value in before.items()}


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


def _write(shipped: Shipped, graphs: Graphs, added: Sequence[Path]) -> None:
    """Write the folder of an exported model; `added` are files that are shipped as they are."""
    make_folder(shipped.folder)
    for name, graph in graphs.items():
        content = graph.content
        write_atomically(shipped.folder / f"{name}.onnx", lambda file, content=content: file.write(content))  # type: ignore[misc]
    for side, codec in shipped.loaded.codecs.named.items():
        write_text(shipped.folder / f"vocabulary-{side}.json", codec_to_text(codec))
    for path in added:
        shutil.copyfile(path, shipped.folder / path.name)
    write_text(shipped.folder / MANIFEST, json.dumps(shipped.manifest, indent=1) + "\n")


def _put(target: Path, write: Callable[[Path], None]) -> None:
    """All of what `write` writes, or nothing."""
    make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        _remove(unfinished)
        write(unfinished)
        os.replace(unfinished, target)
    except OSError as error:
        raise ModelFolderError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def manifest(loaded: Bundle, graphs: Graphs, int8: bool) -> dict[str, Any]:
    """The content of `antiphon.json`, for programs that run the graphs."""
    model, codecs, config = loaded.model, loaded.codecs, loaded.config
    sides: list[dict[str, Any]] = [
        {"name": name, "vocabulary": f"vocabulary-{name}.json", "ends": codec.ends}
        for name, codec in codecs.named.items()
    ]
    for side, steps in zip(sides, steps_of(config, codecs.sources), strict=False):
        side |= {} if steps is None else {"steps": steps}
    decode = config.decode.model_dump(include=set(RUNTIME.decode)) if model.writes or model.aligns else None
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
