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

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
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
    """Write `weights.safetensors`."""
    plain = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in weights.items()}
    write_atomically(folder / WEIGHTS, lambda file: file.write(save(plain, {"format": str(FORMAT)})))


def save_description(folder: Path, config: Config, codecs: Codecs) -> None:
    """Write all that loading needs but the weights."""
    make_folder(folder)
    write_text(folder / CONFIG, config.to_yaml())
    for side in ("source", "target"):
        codec: TextCodec = getattr(codecs, side)
        write_text(folder / f"vocabulary-{side}.json", json.dumps(codec.to_json(), ensure_ascii=False, indent=1) + "\n")


def save_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json`."""
    write_text(folder / METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def load(folder: Path, device: torch.device) -> Bundle:
    """Load a model folder; what is missing or wrong in it is a `ModelFolderError`."""
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such model folder")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelFolderError(f"{folder}: is not a complete model: {name} is missing")
    try:
        tree = configuration.load_tree(folder / CONFIG)
    except ConfigError as error:
        raise ModelFolderError(str(error)) from None
    if tree.get("format") != FORMAT:
        raise ModelFolderError(
            f"{folder / CONFIG}: format {tree.get('format')!r} is not known; this version reads {FORMAT}"
        )
    try:
        config = configuration.parse(tree, folder)
        codecs = load_codecs(folder)
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, though they are replaced
            model = build(config, len(codecs.source.vocabulary), len(codecs.target.vocabulary))
    except ConfigError as error:
        raise ModelFolderError(str(error.within(str(folder / CONFIG)))) from None
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFolderError(f"{folder / WEIGHTS}: is damaged: {error}") from None
    copy_weights(model, weights, str(folder / WEIGHTS))
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
    path = folder / f"vocabulary-{side}.json"
    value = _json(path)
    try:
        return TextCodec.from_json(value, side)
    except (ModelFolderError, ConfigError) as error:
        raise ModelFolderError(f"{path}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: must hold a JSON object")
    return value
