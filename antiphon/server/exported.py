"""Exported folders, through the package that runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..common.examples import read_examples
from .models import CTC_OPTIONS, Served, example_of, name_of, side_of, size_of

MANIFEST = "antiphon.json"  # the file that only an exported folder has
WRITER_OPTIONS = ("beam", "n_best", "sample", "token_scores")
DRAWING_OPTIONS = ("n_best", "sample")  # of a model that writes series


def served(folder: Path, runtime: Any, threads: int = 1) -> Served:
    """The model of an exported folder, read by `runtime`, which is the package antiphon_runtime; what is wrong with the
    folder is one of its errors."""
    model, errors = runtime.load(folder, threads), runtime.errors
    try:
        examples = read_examples(folder)
    except ValueError as error:
        raise errors.RuntimeModelError(str(error)) from None
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    entries = (*manifest["sources"], manifest["target"])
    vocabularies = {entry.get("name", "target"): entry["vocabulary"] for entry in entries}
    contents = {side: json.loads((folder / file).read_text(encoding="utf-8")) for side, file in vocabularies.items()}
    *sources, target = (side_of(side, content) for side, content in contents.items())
    aligns = manifest.get("aligns", False)
    writes = manifest["decode"] is not None and not aligns
    series = "series" in manifest
    live = {"read", "step"} <= manifest["graphs"].keys()
    return Served(
        name=name_of(folder),
        format="onnx",
        structure=model.structure,
        sources=tuple(sources),
        target=target,
        size=size_of(folder, "*.onnx"),
        max_length=manifest["max_length"],
        options=WRITER_OPTIONS if writes else CTC_OPTIONS if aligns else DRAWING_OPTIONS if series else (),
        defaults=(manifest["decode"] or {}) if writes else {},
        streams="tokens" if writes else "steps" if live else None,
        predictor=model,
        wrong=(errors.RuntimeModelError,),
        codes={
            errors.TooLongError: "input_too_long",
            errors.InputError: "invalid_input",
            errors.OptionError: "invalid_options",
        },
        example=example_of(list(contents.values())[:-1]),
        examples=examples,
    )
