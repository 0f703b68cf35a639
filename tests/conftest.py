"""Shared by all tests: the `--all` switch, one thread, and where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the long tests, marked slow")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # small models: more threads only wait for each other


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    slow = [item for item in items if "slow" in item.keywords]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if "slow" not in item.keywords]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, named by ANTIPHON_DATA; where there is none, the test is skipped."""
    folder = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("needs real data: set ANTIPHON_DATA to its folder")
    return folder
