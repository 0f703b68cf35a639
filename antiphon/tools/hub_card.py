"""The card of a model folder as the hub reads it: metadata before the text, and no folders of this computer in it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from antiphon.config.files import Parallel
from antiphon.config.load import read_tree, read_yaml
from antiphon.config.schema import Config
from antiphon.errors import ModelFolderError
from antiphon.model.build import structure_of
from antiphon.saved import folder as bundle
from antiphon.saved.card import SHOWN, read_card
from antiphon.server.exported import MANIFEST

FENCE = "---\n"


def card_of(folder: Path, name: str, licence: str | None, languages: Sequence[str], tags: Sequence[str]) -> str:
    """The card with its metadata; what the folder's card has already stays where nothing new is given."""
    before, body = _parts(read_card(folder), folder / bundle.CARD)
    body = without_folders(folder, body or f"# {name.rpartition('/')[2]}\n\nA model for antiphon-runtime.\n")
    data = {**before, "library_name": "antiphon"}
    if licence:
        data["license"] = licence
    if languages:
        data["language"] = list(languages)
    kept = before.get("tags", [])
    data["tags"] = list(dict.fromkeys([*(kept if isinstance(kept, list) else []), "antiphon", *_kinds(folder), *tags]))
    if results := _results(folder):
        data["model-index"] = [{"name": name.rpartition("/")[2], "results": results}]
    return f"{FENCE}{_yaml(data)}{FENCE}{body}"


def _parts(text: str, path: Path) -> tuple[dict[str, Any], str]:
    """The metadata of the card at `path`, and its text."""
    if not text.startswith(FENCE) or f"\n{FENCE}" not in text[len(FENCE) :]:
        return {}, text
    head, _, body = text[len(FENCE) :].partition(f"\n{FENCE}")
    try:
        value = read_yaml(f"\n{head}")  # so that lines are counted as in the file
    except ValueError as error:
        advice = "correct what stands between the lines ---"
        raise ModelFolderError(f"{path}: its metadata is not YAML: {error}; {advice}") from None
    return (value, body) if isinstance(value, dict) else ({}, body)


def _yaml(value: Any) -> str:
    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    written = io.StringIO()
    yaml.dump(value, written)
    return written.getvalue()


def _kinds(folder: Path) -> list[str]:
    """Tags of the structure and, of a trained model, its cell."""
    if (folder / MANIFEST).is_file():
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return [str(manifest["structure"]).replace("_", "-"), "onnx"]
    config = bundle.load_config(folder)
    return [structure_of(config).replace("_", "-"), config.model.cell.kind]


def _results(folder: Path) -> list[dict[str, Any]]:
    """The metrics of the validation, as an index of models lists them."""
    valid = bundle.load_metrics(folder).get("valid", {})
    metrics = [{"type": name, "value": round(valid[name], 6)} for name in SHOWN if name in valid]
    if not metrics:
        return []
    config = bundle.load_config(folder)
    files = config.data.valid
    rows = "rows held out of the training" if files is None or isinstance(files, float) else _name(files)
    task = {"type": structure_of(config).replace("_", "-"), "name": f"{_kind(config)}"}
    return [{"task": task, "dataset": {"type": "validation", "name": rows}, "metrics": metrics}]


def _kind(config: Config) -> str:
    return f"{' and '.join(side.kind for side in config.sources)} to {config.target.kind}"


def _name(files: Any) -> str:
    return ", ".join(Path(path).name for path in _paths(files)) or str(files)


def without_folders(folder: Path, text: str) -> str:
    """A text of a model folder in which the paths of its data are the names of the files alone."""
    if not (folder / bundle.CONFIG).is_file():
        return text
    tree = read_tree(folder / bundle.CONFIG)
    values = [tree.get("data", {}).get(part) for part in ("train", "valid", "test")]
    values += [tree.get("model", {}).get("embeddings"), tree.get("train", {}).get("teachers")]
    paths = {path for value in values for path in _paths(value) if "/" in path or "\\" in path}
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(path, Path(path).name)
    return text


def _paths(files: Any) -> Iterator[str]:
    """The paths in what names files."""
    if isinstance(files, Parallel):
        files = {"source": files.source, "target": files.target}
    if isinstance(files, str):
        yield files
    elif isinstance(files, list | tuple):
        yield from (path for path in files if isinstance(path, str))
    elif isinstance(files, dict):
        yield from (str(files[side]) for side in ("source", "target") if side in files)
