"""A server in operation: it stops, loads its models again and is probed, all under load, without losing a request."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'antiphon[serve]'")
pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import httpx2
import typer
from hypothesis import given
from hypothesis import strategies as st
from load import Client, finished, under_load
from serving import GOLDEN, RUNTIME_ALONE, Echo, Process, asking, echoing, events, post, process, run
from typer.testing import CliRunner

from antiphon.export.folder import export
from antiphon.server.errors import StartError
from antiphon.server.limits import ClientLimit
from antiphon.server.options import Wanted, command
from antiphon.server.settings import Settings
from antiphon.server.stopping import begin_none
from antiphon.server.tracing import VARIABLES, tracer_of

WORDS = ["shoe", "moon", "a", "shee"]
TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    folder = tmp_path_factory.mktemp("shipped") / "model"
    export(GOLDEN, folder)
    return folder


def answers(folder: Path) -> dict[str, str]:
    """What the model of an exported folder answers."""
    import antiphon_runtime

    return {word: antiphon_runtime.load(folder).predict([word])[0].text for word in WORDS}


def port_of(server: Process) -> int:
    return int(server.url.rpartition(":")[2])


# --- stopping -----------------------------------------------------------------------------------------


def stopped_under_load(folder: Path, shipped: Path, *options: object) -> Counter[str]:
    """What became of the requests of 32 clients while a server was told to stop."""
    expected = answers(shipped)
    with process(folder, shipped, *options, command=RUNTIME_ALONE) as server:

        async def stop() -> None:
            await asyncio.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 60) is not None

        outcomes = finished(
            under_load(
                port_of(server), WORDS, lambda word, result: "right" if result["text"] == expected[word] else None, stop
            )
        )
        assert server.process.returncode == 0
        counted = sum(line.get("route") == "/v1/predict" for line in server.lines)
    assert counted == outcomes["right"]
    return outcomes


@pytest.mark.parametrize(
    ("runs", "grace"),
    [
        (2, 0.5), (1, 0.0),
        pytest.param(20, 0.5, marks=pytest.mark.slow), pytest.param(20, 0.0, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_no_request_is_lost_when_it_stops_under_load(tmp_path: Path, shipped: Path, runs: int, grace: float) -> None:
    for _ in range(runs):
        outcomes = stopped_under_load(tmp_path, shipped, "--grace", grace)
        assert outcomes.keys() == {"right", "refused"}, outcomes
        assert outcomes["refused"] == 32


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can filter the packets of a listening socket")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_before_a_socket_is_closed_no_connection_begins_and_those_that_have_begun_stay(family: int, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listening:
        address = listening.getsockname()[:2]
        with socket.create_connection(address) as waiting, socket.socket(family) as late:
            begin_none(listening)
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(address)
            waiting.send(b"a")
            accepted, _ = listening.accept()
            listening.close()
            waiting.send(b"b")
            with accepted:
                assert accepted.recv(1) + accepted.recv(1) == b"ab"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)


def test_it_is_not_ready_but_answers_until_the_grace_period_is_over(tmp_path: Path, shipped: Path) -> None:
    with (
        process(tmp_path, shipped, "--grace", 2, command=RUNTIME_ALONE) as server,
        httpx2.Client(base_url=server.url, timeout=60) as client,
    ):
        assert client.get("/readyz").headers.get("connection") is None
        server.process.send_signal(signal.SIGTERM)
        server.until("draining")
        ready, alive = client.get("/readyz"), client.get("/healthz")
        answer = client.post("/v1/predict", json={"inputs": WORDS})
        assert (ready.status_code, ready.json()["code"]) == (503, "draining")
        assert alive.status_code == answer.status_code == 200
        assert {item.headers["connection"] for item in (ready, alive, answer)} == {"close"}
        assert server.process.wait(30) == 0


def test_a_second_signal_stops_at_once(tmp_path: Path, shipped: Path) -> None:
    with process(tmp_path, shipped, "--grace", 600, command=RUNTIME_ALONE) as server:
        server.process.send_signal(signal.SIGTERM)
        server.until("draining")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 128 + signal.SIGINT


def test_a_person_at_a_terminal_does_not_wait_for_the_grace_period(tmp_path: Path, shipped: Path) -> None:
    with process(tmp_path, shipped, "--grace", 600, command=RUNTIME_ALONE) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


async def accepts(port: int) -> bool:
    """Whether a server takes a new connection at once: while it closes, the first packet of one is dropped."""
    client = Client(port)
    try:
        await asyncio.wait_for(client.connect(), 0.1)
    except (ConnectionRefusedError, TimeoutError):
        return False
    client.close()
    return True


def test_a_connection_that_has_not_asked_yet_is_answered_after_the_end(tmp_path: Path, shipped: Path) -> None:
    async def ask(server: Process) -> list[int]:
        early, late = Client(port_of(server)), Client(port_of(server))
        await early.connect()
        assert (await late.post("/v1/predict", {"inputs": ["a"]}))[0] == 200
        server.process.send_signal(signal.SIGTERM)
        while not any(line["event"] == "draining" for line in server.lines):
            await asyncio.sleep(0.01)
        while await accepts(port_of(server)):
            await asyncio.sleep(0.01)
        return [(await client.post("/v1/predict", {"inputs": ["a"]}))[0] for client in (early, late)]

    with process(tmp_path, shipped, command=RUNTIME_ALONE) as server:
        assert finished(ask(server)) == [200, 200]
        assert server.process.wait(30) == 0


# --- loading again ------------------------------------------------------------------------------------


def other(folder: Path, place: Path) -> Path:
    """An exported folder whose model answers otherwise: its target symbols have other names."""
    shutil.copytree(folder, place)
    path = place / "vocabulary-target.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**vocabulary, "symbols": vocabulary["symbols"][::-1]}), encoding="utf-8")
    return place


def replaced(link: Path, target: Path) -> None:
    """Let a link lead elsewhere, at once."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    os.replace(fresh, link)


