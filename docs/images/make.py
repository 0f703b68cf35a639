"""Pictures of the server's page: python docs/images/make.py FOLDER OUT.png [KEY=VALUE ...]

Serves a model folder, opens the page at a state (`input`, `reference`, ... as they stand in its address; an input that
is a file of a picture is sent as the picture), and takes all of it, as `width` (1280) pixels of `theme`.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from pages import serving
from playwright.sync_api import sync_playwright


def main() -> None:
    folder, out, *pairs = sys.argv[1:]
    state = dict(pair.split("=", 1) for pair in pairs)
    width = int(state.pop("width", 1280))
    parts = json.loads(state["input"])
    is_file = [isinstance(one, str) and len(one) < 300 and Path(one).is_file() for one in parts]
    read = [
        base64.b64encode(Path(one).read_bytes()).decode() if f else one for one, f in zip(parts, is_file, strict=True)
    ]
    state |= {"model": Path(folder).resolve().name, "input": json.dumps(read)}
    with serving([Path(folder)]) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(f"{address}#{urlencode(state)}")
        page.wait_for_selector("nav.views button", timeout=60_000)
        page.wait_for_selector('.found[aria-busy="false"]', timeout=60_000)
        page.wait_for_timeout(500)
        page.screenshot(path=out, full_page=True)
        browser.close()


main()
