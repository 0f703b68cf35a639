"""What the server does with wrong, large, slow and hostile requests, with too many of them, and when it is stopped."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'antiphon[serve]'")

import httpx2
from PIL import Image
from serving import GOLDEN, Echo, asking, connect, echoing, events, post, process, run

from antiphon.errors import ModelFolderError
from antiphon.server.app import create_app
from antiphon.server.errors import StartError
from antiphon.server.exported import MANIFEST
from antiphon.server.models import Side
from antiphon.server.problems import CODES
from antiphon.server.run import serve
from antiphon.server.settings import Settings
from antiphon.use.serving import load as load_served
from antiphon.use.serving import loader

TOKEN = "a-token-of-the-test"


def problem(answer: httpx2.Response) -> str:
    """The code of a problem, whose form is right."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code == CODES[body["code"]].status
    assert body["type"] == f"/docs#{body['code']}"
    assert "secret" not in answer.text
    return str(body["code"])


def same(computed: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same outputs, their scores but for rounding."""
    pairs = list(zip(computed, expected, strict=True))
    return all(a["tokens"] == b["tokens"] and a["score"] == pytest.approx(b["score"], abs=1e-4) for a, b in pairs)


# --- what is wrong with one input or with a request ---------------------------------------------------


def test_a_wrong_input_has_its_error_in_its_place() -> None:
    async def ask() -> Any:
        async with asking([echoing(Echo())]) as client:
            return await post(client, "/v1/predict", {"inputs": ["ab", "no", 7, "cd"]})

    first, refused, unread, last = run(ask)["results"]
    assert (first["text"], last["text"]) == ("ba", "dc")
    assert refused["error"]["code"] == unread["error"]["code"] == "invalid_input"
    assert "secret" not in json.dumps(refused)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "invalid_json"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, "invalid_json"),
        ({"content": b"inputs=a", "headers": {"content-type": "text/plain"}}, "unsupported_media_type"),
        ({"json": {"inputs": ["a"], "secret": 1}}, "invalid_request"),
        ({"json": {"inputs": []}}, "invalid_request"),
        ({"json": {"inputs": ["a"] * 257}}, "too_many_inputs"),
        ({"json": {"inputs": ["a"], "model": "secret"}}, "unknown_model"),
        ({"json": {"inputs": ["a"], "options": {"beam": "secret"}}}, "invalid_request"),
        ({"json": {"inputs": ["a"], "options": {"beam": 65}}}, "invalid_options"),
        ({"json": {"inputs": ["a"], "options": {"max_length": 2001}}}, "invalid_options"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_is_a_problem_of_a_stable_code(sent: dict[str, Any], code: str) -> None:
    async def ask() -> httpx2.Response:
        async with asking([echoing(Echo())]) as client:
            return await client.post("/v1/predict", **sent)

    assert problem(run(ask)) == code


@pytest.mark.parametrize(
    ("path", "sent", "detail"),
    [
        ("/v1/predict", {}, "inputs is missing"),
        ("/v1/predict", ["secret"], "the body must be a JSON object"),
        ("/v1/predict", {"inputs": "secret"}, "inputs must be a list"),
        ("/v1/predict", {"inputs": []}, "inputs must have at least 1 items"),
        (
            "/v1/predict",
            {"inputs": ["a"], "secret": 1},
            "the body has a field that is not known; known: model, inputs, options",
        ),
        ("/v1/predict", {"inputs": ["a"], "options": "secret"}, "options must be a JSON object"),
        ("/v1/predict", {"inputs": ["a"], "options": {"beam": "secret"}}, "options.beam must be a whole number"),
        ("/v1/predict", {"inputs": ["a"], "options": {"beam": 0}}, "options.beam must be at least 1"),
        (
            "/v1/predict",
            {"inputs": ["a"], "options": {"sample": {"secret": 2}}},
            "options.sample has a field that is not known; known: temperature, top_k, top_p, seed",
        ),
        ("/v1/score", {"pairs": [{"output": "secret"}]}, "pairs.0.input is missing"),
        ("/v1/explain", {"input": "a", "top": 99}, "top must be at most 50"),
        (
            "/v1/explain",
            {"input": "a", "force": [{"step": 1, "token": "a", "secret": 1}]},
            "force.0 has a field that is not known; known: step, token",
        ),
    ],
    ids=str,
)
def test_a_wrong_request_says_what_to_send(path: str, sent: Any, detail: str) -> None:
    async def ask() -> httpx2.Response:
        async with asking([echoing(Echo())]) as client:
            return await client.post(path, json=sent)

    answer = run(ask)
    assert problem(answer) == "invalid_request"
    assert answer.json()["detail"] == detail


def test_a_path_that_is_posted_refuses_another_method_and_the_page_stays() -> None:
    async def ask() -> list[httpx2.Response]:
        async with asking([echoing(Echo())]) as client:
            posted = ("predict", "score", "explain", "predict/stream", "predict/live")
            return [await client.get(f"/v1/{path}") for path in posted] + [
                await client.delete("/v1/predict"), await client.post("/v1/models"),
                await client.get("/v1/nothing"), await client.get("/"),
            ]  # fmt: skip

    *refused, deleted, listed, nothing, page = run(ask)
    assert [problem(answer) for answer in refused] == ["method_not_allowed"] * 5
    assert {answer.headers["allow"] for answer in (*refused, deleted)} == {"POST"}
    assert problem(deleted) == problem(listed) == "method_not_allowed"
    assert listed.headers["allow"] == "GET, HEAD"
    assert problem(nothing) == "not_found"
    assert page.status_code == 200


def test_what_a_calibrated_model_and_strange_inputs_get_stands_in_the_openapi_file(model_folder: Path) -> None:
    api = create_app([], Settings()).openapi()["components"]["schemas"]
    for name, kind in (("TextResult", "number"), ("LabelResult", "number"), ("LabelsResult", "array")):
        assert kind in json.dumps(api[name]["properties"]["confidence"])
        assert "confidence" not in api[name].get("required", [])
    for name in ("TextResult", "LabelResult", "LabelsResult", "NumberResult", "NumbersResult"):
        assert "unknown" in api[name]["properties"]

    async def ask() -> Any:
        async with asking([load_served(model_folder, "cpu")]) as client:
            return await post(client, "/v1/predict", {"inputs": ["abc", "abж", " abc\n", ""]})

    plain, strange, spaced, empty = run(ask)["results"]
    assert "unknown" not in plain
    assert strange["unknown"] == 1
    assert spaced == plain, "Enter in the page's box changes no answer"
    assert empty == {"text": "", "tokens": [], "score": None}


def test_a_model_with_ctc_says_that_it_cannot_be_looked_into(tmp_path: Path) -> None:
    from antiphon.config.load import parse_config
    from antiphon.training.loop import train

    (tmp_path / "t.tsv").write_text("".join(f"{word}\t{word}\n" for word in ("ab", "ba", "abc", "cab", "bca", "acb")))
    tree = {
        "data": {"train": "t.tsv", "valid": "t.tsv"},
        "source": {"tokens": "chars"},
        "target": {"tokens": "chars", "ctc": True},
        "model": {"embedding": 4, "encoder": {"hidden": 4}},
        "train": {"max_steps": 1},
    }
    served = load_served(train(parse_config(tree, tmp_path), tmp_path / "m", device="cpu"), "cpu")

    async def ask() -> tuple[Any, httpx2.Response]:
        async with asking([served]) as client:
            listed = (await client.get("/v1/models")).json()
            return listed, await client.post("/v1/explain", json={"input": "abc"})

    listed, refused = run(ask)
    assert listed["models"][0]["explains"] is False
    assert problem(refused) == "not_supported"
    assert refused.json()["detail"] == "target.ctc cannot be looked into yet"


def test_a_failure_tells_nothing_of_the_machine(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> httpx2.Response:
        async with asking([echoing(Echo())]) as client:
            return await client.post("/v1/predict", json={"inputs": ["burst", "a secret"]})

    assert problem(run(ask)) == "internal_error"
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_bounds_of_bodies_steps_and_pixels() -> None:
    picture = echoing(Echo(), "picture", sources=(Side(name="source", kind="image", pixels=[8, 8], color=True),))
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "png")
    drawn = base64.b64encode(file.getvalue()).decode()
    bounds: dict[str, Any] = {"max_body": 10_000, "max_steps": 100, "max_pixels": 1_000}

    async def ask() -> tuple[list[str], list[str]]:
        async with asking([echoing(Echo()), picture], **bounds) as client:
            large = await client.post("/v1/predict", json={"model": "echo", "inputs": ["a" * 20_000]})

            async def pieces() -> Any:
                for _ in range(20):
                    yield b" " * 1_000

            headers = {"content-type": "application/json"}
            unannounced = await client.post("/v1/predict", content=pieces(), headers=headers)
            codes = []
            for model, given in (
                ("echo", "a" * 101),
                ("picture", drawn),
                ("picture", "no base64"),
                ("picture", "AAAA"),
            ):
                answer = await post(client, "/v1/predict", {"model": model, "inputs": [given]})
                codes.append(answer["results"][0]["error"]["code"])
            return [problem(large), problem(unannounced)], codes

    whole, each = run(ask)
    assert whole == ["body_too_large", "body_too_large"]
    assert each == ["input_too_long", "image_too_large", "invalid_input", "invalid_input"]


def test_a_name_of_a_file_is_never_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    picture = echoing(Echo(), sources=(Side(name="source", kind="image", pixels=[8, 8], color=True),))

    async def ask() -> Any:
        async with asking([picture]) as client:
            return await post(client, "/v1/predict", {"inputs": [str(tmp_path / "picture.png")]})

    assert run(ask)["results"][0]["error"]["code"] == "invalid_input"


# --- much at once -------------------------------------------------------------------------------------


def test_inputs_of_several_requests_are_one_batch() -> None:
    echo = Echo()

    async def ask() -> list[Any]:
        async with asking([echoing(echo)], batch_window=0.2) as client:
            bodies = [{"inputs": [f"{number} a", f"{number} b"]} for number in range(4)]
            return list(await asyncio.gather(*(post(client, "/v1/predict", body) for body in bodies)))

    for number, answer in enumerate(run(ask)):
        assert [item["text"] for item in answer["results"]] == [f"a {number}", f"b {number}"]
    assert len(echo.batches) == 1


def test_what_is_asked_in_different_ways_is_not_one_batch() -> None:
    echo = Echo()

    async def ask() -> None:
        async with asking([echoing(echo)], batch_window=0.05) as client:
            bodies = [{"inputs": ["a"], "options": {"beam": beam}} for beam in (1, 2, 1)]
            await asyncio.gather(*(post(client, "/v1/predict", body) for body in bodies))

    run(ask)
    assert sorted(map(len, echo.batches)) == [1, 2]


def test_a_full_queue_says_so_and_later_takes_again() -> None:
    echo = Echo()

    async def ask() -> tuple[httpx2.Response, Any, Any]:
        async with asking([echoing(echo)], queue=2, batch_window=0.0) as client:
            echo.go.clear()
            first = asyncio.ensure_future(post(client, "/v1/predict", {"inputs": ["in work"]}))
            await asyncio.to_thread(echo.begun.wait, 30)
            second = asyncio.ensure_future(post(client, "/v1/predict", {"inputs": ["a", "b"]}))
            while client.app.state.service.models["echo"].worker.waiting < 2:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            refused = await client.post("/v1/predict", json={"inputs": ["c"]})
            echo.go.set()
            await first
            waited = await second
            return refused, waited, await post(client, "/v1/predict", {"inputs": ["d"]})

    refused, waited, after = run(ask)
    assert problem(refused) == "queue_full"
    assert refused.headers["retry-after"] == "1"
    assert [item["text"] for item in waited["results"]] == ["a", "b"]
    assert after["results"][0]["text"] == "d"
    assert ["c"] not in echo.batches


def test_what_waits_past_its_deadline_is_dropped() -> None:
    echo = Echo()

    async def ask() -> httpx2.Response:
        async with asking([echoing(echo)], deadline=0.2, batch_window=0.0) as client:
            echo.go.clear()
            first = asyncio.ensure_future(client.post("/v1/predict", json={"inputs": ["in work"]}))
            await asyncio.to_thread(echo.begun.wait, 30)
            late = await client.post("/v1/predict", json={"inputs": ["late"]})
            echo.go.set()
            assert problem(await first) == "deadline_exceeded"
            return late

    assert problem(run(ask)) == "deadline_exceeded"
    assert echo.batches == [["in work"]]


def test_work_of_a_client_that_left_is_dropped() -> None:
    echo = Echo()
    echo.go.clear()

    async def ask() -> None:
        app = create_app([echoing(echo)], Settings(batch_window=0.0))
        gone = asyncio.Event()
        sent: list[Any] = []

        async def request(text: str, leaves: bool) -> None:
            body = json.dumps({"inputs": [text]}).encode()
            messages = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Any:
                message = next(messages, None)
                if message is None:
                    await (gone.wait() if leaves else asyncio.sleep(60))
                    return {"type": "http.disconnect"}
                return message

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"content-type", b"application/json"), (b"host", b"server")]
            scope = {
                "type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict", "headers": headers,
                "query_string": b"", "scheme": "http", "http_version": "1.1", "server": ("server", 80),
                "client": ("client", 1), "root_path": "",
            }  # fmt: skip
            await app(scope, receive, send)

        async with app.router.lifespan_context(app):
            first = asyncio.ensure_future(request("in work", False))
            await asyncio.to_thread(echo.begun.wait, 30)
            second = asyncio.ensure_future(request("left", True))
            while app.state.service.models["echo"].worker.waiting < 1:
                await asyncio.sleep(0.01)
            gone.set()
            await second
            echo.go.set()
            await first
        assert [item["status"] for item in sent if item["type"] == "http.response.start"] == [499, 200]

    run(ask)
    assert echo.batches == [["in work"]]


# --- who may ask --------------------------------------------------------------------------------------


def test_without_the_token_no_access() -> None:
    async def ask() -> None:
        async with asking([echoing(Echo())], token=TOKEN) as client:
            api = (await client.get("/openapi.json")).json()
            closed = [path for path in api["paths"] if path.startswith("/v1/") or path == "/metrics"]
            assert len(closed) == 8
            for path in closed:
                (method,) = api["paths"][path]
                for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
                    answer = await client.request(method, path, json={"inputs": ["a"]}, headers=header)
                    assert problem(answer) == "unauthorized"
                    assert answer.headers["www-authenticate"] == "Bearer"
            right = {"authorization": f"Bearer {TOKEN}"}
            assert (await client.get("/v1/models", headers=right)).status_code == 200
            assert (await client.get("/healthz")).status_code == (await client.get("/readyz")).status_code == 200

    run(ask)


def test_pages_elsewhere_may_not_ask_unless_they_are_named() -> None:
    async def allowed(*origins: str) -> list[str | None]:
        async with asking([echoing(Echo())], origins=origins) as client:
            arguments = {"origin": "https://mine.example", "access-control-request-method": "POST"}
            first = await client.options("/v1/predict", headers=arguments)
            second = await client.post("/v1/predict", json={"inputs": ["a"]}, headers={"origin": arguments["origin"]})
            return [answer.headers.get("access-control-allow-origin") for answer in (first, second)]

    assert run(allowed) == [None, None]
    assert run(lambda: allowed("https://other.example")) == [None, None]
    assert run(lambda: allowed("https://mine.example")) == ["https://mine.example"] * 2


def test_another_host_name_is_refused() -> None:
    async def ask() -> None:
        async with asking([echoing(Echo())], hosts=("127.0.0.1", "localhost", "[::1]")) as client:
            for host, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("rebound.example", 400)):
                assert (await client.get("/healthz", headers={"host": host})).status_code == status

    run(ask)


def test_beyond_this_machine_a_token_is_needed() -> None:
    with pytest.raises(StartError, match=r"--token-file, or --allow-open"):
        serve([GOLDEN], loader("cpu"), "0.0.0.0", 0, Settings(), allow_open=False)


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"--port {port}: cannot be bound"):
            serve([GOLDEN], loader("cpu"), "127.0.0.1", port, Settings(), allow_open=False)


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of requests that the server has logged."""
    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [line for line in lines if line["event"] == "request"]


# --- what it reports ----------------------------------------------------------------------------------


def test_a_line_of_log_a_request_without_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon.server")

    async def ask() -> None:
        async with asking([echoing(Echo())]) as client:
            caplog.clear()
            await client.post("/v1/predict", json={"inputs": ["private", "no"]}, headers={"x-request-id": "mine-1"})
            await client.get("/private")

    run(ask)
    first, second = logged(caplog)
    assert (first["request"], first["route"], first["status"]) == ("mine-1", "/v1/predict", 200)
    assert (first["model"], first["inputs"]) == ("echo", 2)
    assert second["status"] == 404
    assert "private" not in caplog.text


def test_readiness_models_metrics_and_documentation() -> None:
    async def ask() -> None:
        loading = threading.Event()

        def slowly() -> Any:
            loading.wait(30)
            yield echoing(Echo())

        async with asking(slowly()) as client:
            for path in ("/readyz", "/v1/models"):
                assert problem(await client.get(path)) == "loading"
            assert problem(await client.post("/v1/predict", json={"inputs": ["a"]})) == "loading"
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            loading.set()
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
            await post(client, "/v1/predict", {"inputs": ["a", "b"]})
            (card,) = (await client.get("/v1/models")).json()["models"]
            assert (card["name"], card["structure"], card["streams"]) == ("echo", "many_to_many", "tokens")
            counted = (await client.get("/metrics")).text
            assert 'antiphon_inputs_total{model="echo"} 2.0' in counted
            assert 'antiphon_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in counted
            page = await client.get("/docs")
            assert page.status_code == 200
            assert "://" not in page.text.replace("http://server", "")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            for code in CODES:
                assert f"<tr id={code}>" in page.text
            client.app.state.service.drain()  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)
            assert problem(await client.get("/readyz")) == "draining"

    run(ask)


