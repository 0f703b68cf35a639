"""The gradient over distance on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import STRUCTURES

from antiphon.inspection.views.drawing import spelled
from antiphon.use.loading import load

Open = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "step", "nearest"), [("writer", 2, 2), ("writer", 0, 0), ("tagger", 1, -3), ("reader", 0, 0)]
)
def test_each_token_stands_at_its_distance(
    look: Open, examined: dict[str, Path], name: str, step: int, nearest: int
) -> None:
    """From the nearest to the farthest: a writer has written `step` symbols since the last one that was read, a
    synchronous model has read further than its step."""
    content: Any = "abca" if STRUCTURES[name].kind == "text" else STRUCTURES[name].columns["x"][0]
    shown = content if isinstance(content, str) else json.dumps(content)
    page = look(model=name, input=json.dumps([shown]), views="distance", step=step)
    page.wait_for_selector("#view-distance .picture")
    page.click("#view-distance details:last-of-type > summary")
    rows = page.locator("#view-distance details:last-of-type tbody tr")
    rows.first.wait_for()
    cells = [row.locator("td").all_inner_texts() for row in rows.all()]
    trace = load(examined[name], "cpu").explain(content)
    assert trace.attribution is not None
    (attribution,) = trace.attribution
    assert [token for token, _, _ in cells] == [spelled(token) for token in reversed(attribution.tokens)]
    assert [int(distance) for _, distance, _ in cells] == list(range(nearest, nearest + len(cells)))
    norms = [float(norm) for _, _, norm in cells]
    np.testing.assert_allclose(norms, attribution.norms[step][::-1], atol=1e-6)
    facts = page.locator("#view-distance .facts dd").all_inner_texts()
    order = np.argsort([abs(nearest + place) for place in range(len(norms))], kind="stable")
    total = np.cumsum(np.asarray(norms)[order])
    expected = [str(abs(nearest + int(order[np.argmax(total >= share * total[-1])]))) for share in (0.5, 0.9)]
    assert facts[1:] == expected
