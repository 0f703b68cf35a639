"""The two distributions as they are published: what is in them, and that they install and work without this folder.

What builds and installs is slow, needs a package index, and is skipped where there is none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import antiphon_runtime
import httpx2
import pytest
from serving import process

import antiphon

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/v0.1.0"
REPOSITORY = "https://github.com/antiphon-ml/antiphon"
RAW = "https://raw.githubusercontent.com/antiphon-ml/antiphon/main/"
FOLDERS = {"antiphon": ROOT, "antiphon_runtime": ROOT / "runtime"}
STATIC = ROOT / "antiphon/server/static"
WORDS = ["shoe", "moon", "a", "shee", "mmmm"]

PREDICT = """
import json, sys, {package} as package
model = package.load(sys.argv[1])
predictions = [[prediction.text, prediction.score] for prediction in model.predict(json.loads(sys.argv[2]), beam=4)]
torch = "torch" in sys.modules
print(json.dumps([predictions, torch, package.__file__]))
"""

SCRIPT = """
from typing import assert_type

import antiphon
from antiphon.common.answers import TextPrediction

trained = antiphon.train("pairs.tsv", out="model", settings={"train.max_steps": 10})
model = antiphon.load("model")
assert_type(trained, antiphon.Predictor)
assert_type(model, antiphon.Predictor)
predictions: list[antiphon.Prediction] = model.predict(["shoe", "moon"], beam=4, n_best=3)
for prediction in predictions:
    assert_type(prediction.text, str)
    if isinstance(prediction, TextPrediction):
        assert_type(prediction.score, float | None)
        assert_type([other.text for other in prediction.n_best], list[str])
assert_type(model.evaluate("pairs.tsv"), dict[str, float])
assert_type(model.score("pairs.tsv"), list[float])
try:
    model.save("copy")
except antiphon.AntiphonError as error:
    print(error)
"""

RUNTIME_SCRIPT = """
from typing import assert_type

import antiphon_runtime

model = antiphon_runtime.load("folder")
assert_type(model, antiphon_runtime.Model)
for prediction in model.predict(["shoe", "moon"], beam=4, n_best=3):
    if isinstance(prediction, antiphon_runtime.TextPrediction):
        assert_type(prediction.text, str)
        assert_type([other.text for other in prediction.n_best], list[str])
"""

MISTAKES = """
import antiphon
from antiphon.common.answers import TextPrediction

antiphon.load(5)
model = antiphon.load("model")
model.forecast(["shoe"])
antiphon.learn("pairs.tsv")


def text(prediction: TextPrediction) -> int:
    return prediction.text
"""


class Built(NamedTuple):
    """A distribution's two files."""

    wheel: Path
    sdist: Path


def call(*command: str | Path, cwd: Path) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_both_distributions_have_one_version() -> None:
    assert antiphon.__version__ == antiphon_runtime.__version__


def test_both_distributions_have_one_licence() -> None:
    assert (ROOT / "LICENSE").read_text(encoding="utf-8") == (ROOT / "runtime/LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md", "runtime/README.md"])
def test_links_of_what_the_index_shows_are_absolute_and_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for image, target in re.findall(r"(!?)(?<=[\[\]!])\[[^\[\]]*\]\(([^)\s]*)", text):
        assert target.startswith(("https://", "#")), target
        assert not image or target.startswith(RAW), f"{target}: is a page and not a picture"
    for target in re.findall(r"\]\(([^)\s]*)", text):
        assert target.startswith(("https://", "#")), target
        inside = re.match(rf"(?:{re.escape(REPOSITORY)}/(blob|tree)/main/|{re.escape(RAW)})([^#]+)", target)
        if inside is not None:
            path = ROOT / inside[2]
            assert path.is_dir() if inside[1] == "tree" else path.is_file(), target


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A package index can be reached; where none can, the test is skipped."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "0", "--no-deps", "setuptools>=77"]
    done = subprocess.run(command, cwd=tmp_path_factory.mktemp("index"), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a package index: {done.stderr[-200:]}")


def copy_checkout(copy: Path) -> None:
    """Copy the checkout without what git ignores; links stay links."""
    for name in call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
        if name and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)


