"""A wheel of a model: the same bytes twice, metadata that indexes take, and answers as those of `predict`."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import resource
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata
from packaging.utils import parse_wheel_filename
from untrained import KINDS, rows_of, untrained

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.export.folder import export
from antiphon.export.wheel import names_of
from antiphon.use.loading import load

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "v0.1.0"
OPTIONS = {"name": "My.g2p", "version": "1.0.0", "licence": ["mit", str(ROOT / "LICENSE")]}
WORDS = ["shoe", "moon", "", "a", "shee"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(GOLDEN, tmp_path_factory.mktemp("dist"), "wheel", options=OPTIONS).path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs, as an installer unpacks it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_the_same_model_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = export(GOLDEN, tmp_path, "wheel", options=OPTIONS).path
    assert again.name == wheel.name == "my_g2p-1.0.0-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()
    with pytest.raises(ModelFolderError, match=r"my_g2p-1.0.0-py3-none-any.whl: exists; name a new file"):
        export(GOLDEN, tmp_path, "wheel", options=OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name], "nothing else is left"


def test_no_path_of_this_computer_is_in_it(wheel: Path) -> None:
    content = wheel.read_bytes()
    for path in (ROOT, Path.home(), Path(sys.prefix)):
        assert str(path).encode() not in content or len(str(path)) < 6


def test_its_metadata_and_record_are_right(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    name, version, _, tags = parse_wheel_filename(wheel.name)
    information = "my_g2p-1.0.0.dist-info"
    about = Metadata.from_email(contents[f"{information}/METADATA"], validate=True)
    assert (about.name, about.version) == (name, version)
    assert about.license_expression == "MIT"
    assert about.license_files == ["LICENSE"]
    assert contents[f"{information}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert [requirement.name for requirement in about.requires_dist or []] == ["antiphon-runtime"]
    assert "## Validation" in (about.description or "")
    assert "](curves.png)" not in (about.description or "")
    assert {str(tag) for tag in tags} == {"py3-none-any"}
    assert b"Root-Is-Purelib: true\nTag: py3-none-any\n" in contents[f"{information}/WHEEL"]
    record = {row[0]: row[1:] for row in csv.reader(io.StringIO(contents[f"{information}/RECORD"].decode()))}
    assert record.keys() == contents.keys()
    assert record.pop(f"{information}/RECORD") == ["", ""]
    for path, (digest, size) in record.items():
        expected = base64.urlsafe_b64encode(hashlib.sha256(contents[path]).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={expected}", len(contents[path])), path


def call(folder: Path, *command: str, text: str = "") -> str:
    """The output of Python with the wheel and the runtime alone."""
    path = f"{folder}:{ROOT / 'runtime'}"
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env={"PYTHONPATH": path}, input=text, capture_output=True, text=True,
        check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_command_and_its_function_answer_as_predict(installed: Path) -> None:
    model = load(GOLDEN, "cpu")
    text = "".join(f"{word}\n" for word in WORDS)
    expected = [item.text for item in model.predict(WORDS, beam=3)]
    assert call(installed, "-m", "my_g2p", "--beam", "3", text=text).split("\n")[:-1] == expected
    code = f"import json, my_g2p; print(json.dumps([item.text for item in my_g2p.predict({WORDS!r}, beam=3)]))"
    assert json.loads(call(installed, "-c", code)) == expected
    assert call(installed, "-m", "my_g2p", "--version").strip() == "1.0.0"
    light = "import sys, my_g2p; print(sorted({'onnxruntime', 'torch', 'antiphon'} & set(sys.modules)))"
    assert call(installed, "-c", light).strip() == "[]", "nothing is loaded before it is needed"


def test_pieces_need_the_tokenizers(tmp_path: Path) -> None:
    tree, columns = KINDS["bpe to chars"]
    model = untrained(tmp_path, tree, rows_of(**columns))
    path = export(model.folder, tmp_path / "dist", "wheel", options={"name": "pieces"}).path
    with zipfile.ZipFile(path) as file:
        about = Metadata.from_email(file.read("pieces-0.1.0.dist-info/METADATA"), validate=True)
    (needed,) = about.requires_dist or []
    assert needed.extras == {"subwords"}
    assert about.license_expression is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--name: --to wheel needs it"),
        ({"name": "my g2p"}, "--name my g2p: is not a name of a package"),
        ({"name": "-g2p"}, "is not a name of a package"),
        ({"name": "3d"}, "--name 3d: Python cannot import 3d; begin with a letter"),
        ({"name": "JSON"}, "--name JSON: there is a module json already; choose another name"),
        ({"name": "antiphon-runtime"}, "there is a module antiphon_runtime already"),
        ({"name": "class"}, "Python cannot import class"),
        ({"name": "a", "version": "first"}, "--version first: is not a version"),
        ({"name": "a", "licence": ["My own"]}, "--licence My own: is neither a file nor an SPDX licence expression"),
        ({"name": "a", "licence": ["MIT", "BSD-3-Clause"]}, "--licence: MIT and BSD-3-Clause; give one expression"),
        ({"name": "a", "runtime": "x"}, "--runtime: is an option of --to web"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AntiphonError) as error:
        export(tmp_path / "no model", tmp_path / "dist", "wheel", options=options)
    assert message in str(error.value)


def test_names_are_normal() -> None:
    names = names_of("My__Model", "01.2", ["apache-2.0 or mit"])
    assert (names.name, names.module, names.version) == ("my-model", "my_model", "1.2")
    assert names.licence == "Apache-2.0 OR MIT"


TYPED = """
from typing import assert_type

import my_g2p
from antiphon_runtime import Model, TextPrediction

assert_type(my_g2p.predict(["shoe"], beam=4, n_best=3), list[TextPrediction])
assert_type(my_g2p.model(), Model)
assert_type(my_g2p.__version__, str)
"""


@pytest.mark.slow
def test_it_is_typed(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    files = [str(path) for path in (tmp_path / "typed.py", installed / "my_g2p")]
    options = ["--strict", "--follow-imports=silent", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"MYPYPATH": f"{installed}:{ROOT / 'runtime'}", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_it_is_installed_from_files_alone_and_answers_at_once(wheel: Path, tmp_path: Path) -> None:
    """In an environment with numpy, onnxruntime and the runtime; without an index for the wheel itself."""
    venv.create(tmp_path / "alone", with_pip=True)
    pip = [str(tmp_path / "alone/bin/python"), "-m", "pip", "install", "--quiet"]
    shutil.copytree(ROOT / "runtime", tmp_path / "runtime")  # links become folders
    done = subprocess.run([*pip, tmp_path / "runtime"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a package index to install numpy and onnxruntime from: {done.stderr[-200:]}")
    subprocess.run([*pip, "--no-index", wheel], check=True)
    expected = "".join(f"{item.text}\n" for item in load(GOLDEN, "cpu").predict(WORDS))
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [tmp_path / "alone/bin/my-g2p"], input="".join(f"{word}\n" for word in WORDS), capture_output=True,
            text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout == expected
    print(f"answers after {min(seconds):.2f} s of computing")
    assert min(seconds) < 0.4, "of a processor: how long it takes by the clock depends on what else runs"
