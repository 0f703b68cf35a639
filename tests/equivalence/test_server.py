"""What the server answers is what `predict` answers, alone and in company, from PyTorch and from an exported folder."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'antiphon[serve]'")
pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import httpx2
import jsonschema
from serving import ALONE, GOLDEN, RUNTIME_ALONE, asking, events, post, process, run
from untrained import KINDS, picture_files, rows_of, untrained

from antiphon.data.rows import Row
from antiphon.export.folder import export
from antiphon.server.app import STATIC, create_app
from antiphon.server.models import Served, warm
from antiphon.server.schema import answer_json
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor
from antiphon.use.serving import load as load_served

OFTEN = {"unigram, two sources", "image to text", "text to label", "vector to number", "frames to labels, live",
         "the next symbol"}  # fmt: skip
CASES = [pytest.param(case, marks=[] if case in OFTEN else pytest.mark.slow) for case in KINDS]
WRITERS = ["unigram, two sources", "the next symbol", "image to text"]


def close(expected: Any, computed: Any) -> None:
    """The same JSON, numbers nearly."""
    if isinstance(expected, dict):
        assert expected.keys() == computed.keys()
        for key, value in expected.items():
            close(value, computed[key])
    elif isinstance(expected, list):
        assert len(expected) == len(computed)
        for item, other in zip(expected, computed, strict=True):
            close(item, other)
    elif isinstance(expected, float):
        np.testing.assert_allclose(computed, expected, atol=1e-4, rtol=1e-4)
    else:
        assert expected == computed


def sent(model: Predictor, given: Any) -> Any:
    """An input of `predict` as it is sent: pictures by their bytes, several sources as a list."""
    kinds = [codec.kind for codec in model.codecs.sources]
    if kinds == ["image"]:
        return base64.b64encode(Path(given).read_bytes()).decode()
    if kinds == ["images"]:
        return [base64.b64encode(Path(item).read_bytes()).decode() for item in given]
    if kinds == ["none"]:
        return None
    return list(given) if isinstance(given, tuple) else given


class Made(NamedTuple):
    """A model of a case, inputs for it, and both folders that can be served."""

    model: Predictor
    inputs: list[Any]
    folders: tuple[Path, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Makes the model of a case, once."""

    @cache
    def make(case: str) -> Made:
        folder = tmp_path_factory.mktemp("made")
        tree, columns = KINDS[case]
        if "pictures" in str(columns):
            files = picture_files(folder)
            nested = isinstance(columns["x"][0], list)
            columns = {**columns, "x": [files[: n + 1] if nested else file for n, file in enumerate(files)]}
        model = untrained(folder, tree, rows_of(**columns))
        export(model.folder, folder / "out")
        several = [key for key in columns if key != "y"]
        inputs: list[Any] = list(columns[several[0]] if several else ["", ""])
        if len(several) > 1:
            inputs = list(zip(*(columns[key] for key in several), strict=True))
        if case.startswith("image"):
            inputs = [
                str(folder / item) if isinstance(item, str) else [str(folder / o) for o in item] for item in inputs
            ]
        return Made(model, inputs, (model.folder, folder / "out"))

    return make


