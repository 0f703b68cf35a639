"""Model folders: what is saved is what is loaded, and a message about damage has the file's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from antiphon.errors import ModelFolderError
from antiphon.files import write_atomically, write_text
from antiphon.model.build import build
from antiphon.saved import folder as bundle
from antiphon.saved.folder import CARD, CONFIG, METRICS, TRAINING, WEIGHTS
from antiphon.use.loading import load as load_predictor

CPU = torch.device("cpu")
SIDES = ["vocabulary-source.json", "vocabulary-target.json"]


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the trained model, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(model_folder, folder)
    return folder


def refusal(folder: Path) -> str:
    """The message of a folder that does not load."""
    with pytest.raises(ModelFolderError) as caught:
        bundle.load(folder, CPU)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- round trips --------------------------------------------------------------------------------------


def test_a_folder_holds_plain_files_only(model_folder: Path) -> None:
    names = {path.name for path in model_folder.iterdir()}
    assert names == {CONFIG, WEIGHTS, METRICS, CARD, TRAINING, "curves.png", "examples.json", *SIDES}
    assert json.loads((model_folder / METRICS).read_text(encoding="utf-8"))["updates"] == 4
    assert (model_folder / CONFIG).read_text(encoding="utf-8").startswith("format: 1\n")


def test_training_state_is_not_needed(copy: Path) -> None:
    shutil.rmtree(copy / TRAINING)
    for name in (METRICS, CARD, "curves.png"):
        (copy / name).unlink()
    assert bundle.load(copy, CPU).metrics == {}


def test_a_saved_copy_is_the_same_model(model_folder: Path, tmp_path: Path) -> None:
    first = load_predictor(model_folder, "cpu")
    first.save(tmp_path / "saved")
    second = load_predictor(tmp_path / "saved", "cpu")
    assert second.config == first.config
    assert second.metrics == first.metrics
    assert second.codecs.to_json() == first.codecs.to_json()
    own = dict(second.model.named_parameters())
    for name, value in first.model.named_parameters():
        assert torch.equal(value, own[name])
    inputs = ["abc", "", "edcba", "zz\0é"]
    assert second.predict(inputs) == first.predict(inputs)
    assert (tmp_path / "saved" / CARD).read_bytes() == (model_folder / CARD).read_bytes()


def test_saving_over_a_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError) as caught:
        load_predictor(model_folder, "cpu").save(tmp_path)
    assert str(caught.value) == f"{tmp_path}: exists; name a new folder"


def test_tied_weights_are_saved_once(model_folder: Path, tmp_path: Path) -> None:
    loaded = bundle.load(model_folder, CPU)
    model = loaded.config.model.model_copy(update={"tie": True})
    config = loaded.config.model_copy(update={"model": model})
    tied = build(config, loaded.codecs)
    bundle.save_description(tmp_path / "tied", config, loaded.codecs)
    bundle.save_weights(tmp_path / "tied", bundle.parameters(tied))
    again = bundle.load(tmp_path / "tied", CPU).model
    saved = load_file(tmp_path / "tied" / WEIGHTS)
    assert sum(value.numel() for value in saved.values()) == sum(p.numel() for p in tied.parameters())
    assert torch.equal(again.get_parameter("embedding.weight"), tied.get_parameter("embedding.weight"))
    assert len(list(again.parameters())) == len(list(tied.parameters())) < len(list(loaded.model.parameters())) + 1


def test_weights_are_saved_as_float32(model_folder: Path, tmp_path: Path) -> None:
    loaded = bundle.load(model_folder, CPU)
    bundle.save_description(tmp_path, loaded.config, loaded.codecs)
    bundle.save_weights(tmp_path, {name: value.bfloat16() for name, value in bundle.parameters(loaded.model).items()})
    assert {value.dtype for value in load_file(tmp_path / WEIGHTS).values()} == {torch.float32}


# --- what is missing ----------------------------------------------------------------------------------


def test_no_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: no such model folder"
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file").startswith(f"{tmp_path / 'file'}: ")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, *SIDES])
def test_a_missing_file_is_named_once(copy: Path, name: str) -> None:
    (copy / name).unlink()
    message = refusal(copy)
    assert message.startswith(str(copy))
    assert message.count(name) == 1


def test_a_training_that_was_interrupted_before_its_first_weights_says_how_to_go_on(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    (copy / "training").mkdir(exist_ok=True)
    assert "--resume (resume=True)" in refusal(copy)


# --- config.yaml --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["0", "2", "99", "one", "null", "1.5"])
def test_another_format_is_refused_with_its_number(copy: Path, number: str) -> None:
    path = copy / CONFIG
    path.write_text(path.read_text(encoding="utf-8").replace("format: 1\n", f"format: {number}\n", 1), encoding="utf-8")
    message = refusal(copy)
    actual = {"null": "no format", "one": "the format 'one'"}.get(number, f"the format {number}")
    assert message == f"{path}: has {actual}; this version reads format 1"


def test_a_configuration_without_format_is_refused(copy: Path) -> None:
    path = copy / CONFIG
    path.write_text(path.read_text(encoding="utf-8").replace("format: 1\n", "", 1), encoding="utf-8")
    assert refusal(copy).startswith(f"{path}: has no format; ")


@pytest.mark.parametrize(
    "content", [b"", b"a: [", b"\xff", b"- a\n", b"format: 1\n", b"format: 1\ndata: {train: x}\nmodel: {cell: nope}\n"]
)
def test_a_damaged_configuration_is_named(copy: Path, content: bytes) -> None:
    (copy / CONFIG).write_bytes(content)
    assert refusal(copy).startswith(f"{copy / CONFIG}: ")


def test_a_model_loads_where_its_data_is_not(copy: Path) -> None:
    path = copy / CONFIG
    train = str(bundle.load(copy, CPU).config.data.train)
    path.write_text(path.read_text(encoding="utf-8").replace(train, "/gone/train.tsv"), encoding="utf-8")
    assert bundle.load(copy, CPU).config.data.train == "/gone/train.tsv"


# --- weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:40], lambda b: b"\xff" * 9 + b[9:]])
def test_damaged_weights_are_named(copy: Path, damage: Callable[[bytes], bytes]) -> None:
    path = copy / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(copy).startswith(f"{path}: is damaged: ")


def test_a_flipped_bit_in_the_weights_is_noticed(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-7] ^= 1
    (copy / WEIGHTS).write_bytes(content)
    assert refusal(copy) == f"{copy / WEIGHTS}: is damaged: its content is not what was written"


@pytest.mark.parametrize("name", SIDES)
def test_a_vocabulary_of_another_model_is_refused(copy: Path, name: str) -> None:
    path = copy / name
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, "symbols": ["other", *value["symbols"][1:]]}), encoding="utf-8")
    assert refusal(copy) == f"{path}: is not the vocabulary that {WEIGHTS} was trained with"


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


def test_weights_of_a_wrong_shape_are_named_with_both_shapes(copy: Path) -> None:
    def widen(weights: dict[str, Any]) -> None:
        weights["embedding.weight"] = torch.zeros(3, 5)

    expected = list(load_file(copy / WEIGHTS)["embedding.weight"].shape)
    change_weights(copy, widen)
    assert refusal(copy) == (
        f"{copy / WEIGHTS}: embedding.weight has the shape [3, 5], but its configuration needs {expected}"
    )


def test_a_missing_and_a_strange_weight_are_named(copy: Path) -> None:
    change_weights(copy, lambda weights: weights.pop("embedding.weight"))
    assert refusal(copy) == f"{copy / WEIGHTS}: does not fit its configuration: only one of them has embedding.weight"
    change_weights(copy, lambda weights: weights.update({"embedding.weight": torch.zeros(1), "odd": torch.zeros(1)}))
    assert refusal(copy) == f"{copy / WEIGHTS}: does not fit its configuration: only one of them has odd"


def test_a_larger_vocabulary_does_not_fit(copy: Path) -> None:
    """As weights that another tool wrote hold no digests, the shapes are what is left to check."""
    change_weights(copy, lambda weights: None)
    path = copy / SIDES[1]
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, "symbols": [*value["symbols"], "more"]}), encoding="utf-8")
    assert refusal(copy).startswith(f"{copy / WEIGHTS}: ")
    assert "has the shape" in refusal(copy)


# --- vocabularies and metrics -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SIDES, METRICS])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named_once(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    message = refusal(copy)
    assert message.startswith(f"{copy / name}: ")
    assert message.count(str(copy)) == 1


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("tokens", "charz"),
        ("tokens", None),
        ("options", {"size": 3}),
        ("options", None),
        ("normalize", "nfx"),
        ("normalize", None),
        ("symbols", None),
        ("symbols", ["a", "a"]),
        ("symbols", [1, 2, 3, 4, 5]),
    ],
)
def test_a_wrong_value_in_a_vocabulary_names_its_file(copy: Path, key: str, wrong: object) -> None:
    path = copy / SIDES[0]
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, key: wrong}), encoding="utf-8")
    assert refusal(copy).startswith(f"{path}: ")


# --- atomic writing -----------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        write_atomically(path, fail)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def full(file: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(ModelFolderError, match="cannot be written: PytorchStreamWriter"):
        write_atomically(path, full)
    assert path.read_text(encoding="utf-8") == "old"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "file"
    with pytest.raises(ModelFolderError) as caught:
        write_text(path, "x")
    assert str(caught.value) == f"{path}: cannot be written: No such file or directory"
    (tmp_path / "plain").touch()
    loaded_into = tmp_path / "plain" / "model"
    with pytest.raises(ModelFolderError, match=r"plain/model: cannot be made: "):
        bundle.save_description(loaded_into, None, None)  # type: ignore[arg-type]