@pytest.mark.parametrize("reloads", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_models_are_loaded_again_under_load_without_an_error(tmp_path: Path, shipped: Path, reloads: int) -> None:
    folders = [shipped, other(shipped, tmp_path / "other")]
    old, new = map(answers, folders)
    assert all(old[word] != new[word] for word in WORDS)
    link = tmp_path / "current"
    link.symlink_to(shipped)

    def right(word: str, result: Any) -> str | None:
        return {old[word]: "old", new[word]: "new"}.get(result["text"])

    with process(tmp_path, link, command=RUNTIME_ALONE) as server:

        async def reload() -> None:
            client = Client(port_of(server))
            for number in range(1, reloads + 1):
                await asyncio.sleep(0.2)
                replaced(link, folders[number % 2])
                server.process.send_signal(signal.SIGHUP)
                while sum(line["event"] == "reloaded" for line in server.lines) < number:
                    await asyncio.sleep(0.02)
                _, answer = await client.post("/v1/predict", {"inputs": ["shoe"]})
                assert right("shoe", answer["results"][0]) == ("new" if number % 2 else "old")
            client.close()

        outcomes = finished(under_load(port_of(server), WORDS, right, reload))
    assert outcomes.keys() == {"old", "new"}, outcomes


def test_a_folder_that_cannot_be_loaded_keeps_the_old_model(tmp_path: Path, shipped: Path) -> None:
    folder, token = tmp_path / "model", tmp_path / "token"
    shutil.copytree(shipped, folder)
    token.write_text(TOKEN)
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        process(tmp_path, folder, "--token-file", token, command=RUNTIME_ALONE) as server,
        httpx2.Client(base_url=server.url, timeout=60, headers=headers) as client,
    ):
        before = client.post("/v1/predict", json={"inputs": WORDS}).json()
        good = client.post("/v1/models/reload")
        assert (good.status_code, good.json()) == (200, {"models": ["model"]})
        graph = (folder / "step.onnx").read_bytes()
        (folder / "step.onnx").write_bytes(b"damaged")
        bad = client.post("/v1/models/reload")
        assert (bad.status_code, bad.json()["code"]) == (500, "reload_failed")
        assert bad.json()["detail"] == "not loaded again: model"
        assert str(tmp_path) not in bad.text
        (line,) = (line for line in server.lines if line["event"] == "reload failed")
        assert "step.onnx: is damaged" in line["reason"]
        (folder / "step.onnx").write_bytes(graph)
        assert client.post("/v1/models/reload").status_code == 200
        assert client.post("/v1/predict", json={"inputs": WORDS}).json() == before