@pytest.fixture(scope="module")
def built(index: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Wheel and source distribution of both, built from a copy, so that nothing is left here."""
    for tool in ("build", "twine"):
        if find_spec(tool) is None:
            pytest.skip(f"needs {tool}, which the extra dev installs")
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    source, files = tmp_path_factory.mktemp("source"), {}
    copy_checkout(source)
    for package, folder in FOLDERS.items():
        out = tmp_path_factory.mktemp("dist")
        call(sys.executable, "-m", "build", "--outdir", out, source / folder.relative_to(ROOT), cwd=source)
        files[package] = Built(next(out.glob("*.whl")), next(out.glob("*.tar.gz")))
    return files


def contents(path: Path) -> set[str]:
    """Names of the files in a wheel or, below its folder, in a source distribution."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(path) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


@pytest.mark.slow
@pytest.mark.parametrize("package", sorted(FOLDERS))
def test_each_has_its_files_and_no_others(built: dict[str, Built], package: str) -> None:
    wheel, sdist = contents(built[package].wheel), contents(built[package].sdist)
    information = f"{package}-{antiphon.__version__}.dist-info"
    assert f"{information}/licenses/LICENSE" in wheel
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= sdist
    modules = glob(f"{package}/**/*.py", root_dir=FOLDERS[package], recursive=True)  # through links too
    assert f"{package}/common/text.py" in modules
    expected = {f"{package}/py.typed", *modules}
    static = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert "index.html" in static
    expected |= {f"{package}/server/static/{name}" for name in static}
    if package == "antiphon":  # the page of an exported model, and the JavaScript that runs it
        expected |= {f"antiphon/export/page/{path.name}" for path in (ROOT / "antiphon/export/page").iterdir()}
        expected |= {f"antiphon/export/runtime_js/{path.name}" for path in (ROOT / "runtime-js/src").iterdir()}
    assert {name for name in wheel if not name.startswith(information)} == expected
    assert {name for name in sdist if name.startswith(f"{package}/")} == expected
    others = {name for name in sdist - expected if not name.startswith(f"{package}.egg-info/")}
    build = {"setup.py"} if package == "antiphon_runtime" else set()
    assert others == {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", "setup.cfg"} | build


@pytest.mark.parametrize("name", ["common", "server"])
def test_a_checkout_without_symbolic_links_is_not_built(tmp_path: Path, name: str) -> None:
    """Where git does not make links, it writes a file with the path that the link has."""
    runtime = tmp_path / "runtime"
    shutil.copytree(FOLDERS["antiphon_runtime"], runtime, symlinks=True)
    link = runtime / "antiphon_runtime" / name
    target = os.readlink(link)
    link.unlink()
    link.write_text(target)
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=runtime, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "git config core.symlinks true" in done.stderr


@pytest.mark.slow
def test_the_index_would_take_them(built: dict[str, Built], tmp_path: Path) -> None:
    files = [path for distribution in built.values() for path in distribution]
    output = call(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=tmp_path)
    assert output.count("PASSED") == len(files) == 4


def environment(folder: Path, wheel: Path, extra: str = "") -> Path:
    """The `bin` of a new environment with a wheel and what it and an `[extra]` need, as constraints.txt pins it."""
    venv.create(folder, with_pip=True)
    pip = (folder / "bin/python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt")
    if wheel.name.startswith("antiphon-"):
        call(*pip, "torch", cwd=folder)  # alone: an index that offers a build without CUDA can then choose it
    call(*pip, f"{wheel}{extra}", cwd=folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def package(built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("package"), built["antiphon"].wheel)


@pytest.fixture(scope="module")
def runtime(built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("runtime"), built["antiphon_runtime"].wheel)


@pytest.mark.slow
def test_the_installed_command_runs(package: Path, tmp_path: Path) -> None:
    assert call(package / "antiphon", "--version", cwd=tmp_path) == f"antiphon {antiphon.__version__}\n"
    output = call(package / "antiphon", "--help", cwd=tmp_path)
    assert {"train", "predict", "evaluate", "serve", "export"} <= set(output.split())


@pytest.mark.slow
def test_the_installed_runtime_predicts_as_the_installed_package(package: Path, runtime: Path, tmp_path: Path) -> None:
    from antiphon.export.folder import export

    export(GOLDEN, tmp_path / "shipped")
    predictions = {}
    for name, scripts, folder in (
        ("antiphon", package, GOLDEN),
        ("antiphon_runtime", runtime, tmp_path / "shipped"),
    ):
        code = PREDICT.format(package=name)
        result, torch, file = json.loads(
            call(scripts / "python", "-c", code, folder, json.dumps(WORDS), cwd=tmp_path).splitlines()[-1]
        )
        assert Path(file).is_relative_to(scripts.parent)
        assert torch == (name == "antiphon")
        predictions[name] = result
    assert [text for text, _ in predictions["antiphon_runtime"]] == [text for text, _ in predictions["antiphon"]]
    scores = [score for _, score in predictions["antiphon"]]
    assert [score for _, score in predictions["antiphon_runtime"]] == pytest.approx(scores, abs=1e-4)
    assert call(runtime / "antiphon-runtime", "--help", cwd=tmp_path).startswith("usage: antiphon-runtime")


@pytest.mark.slow
def test_the_installed_runtime_serves_without_torch(built: dict[str, Built], tmp_path: Path) -> None:
    from antiphon.export.folder import export
    from antiphon.use.loading import load

    (tmp_path / "alone").mkdir()
    scripts = environment(tmp_path / "alone", built["antiphon_runtime"].wheel, "[serve]")
    missing = subprocess.run([scripts / "python", "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0
    export(GOLDEN, tmp_path / "shipped")
    expected = load(GOLDEN, "cpu").predict(WORDS, beam=4)
    with process(tmp_path, tmp_path / "shipped", command=(scripts / "antiphon-runtime", "serve"), alone=True) as server:
        body = {"inputs": WORDS, "options": {"beam": 4}}
        results = httpx2.post(f"{server.url}/v1/predict", json=body, timeout=60).json()["results"]
        page = httpx2.get(server.url)
    assert [result["text"] for result in results] == [prediction.text for prediction in expected]
    scores = [prediction.score for prediction in expected]
    assert [result["score"] for result in results] == pytest.approx(scores, abs=1e-4)
    assert "<title>" in page.text


def mypy(scripts: Path, text: str, folder: Path) -> tuple[int, str]:
    """Status and output of `mypy --strict` on a script, with the packages of an environment."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        scripts / "python",
        "script.py",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_users_script_has_types(package: Path, tmp_path: Path) -> None:
    status, output = mypy(package, SCRIPT, tmp_path)
    assert status == 0, output
    status, output = mypy(package, MISTAKES, tmp_path)
    assert status == 1
    assert re.findall(r"\[([a-z-]+)\]$", output, re.MULTILINE) == [
        "call-overload",
        "attr-defined",
        "attr-defined",
        "return-value",
    ]


@pytest.mark.slow
def test_a_users_script_with_the_runtime_has_types(runtime: Path, tmp_path: Path) -> None:
    status, output = mypy(runtime, RUNTIME_SCRIPT, tmp_path)
    assert status == 0, output
