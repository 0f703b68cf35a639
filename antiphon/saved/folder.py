"""A saved model: a folder of plain files, none of which can contain code.

config.yaml               the whole configuration, `format: 1`
weights.safetensors       every parameter, by its name
vocabulary-source.json    how a side is read, and what it learned: tokenizer and symbols, labels, a scale
vocabulary-target.json    (vocabulary-source-2.json and so on, where there are several sources)
metrics.json              the metrics of the training
README.md                 the model card
examples.json             a few validation inputs (antiphon/saved/examples.py), unless train.examples is 0
calibration.json          the calibration of its confidence (antiphon/saved/calibration.py), if it is calibrated
shortlist.safetensors     the target symbols that a source can need (antiphon/data/shortlist.py), if configured
exceptions.tsv            the user's file of known answers (antiphon/saved/known_answers.py)
learning_rate.json, .png  the curve of the range test, if train.learning_rate was auto
evaluation-*.npz          what rows of a data set add to metrics, as `antiphon table` keeps it
training/                 what `--resume` needs; not needed to use the model
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from antiphon.config.load import parse_config, read_tree
from antiphon.config.schema import Config
from antiphon.data import shortlist
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.kinds import SOURCES, TARGETS, codec_from_json, codec_to_text
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs, side_names
from antiphon.errors import ConfigError, ModelFolderError
from antiphon.files import PARTIAL, make_folder, write_atomically, write_text
from antiphon.model.build import build
from antiphon.model.models import LanguageModel, Model, Writer
from antiphon.model.series import SeriesWriter
from antiphon.registry import Table
from antiphon.saved import calibration, examples
from antiphon.saved import known_answers as exceptions
from antiphon.server.exported import MANIFEST

FORMAT = 1
PRECISIONS = (torch.float32, torch.float16)  # of stored weights; a loaded model computes in float32
ABOUT = "antiphon"  # the entry of the weights' header that holds digests
CONFIG, WEIGHTS, METRICS, CARD, TRAINING = "config.yaml", "weights.safetensors", "metrics.json", "README.md", "training"
CURVES, ATTENTION = "curves.png", "attention.png"
RATES, RATES_PICTURE = "learning_rate.json", "learning_rate.png"
EVALUATION = "evaluation-"  # how the names of kept evaluations begin
FILES = frozenset(  # of any model folder, beside its vocabularies
    {
        *(CONFIG, WEIGHTS, METRICS, CARD, CURVES, ATTENTION, RATES, RATES_PICTURE),
        *(calibration.FILE, examples.FILE, exceptions.FILE, shortlist.FILE),
    }
)


@dataclass(frozen=True)
class Bundle:
    """A loaded model folder."""

    config: Config
    codecs: Codecs
    model: Model
    metrics: dict[str, Any]


def parameters(model: Model) -> dict[str, Tensor]:
    """Every parameter once, by name; tied parameters by their first name."""
    return {name: value.detach() for name, value in model.named_parameters()}


def save_weights(folder: Path, weights: Mapping[str, Tensor], precision: torch.dtype = torch.float32) -> None:
    """Write `weights.safetensors`, with digests of the weights and of their vocabularies."""
    plain = {name: value.detach().to("cpu", precision).contiguous() for name, value in weights.items()}
    # one entry, since the library writes several in no particular order, and equal models should be equal files
    about = json.dumps({"format": FORMAT, "weights": _digest(plain)} | _vocabulary_digests(folder))
    write_atomically(folder / WEIGHTS, lambda file: file.write(save(plain, {ABOUT: about})))


def _digest(weights: Mapping[str, Tensor]) -> str:
    """A digest of names and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        digest.update(name.encode() + b"\0")
        digest.update(weights[name].numpy().data)
    return digest.hexdigest()