def test_a_stream_ends_with_its_mark_and_drains() -> None:
    echo = Echo()

    async def ask() -> tuple[list[Any], list[Any], list[Any]]:
        live = echoing(echo, "live", streams="steps")
        async with asking([echoing(echo), live]) as client:
            body = {"model": "echo", "inputs": ["abc", 5]}
            streamed = events((await client.post("/v1/predict/stream", json=body)).text)
            wrong = {"model": "live", "inputs": ["ab", "no", "cd"]}
            failed = events((await client.post("/v1/predict/stream", json=wrong)).text)

            async def lines() -> Any:
                yield b'"ab"\n"cd"\n'
                await asyncio.sleep(0.3)
                client.app.state.service.stop()  # type: ignore[attr-defined]
                await asyncio.sleep(30)
                yield b'"ef"\n'

            headers = {"content-type": "application/x-ndjson"}
            drained = await client.post("/v1/predict/live?model=live", content=lines(), headers=headers)
            return streamed, failed, events(drained.text)

    streamed, failed, drained = run(ask)
    assert [name for name, _ in streamed] == ["token"] * 4 + ["result", "result", "end"]
    assert streamed[5][1]["error"]["code"] == "invalid_input"
    assert streamed[-1][1] == {"reason": "done"}
    assert [name for name, _ in failed] == ["step", "error", "end"]
    assert failed[-1][1] == {"reason": "error"}
    assert "secret" not in json.dumps(failed)
    assert [value.get("text") for _, value in drained] == ["ba", "dc", None]
    assert drained[-1] == ("end", {"reason": "draining"})


