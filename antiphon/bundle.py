"""A saved model: a folder of plain files, none of which can hold code.

config.yaml               the whole configuration, `format: 1`
weights.safetensors       every parameter, by its name
vocabulary-source.json    normalisation, tokenizer and symbols of a side
vocabulary-target.json
metrics.json              what was measured
README.md                 the model card
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

from antiphon import config as configuration
from antiphon.config import Config
from antiphon.data.encode import TextCodec
from antiphon.dataset import Codecs
from antiphon.errors import ConfigError, ModelFolderError
from antiphon.files import make_folder, write_atomically, write_text
from antiphon.model import Writer
from antiphon.structures import build

FORMAT = 1
ABOUT = "antiphon"  # the entry of the weights' header that holds digests
CONFIG, WEIGHTS, METRICS, CARD, TRAINING = "config.yaml", "weights.safetensors", "metrics.json", "README.md", "training"


@dataclass(frozen=True)
class Bundle:
    """A loaded model folder."""

    config: Config
    codecs: Codecs
    model: Writer
    metrics: dict[str, Any]


def parameters(model: Writer) -> dict[str, Tensor]:
    """Every parameter once, by name; tied ones under their first."""
    return {name: value.detach() for name, value in model.named_parameters()}


def save_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write `weights.safetensors`, with digests of the weights and of the vocabularies they belong to."""
    plain = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in weights.items()}
    # one entry, since the library writes several in no particular order, and equal models should be equal files
    about = json.dumps({"format": FORMAT, "weights": _digest(plain)} | _vocabulary_digests(folder))
    write_atomically(folder / WEIGHTS, lambda file: file.write(save(plain, {ABOUT: about})))


def _digest(weights: Mapping[str, Tensor]) -> str:
    """A digest of names and values."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        found.update(name.encode() + b"\0")
        found.update(weights[name].numpy().data)
    return found.hexdigest()


def _vocabulary_digests(folder: Path) -> dict[str, str]:
    """Digests of the vocabulary files, by their names."""
    paths = [_vocabulary(folder, side) for side in ("source", "target")]
    return {path.name: hashlib.blake2b(_content(path), digest_size=16).hexdigest() for path in paths}


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights, if they and the vocabularies are what was written. Models without digests are taken as they are."""
    path = folder / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path}: is damaged: {error}") from None
    if not isinstance(about, dict) or about.get("weights", "") not in ("", _digest(weights)):
        raise ModelFolderError(f"{path}: is damaged: its content is not what was written")
    for name, digest in _vocabulary_digests(folder).items():
        if about.get(name, digest) != digest:
            raise ModelFolderError(f"{folder / name}: is not the vocabulary that {WEIGHTS} was trained with")
    return weights


def save_description(folder: Path, config: Config, codecs: Codecs) -> None:
    """Write all that loading needs but the weights."""
    make_folder(folder)
    write_text(folder / CONFIG, config.to_yaml())
    for side in ("source", "target"):
        codec: TextCodec = getattr(codecs, side)
        write_text(_vocabulary(folder, side), json.dumps(codec.to_json(), ensure_ascii=False, indent=1) + "\n")


def save_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json`."""
    write_text(folder / METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def load_config(folder: Path) -> Config:
    """The configuration of a model folder; what is missing or wrong is a `ModelFolderError`."""
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such model folder")
    refuse_links(folder)
    if not (folder / CONFIG).is_file():
        raise ModelFolderError(f"{folder}: is not a complete model: {CONFIG} is missing")
    try:
        tree = configuration.load_tree(folder / CONFIG)
        if tree.get("format") != FORMAT:
            raise ModelFolderError(
                f"{folder / CONFIG}: format {tree.get('format')!r} is not known; this version reads {FORMAT}"
            )
        return configuration.parse(tree, folder)
    except ConfigError as error:
        raise ModelFolderError(str(error if error.file else error.within(str(folder / CONFIG)))) from None


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link out of it: what such a file holds would be read, and copied, as the model's."""
    top = folder.resolve()
    for path in folder.glob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(top):
            raise ModelFolderError(f"{path}: is a link that leads out of the model folder")


def load(folder: Path, device: torch.device) -> Bundle:
    """Load a model folder; what is missing or wrong in it is a `ModelFolderError`."""
    config = load_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelFolderError(f"{folder}: is not a complete model: {WEIGHTS} is missing")
    try:
        codecs = load_codecs(folder)
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, though they are replaced
            model = build(config, len(codecs.source.vocabulary), len(codecs.target.vocabulary))
    except ConfigError as error:
        raise ModelFolderError(str(error.within(str(folder / CONFIG)))) from None
    copy_weights(model, _read_weights(folder), str(folder / WEIGHTS))
    return Bundle(config, codecs, model.to(device), _json(folder / METRICS) if (folder / METRICS).is_file() else {})


def copy_weights(model: Writer, weights: Mapping[str, Tensor], where: str) -> None:
    """Put `weights` into the model; names and shapes must be its own."""
    own = dict(model.named_parameters())
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ModelFolderError(f"{where}: does not fit its configuration: {', '.join(odd[:5])} on one side only")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                found, wanted = list(weights[name].shape), list(parameter.shape)
                raise ModelFolderError(f"{where}: {name} has the shape {found}, its configuration wants {wanted}")
            parameter.copy_(weights[name])


def load_codecs(folder: Path) -> Codecs:
    """The two sides' codecs of a model folder."""
    return Codecs(_codec(folder, "source"), _codec(folder, "target"))


def _codec(folder: Path, side: str) -> TextCodec:
    path = _vocabulary(folder, side)
    value = _json(path)
    try:
        return TextCodec.from_json(value, side)
    except (ModelFolderError, ConfigError) as error:
        raise ModelFolderError(f"{path}: {error}") from None


def _vocabulary(folder: Path, side: str) -> Path:
    return folder / f"vocabulary-{side}.json"


def _content(path: Path) -> bytes:
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
