"""Ready models: a name in the place of a path, and weights of 16 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tasks import tiny_config, trained
from typer.testing import CliRunner

import antiphon
from antiphon.cli.main import app
from antiphon.saved import folder as bundle
from antiphon.saved import ready

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ready")
    trained(tiny_config(folder, train__max_steps=40, train__validate_every=40), folder / "spoken")
    return folder / "spoken"


def test_a_name_stands_for_the_ready_model_wherever_a_folder_does(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ready, "READY", model.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("abc\nbad\n")
    outputs = [CliRunner().invoke(app, ["predict", name, "words.txt"]) for name in ("spoken", str(model))]
    assert outputs[0].exit_code == 0, outputs[0].output
    assert outputs[0].output == outputs[1].output
    assert antiphon.load("spoken", "cpu").folder == model
    assert CliRunner().invoke(app, ["export", "--list", "spoken"]).output.startswith("onnx: yes")


def test_what_is_there_wins_over_a_ready_model(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ready, "READY", model.parent)
    monkeypatch.chdir(tmp_path)
    assert ready.model_path("spoken") == model
    assert ready.model_path("./spoken") == model  # the same path, which is not there
    assert ready.model_path("other/spoken") == Path("other/spoken")
    assert ready.model_path("strange") == Path("strange")
    (tmp_path / "spoken").mkdir()
    assert ready.model_path("spoken") == Path("spoken")


def test_weights_of_16_bits_compute_in_32(model: Path, tmp_path: Path) -> None:
    full = bundle.load(model, CPU)
    bundle.save_description(tmp_path, full.config, full.codecs)
    bundle.save_weights(tmp_path, bundle.parameters(full.model), torch.float16)
    halved = bundle.load(tmp_path, CPU)
    stored = load_file(tmp_path / bundle.WEIGHTS)
    for name, value in bundle.parameters(halved.model).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, stored[name].float())
        assert torch.equal(stored[name], bundle.parameters(full.model)[name].half())
