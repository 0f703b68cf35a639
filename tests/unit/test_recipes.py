"""Every recipe reads its data and builds a model that can be trained: on the first rows, where the data is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.api import read_config
from antiphon.config.files import Parallel
from antiphon.config.load import read_config_file
from antiphon.data import load as dataset
from antiphon.data.batches import collate
from antiphon.data.rows import Row, read_rows, read_texts
from antiphon.training import defaults
from antiphon.training.prepare import prepare
from antiphon.training.update import batch_loss

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


COMPLETE = json.loads((ROOT / "tests/golden/recipes.json").read_text(encoding="utf-8"))
"""The whole configuration that each recipe was measured with, paths below the project's folder."""


def test_every_recipe_has_a_measured_configuration() -> None:
    assert COMPLETE.keys() == {path.stem for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_spells_out_what_it_was_measured_with(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to be chosen from the data, so that a better choice moves no measured figure."""
    monkeypatch.setenv("ANTIPHON_DATA", "/data")
    monkeypatch.setattr(defaults, "load_rows", None)
    completed = read_config(recipe)
    assert completed.about == []
    tree = json.dumps(completed.config.model_dump(mode="json", by_alias=True)).replace(str(ROOT), "")
    assert json.loads(tree) == COMPLETE[recipe.stem]


def shortened(*given: Any) -> Iterator[Row]:
    """The beginning of every long text."""
    for row in read_texts(*given):
        yield replace(row, sources=(row.sources[0][:30_000],))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_reads_its_data_and_takes_a_step(
    recipe: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_DATA", str(real_data))
    monkeypatch.setattr(dataset, "read_rows", lambda *given: islice(read_rows(*given), 20))
    monkeypatch.setattr(dataset, "read_texts", shortened)
    config = read_config_file(recipe, {"data.on_error": "skip"})  # few rows have not every label
    test = config.data.train if config.data.window is not None else config.data.test  # a part of one long table
    for files in (config.data.train, test):
        assert files is not None
        for file in (files.source, files.target) if isinstance(files, Parallel) else [files]:
            path = Path(str(file).partition("#")[0])
            if not path.exists() and ROOT / "prepared" in path.parents:
                pytest.skip(f"needs scripts/prepare {path.parent.name}")
            assert path.exists(), f"{recipe}: {path} is not there"
    prepared = prepare(config)
    batch = collate(prepared.train, range(2))
    objective, nll = batch_loss(prepared.model, batch, 1.0, config.train.label_smoothing, "float32")
    objective.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(nll)
    assert all(torch.isfinite(p.grad).all() for p in prepared.model.parameters() if p.grad is not None)
