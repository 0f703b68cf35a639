"""Pictures of the page of `antiphon serve`, of each structure, for the documentation.

`python tests/pictures.py FOLDER [NAME ...]` writes docs/images/. FOLDER holds what these commands train:

    antiphon demo STRUCTURE --out FOLDER/STRUCTURE                      # each structure but synchronous
    antiphon train configs/tagging-ud-ewt.yaml --out FOLDER/synchronous
    antiphon train FOLDER/many_to_many-data/many_to_many.yaml --set model.attention=none --out FOLDER/without-attention
    antiphon train FOLDER/many_to_many-data/many_to_many.yaml --set model.cell=gru --out FOLDER/gru
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from pages import serving
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 1200
SENTENCE = "The old man the boats while the young play ."
COLORS = 256  # size of the palette, which keeps a picture small


def digit(folder: Path, structure: str, place: int) -> Any:
    """A picture of a digit [8, 8] that the model has not seen."""
    with np.load(folder / f"{structure}-data" / "test.npz") as arrays:
        return arrays["picture"][place]


def drawn(pixels: Any) -> str:
    """A picture as the page's state holds it."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def states(folder: Path) -> dict[str, dict[str, Any]]:
    """The page's state in each picture: the model, its one input, the views, and what else is chosen."""
    rows = json.dumps(digit(folder, "many_to_one", 3).tolist())
    word = {"input": "pheasant", "reference": "F EH Z AH N T", "step": 1, "token": 2}
    picture = {name: drawn(digit(folder, name, place)) for name, place in (("one_to_one", 1), ("one_to_many", 2))}
    return {
        "one_to_one": {
            "model": "one_to_one", "input": picture["one_to_one"], "reference": "5", "views": "answers overlay",
        },
        "one_to_many": {
            "model": "one_to_many", "input": picture["one_to_many"], "reference": "eight", "views": "overlay steps",
            "step": 2,
        },
        "many_to_one": {"model": "many_to_one", "input": rows, "reference": "3", "views": "beliefs strips", "token": 4},
        "many_to_many": {"model": "many_to_many", **word, "views": "attention compare steps"},
        "synchronous": {
            "model": "synchronous", "input": SENTENCE, "views": "answers states diagram", "step": 6, "token": 6,
        },
        "context": {
            "model": "without-attention", **word, "other": json.dumps(["tortilla"]), "views": "compare ablation",
        },
        "page-play": {
            "model": "many_to_many", "input": "pheasant", "views": "play", "layer": 2, "step": 2, "unit": 6,
        },
        "page-compare": {"model": "many_to_many", "input": "crapo", "with": "gru", "views": "attention"},
        "page-draw": {"model": "many_to_one", "input": rows, "views": "beliefs"},
        "page-distance": {
            "model": "gru", "input": "pheasant", "views": "distance", "step": 3, "token": 4, "lang": "zh",
            "theme": "dark",
        },
        "dark": {"model": "many_to_many", **word, "views": "attention beam", "theme": "dark"},
    }  # fmt: skip


def main(folder: Path, *names: str) -> None:
    """Write all pictures, or those of these names."""
    shown = {name: state for name, state in states(folder).items() if name in names or not names}
    models = sorted({state[key] for state in shown.values() for key in ("model", "with") if key in state})
    with serving([folder / name for name in models]) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, state in shown.items():
            page = chromium.new_page(viewport={"width": WIDTH, "height": 900}, locale="en-GB")
            page.goto(f"{address}#{urlencode({'theme': 'light', **state, 'input': json.dumps([state['input']])})}")
            page.wait_for_selector('.found[aria-busy="false"] .cards')
            page.wait_for_timeout(500)  # colours fade in
            content = page.screenshot(full_page=True)
            palette = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLORS)
            palette.save(IMAGES / f"{name}.png", optimize=True)
            page.close()
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
