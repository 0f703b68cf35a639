"""Hostile model folders, configurations and data files: nothing runs, nothing outside is read, the message says why."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tasks import text_sides
from typer.testing import CliRunner

from antiphon import load
from antiphon.cli.main import app
from antiphon.config.load import read_config_file
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.images import ImageCodec
from antiphon.data.codecs.numbers import FramesCodec
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader, read_rows
from antiphon.errors import AntiphonError, ConfigError, DataError, ModelFolderError, TrainingError
from antiphon.files import DIGEST
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint

CPU = torch.device("cpu")
HOLDING = ("test_security.py", "test_faults.py", "test_server_fuzz.py")
DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


class Bomb:
    """A pickle of it makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.path,))


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(model_folder, folder)
    return folder


def test_every_line_of_the_document_has_its_test() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = re.findall(r"^\|.*\| (`test_.*`) \|$", text, re.MULTILINE)
    assert len(lines) >= 29
    assert len(lines) == len(re.findall(r"^\| [^-]", text, re.MULTILINE)) - 2  # all but the heads of the tables
    files = (Path(__file__).with_name(name).read_text("utf-8") for name in HOLDING)
    defined = set(re.findall(r"^def (test_\w+)", "\n".join(files), re.MULTILINE))
    assert {name for line in lines for name in re.findall(r"test_\w+", line)} <= defined


def test_a_pickle_disguised_as_weights_runs_nothing(copy: Path, tmp_path: Path) -> None:
    for content in (pickle.dumps(Bomb(tmp_path / "ran")), _saved_by_torch(Bomb(tmp_path / "ran"))):
        (copy / bundle.WEIGHTS).write_bytes(content)
        with pytest.raises(ModelFolderError, match=r"weights\.safetensors: is damaged"):
            bundle.load(copy, CPU)
    assert not (tmp_path / "ran").exists()


def _saved_by_torch(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_a_state_with_code_runs_nothing(copy: Path, tmp_path: Path) -> None:
    content = _saved_by_torch({"learner": Bomb(tmp_path / "ran")})
    for state in checkpoint.states(copy):
        state.write_bytes(content + hashlib.blake2b(content, digest_size=DIGEST).digest())
    with pytest.raises(TrainingError, match="no saved state is left to resume from"):
        checkpoint.load(copy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("size", [10 << 30, 1 << 62, (1 << 64) - 1])
def test_a_header_that_claims_gigabytes_is_refused(copy: Path, size: int) -> None:
    (copy / bundle.WEIGHTS).write_bytes(struct.pack("<Q", size) + b"{}")
    with pytest.raises(ModelFolderError, match=r"weights\.safetensors: is damaged"):
        bundle.load(copy, CPU)


def test_offsets_outside_of_the_file_are_refused(copy: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 4 << 30]}}).encode()
    (copy / bundle.WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelFolderError, match=r"weights\.safetensors: is damaged"):
        bundle.load(copy, CPU)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"]
)
def test_yaml_tags_make_nothing(copy: Path, tmp_path: Path, tag: str) -> None:
    (copy / bundle.CONFIG).write_text(f"format: 1\ndata: {tag} ['{tmp_path / 'ran'}']\n")
    with pytest.raises(ModelFolderError, match=r"config\.yaml: "):
        bundle.load(copy, CPU)
    assert not (tmp_path / "ran").exists()


def test_yaml_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]"
        for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
    ]
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden", "60000"),
        ("layers", "200"),
        ("layers", "100000000"),
        ("embedding", "9223372036854775807"),
        ("beam", "1000000000"),
        ("max_length", ""),
        ("length_penalty", "1.0e+300"),
    ],
)
def test_a_configuration_larger_than_its_weights_takes_no_memory(copy: Path, key: str, value: str) -> None:
    text = (copy / bundle.CONFIG).read_text()
    changed = re.sub(rf"(?<=\b{key}: )[\d.]+(?=[,}}\n])", value, text)
    assert changed != text
    (copy / bundle.CONFIG).write_text(changed)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFolderError):
            bundle.load(copy, CPU)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(copy: Path, value: float) -> None:
    weights = load_file(copy / bundle.WEIGHTS)
    weights["head.bias"][0] = value
    save_file(weights, copy / bundle.WEIGHTS)
    with pytest.raises(ModelFolderError, match=r"head\.bias must hold finite numbers"):
        bundle.load(copy, CPU)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.complex64])
def test_weights_of_another_kind_are_refused(copy: Path, dtype: torch.dtype) -> None:
    weights = load_file(copy / bundle.WEIGHTS)
    save_file({name: value.to(dtype) for name, value in weights.items()}, copy / bundle.WEIGHTS)
    with pytest.raises(ModelFolderError, match="must hold finite numbers, float32 or float16"):
        bundle.load(copy, CPU)


@pytest.mark.parametrize("name", ["vocabulary-source.json", bundle.WEIGHTS, bundle.METRICS, bundle.CONFIG])
def test_a_pipe_in_the_place_of_a_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    if name == bundle.METRICS:  # not used in prediction, so it is passed over
        bundle.load(copy, CPU)
        return
    with pytest.raises(ModelFolderError):
        bundle.load(copy, CPU)


def test_messages_hold_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("w\x1b[31mrd\tb\na\tX\n")
    done = CliRunner().invoke(
        app, ["train", str(tmp_path / "t.tsv"), "--out", "m", "--set", "source.column=x", "--set", "target.column=b"]
    )
    assert done.exit_code == 1
    assert r"w\x1b[31mrd" in done.stderr
    assert "\x1b" not in done.stderr