def test_without_a_token_nobody_reloads_over_http() -> None:
    async def ask(**settings: Any) -> httpx2.Response:
        async with asking([echoing(Echo())], **settings) as client:
            return await client.post("/v1/models/reload")

    refused = run(ask)
    assert (refused.status_code, refused.json()["code"]) == (403, "token_needed")
    assert "SIGHUP" in refused.json()["title"]
    assert run(lambda: ask(token=TOKEN)).json()["code"] == "unauthorized"


def test_a_stream_goes_on_with_the_model_that_it_began_with() -> None:
    old, new = Echo(), Echo()
    begun, swapped = asyncio.Event(), asyncio.Event()

    async def lines() -> Any:
        yield b'"ab"\n'
        begun.set()
        await swapped.wait()
        yield b'"cd"\n'

    async def ask() -> tuple[list[Any], Any, int]:
        live = echoing(old, "live", streams="steps")
        async with asking([live], again=lambda _: echoing(new, "live", streams="steps")) as client:
            service = client.app.state.service  # type: ignore[attr-defined]
            headers = {"content-type": "application/x-ndjson"}
            streaming = asyncio.ensure_future(client.post("/v1/predict/live", content=lines(), headers=headers))
            await begun.wait()
            before = service.models["live"].worker
            assert await service.reload() == []
            while before.alive:
                await asyncio.sleep(0.01)
            swapped.set()
            answer = await post(client, "/v1/predict", {"inputs": ["ef"]})
            return events((await streaming).text), answer, len(old.batches)

    streamed, answer, asked_of_old = run(ask)
    assert [value.get("text") for _, value in streamed] == ["ba", "dc", None]
    assert answer["results"][0]["text"] == "fe"
    assert (asked_of_old, new.batches) == (0, [["ef"]])


# --- probes, methods, log -----------------------------------------------------------------------------


def test_every_path_names_the_methods_that_it_takes() -> None:
    async def ask() -> None:
        async with asking([echoing(Echo())]) as client:
            paths = (await client.get("/openapi.json")).json()["paths"]
            taken = {path: {method.upper() for method in methods} for path, methods in paths.items()}
            taken |= {"/docs": {"GET"}, "/openapi.json": {"GET"}, "/": {"GET"}, "/app.js": {"GET"}}
            for path, methods in taken.items():
                right = methods | {"HEAD"} if "GET" in methods else methods
                for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - right:
                    answer = await client.request(method, path)
                    assert answer.status_code == 405, (method, path)
                    assert set(answer.headers["allow"].split(", ")) == right, (method, path)
                    assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"
            for method in ("GET", "POST", "DELETE"):
                assert (await client.request(method, "/v1/nothing")).json()["code"] == "not_found"
            assert (await client.head("/readyz")).status_code == 200

    run(ask)