# --- processes ----------------------------------------------------------------------------------------


def test_a_damaged_model_does_not_start(tmp_path: Path) -> None:
    import shutil
    import subprocess
    import sys

    shutil.copytree(GOLDEN, tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"damaged")
    command = [sys.executable, "-m", "antiphon", "serve", str(tmp_path / "model"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "weights.safetensors" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ModelFolderError, match=r"weights\.safetensors"):
        load_served(tmp_path / "model", "cpu")


def test_sigterm_under_load_loses_nothing_that_was_admitted(tmp_path: Path) -> None:
    words = ["shoe", "moon", "a", "shee"]
    with process(tmp_path, GOLDEN) as server:
        host = server.url
        alone = {word: httpx2.post(f"{host}/v1/predict", json={"inputs": [word]}).json()["results"] for word in words}
        outcomes: list[tuple[str, Any]] = []
        stop = threading.Event()

        def ask(number: int) -> None:
            with httpx2.Client(timeout=60) as client:
                while not stop.is_set():
                    word = words[number % len(words)]
                    try:
                        answer = client.post(f"{host}/v1/predict", json={"inputs": [word]})
                    except httpx2.TransportError as error:  # it was not admitted any more
                        outcomes.append(("refused", type(error).__name__))
                        return
                    right = answer.status_code == 200 and same(answer.json()["results"], alone[word])
                    outcomes.append(("right" if right else f"status {answer.status_code}", answer.text))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        stop.set()
        for thread in threads:
            thread.join()
    kinds = {kind for kind, _ in outcomes}
    assert "right" in kinds
    assert kinds <= {"right", "refused"}, outcomes
    answered = sum(line.get("status") == 200 and line.get("route") == "/v1/predict" for line in server.lines)
    assert answered == sum(kind == "right" for kind, _ in outcomes) + len(words)
    refused = {error for kind, error in outcomes if kind == "refused"}
    assert refused <= {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}


def test_a_slow_body_is_refused_and_others_are_answered(tmp_path: Path) -> None:
    with process(tmp_path, GOLDEN, "--deadline", "1") as server, connect(server.url) as slow:
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n")
        slow.sendall(b"content-length: 100\r\n\r\n{")
        answer = httpx2.post(f"{server.url}/v1/predict", json={"inputs": ["shoe"]}, timeout=60)
        assert answer.status_code == 200
        assert b" 408 " in slow.recv(1_000)


def test_a_head_without_end_is_refused_before_memory_is(tmp_path: Path) -> None:
    with process(tmp_path, GOLDEN) as server, connect(server.url) as endless:
        endless.settimeout(20)
        endless.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-endless: ")
        answer = b""
        try:
            for _ in range(1_000):
                endless.sendall(b"a" * 1_000)
            answer = endless.recv(1_000)
        except (BrokenPipeError, ConnectionResetError):  # it has hung up
            answer = b" 400 "
        assert b" 400 " in answer
        assert httpx2.get(f"{server.url}/healthz", timeout=60).status_code == 200
        line = {"event": "uvicorn", "level": "warning", "message": "Invalid HTTP request received."}
        assert any(line.items() <= logged.items() for logged in server.lines)


# --- what cannot be served is reported before the server listens --------------------------------------


def test_an_exported_model_without_its_runtime_is_told_before_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    caplog.set_level(logging.INFO, "antiphon.server")
    (tmp_path / MANIFEST).write_text("{}")
    monkeypatch.setitem(sys.modules, "antiphon_runtime", None)
    with pytest.raises(ModelFolderError) as caught:
        serve([GOLDEN, tmp_path], loader("cpu"), "127.0.0.1", 0, Settings(), allow_open=False)
    assert str(caught.value) == (
        f"{tmp_path}: is an exported model, which the package antiphon-runtime reads; install it: "
        "pip install 'antiphon[runtime]', or in a clone pip install ./runtime"
    )
    assert "listening" not in caplog.text


def test_a_folder_that_is_no_model_is_told_before_listening(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "antiphon.server")
    with pytest.raises(ModelFolderError, match="is not a complete model"):
        serve([tmp_path], loader("cpu"), "127.0.0.1", 0, Settings(), allow_open=False)
    assert "listening" not in caplog.text
