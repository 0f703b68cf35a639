"""What unit tests share: small files, a configuration of them, and one tiny trained model."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from antiphon.config.load import parse_config, read_config_file, set_value
from antiphon.config.schema import Config

settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("unit")

Write = Callable[[str, str | bytes], Path]
Configure = Callable[..., Config]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text or bytes to a file of this name in the test's own folder."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return make


def tree_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's tree; `a__b=c` sets the key a.b."""
    tree: dict[str, Any] = {"data": {"train": "train.tsv"}}
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    return tree


@pytest.fixture(scope="session")
def configure() -> Configure:
    """A configuration of defaults and the given keys: `configure(model__cell="gru")`."""

    def make(**keys: Any) -> Config:
        return parse_config(tree_of(keys), Path("/nowhere"))

    return make


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 words and their letters, spelled apart and reversed."""
    chance = random.Random(1)
    words = sorted({"".join(chance.choices("abcde", k=chance.randint(2, 5))) for _ in range(80)})[:60]
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{word}\t{' '.join(reversed(word.upper()))}\n" for word in words), encoding="utf-8")
    return path


TINY = """\
data: {{train: {pairs}, valid: 0.2, test: {pairs}}}
model:
  cell: gru
  embedding: 6
  encoder: {{hidden: 5}}
  decoder: {{hidden: 7}}
  attention: additive
train: {{max_steps: 4, epochs: 5, batch_size: 16, validate_every: 2, average: 2}}
decode: {{beam: 3, max_length: 8}}
"""


@pytest.fixture(scope="session")
def tiny_config(pairs: Path) -> Path:
    """The file of a configuration that trains in a moment."""
    path = pairs.with_name("tiny.yaml")
    path.write_text(TINY.format(pairs=pairs), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model_folder(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of four updates; tests read it and change only copies."""
    from antiphon.training.loop import train

    return train(read_config_file(tiny_config), tmp_path_factory.mktemp("trained") / "model", device="cpu")