def test_deep_json_is_refused(copy: Path) -> None:
    (copy / "vocabulary-source.json").write_text("[" * 200_000)
    with pytest.raises(ModelFolderError, match=r"vocabulary-source\.json: is not JSON"):
        bundle.load(copy, CPU)


@pytest.mark.parametrize("name", [bundle.WEIGHTS, bundle.CONFIG, bundle.CARD, "vocabulary-source.json", "curves.png"])
def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    shutil.move(copy / name, secret)
    (copy / name).symlink_to(secret)
    with pytest.raises(ModelFolderError, match="is a link that leads out of the model folder"):
        bundle.load(copy, CPU)
    (copy / name).unlink()
    shutil.move(secret, copy / "within")
    (copy / name).symlink_to("within")
    assert load(copy)


def test_links_among_states_are_refused(copy: Path, tmp_path: Path) -> None:
    state = checkpoint.states(copy)[0]
    shutil.move(state, tmp_path / "secret")
    state.symlink_to(tmp_path / "secret")
    with pytest.raises(ModelFolderError, match="is a link that leads out of the model folder"):
        checkpoint.load(copy)


def test_loading_reads_only_the_folder(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.tsv"
    secret.write_text("a\tb\n")
    text = (copy / bundle.CONFIG).read_text()
    (copy / bundle.CONFIG).write_text(re.sub(r"train: \S+?,", f"train: {secret},", text, count=1))
    opened: list[str] = []
    honest = builtins.open

    def watch(file: Any, *rest: Any, **named: Any) -> Any:
        opened.append(str(file))
        return honest(file, *rest, **named)

    monkeypatch.setattr(builtins, "open", watch)
    load(copy).predict(["ab"])
    assert str(secret) not in opened


def test_pickled_arrays_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, pairs=np.array([[Bomb(tmp_path / "ran"), "b"]], dtype=object))
    with pytest.raises(DataError, match="is not an array of plain values"):
        list(read_rows([f"{path}#pairs"], [], text_sides(0, 1), False, Problems()))
    assert not (tmp_path / "ran").exists()


def test_an_array_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<U8', 'fortran_order': False, 'shape': (1000000000000, 2), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as file:
        file.writestr("pairs.npy", array)
    with pytest.raises(DataError, match=r"rows\.npz#pairs: is "):
        list(read_rows([f"{tmp_path / 'rows.npz'}#pairs"], [], text_sides(0, 1), False, Problems()))


@pytest.mark.parametrize(("ending", "mark"), [("tsv", b"\t"), ("csv", b",")])
def test_a_gz_bomb_of_one_line_stays_small(tmp_path: Path, ending: str, mark: bytes) -> None:
    path = tmp_path / f"rows.{ending}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"a" + mark + b"X\n")
        for _ in range(64):
            file.write(b"a" * (16 << 20))
        file.write(b"\nb" + mark + b"Y\n")
    problems = Problems(skip=True)
    tracemalloc.start()
    try:
        rows = list(read_rows([str(path)], [], text_sides(0, 1), False, problems))
        peak = tracemalloc.get_traced_memory()[1] >> 20
    finally:
        tracemalloc.stop()
    assert [row.sources[0] for row in rows] == ["a", "b"]
    assert problems.summary().endswith(":2: longer than 16 MiB")
    assert peak < 100, "megabytes; the line has 1,024"


def test_spelling_a_special_symbol_is_ordinary_text(model_folder: Path) -> None:
    model = load(model_folder)
    for text in ("<pad>", "</s>", "<unk>", "<s>", "[UNK]"):
        ids = model.codecs.sources[0].encode(text)
        assert len(ids) == len(text) + 1
        assert isinstance(model.predict([text])[0].text, str)


def test_errors_of_hostile_folders_are_ours(copy: Path) -> None:
    for name in (bundle.CONFIG, bundle.WEIGHTS, "vocabulary-target.json"):
        broken = copy.parent / f"broken-{name}"
        shutil.copytree(copy, broken)
        (broken / name).write_bytes(b"\x80\x04\x95" * 50)
        with pytest.raises(AntiphonError):
            bundle.load(broken, CPU)


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/passwd.npy", "a/../../secret.npy", "..//secret.npy"])
@pytest.mark.parametrize("codec", [FramesCodec("source"), ImageCodec("source")], ids=["frames", "image"])
def test_a_table_names_nothing_outside_of_its_folder(tmp_path: Path, codec: Codec, name: str) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "secret.npy", np.ones((2, 2)))
    table = tmp_path / "in" / "rows.tsv"
    table.write_text(f"{name}\tX\n")
    problems = Problems()
    sides = [SideReader("source", 0, codec.read), SideReader("target", 1, lambda value, _: value)]
    assert list(read_rows([str(table)], [], sides, False, problems)) == []
    assert "is outside the table's folder" in problems.summary()


def test_an_image_bomb_is_not_decoded(tmp_path: Path) -> None:
    """A small file of 144 million pixels."""
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"is an image of too many pixels, 12,000 x 12,000"):
        ImageCodec("source").read("bomb.png", str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_pickled_frames_run_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "walk.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^names .*walk\.npy: is not an array of plain values"):
        FramesCodec("source").read("walk.npy", str(tmp_path))
