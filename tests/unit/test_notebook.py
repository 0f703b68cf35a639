"""The notebook in examples/ runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples/g2p.ipynb"


@pytest.mark.slow  # it trains a model to its end
@pytest.mark.skipif(not all(map(find_spec, ("nbclient", "pandas", "onnxruntime"))), reason="needs the extra dev")
def test_the_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    read: Any = nbformat.read
    book = read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2, "the curve and the attention"
    assert kinds.count("text/html") >= 3, "the table, three outputs and the confusions"
    text = "".join(output.get("text", "") for output in outputs)
    right, rows = next(line for line in text.splitlines() if line.endswith("wholly right")).split()[:3:2]
    assert int(right) > 0.5 * int(rows)
    assert "antiphon.json" in text
