"""A model as an object of Python: shown, copied, pickled, moved, exported; paths with `~` and as texts."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from untrained import KINDS, ONE_WAY, picture_files, rows_of, untrained

import antiphon
from antiphon.cli import main as cli
from antiphon.data.load import untrained as untrained_codecs
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.evaluation.answering import prediction_class
from antiphon.use.predictor import Predictor

QUICK = {"train.max_steps": 2, "train.validate_every": 1}


def answers(model: Predictor, inputs: list[Any]) -> list[Any]:
    return [prediction.to_json() for prediction in model.predict(inputs)]


def made(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Predictor, list[Any]]:
    """A model of a kind, and inputs for it."""
    monkeypatch.chdir(folder)
    tree, columns = KINDS[case]
    if "image" in case:
        pictures: list[Any] = list(picture_files(folder))
        columns = {**columns, "x": [[path] if "images" in case else path for path in pictures]}
    model = untrained(folder, tree, rows_of(**columns))
    names = [name for name in ("x", "z") if name in columns]
    inputs = list(zip(*(columns[name] for name in names), strict=True)) if names else [("",)] * 2
    return model, [values[0] if len(values) == 1 else values for values in inputs]


@pytest.mark.parametrize("case", KINDS)
def test_copies_and_pickles_predict_the_same(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = made(case, tmp_path, monkeypatch)
    expected = answers(model, inputs)
    assert answers(copy.deepcopy(model), inputs) == expected
    assert answers(pickle.loads(pickle.dumps(model)), inputs) == expected
    assert prediction_class(untrained_codecs(model.config).target) is type(model.predict(inputs)[0])
    assert type(model.predict(inputs)[0]).__name__ in antiphon.__all__


def test_a_copy_has_weights_of_its_own(model_folder: Path) -> None:
    model = antiphon.load(model_folder, "cpu")
    other = copy.deepcopy(model)
    for parameter in other.model.parameters():
        parameter.data.zero_()
    assert answers(model, ["abc"]) == answers(antiphon.load(model_folder, "cpu"), ["abc"])
    assert answers(model, ["abc"]) != answers(other, ["abc"])


def test_an_ensemble_can_be_pickled(model_folder: Path) -> None:
    model = antiphon.load([model_folder, model_folder], "cpu")
    assert answers(pickle.loads(pickle.dumps(model)), ["abc", "de"]) == answers(model, ["abc", "de"])
    assert repr(model).startswith("Predictor(ensemble of 2, many_to_many, text -> text, ")
    with pytest.raises(ModelFolderError, match="an ensemble is several models"):
        model.export("nowhere")


def test_a_model_in_a_temporary_folder_survives_in_its_copies(pairs: Path, tmp_path: Path) -> None:
    model = antiphon.train(pairs, settings=QUICK, device="cpu", quiet=True)
    model.calibrate(pairs)
    expected, first = answers(model, ["abc", "de"]), model.folder
    copied, moved, pickled = copy.deepcopy(model), model.to("cpu"), pickle.dumps(model)
    del model
    gc.collect()
    assert first.is_dir(), "its copies need it"
    copied.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "calibration.json").is_file()
    del copied, moved
    gc.collect()
    assert not first.exists()
    program = (
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'));"
        "print([prediction.to_json() for prediction in model.predict(['abc', 'de'])]); print(model.folder);"
        "model.save(sys.argv[2])"
    )
    (tmp_path / "model.pickle").write_bytes(pickled)
    command: list[str | Path] = [sys.executable, "-c", program, tmp_path / "model.pickle", tmp_path / "saved"]
    printed, second = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed == repr(expected)
    assert not Path(second).exists()
    saved = antiphon.load(tmp_path / "saved", "cpu")
    assert answers(saved, ["abc", "de"]) == expected
    assert (tmp_path / "saved" / "README.md").is_file()


def test_repr_and_summary_tell_what_a_model_is(model_folder: Path) -> None:
    model = antiphon.load(model_folder, "cpu")
    count = sum(parameter.numel() for parameter in model.model.parameters())
    line = f"Predictor(many_to_many, text -> text, {count:,} parameters, cpu, {str(model_folder)!r})"
    assert repr(model) == line
    lines = model.summary().splitlines()
    assert lines[0] == line
    assert "  source: text, 5 symbols (chars)" in lines
    parts = {words[0]: int(words[2].replace(",", "")) for words in map(str.split, lines) if len(words) == 3}
    tops = [name for name in parts if name in dict(model.model.named_children())]
    assert parts["all"] == count == sum(parts[name] for name in tops)
    assert any(line.split() == ["updates", "4"] for line in lines)
    assert any(line.split()[:1] == ["token_error_rate"] for line in lines)


def test_a_model_moves_to_a_device(model_folder: Path) -> None:
    model = antiphon.load(model_folder, "cpu")
    assert model.to("cpu") is model
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(AntiphonError, match=f"--device {device}"):
            model.to(device)


@pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs the extra export")
def test_export_writes_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.export.folder import export

    tree = {"source": {"column": "x"}, "target": {"kind": "label", "column": "y"}, "model": ONE_WAY}
    model = untrained(tmp_path, tree, rows_of(x=["a", "ab", "b"], y=["u", "v", "u"]))
    monkeypatch.setenv("HOME", str(tmp_path))
    exported = model.export("~/python")
    assert replace(export(model.folder, tmp_path / "command"), path=exported.path) == exported
    for path in (tmp_path / "command").iterdir():
        assert (tmp_path / "python" / path.name).read_bytes() == path.read_bytes()


def test_home_is_meant_in_every_path(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "pairs.tsv").write_bytes(pairs.read_bytes())
    (tmp_path / "known.tsv").write_text("abc\tA\n", encoding="utf-8")
    settings = {**QUICK, "data.valid": "~/pairs.tsv"}
    model = antiphon.train("~/pairs.tsv", out="~/m", settings=settings, device="cpu", quiet=True)
    assert model.folder == tmp_path / "m"
    assert len(antiphon.load("~/m", "cpu").score("~/pairs.tsv")) == len(model.score(tmp_path / "pairs.tsv")) == 60
    assert model.use_exceptions("~/known.tsv") == 1
    assert list(model.file("~/pairs.tsv")) == list(model.file(tmp_path / "pairs.tsv"))
    model.save("~/copy")
    assert (tmp_path / "copy").is_dir()
    antiphon.train("~/pairs.tsv", out="~/n", settings=QUICK, device="cpu", quiet=True, init_from="~/m")
    monkeypatch.setattr(sys, "argv", ["antiphon", "predict", "~/m", "~/pairs.tsv"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert list(elsewhere.iterdir()) == []