async def answered(served: Served, inputs: Sequence[Any], options: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The results of one request with all inputs, and of one request each, all at once."""
    async with asking([served]) as client:
        whole = await post(client, "/v1/predict", {"inputs": inputs, "options": options})
        bodies = [{"inputs": [item], "options": options} for item in inputs]
        each = await asyncio.gather(*(post(client, "/v1/predict", body) for body in bodies))
    return whole["results"], [item["results"][0] for item in each]


@pytest.mark.parametrize("case", CASES)
def test_the_server_answers_as_predict(case: str, made: Callable[[str], Made]) -> None:
    model, inputs, folders = made(case)
    bodies = [sent(model, item) for item in inputs]
    for folder in folders:
        served = load_served(folder, "cpu")
        settings: list[dict[str, Any]] = [{}]
        if served.streams == "tokens":
            settings += [{"beam": 3, "n_best": 2}, {"sample": {"seed": 2, "temperature": 0.8}}]
        for options in settings:
            n_best = options.get("n_best", 1)
            expected = [answer_json(item, n_best) for item in model.predict(inputs, **options)]
            alone = [answer_json(model.predict([item], **options)[0], n_best) for item in inputs]
            whole, each = run(lambda: answered(served, bodies, options))  # noqa: B023 it is run at once
            close(expected, whole)
            close(alone, each)


@cache
def described() -> Any:
    """A check of answers to /v1/predict by the OpenAPI file, in which no field may be left out."""
    api = create_app([]).openapi()
    for schema in api["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/PredictAnswer", "components": api["components"]}
    )


@pytest.mark.parametrize("case", CASES)
def test_all_that_is_answered_stands_in_the_openapi_file_and_all_that_is_refused_in_the_models(
    case: str, made: Callable[[str], Made]
) -> None:
    model, inputs, folders = made(case)
    reads = model.codecs.sources[0].reads
    strange: list[Any] = ["ж", ""] if reads and isinstance(inputs[0], str) and not case.startswith("image") else []
    bodies = [*(sent(model, item) for item in inputs), *strange, {"no": "input"}]

    async def ask(served: Served) -> None:
        options: list[dict[str, Any]] = [{}]
        if served.streams == "tokens":
            options += [{"beam": 3, "n_best": 2}, {"sample": {"seed": 2}}, {"token_scores": True}]
        async with asking([served]) as client:
            for chosen in options:
                answer = await post(client, "/v1/predict", {"inputs": bodies, "options": chosen})
                described().validate(answer)
                fields = set().union(*answer["results"])
                assert "error" in fields or not reads
                assert "unknown" in fields or not strange
            for chosen in ({"attention": True}, {"align": True}):  # not of every model
                response = await client.post("/v1/predict", json={"inputs": bodies, "options": chosen})
                if response.status_code == 200:
                    described().validate(response.json())
                else:
                    assert response.json()["code"] == "invalid_options"
            (card,) = (await client.get("/v1/models")).json()["models"]
            explained = await client.post("/v1/explain", json={"input": bodies[0]})
            assert card["explains"] == (explained.status_code == 200), explained.text
            pair = {"input": bodies[0], "target": None}
            scored = await client.post("/v1/score", json={"pairs": [pair]})
            assert card["scores"] == (scored.status_code == 200), scored.text

    for folder in folders:
        served = load_served(folder, "cpu")
        warm(served)
        (first,) = served.predictor.answers([served.example])
        assert not isinstance(first, Exception), first
        run(lambda: ask(served))  # noqa: B023 it is run at once


@pytest.mark.parametrize(
    "case", ["frames to labels, live", pytest.param("words to numbers, live", marks=pytest.mark.slow)]
)
def test_live_steps_are_answered_as_live_answers_them(case: str, made: Callable[[str], Made]) -> None:
    model, inputs, folders = made(case)
    steps = [*(item for given in inputs for item in (*(given.split() if isinstance(given, str) else given), ""))]
    expected = [answer_json(item) for item in model.live(steps)]

    async def ask(served: Served) -> list[tuple[str, Any]]:
        async with asking([served]) as client:
            return events((await client.post("/v1/predict/stream", json={"inputs": steps})).text)

    for folder in folders:
        *answered, end = run(lambda: ask(load_served(folder, "cpu")))  # noqa: B023
        assert end == ("end", {"reason": "done"})
        close(
            [["step", {"index": place, **item}] for place, item in enumerate(expected)],
            [list(item) for item in answered],
        )


@pytest.mark.parametrize("case", WRITERS)
@pytest.mark.parametrize("options", [{}, {"sample": {"seed": 3, "top_k": 4}}], ids=["greedy", "drawn"])
def test_what_is_said_symbol_by_symbol_is_the_answer(
    case: str, options: dict[str, Any], made: Callable[[str], Made]
) -> None:
    model, inputs, folders = made(case)
    given, body = inputs[0], sent(model, inputs[0])
    expected = model.predict([given], beam=1, **options)[0]

    async def ask(served: Served) -> list[tuple[str, Any]]:
        async with asking([served]) as client:
            response = await client.post("/v1/predict/stream", json={"inputs": [body], "options": options})
            return events(response.text)

    for folder in folders:
        *growing, result, end = run(lambda: ask(load_served(folder, "cpu")))  # noqa: B023
        assert end == ("end", {"reason": "done"})
        close(["result", {"index": 0, **answer_json(expected)}], list(result))
        read = expected.source_tokens if case == "the next symbol" else []
        tokens = [data["token"] for _, data in growing]
        assert tokens == [*expected.tokens[len(read) :], None]
        assert growing[-1][1]["text"] == expected.text
        close(expected.score, growing[-1][1]["score"])


def test_scores_and_options_are_those_of_the_model() -> None:
    model, served = load(GOLDEN, "cpu"), load_served(GOLDEN, "cpu")
    pairs = [("shoe", "SH UW"), ("moon", "M UW N"), ("a", "AA"), ("shee", "SH IY")]
    options = {
        "beam": 4, "n_best": 3, "prefix": "SH", "length_penalty": 0.5, "max_length": 5, "no_repeat_ngram": 1,
        "eos_penalty": 0.5, "token_scores": True, "align": True, "attention": True,
    }  # fmt: skip
    settings = {
        f"decode.{name}": options[name] for name in ("length_penalty", "max_length", "no_repeat_ngram", "eos_penalty")
    }

    async def ask() -> tuple[Any, Any]:
        async with asking([served]) as client:
            body = {"pairs": [{"input": given, "target": target} for given, target in pairs]}
            predicted = {"inputs": [given for given, _ in pairs], "options": options}
            return await post(client, "/v1/score", body), await post(client, "/v1/predict", predicted)

    scored, predicted = run(ask)
    rows = [Row((given,), target, "t", 1) for given, target in pairs]
    close([{"score": value} for value in model.score(rows)], scored["results"])
    expected = model.predict(
        [given for given, _ in pairs], beam=4, n_best=3, prefix="SH", settings=settings,
        token_scores=True, align=True, attention=True,
    )  # fmt: skip
    close([answer_json(item, 3) for item in expected], predicted["results"])


def test_a_trace_is_that_of_explain() -> None:
    model, served = load(GOLDEN, "cpu"), load_served(GOLDEN, "cpu")
    body = {
        "input": "shoe", "reference": "SH UW", "other": "moon", "force": [{"step": 0, "token": "M"}], "top": 3,
        "options": {"beam": 2, "max_length": 6},
    }  # fmt: skip

    async def ask() -> Any:
        async with asking([served]) as client:
            return await post(client, "/v1/explain", body)

    expected = model.explain("shoe", "SH UW", "moon", [(0, "M")], 3, 2, {"decode.max_length": 6})
    close(expected.to_json(), run(ask))


def test_the_runtime_alone_serves_an_exported_folder_as_the_package_does(tmp_path: Path) -> None:
    export(GOLDEN, tmp_path / "v0.1.0")
    words, options = ["shoe", "moon", "a", "shee", ""], {"beam": 4, "n_best": 2}
    body = {"inputs": words, "options": options}

    async def ask() -> tuple[Any, list[str]]:
        async with asking([load_served(GOLDEN, "cpu")]) as client:
            paths = list((await client.get("/openapi.json")).json()["paths"])
            return await post(client, "/v1/predict", body), paths

    expected, paths = run(ask)
    with process(tmp_path, tmp_path / "v0.1.0", command=RUNTIME_ALONE) as server:
        answer = httpx2.post(f"{server.url}/v1/predict", json=body, timeout=60)
        served = httpx2.get(f"{server.url}/openapi.json").json()
        page, listed = httpx2.get(server.url), httpx2.get(f"{server.url}/v1/models").json()["models"]
        refused = httpx2.post(f"{server.url}/v1/explain", json={"input": "shoe"})
    close(expected, answer.json())
    assert list(served["paths"]) == paths
    assert page.text == (STATIC / "index.html").read_text(encoding="utf-8")
    assert [(card["format"], card["explains"], card["scores"]) for card in listed] == [("onnx", False, False)]
    assert refused.json()["code"] == "not_supported"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (GOLDEN, "is a trained model, which needs PyTorch; export it where it was trained: antiphon export"),
        (GOLDEN.parent / "nothing", "no such folder"),
        (GOLDEN.parent, "antiphon.json: cannot be read"),
    ],
    ids=["trained", "missing", "empty"],
)
def test_the_runtime_alone_refuses_before_it_listens(folder: Path, message: str) -> None:
    done = refused_start(RUNTIME_ALONE, folder)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("missing", "case", "message"),
    [
        ("uvicorn", "text to label", "serve needs uvicorn: pip install 'antiphon-runtime[serve]'"),
        ("PIL", "images to label", "reads pictures, which needs PIL: pip install 'antiphon-runtime[images]'"),
        ("tokenizers", "bpe to chars", "need the tokenizers library: pip install 'antiphon-runtime[subwords]'"),
    ],
)
def test_what_is_not_installed_is_named_before_it_listens(
    missing: str, case: str, message: str, made: Callable[[str], Made]
) -> None:
    blocked = ALONE.replace('"antiphon")', f'"antiphon", "{missing}")')
    done = refused_start((sys.executable, "-c", blocked, "serve"), made(case).folders[1])
    assert message in done.stderr


def refused_start(command: Sequence[str | Path], *arguments: object) -> subprocess.CompletedProcess[str]:
    """What a server's command writes that does not start: one message, status 1."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    whole = [*map(str, (*command, *arguments)), "--port", "0"]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "listening" not in done.stderr
    return done