def _vocabulary_digests(folder: Path) -> dict[str, str]:
    """Digests of the vocabulary files, by their names."""
    paths = sorted(folder.glob("vocabulary-*.json"))
    return {path.name: hashlib.blake2b(_content(path), digest_size=16).hexdigest() for path in paths}


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights; an error if these or the vocabularies are not as written. Without digests nothing is checked."""
    path = folder / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path}: is damaged: {error}") from None
    for name, value in weights.items():
        if value.dtype not in PRECISIONS or not value.isfinite().all():
            raise ModelFolderError(f"{path}: {name} must hold finite numbers, float32 or float16")
    if not isinstance(about, dict) or ("weights" in about and about["weights"] != _digest(weights)):
        raise ModelFolderError(f"{path}: is damaged: its content is not what was written")
    for name, digest in _vocabulary_digests(folder).items():
        if about.get(name, digest) != digest:
            raise ModelFolderError(f"{folder / name}: is not the vocabulary that {WEIGHTS} was trained with")
    return weights


def save_description(folder: Path, config: Config, codecs: Codecs) -> None:
    """Write all that loading needs, except the weights."""
    make_folder(folder)
    write_text(folder / CONFIG, config.to_yaml())
    for side, codec in codecs.named.items():
        write_text(_vocabulary(folder, side), codec_to_text(codec))
    if codecs.shortlist is not None:
        shortlist.write(folder, codecs.shortlist)


def save_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json`."""
    write_text(folder / METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def load_metrics(folder: Path) -> dict[str, Any]:
    """The content of `metrics.json`, empty if it is not there; a damaged file is a `ModelFolderError`."""
    return _json(folder / METRICS) if (folder / METRICS).is_file() else {}


def refuse_strange_files(folder: Path) -> None:
    """Refuse a folder that is not a model's, or that has other files in it, so that no other file is removed."""
    config = load_config(folder)
    known = {*FILES, TRAINING} | {_vocabulary(folder, side).name for side in side_names(len(config.sources))}
    names = [path.name for path in folder.iterdir() if PARTIAL not in path.name]
    strange = sorted(name for name in names if name not in known and not name.startswith(EVALUATION))
    if strange:
        raise ModelFolderError(f"{folder}: holds {strange[0]!r}, which is not part of a model; move it elsewhere")


def load_config(folder: Path) -> Config:
    """The configuration of a model folder; what is missing or wrong is a `ModelFolderError`."""
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such model folder")
    refuse_links(folder)
    if (folder / MANIFEST).is_file():
        advice = (
            "antiphon serve and lexicon, and antiphon-runtime, use it; give here the folder that it was exported from"
        )
        raise ModelFolderError(f"{folder}: is an exported model: {advice}")
    if not (folder / CONFIG).is_file():
        raise ModelFolderError(f"{folder}: is not a complete model: {CONFIG} is missing")
    try:
        tree = read_tree(folder / CONFIG)
        version = tree.get("format")
        if version != FORMAT:
            actual = "no format" if version is None else f"the format {version!r}"
            raise ModelFolderError(f"{folder / CONFIG}: has {actual}; this version reads format {FORMAT}")
        return parse_config(tree, folder)
    except ConfigError as error:
        raise ModelFolderError(str(error if error.file else error.within(str(folder / CONFIG)))) from None


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link that leads out of it: another file would be read or copied as part of the model."""
    top = folder.resolve()
    for path in folder.glob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(top):
            raise ModelFolderError(f"{path}: is a link that leads out of the model folder")


def load(folder: Path, device: torch.device) -> Bundle:
    """Load a model folder; what is missing or wrong in it is a `ModelFolderError`."""
    config = load_config(folder)
    if not (folder / WEIGHTS).is_file():
        started = (folder / TRAINING).is_dir()
        advice = "; if its training was interrupted, --resume (resume=True) goes on with it" if started else ""
        raise ModelFolderError(f"{folder}: is not a complete model: {WEIGHTS} is missing{advice}")
    try:
        codecs = load_codecs(folder, config)
        weights, where = _read_weights(folder), str(folder / WEIGHTS)
        with torch.device("meta"):  # no memory is used before the weights are checked
            check_weights(build(config, codecs), weights, where)
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, though they are replaced
            model = build(config, codecs)
        if _needs_longest(model) and config.decode.max_length is None:
            raise ConfigError("decode.max_length", "is missing; every trained model that writes has one")
    except ConfigError as error:
        raise ModelFolderError(str(error.within(str(folder / CONFIG)))) from None
    copy_weights(model, weights, where)
    return Bundle(config, codecs, model.to(device), load_metrics(folder))


def _needs_longest(model: Model) -> bool:
    """Whether its outputs have no length that is given."""
    return isinstance(model, Writer | LanguageModel) or (
        isinstance(model, SeriesWriter) and model.head.stop is not None
    )


def check_weights(model: Model, weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights whose names and shapes are not those of the model."""
    expected = dict(model.named_parameters())
    if expected.keys() != weights.keys():
        odd = sorted(expected.keys() ^ weights.keys())
        raise ModelFolderError(f"{where}: does not fit its configuration: only one of them has {', '.join(odd[:5])}")
    for name, parameter in expected.items():
        if parameter.shape != weights[name].shape:
            shape, needed = list(weights[name].shape), list(parameter.shape)
            raise ModelFolderError(f"{where}: {name} has the shape {shape}, but its configuration needs {needed}")


@torch.no_grad()
def copy_weights(model: Model, weights: Mapping[str, Tensor], where: str) -> None:
    """Put `weights` into the model; names and shapes must be those of the model."""
    check_weights(model, weights, where)
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def load_codecs(folder: Path, config: Config) -> Codecs:
    """The codecs of a model folder; each must be of the configured kind."""
    *sources, target = side_names(len(config.sources))
    source_codecs = [
        _codec(folder, name, SOURCES, side.kind) for name, side in zip(sources, config.sources, strict=True)
    ]
    target_codec, path = _codec(folder, target, TARGETS, config.target.kind), folder / shortlist.FILE
    known = shortlist.read(path, _size(source_codecs[0]), _size(target_codec)) if path.exists() else None
    return Codecs(tuple(source_codecs), target_codec, known)


def _size(codec: Codec) -> int:
    return codec.size if isinstance(codec, TextCodec) else 0


def _codec(folder: Path, side: str, table: Table[Codec], kind: str) -> Codec:
    path = _vocabulary(folder, side)
    value = _json(path)
    try:
        codec = codec_from_json(table, value, side)
    except (ModelFolderError, ConfigError) as error:
        raise ModelFolderError(f"{path}: {error}") from None
    if codec.kind != kind:
        raise ModelFolderError(f"{path}: is for {codec.kind}, but the configuration says {kind}")
    return codec


def _vocabulary(folder: Path, side: str) -> Path:
    return folder / f"vocabulary-{side}.json"


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ModelFolderError(f"{path}: is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror or error}") from None


def _json(path: Path) -> dict[str, Any]:
    content = _content(path)
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: must hold a JSON object")
    return value
