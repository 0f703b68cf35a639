"""Each demo runs offline from what is installed, learns something in a few updates, and shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.model.build import STRUCTURES, structure_of
from antiphon.tools import demo
from antiphon.use.loading import load

QUICK = {"one_to_one": 300, "one_to_many": 600, "many_to_one": 150, "synchronous": 60}  # scripts/demo runs the other
BOUNDS = {
    "one_to_one": ("accuracy", 0.8),
    "one_to_many": ("exact_match", 0.3),
    "many_to_one": ("accuracy", 0.7),
    "synchronous": ("accuracy", 0.15),
}


def test_every_structure_has_a_demo() -> None:
    assert demo.DEMOS.keys() == STRUCTURES.keys()
    with pytest.raises(ConfigError, match=r"^structure: no demo of 'one_to_on'; did you mean 'one_to_one'\?"):
        demo.run("one_to_on", Path("m"), print, False, 1, 1)


@pytest.mark.parametrize("structure", QUICK)
def test_a_demo_runs(structure: str, tmp_path: Path) -> None:
    printed: list[str] = []
    demo.run(structure, tmp_path / "m", printed.append, False, 1, QUICK[structure])
    model = load(tmp_path / "m", "cpu")
    assert structure_of(model.config) == structure
    metric, bound = BOUNDS[structure]
    assert model.evaluate()[metric] >= bound
    assert any(line.startswith("   ->") for line in printed) or structure == "synchronous"
    assert printed[-1].startswith("Next:")
