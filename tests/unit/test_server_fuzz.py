"""Requests made from the server's own description, right and wrong: no answer is a 500, and each is as described."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'antiphon[serve]'")
pytest.importorskip("schemathesis", reason="needs the extra: pip install 'antiphon[dev]'")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from serving import GOLDEN

from antiphon.inspection.trace import Trace
from antiphon.server.app import create_app
from antiphon.server.settings import Settings
from antiphon.use.serving import load as load_served

PATHS = [
    "/v1/predict",
    "/v1/score",
    "/v1/explain",
    "/v1/predict/stream",
    "/v1/models",
    "/healthz",
    "/readyz",
    "/metrics",
]
BOUNDS = Settings(max_steps=500, max_output=50, max_beam=8, deadline=20.0)


def fuzz(requests: int) -> int:
    """Send so many requests, spread over all paths and ways to be wrong; how many were sent."""
    app = create_app([load_served(GOLDEN, "cpu")], BOUNDS, trace=Trace)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    sent = 0
    ways = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    for path in PATHS:
        for operation in schema.include(path=path).get_all_operations():
            assert isinstance(operation, Ok)
            case = st.one_of(*(operation.ok().as_strategy(generation_mode=way) for way in ways))

            @given(case=case)
            @settings(
                max_examples=max(1, requests // len(PATHS)), deadline=None, database=None, derandomize=True,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def check(case) -> None:  # type: ignore[no-untyped-def]
                nonlocal sent
                answer = case.call()
                sent += 1
                assert answer.status_code < 500, (case.path, case.body, answer.text)
                if (
                    answer.status_code < 400
                    or answer.headers.get("content-type", [""])[0] == "application/problem+json"
                ):
                    case.operation.validate_response(answer)

            check()
    return sent


def test_no_request_is_a_failure_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    assert fuzz(240) >= 100


@pytest.mark.slow
def test_no_request_of_ten_thousand_is_a_failure_of_the_server(tmp_path: Path) -> None:
    assert fuzz(10_000 * 2) >= 10_000