def test_lines_of_log_have_a_time_and_probes_are_left_out(tmp_path: Path, shipped: Path) -> None:
    for level, shown in (("info", 0), ("debug", 3)):
        with process(tmp_path, shipped, "--log-level", level, command=RUNTIME_ALONE) as server:
            for path in ("/healthz", "/readyz", "/metrics", "/v1/models"):
                assert httpx2.get(f"{server.url}{path}", timeout=60).status_code == 200
            routes: list[str] = []
            ends = time.monotonic() + 60
            while "/v1/models" not in routes and time.monotonic() < ends:  # a line follows its answer
                routes = [line["route"] for line in server.lines if line["event"] == "request"]
            assert len(routes) == shown + 1
            assert "/v1/models" in routes
            for line in server.lines:
                told = datetime.fromisoformat(line["time"])
                assert told.utcoffset() == timedelta(0)
                assert line["level"] in ("debug", "info")


# --- options --------------------------------------------------------------------------------------------

VALUES = {
    "FOLDERS": "one:two", "HOST": "::1", "PORT": "81", "TOKEN_FILE": "", "ALLOW_OPEN": "1", "ORIGIN": "https://a https://b",
    "DEADLINE": "2.5", "QUEUE": "7", "BATCH_STEPS": "8", "GRACE": "3", "DRAIN": "4", "CLIENT_RATE": "5.5",
    "TRUST_PROXY": "10.0.0.0/8 ::1", "LOG_LEVEL": "debug", "OTEL": "true",
}  # fmt: skip


def start(wanted: Wanted) -> None:
    """A command that has no options of its own."""


def started(arguments: list[str], environment: dict[str, str]) -> tuple[int, str, list[Wanted]]:
    """Exit status and output of a command with the options of every server, and what it was to start."""
    app, starts = typer.Typer(), list[Wanted]()
    app.command()(command(lambda wanted: starts.append(wanted)))
    done = CliRunner().invoke(app, arguments, env=environment)
    return done.exit_code, done.output, starts


