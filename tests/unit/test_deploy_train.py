"""The files of `deploy/` that start a training on several machines: torchrun and we accept their commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from torch.distributed.run import get_args_parser

from antiphon.cli.main import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFEST, SCRIPT, IMAGE = DEPLOY / "train.kubernetes.yaml", DEPLOY / "train.slurm", DEPLOY / "Dockerfile.train"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def manifest() -> dict[str, Any]:
    return {part["kind"]: part for part in YAML(typ="safe").load_all(MANIFEST.read_text(encoding="utf-8"))}


def pod() -> Any:
    return manifest()["Job"]["spec"]["template"]["spec"]


def slurm_command() -> list[str]:
    text = SCRIPT.read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)
    return words[words.index("torchrun") + 1 :]


def checked(arguments: Sequence[str]) -> Any:
    """What torchrun reads, after our own command has read the rest."""
    read = get_args_parser().parse_args(list(arguments))
    assert read.module
    assert read.training_script == "antiphon"
    name, *rest = read.training_script_args
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, list(rest), resilient_parsing=False)
    return read


@pytest.mark.parametrize("arguments", [slurm_command(), pod()["containers"][0]["args"]], ids=["Slurm", "Kubernetes"])
def test_the_command_is_one_that_torchrun_and_we_accept(arguments: list[str]) -> None:
    read = checked(arguments)
    least, most = map(int, read.nnodes.split(":"))
    assert least == 1 < most, "a machine that is lost is left out"
    assert read.max_restarts > 0
    assert read.rdzv_backend == "c10d"
    assert "JOB" in read.rdzv_id, "a name that no other job has"
    assert int(read.rdzv_endpoint.rpartition(":")[2]) == 29400
    with pytest.raises(SystemExit):
        checked([*arguments[: arguments.index("-m")], "--no-such-option", *arguments[arguments.index("-m") :]])


def test_slurm_asks_for_the_machines_that_torchrun_waits_for() -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE))
    read = checked(slurm_command())
    assert read.nnodes.endswith(f":{asked['nodes']}")
    assert asked["ntasks-per-node"] == "1", "one torchrun on each machine"
    assert asked["cpus-per-task"] == read.nproc_per_node
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE))
    assert exported == ENVIRONMENT
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_the_jobs_pods_find_each_other() -> None:
    job, service = manifest()["Job"], manifest()["Service"]
    spec, container = job["spec"], pod()["containers"][0]
    read = checked(container["args"])
    assert spec["completions"] == spec["parallelism"] == int(read.nnodes.rpartition(":")[2])
    assert spec["completionMode"] == "Indexed", "pods have names: the first is the meeting place"
    host, _, port = read.rdzv_endpoint.partition(":")
    assert host == f"{job['metadata']['name']}-0.{pod()['subdomain']}"
    assert pod()["subdomain"] == service["metadata"]["name"]
    assert [str(entry["port"]) for entry in service["spec"]["ports"]] == [port]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert container["resources"]["requests"]["cpu"] == read.nproc_per_node


def test_the_manifests_names_are_defined() -> None:
    container = pod()["containers"][0]
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert used == {entry["name"] for entry in container["env"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod()["volumes"]}
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    paths = re.findall(r"/\w+/[\w.]+", " ".join(container["args"]))
    assert len(paths) == 2
    assert all(any(path.startswith(f"{folder}/") for folder in folders) for path in paths)


def test_the_image_is_the_manifests_and_copies_what_is_there() -> None:
    text = IMAGE.read_text(encoding="utf-8")
    assert f"--tag {pod()['containers'][0]['image']} " in text
    assert f"deploy/{IMAGE.name} " in text
    steps = [line.partition(" ")[::2] for line in text.splitlines() if line and not line.startswith("#")]
    copied = [name for step, rest in steps if step == "COPY" for name in rest.split()[:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert dict(rest.split("=") for step, rest in steps if step == "ENV") == ENVIRONMENT
    [user] = [rest for step, rest in steps if step == "USER"]
    assert user.split(":")[0] == str(pod()["securityContext"]["runAsUser"])
    [entry] = [json.loads(rest) for step, rest in steps if step == "ENTRYPOINT"]
    assert entry == ["torchrun"]
