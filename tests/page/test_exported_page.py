"""A model as a page: it answers in the browser as `predict` does, without a server of ours and without a network."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from node import package
from untrained import KINDS, picture_files, rows_of, untrained

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

from antiphon.export.folder import export
from antiphon.use.loading import load

GOLDEN = Path(__file__).parents[1] / "golden" / "v0.1.0"
ANSWERED = '.found[aria-busy="false"] [data-answer]'
Visit = Callable[..., Any]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static host, as `python -m http.server` is one."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def hosting(folder: Path) -> Iterator[str]:
    """The address of a static host of a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def ort(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of onnxruntime-web."""
    return str(package(tmp_path_factory) / "node_modules" / "onnxruntime-web")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, ort: str) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "model").mkdir()
    for path in GOLDEN.iterdir():
        shutil.copy(path, folder / "model")
    (folder / "model" / "examples.json").write_text(json.dumps({"inputs": ["shoe", "moon"]}))
    return export(folder / "model", folder / "page", "web", options={"runtime": ort}).path


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Open a page at a state: nothing may go wrong in it, and nothing may be asked of another host."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def opened(url: str, width: int = 1100, **state: str) -> Any:
        ours = (url, "data:", "blob:")
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.extend([message.text] if message.type == "error" else []))
        page.on("request", lambda request: wrong.extend([] if request.url.startswith(ours) else [request.url]))
        page.goto(f"{url}#{urlencode(state)}")
        page.wait_for_selector(".ask", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def check(page: Any) -> None:
    """Nothing is wider than the page, and no rule of accessibility is broken."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page.wait_for_timeout(300)  # colours fade in
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize(("language", "width"), [("en", 1100), ("zh", 320)])
def test_it_answers_as_predict_with_all_outputs_and_attention(
    golden: Path, visit: Visit, language: str, width: int
) -> None:
    expected = load(GOLDEN, "cpu").predict(["shoe"], beam=4, n_best=4)[0]
    with hosting(golden) as url:
        page = visit(url, width, lang=language, beam="4", theme="dark" if language == "zh" else "light")
        assert page.locator("html").get_attribute("lang") == language
        check(page)
        page.locator("[data-example]").first.click()
        page.wait_for_selector(ANSWERED)
        assert page.inner_text("[data-answer]") == expected.text
        rows = page.locator("table.n-best tbody tr").all()
        assert [row.locator("td").nth(1).inner_text() for row in rows] == [item.text for item in expected.n_best]
        page.wait_for_selector("#view-attention svg")
        assert page.locator("#view-attention svg .label").count() == len(expected.tokens) + 1 + len("shoe") + 1
        for button in page.locator("nav.views button").all():
            if button.get_attribute("aria-pressed") == "false":
                button.click()
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        check(page)
        page.fill("#reference", "SH OW")
        page.locator(".facts dt").nth(2).wait_for()  # log p of the reference
        page.get_by_role("button", name={"en": "Predict live", "zh": "逐步预测"}[language]).click()
        page.locator(".live", has_text="log p").wait_for()


def test_it_works_without_a_network_once_it_was_opened(golden: Path, visit: Visit) -> None:
    with hosting(golden) as url:
        page = visit(url)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.goto(url)  # nobody answers there any more
    page.wait_for_selector("#input-0", timeout=60_000)
    page.fill("#input-0", "moon")
    page.wait_for_selector(ANSWERED)
    assert page.inner_text("[data-answer]") == load(GOLDEN, "cpu").predict(["moon"])[0].text


def test_what_cannot_be_read_is_told(golden: Path, visit: Visit) -> None:
    with hosting(golden) as url:
        page = visit(url, lang="zh")
        page.fill("#input-0", "a" * 501)
        page.wait_for_selector(".problem")
        assert "输入超过了模型" in page.inner_text(".problem") or "501" in page.inner_text(".problem")


def test_without_onnx_runtime_the_page_says_what_to_do(golden: Path, browser: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(golden, tmp_path / "page", ignore=shutil.ignore_patterns("ort"))
    with hosting(folder) as url:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector(".problem")
        assert "npm install" in page.inner_text(".problem")
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in KINDS if "two sources" not in case])
def test_every_kind_of_model_answers_in_the_browser(
    case: str, visit: Visit, ort: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree, columns = KINDS[case]
    pictures = "pictures" in str(columns)
    if pictures:
        files = picture_files(tmp_path)
        nested = isinstance(columns["x"][0], list)
        columns = {**columns, "x": [files[: n + 1] if nested else file for n, file in enumerate(files)]}
    model = untrained(tmp_path, tree, rows_of(**columns))
    path = export(model.folder, tmp_path / "page", "web", options={"runtime": ort}).path
    keys = [key for key in columns if key != "y"]
    value: Any = [columns[key][0] for key in keys]
    (expected,) = model.predict([value[0] if len(value) == 1 else tuple(value) if value else ""])
    with hosting(path) as url:
        page = visit(url, 320)
        check(page)
        for place, part in enumerate(value):
            field = page.locator(f"#input-{place}")
            if pictures:
                field.set_input_files([str(tmp_path / name) for name in ([part] if isinstance(part, str) else part)])
            elif case == "dialogue":
                field.fill("\n".join(part))
            else:
                field.fill(part if isinstance(part, str) else json.dumps(part))
        page.locator("button.main").click()
        page.wait_for_selector(ANSWERED)
        shown = page.inner_text("[data-answer]")
        if hasattr(expected, "value"):
            assert float(shown) == pytest.approx(expected.value, rel=1e-3)
        elif hasattr(expected, "values"):
            assert json.loads(shown)[0] == pytest.approx(expected.values[0].tolist(), abs=1e-3)
        else:
            assert shown.split() == (expected.text.split() or ["(nothing)"])
        check(page)


def test_a_folder_that_is_not_onnx_runtime_is_refused(tmp_path: Path) -> None:
    from antiphon.errors import AntiphonError

    (tmp_path / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.20.0"}')
    for runtime, message in (
        (tmp_path, "but onnxruntime-web 1.20.0; npm install"),
        (tmp_path / "no", "is not the folder"),
    ):
        with pytest.raises(AntiphonError, match=message):
            export(GOLDEN, tmp_path / "page", "web", options={"runtime": str(runtime)})


def test_the_page_has_what_npm_copies(golden: Path) -> None:
    about = json.loads((golden / "package.json").read_text())
    assert about["dependencies"] == {"onnxruntime-web": "1.30.0"}
    assert all((golden / "ort" / name).is_file() for name in about["antiphon"]["files"])
    policy = (golden / "index.html").read_text()
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