def test_every_option_can_be_given_by_a_variable_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    environment = {f"ANTIPHON_{name}": value for name, value in VALUES.items()}
    environment["ANTIPHON_TOKEN_FILE"] = str(tmp_path / "token")
    assert {name.upper() for name in inspect.signature(command(start)).parameters} == VALUES.keys()
    _, _, (wanted,) = started([], environment)
    settings = Settings(
        token=TOKEN, origins=("https://a", "https://b"), deadline=2.5, queue=7, batch_steps=8, grace=3.0, drain=4.0,
        client_rate=5.5, proxies=("10.0.0.0/8", "::1"), log_level="debug", otel=True,
    )  # fmt: skip
    assert wanted == Wanted([Path("one"), Path("two")], "::1", 81, True, settings)
    _, _, (changed,) = started(["three", "--port", "82", "--grace", "0", "--log-level", "error"], environment)
    assert changed == Wanted(
        [Path("three")], "::1", 82, True, dataclasses.replace(settings, grace=0.0, log_level="error")
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"), ("PORT", "65536"), ("ALLOW_OPEN", "perhaps"), ("DEADLINE", "soon"), ("QUEUE", "0"),
        ("GRACE", "-1"), ("DRAIN", "x"), ("CLIENT_RATE", "0"), ("LOG_LEVEL", "loud"),
        ("BATCH_STEPS", "0"), ("OTEL", "x"), ("TRUST_PROXY", "anybody"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_variable(name: str, value: str) -> None:
    status, output, starts = started(["folder"], {f"ANTIPHON_{name}": value})
    assert (status, starts) == (2, [])
    assert f"ANTIPHON_{name}" in output


def test_a_token_file_that_cannot_be_read_is_named_with_its_variable() -> None:
    app = typer.Typer()
    app.command()(command(start))
    done = CliRunner().invoke(app, ["folder"], env={"ANTIPHON_TOKEN_FILE": "/nowhere/token"})
    assert isinstance(done.exception, StartError)
    assert "ANTIPHON_TOKEN_FILE" in str(done.exception)
    assert "/nowhere/token" in str(done.exception)


# --- limits of clients ----------------------------------------------------------------------------------


@given(rate=st.floats(0.1, 50), gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_a_client_never_gets_more_than_its_rate_and_may_ask_after_the_wait(rate: float, gaps: list[float]) -> None:
    limit, now, taken = ClientLimit(rate), 100.0, list[float]()
    for gap in gaps:
        now += gap
        wait = limit.wait("client", now)
        if not wait:
            taken.append(now)
            for begin in taken:
                assert sum(begin <= time <= now for time in taken) <= rate * (now - begin) + max(1.0, rate) + 1e-6
        else:
            assert ClientLimit(rate).wait("client", now) == 0, "another server knows nothing of it"
            now += wait + 1e-6
            assert limit.wait("client", now) == 0
            taken.append(now)


def test_clients_are_counted_each_and_networks_of_one_client_together() -> None:
    limit = ClientLimit(1)
    for addresses, free in (
        (("10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3", "2001:db8:1::1", "2001:db8:2::1"), True),
        (("10.0.0.1", "::ffff:10.0.0.2", "2001:db8:1::2"), False),
    ):
        for address in addresses:
            assert (limit.wait(address, 5.0) == 0) == free, address


def test_too_many_requests_of_a_client_are_refused_with_the_time_to_wait() -> None:
    async def ask() -> None:
        async with asking([echoing(Echo())], client_rate=0.5) as client:
            first, second = [await client.post("/v1/predict", json={"inputs": ["a"]}) for _ in range(2)]
            assert (first.status_code, second.status_code) == (200, 429)
            assert second.json()["code"] == "too_many_requests"
            assert second.headers["retry-after"] == "2"
            for path in ("/healthz", "/readyz", "/metrics", "/docs", "/"):
                assert (await client.get(path)).status_code == 200

    run(ask)


def test_a_proxy_names_its_clients_only_if_it_is_trusted(tmp_path: Path, shipped: Path) -> None:
    for options, second in (((), 429), (("--trust-proxy", "127.0.0.1"), 200)):
        with process(tmp_path, shipped, "--client-rate", 0.01, *options, command=RUNTIME_ALONE) as server:
            statuses = [
                httpx2.get(f"{server.url}/v1/models", headers={"x-forwarded-for": client}, timeout=60).status_code
                for client in ("203.0.113.1", "203.0.113.2", "203.0.113.1")
            ]
            assert statuses == [200, second, 429]


# --- OpenTelemetry --------------------------------------------------------------------------------------


def test_spans_hold_the_route_the_model_and_the_clients_trace_but_no_input() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra: pip install 'antiphon[otel]'")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    async def ask() -> None:
        async with asking([echoing(Echo())], tracer=provider.get_tracer("test")) as client:
            headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "user-agent": "private"}
            await client.post("/v1/predict", json={"inputs": ["private", "no"]}, headers=headers)
            await client.post("/v1/predict?private=1", json={"inputs": ["burst", "private"]})
            await client.get("/private?private=1")
            for path in ("/healthz", "/readyz", "/metrics"):
                await client.get(path)

    run(ask)
    first, failed, missing = spans.get_finished_spans()
    assert dict(first.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/predict", "http.response.status_code": 200,
        "antiphon.model": "echo", "antiphon.inputs": 2,
    }  # fmt: skip
    assert first.name == "POST /v1/predict"
    assert first.parent is not None
    assert format(first.parent.trace_id, "032x") == trace_id
    assert [span.status.is_ok for span in (first, failed, missing)] == [True, False, True]
    assert "private" not in "".join(span.to_json() for span in (first, failed, missing))


def test_without_the_extra_opentelemetry_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracer_of(False) is None
    assert not caplog.records
    with pytest.raises(
        StartError, match=re.escape("--otel: OpenTelemetry is not installed: pip install 'antiphon[otel]'")
    ):
        tracer_of(True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert tracer_of(False) is None
    (record,) = caplog.records
    assert "pip install 'antiphon[otel]'" in str(record.msg)
