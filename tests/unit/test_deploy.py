"""The files of `deploy/`: what they start exists, their times fit, and the image's steps give a server that answers."""

from __future__ import annotations

import configparser
import inspect
import json
import re
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'antiphon[serve]'")

import httpx2
from ruamel.yaml import YAML
from serving import GOLDEN, process

from antiphon.cli.serve import serve
from antiphon.server.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCUMENT = ROOT / "docs/site/en/reference/operating.md"
OPTIONS = {f"ANTIPHON_{name.upper()}" for name in inspect.signature(serve).parameters}
WORDS = ["shoe", "moon"]


class Step(NamedTuple):
    """An instruction of a Dockerfile."""

    name: str
    rest: str


def steps() -> Iterator[Step]:
    """The instructions of the Dockerfile, in order."""
    for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield Step(name, rest.strip())


def unit() -> configparser.SectionProxy:
    """The section of the service in the unit of systemd; of a key that stands twice, the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "antiphon.service", encoding="utf-8")
    return parser["Service"]


def environments() -> dict[str, dict[str, str]]:
    """The variables of each file that starts a server."""
    text = (DEPLOY / "antiphon.service").read_text(encoding="utf-8")
    return {
        "docker": dict(step.rest.split("=", 1) for step in steps() if step.name == "ENV"),
        "compose": {name: str(value) for name, value in compose()["services"]["antiphon"]["environment"].items()},
        "systemd": dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE)),
    }


def compose() -> Any:
    return YAML(typ="safe", pure=True).load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_every_variable_is_one_of_the_server() -> None:
    for name, environment in environments().items():
        assert environment
        assert environment.keys() <= OPTIONS, name
    table = re.findall(r"^\| `[^`]+` \| `(ANTIPHON_\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) == len(set(table))
    assert set(table) == OPTIONS


def test_who_stops_the_server_waits_longer_than_it_takes() -> None:
    for name, allowed in (
        ("compose", compose()["services"]["antiphon"]["stop_grace_period"]),
        ("systemd", unit()["TimeoutStopSec"]),
    ):
        environment = environments()[name]
        taken = float(environment["ANTIPHON_GRACE"]) + float(environment["ANTIPHON_DRAIN"])
        assert float(allowed.removesuffix("s")) > taken


def test_the_unit_reloads_by_the_signal_and_is_hardened() -> None:
    service = unit()
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert service["ExecStart"].endswith("antiphon-runtime serve")
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["ProtectHome"] == "yes"
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    if shutil.which("systemd-analyze") is None:
        return
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(DEPLOY / "antiphon.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:]


def test_the_composed_services_are_what_the_other_files_say() -> None:
    services = compose()["services"]
    server, proxy = services["antiphon"], services["nginx"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert all(volume.endswith(":ro") for volume in (*server["volumes"], *proxy["volumes"]))
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert "ports" not in server, "only the proxy is reached from outside"
    mounted = {volume.split(":")[0] for volume in proxy["volumes"]}
    assert "./nginx.conf" in mounted
    assert proxy["depends_on"]["antiphon"]["condition"] == "service_healthy"
    assert any(step.name == "HEALTHCHECK" for step in steps())


def test_the_proxy_passes_events_on_at_once_and_bodies_as_large_as_the_server_reads() -> None:
    text = re.sub(r"#.*", "", (DEPLOY / "nginx.conf").read_text(encoding="utf-8"))
    assert text.count("{") == text.count("}")
    streams = re.search(r"location ~ \^/v1/predict/\(stream\|live\)\$ \{([^}]*)\}", text)
    assert streams is not None
    assert "proxy_buffering off;" in streams[1]
    assert "proxy_request_buffering off;" in streams[1]
    size = re.search(r"client_max_body_size (\d+)m;", text)
    assert size is not None
    assert int(size[1]) << 20 == Settings.max_body
    wait = re.search(r"proxy_read_timeout (\d+)s;", text)
    assert wait is not None
    assert int(wait[1]) > Settings.deadline


def test_the_image_holds_no_torch_and_is_not_run_by_root() -> None:
    everything = list(steps())
    assert not any("torch" in step.rest for step in everything)
    (user,) = (step.rest for step in everything if step.name == "USER")
    assert all(int(number) > 0 for number in user.split(":"))
    copied = [step.rest.split()[:-1] for step in everything if step.name == "COPY" and "--from" not in step.rest]
    assert all((ROOT / name).exists() for names in copied for name in names)


@pytest.mark.slow
def test_the_steps_of_the_image_give_a_server_that_is_healthy_and_answers(tmp_path: Path) -> None:
    """Each step is done in a folder, which stands for the root of the image, as Docker would do it."""
    from antiphon.export.folder import export
    from antiphon.use.loading import load

    image = tmp_path / "image"
    places = ("/build", "/opt", "/models", "/run")

    def inside(text: str) -> str:
        return re.sub(rf"(?<![\w.])({'|'.join(places)})/", rf"{image}\1/", text)

    environment: dict[str, str] = {}
    health, entry = [], []
    for name, rest in steps():
        if name == "COPY" and not rest.startswith("--from"):
            source, target = rest.split()
            place = Path(inside(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, symlinks=True)
            else:
                shutil.copy(ROOT / source, place)
        elif name == "RUN" and rest.startswith("python -m venv "):
            venv.create(inside(rest.split()[-1]), with_pip=True)
        elif name == "RUN":
            done = subprocess.run(inside(rest), shell=True, capture_output=True, text=True, check=False)
            if "No matching distribution" in done.stderr or "Could not find" in done.stderr:
                pytest.skip(f"needs a package index: {done.stderr[-200:]}")
            assert done.returncode == 0, done.stderr
        elif name == "ENV":
            key, value = rest.split("=", 1)
            environment[key] = inside(value)
        elif name == "HEALTHCHECK":
            health = json.loads(inside(rest[rest.index("CMD ") + 4 :]))
        elif name == "ENTRYPOINT":
            entry = json.loads(inside(rest))
        else:
            assert name in ("FROM", "COPY", "USER", "EXPOSE", "STOPSIGNAL"), name
    export(GOLDEN, Path(environment["ANTIPHON_FOLDERS"]))
    token = Path(environment["ANTIPHON_TOKEN_FILE"])
    token.parent.mkdir(parents=True)
    token.write_text("a-token-of-the-test")
    missing = subprocess.run([health[0], "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0
    expected = [prediction.text for prediction in load(GOLDEN, "cpu").predict(WORDS)]
    with process(tmp_path, command=entry, alone=True, environment=environment) as server:
        port = server.url.rpartition(":")[2]
        assert subprocess.run(health, env={"ANTIPHON_PORT": port}, check=False).returncode == 0
        headers = {"authorization": "Bearer a-token-of-the-test"}
        url = f"http://127.0.0.1:{port}/v1/predict"
        answer = httpx2.post(url, json={"inputs": WORDS}, headers=headers, timeout=60)
        assert [result["text"] for result in answer.json()["results"]] == expected
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert subprocess.run(health, env={"ANTIPHON_PORT": port}, capture_output=True, check=False).returncode != 0
