"""From an exported folder to a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon_runtime import exceptions
from antiphon_runtime.codecs import Codec, Nothing, Text
from antiphon_runtime.common import calibration, intervals
from antiphon_runtime.common.calibration import Calibration
from antiphon_runtime.common.intervals import Intervals
from antiphon_runtime.common.messages import reason_of
from antiphon_runtime.errors import FolderError, OptionError
from antiphon_runtime.graph import Graph
from antiphon_runtime.kinds import side
from antiphon_runtime.model import Model

FORMAT = 1
MANIFEST = "antiphon.json"
TRAINED = "weights.safetensors"  # the file that only a trained model has


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file; None if there is no such file."""
    try:
        return calibration.read(path)
    except ValueError as error:
        raise FolderError(f"{path}: is damaged: {error}") from None


def read_intervals(path: Path) -> Intervals | None:
    """The calibrated intervals in a file; None if there are none."""
    try:
        return intervals.read(path)
    except ValueError as error:
        raise FolderError(f"{path}: is damaged: {error}") from None


def load(folder: str | Path, threads: int = 1) -> Model:
    """Load what `antiphon export` has written. With many inputs `threads` batches run at once, each in one thread.

    An incomplete folder is a `FolderError`, less than one thread an `OptionError`.
    """
    place = Path(folder)
    if threads < 1:
        raise OptionError(f"threads: must be at least 1 (is {threads})")
    manifest = _manifest(place)
    try:
        sides = _sides(place, manifest)
        graphs = {name: _graph(place, graph) for name, graph in manifest["graphs"].items()}
        calibrated = read_calibration(place / calibration.FILE)
        known = exceptions.read(place / exceptions.FILE, sides[:-1], sides[-1])
        held = read_intervals(place / calibration.FILE)
        model = Model(place, manifest, sides, graphs, calibrated, known, threads, held)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{place / MANIFEST}: is damaged: {reason_of(error)}") from None
    if model._decode is not None and not isinstance(model.target, Text | Nothing):
        raise FolderError(f"{place / MANIFEST}: is damaged: its target is not text")
    return model


def check(folder: str | Path) -> None:
    """Refuse, in a moment and before any graph is loaded, a folder that lacks something, or for which a package is
    missing: a `FolderError`."""
    place = Path(folder)
    manifest = _manifest(place)
    try:
        _sides(place, manifest)
        paths = [_inside(place, graph["file"]) for graph in manifest["graphs"].values()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{place / MANIFEST}: is damaged: {reason_of(error)}") from None
    for path in paths:
        _refuse_missing(path)


def _manifest(place: Path) -> dict[str, Any]:
    """What an exported folder says of itself."""
    if not place.is_dir():
        raise FolderError(f"{place}: no such folder")
    if (place / TRAINED).is_file() and not (place / MANIFEST).exists():
        advice = f"export it where it was trained: antiphon export {place} --to onnx FOLDER"
        raise FolderError(f"{place}: is a trained model, which needs PyTorch; {advice}")
    manifest = _json(place / MANIFEST)
    version = manifest.get("format")
    if version != FORMAT:
        actual = "no format" if version is None else f"the format {version!r}"
        raise FolderError(f"{place / MANIFEST}: has {actual}; this version reads format {FORMAT}")
    return manifest


def _sides(place: Path, manifest: Mapping[str, Any]) -> list[Codec]:
    return [_side(place, described) for described in (*manifest["sources"], manifest["target"])]


def _side(folder: Path, described: Mapping[str, Any]) -> Codec:
    path = _inside(folder, described["vocabulary"])
    value = _json(path)
    try:
        codec = side(value)
        codec.expected = described.get("steps") if codec.steps else None  # older folders name it for every source
        return codec
    except ModuleNotFoundError as error:
        advice = "pip install 'antiphon-runtime[images]'"
        raise FolderError(f"{folder}: reads pictures, which needs {error.name}: {advice}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{path}: is incomplete or damaged: {reason_of(error)}") from None


def _inside(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file in the folder")
    return folder / name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FolderError(f"{path}: must hold a JSON object")
    return value


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        raise FolderError(f"{path}: is missing")


def _graph(folder: Path, described: Mapping[str, Any]) -> Graph:
    import onnxruntime

    path, outputs = _inside(folder, described["file"]), [str(name) for name in described["outputs"]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # computing with such numbers is slow
    _refuse_missing(path)
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises nothing narrower
        raise FolderError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
    return Graph(session, [entry.name for entry in session.get_inputs()], outputs)
