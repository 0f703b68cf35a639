"""Pull and push against a server that speaks the hub's protocol: whole, private, gated, interrupted, damaged."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub as stand_in
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner
from untrained import KINDS, rows_of, untrained

import antiphon
from antiphon.cli.main import app
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.export.folder import export
from antiphon.tools.hub import is_part

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the library sends bytes


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[stand_in.Hub]:
    with stand_in.serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", stand_in.TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
        yield server


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of a trained model."""
    antiphon.load(model_folder).save(tmp_path / "model")
    return tmp_path / "model"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def metadata(text: bytes) -> dict[str, Any]:
    _, head, _ = text.decode("utf-8").split("---\n", 2)
    value: dict[str, Any] = YAML(typ="safe", pure=True).load(head)
    return value


def test_what_is_pushed_is_pulled_and_predicts_the_same(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    done = run("push", folder, "anna/letters", "--license", "cc-by-4.0", "--language", "fr", "--language", "de")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{hub.address}/anna/letters\n"
    assert f"{folder}: stays here, as it is no part of a model: notes.txt" in done.stderr
    assert "examples.json goes with it, which has inputs in it" in done.stderr
    files = hub.repositories["anna/letters"].files
    assert "notes.txt" not in files
    assert len(hub.objects) >= 1, "the weights went through LFS"
    pulled = run("pull", "anna/letters", "--out", tmp_path / "pulled")
    assert pulled.exit_code == 0, pulled.output
    assert {path.name for path in (tmp_path / "pulled").iterdir()} == set(files)
    words = ["abc", "de"]
    here, there = (antiphon.load(place).predict(words) for place in (folder, tmp_path / "pulled"))
    assert here == there
    assert not list(tmp_path.glob(".*partial"))


def test_the_card_has_metadata_and_no_folder_of_this_computer(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    antiphon.push(folder, "anna/letters", "cc-by-4.0", ["fr"], ["g2p"])
    files = hub.repositories["anna/letters"].files
    data = metadata(files["README.md"])
    assert (data["license"], data["language"], data["library_name"]) == ("cc-by-4.0", ["fr"], "antiphon")
    assert data["tags"] == ["antiphon", "many-to-many", "gru", "g2p"]
    (result,) = data["model-index"][0]["results"]
    measured = antiphon.load(folder).metrics["valid"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}["loss"] == pytest.approx(measured["loss"])
    train = antiphon.load(folder).config.data.train
    assert isinstance(train, str)
    for name in ("README.md", "config.yaml"):
        assert str(Path(train).parent) not in files[name].decode("utf-8"), name
        assert Path(train).name in files[name].decode("utf-8")
    antiphon.pull("anna/letters", tmp_path / "pulled")
    antiphon.push(tmp_path / "pulled", "anna/again", languages=["de"])
    again = metadata(hub.repositories["anna/again"].files["README.md"])
    assert (again["license"], again["language"]) == ("cc-by-4.0", ["de"])
    assert again["tags"] == data["tags"]


def test_an_exported_model_travels_too(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "exported")
    antiphon.push(tmp_path / "exported", "anna/small")
    assert metadata(hub.repositories["anna/small"].files["README.md"])["tags"] == ["antiphon", "many-to-many", "onnx"]
    antiphon.pull("anna/small", tmp_path / "pulled")
    for name in ("antiphon.json", "encode.onnx", "step.onnx"):
        assert (tmp_path / "pulled" / name).read_bytes() == (tmp_path / "exported" / name).read_bytes()


def test_a_series_by_positions_travels_with_its_graph(hub: stand_in.Hub, tmp_path: Path) -> None:
    tree, columns = KINDS["frames to a series by positions"]
    export(untrained(tmp_path, tree, rows_of(**columns)).folder, tmp_path / "exported")
    antiphon.push(tmp_path / "exported", "anna/series")
    antiphon.pull("anna/series", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "write.onnx").is_file()


def test_without_the_runtime_no_exported_model_is_downloaded(
    hub: stand_in.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["anna/small"] = stand_in.Repository({"antiphon.json": b"{}", "step.onnx": b"x"})
    monkeypatch.setitem(sys.modules, "antiphon_runtime", None)
    with pytest.raises(
        ModelFolderError, match=r"anna/small: is an exported model, .*pip install 'antiphon\[runtime\]'"
    ):
        antiphon.pull("anna/small", tmp_path / "pulled")
    assert not any("/resolve/" in request for request in hub.requests)
    assert not list(tmp_path.iterdir())


def published(hub: stand_in.Hub, folder: Path, name: str = "anna/letters", **keys: bool) -> stand_in.Repository:
    """A repository with the files of a folder."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hub.repositories[name] = stand_in.Repository(files, **keys)
    return hub.repositories[name]


def test_a_download_goes_on_where_it_was_interrupted(
    hub: stand_in.Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    whole = published(hub, folder).files
    hub.cut = 1000
    with pytest.raises(AntiphonError, match=r"503: .*; what has arrived is kept, and the same command goes on with it"):
        antiphon.pull("anna/letters", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    (part,) = tmp_path.glob(".pulled.*.partial/*.part")
    assert part.read_bytes() == whole[part.name.removesuffix(".part")][:1000]
    before = {path.name for path in part.parent.iterdir()} - {part.name}
    hub.cut, hub.status = None, 0
    hub.requests.clear()
    antiphon.pull("anna/letters", tmp_path / "pulled")
    assert {path.name: path.read_bytes() for path in (tmp_path / "pulled").iterdir()} == whole
    asked = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert asked == whole.keys() - before
    assert hub.ranges == ["bytes=1000-"]
    assert not list(tmp_path.glob(".*partial"))


def test_what_is_damaged_on_the_way_is_refused(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder)
    for name in ("weights.safetensors", "config.yaml"):
        hub.damage = name
        with pytest.raises(ModelFolderError, match=f"anna/letters: {name} is damaged: its digest is not the hub's"):
            antiphon.pull("anna/letters", tmp_path / "pulled")
        assert not (tmp_path / "pulled").exists()
    hub.damage = ""
    antiphon.pull("anna/letters", tmp_path / "pulled")


def test_no_pickle_and_no_code_is_downloaded(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    place = published(hub, folder)
    place.files |= {
        "model.pkl": b"x",
        "run.py": b"x",
        "../evil.json": b"x",
        "vocabulary-x.json": b"x",
        "a/b.onnx": b"x",
    }
    done = run("pull", "anna/letters", "--out", tmp_path / "pulled")
    assert done.exit_code == 0, done.output
    assert (
        "anna/letters: left out, as they are no part of a model folder: ../evil.json, a/b.onnx, model.pkl"
        in done.stderr
    )
    assert not {"model.pkl", "run.py", "evil.json"} & {path.name for path in tmp_path.rglob("*")}
    assert not any("pkl" in request for request in hub.requests)


@pytest.mark.parametrize(
    ("name", "part"),
    [("weights.safetensors", True), ("vocabulary-source-2.json", True), ("step.onnx", True),
     ("write.onnx", True), ("notes.onnx", False),
     ("calibration.json", True),
     ("training", False), ("model.pt", False), ("vocabulary-target.pkl", False), ("tokenizer.json", False),
     ("evaluation-1.npz", False)],
)  # fmt: skip
def test_parts_of_a_model_folder(name: str, part: bool) -> None:
    assert is_part(name) is part


def test_what_the_hub_refuses_is_one_message(
    hub: stand_in.Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, folder, "anna/hidden", private=True)
    published(hub, folder, "anna/gated", gated=True)
    published(hub, folder, "anna/open")
    hub.repositories["anna/other"] = stand_in.Repository({"README.md": b"# other\n", "model.safetensors": b"x"})

    def message(*arguments: object, status: int = 1) -> str:
        done = run(*arguments)
        assert done.exit_code == status, done.output
        assert "Traceback" not in done.output
        return str(done.stderr)

    out = ("--out", tmp_path / "pulled")
    assert "anna/none: is not on the hub, or it is private" in message("pull", "anna/none", *out)
    assert "anna/other: is no Antiphon model: it has neither config.yaml" in message("pull", "anna/other", *out)
    assert "anna/open: has no such revision" in message("pull", "anna/open", *out, "--revision", "v9")
    assert "french: a model on the hub is named USER/MODEL" in message("pull", "french", *out, status=2)
    assert "anna/: a model on the hub is named USER/MODEL" in message("pull", "anna/", status=2)
    assert f"{folder}: exists; name another folder with --out" in message("pull", "anna/open", "--out", folder)
    assert "no such model folder" in message("push", tmp_path / "none", "anna/new")
    assert '"license" must be one of' in message("push", folder, "anna/new", "--license", "nonsense")
    assert "anna/new" in hub.repositories
    antiphon.pull("anna/hidden", tmp_path / "hidden", token=stand_in.TOKEN)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the hub does not allow it with your token: log in" in message("push", folder, "anna/mine")
    monkeypatch.delenv("HF_TOKEN")
    assert "anna/hidden: is not on the hub, or it is private and you may not see it: log in" in message(
        "pull", "anna/hidden", *out
    )
    assert f"anna/gated: is gated: accept its conditions at {hub.address}/anna/gated" in message(
        "pull", "anna/gated", *out
    )
    assert "pushing needs a token of the hub: log in with `hf auth login`" in message("push", folder, "anna/mine")
    hub.status = 418
    assert "anna/open: the hub answers 418: not today" in message("pull", "anna/open", *out)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9: cannot be reached: " in message("pull", "anna/open", *out)
    assert not (tmp_path / "pulled").exists()


def test_a_damaged_folder_is_not_pushed(hub: stand_in.Hub, folder: Path, tmp_path: Path) -> None:
    for name, content, reason in (
        ("examples.json", b"{", "is damaged ("),
        ("metrics.json", b"{", "is not JSON: "),
        ("README.md", b"\xff", "is not UTF-8 text"),
        ("README.md", b"---\ntitle: G2P: French\n---\n", "its metadata is not YAML: line 2: mapping values"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        ran = run("push", folder, "anna/letters")
        assert (ran.exit_code, f"{folder / name}: {reason}" in ran.stderr) == (1, True), ran.output
        (folder / name).write_bytes(before)
    (folder / "vocabulary-target.json").unlink()
    assert "vocabulary-target.json" in run("push", folder, "anna/letters").stderr
    assert not hub.repositories
    shutil.rmtree(folder)
