"""Students that learn from teachers: every kind of target, their outputs, their distributions, resumed and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tasks import spoken, tiny_config, trained, words, write_table
from typer.testing import CliRunner
from untrained import KINDS, forecaster, picture_files, rows_of, untrained

import antiphon
from antiphon.cli.main import app
from antiphon.errors import AntiphonError, ConfigError, TrainingError
from antiphon.model.parts.heads.base import SymbolHead
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.saved import folder as bundle
from antiphon.tools.distill import student
from antiphon.tools.doubt import _rows_of
from antiphon.training import checkpoint, teachers
from antiphon.training.distributed import ALONE
from antiphon.training.prepare import read_parts

SHORT = {"train.max_steps": 3, "train.validate_every": 3, "model.encoder.hidden": 8, "model.embedding": 8}
WRITTEN = {**SHORT, "model.decoder.hidden": 16}


def teacher_of(folder: Path, case: str, scale: float = 0.6) -> antiphon.Predictor[Any]:
    """A model of a kind with random weights, and its table."""
    folder.mkdir(exist_ok=True)
    tree, columns = KINDS[case]
    if not {"kind", "ctc"} & tree["target"].keys():  # random weights may write nothing
        tree = {**tree, "decode": {"beam": 1, "max_length": 6, "min_length": 2}}
    names = picture_files(folder)
    columns = {
        name: names if values == ["pictures"] * 6 else [names[:2]] * 6 if values == [["pictures"]] * 6 else values
        for name, values in columns.items()
    }
    return untrained(folder, tree, rows_of(**columns), scale)


@pytest.mark.parametrize("case", KINDS)
def test_a_student_of_every_kind_of_model(tmp_path: Path, case: str) -> None:
    teacher = teacher_of(tmp_path / "t", case)
    settings: dict[str, Any] = WRITTEN if case.endswith(("chars", "text", "sources", "dialogue")) else SHORT
    if "images" in case or "image" in case:
        settings = {**settings, "model.image.channels": [4, 6]}
    model = antiphon.distill(
        teacher.folder, tmp_path / "s", settings={**settings, "data.valid": teacher.config.data.train}, quiet=True
    )
    assert [codec.to_json() for codec in model.codecs.named.values()] == [
        codec.to_json() for codec in teacher.codecs.named.values()
    ]
    guide = model.config.train.teacher_share
    assert guide == (0.5 if isinstance(teacher.model.head, SymbolHead) else 0.0)
    assert model.config.train.teacher_outputs == ("none" if case.startswith("the next symbol") else "add")


@pytest.mark.parametrize("case", [case for case in KINDS if case != "nothing to text" and "next symbol" not in case])
def test_inputs_without_answers_for_every_kind(tmp_path: Path, case: str) -> None:
    """The targets in the table are not read: they are the teacher's outputs."""
    teacher = teacher_of(tmp_path / "t", case, scale=1.5)
    _, columns = KINDS[case]
    table = tmp_path / "t" / "inputs.jsonl"
    rows = [json.loads(line) for line in (tmp_path / "t" / "rows.jsonl").read_text().splitlines()]
    table.write_text("".join(json.dumps({key: row[key] for key in columns if key != "y"}) + "\n" for row in rows))
    settings: dict[str, Any] = WRITTEN if case.endswith(("chars", "text", "sources", "dialogue")) else SHORT
    if "image" in case:
        settings = {**settings, "model.image.channels": [4, 6]}
    settings = {**settings, "data.valid": teacher.config.data.train}
    model = antiphon.distill(teacher.folder, tmp_path / "s", inputs=table, settings=settings, quiet=True)
    kept = json.loads((tmp_path / "s" / bundle.TRAINING / "train-outputs.json").read_text())
    assert len(kept) == len(rows)
    assert model.config.train.teacher_outputs == "only"


def test_a_student_of_a_forecast_reads_the_same_windows(tmp_path: Path) -> None:
    sources = [{"kind": "frames", "columns": ["y"]}, {"kind": "calendar", "parts": ["hour"], "ahead": True}]
    teacher = forecaster(tmp_path, source=sources)
    model = antiphon.distill(teacher.folder, tmp_path / "s", settings=SHORT, quiet=True)
    assert model.config.data.window == teacher.config.data.window
    assert [codec.to_json() for codec in model.codecs.all] == [codec.to_json() for codec in teacher.codecs.all]
    assert model.config.train.teacher_outputs == "add"
    kept = json.loads((tmp_path / "s" / bundle.TRAINING / "train-outputs.json").read_text())
    assert len(kept) == 30  # 24 of the 40 rows of each group come before the validation, and 9 begin no window
    assert [forecast.group for forecast in model.forecast(teacher.config.data.train)] == ["a", "b"]
    assert model.evaluate()["rows"] == teacher.evaluate()["rows"]


@given(st.integers(0, 1000))
def test_the_loss_towards_a_teacher_is_a_cross_entropy(seed: int) -> None:
    """With all of the distribution on one symbol it is -log p; the student's own distribution is its minimum."""
    torch.manual_seed(seed)
    head = SoftmaxHead(5, 9)
    features, targets = torch.randn(2, 3, 5), torch.randint(4, 9, (2, 3))
    positions = torch.tensor([0, 1, 3, 4, 5])
    kept = targets.flatten()[positions]
    _, nll = head.objective(features, targets, positions, 0.0)
    hard = head.towards(features, positions, kept[:, None], torch.ones(5, 1))
    torch.testing.assert_close(hard, nll)
    chances = head.log_probs(head.kept(features, positions)).exp().detach()
    ids = torch.arange(9).expand(5, 9)
    features.requires_grad_()
    head.towards(features, positions, ids, chances).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert float(features.grad.abs().max()) < 1e-6


def reading(folder: Path, name: str, steps: int = 150, **settings: Any) -> Any:
    """A trained teacher of pronunciations."""
    return trained(tiny_config(folder, train__max_steps=steps, train__validate_every=steps, **settings), folder / name)


def test_the_guide_is_the_mean_of_the_teachers(tmp_path: Path) -> None:
    first, second = reading(tmp_path, "a", 30), reading(tmp_path, "b", 30, train__seed=2)
    config = api_config([first.folder, second.folder])
    members = teachers.load_teachers(config, ALONE, None)
    assert members is not None
    parts = read_parts(config, codecs=members.codecs)
    both = teachers.guided(members, parts.train).guide
    assert both is not None
    from antiphon.data.batches import collate

    row = 3
    batch = collate(parts.train, [row])
    models: list[Any] = [(member.model.head, member.model) for member in members.members]
    with torch.no_grad():
        chances = [
            head.log_probs(head.kept(model(batch.sources, batch.target.values), batch.positions)).exp()
            for head, model in models
        ]
    best = (sum(chances) / 2).topk(teachers.TOP)
    assert torch.from_numpy(both.ids[row]).equal(best.indices.int())
    shares = best.values / best.values.sum(-1, keepdim=True)
    torch.testing.assert_close(torch.from_numpy(both.probabilities[row]).float(), shares, atol=1e-3, rtol=1e-3)


def api_config(folders: list[Path], **settings: Any) -> Any:
    from antiphon.api import read_config

    return read_config(student(folders, settings={**WRITTEN, **settings})).config


def test_outputs_are_further_rows_where_they_differ(tmp_path: Path) -> None:
    teacher = reading(tmp_path, "t", 60)
    config = api_config([teacher.folder])
    members = teachers.load_teachers(config, ALONE, None)
    assert members is not None
    own = read_parts(config, codecs=members.codecs).rows
    rows = read_parts(config, codecs=members.codecs, teachers=members).rows
    texts = [prediction.text for prediction in teacher.predict([row.sources[0] for row in own])]
    other = [(row.sources, text) for row, text in zip(own, texts, strict=True) if text not in (row.target, "")]
    assert other, "a teacher without a mistake shows nothing"
    assert [(row.sources, row.target) for row in rows[len(own) :]] == list(dict.fromkeys(other))
    assert rows[: len(own)] == own


def test_inputs_without_answers(tmp_path: Path) -> None:
    """A student of inputs alone, one on each line, comes close to its teacher on these."""
    teacher = reading(tmp_path, "t", 250)
    inputs = words(150, 5, "shcteoamn")
    (tmp_path / "inputs.txt").write_text("".join(f"{word}\n" for word in inputs))
    settings = {
        "train.max_steps": 300, "train.validate_every": 300, "model.encoder.hidden": 24, "model.decoder.hidden": 48,
        "model.dropout": 0.0, "train.learning_rate": 5e-3, "train.batch_size": 16, "train.ema": None,
        "train.label_smoothing": 0.0, "data.valid": 0.1, "model.cell": "lstm", "model.locked_dropout": False,
    }  # fmt: skip
    command = ["distill", str(teacher.folder), "--inputs", str(tmp_path / "inputs.txt"), "--out", str(tmp_path / "s")]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    model = antiphon.load(tmp_path / "s")
    theirs, mine = (list(each.predict(inputs)) for each in (teacher, model))
    same = sum(left.text == right.text for left, right in zip(theirs, mine, strict=True))
    assert same > 0.7 * len(inputs)


def test_a_resumed_student_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    teacher = reading(tmp_path, "t", 60)
    settings = {**WRITTEN, "train.validate_every": 2, "model.dropout": 0.3}
    antiphon.distill(teacher.folder, tmp_path / "whole", settings={**settings, "train.max_steps": 6}, quiet=True)
    antiphon.distill(teacher.folder, tmp_path / "parts", settings={**settings, "train.max_steps": 4}, quiet=True)
    kept = tmp_path / "parts" / bundle.TRAINING / "train-outputs.json"
    assert len(json.loads(kept.read_text())) == 100
    settings["train.max_steps"] = 6
    antiphon.distill(teacher.folder, tmp_path / "parts", settings=settings, resume=True, quiet=True)
    left, right = (checkpoint.load(tmp_path / name)[0]["learner"]["weights"] for name in ("whole", "parts"))
    assert all(value.equal(right[name]) for name, value in left.items())
    left, right = (load_file(tmp_path / name / bundle.WEIGHTS) for name in ("whole", "parts"))
    assert all(value.equal(right[name]) for name, value in left.items())


def test_two_processes_teach_as_one(tmp_path: Path) -> None:
    teacher = reading(tmp_path, "t", 60)
    settings = {**WRITTEN, "train.optimizer": {"kind": "adamw", "eps": 1e-3}, "model.cell": "lstm", "train.ema": None,
                "model.dropout": 0.0, "model.locked_dropout": False}  # fmt: skip
    antiphon.distill(teacher.folder, tmp_path / "one", settings=settings, quiet=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "antiphon", "distill", str(teacher.folder), "--out", str(tmp_path / "two")]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    left, right = (checkpoint.load(tmp_path / name)[0]["learner"]["weights"] for name in ("one", "two"))
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=1e-5, rtol=1e-5, msg=name)


def test_a_teacher_that_copies(tmp_path: Path) -> None:
    """Its symbols that only a source has are learned too: their ids are the same for both."""
    pairs = [(f"{word} x", f"x {word}") for word in words(60, 5, "shcteoamn")]
    write_table(tmp_path / "rows.tsv", pairs)
    settings = {**WRITTEN, "model.copy": True, "source.tokens": "words", "target.tokens": "words"}
    teacher = antiphon.train(tmp_path / "rows.tsv", tmp_path / "t", settings=settings, quiet=True)
    model = antiphon.distill(tmp_path / "t", tmp_path / "s", settings=WRITTEN, quiet=True)
    assert model.config.model.copy_
    assert model.model.copies
    assert teacher.codecs.target.to_json() == model.codecs.target.to_json()


def test_one_long_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 200)
    settings = {"source.kind": "long_text", "target.kind": "next", **SHORT, "train.batch_size": 4, "train.bptt": 16}
    antiphon.train(tmp_path / "book.txt", tmp_path / "t", settings=settings, quiet=True)
    short = {**SHORT, "train.batch_size": 4, "train.bptt": 16}
    model = antiphon.distill(tmp_path / "t", tmp_path / "s", settings=short, quiet=True)
    assert model.config.train.teacher_outputs == "none"
    assert model.config.train.teacher_share == 0.5


@pytest.mark.parametrize("valid", [{"source": "v.npz#x", "target": "v.npz#y"}, "valid/*.tsv", ["C#/a.tsv"], 0.25])
def test_validation_rows_are_kept_where_they_are_there(tmp_path: Path, valid: Any) -> None:
    tree, columns = KINDS["text to label"]
    data = {"train": str(tmp_path / "rows.jsonl"), "valid": valid}
    folder = untrained(tmp_path, {**tree, "data": data}, rows_of(**columns)).folder
    config = bundle.load_config(folder)
    if not isinstance(valid, float):
        assert (student([folder]).data.valid, _rows_of(config, folder, None, None)[0].data.valid) == (None, None)
    for name in ("v.npz", "valid/1.tsv", "C#/a.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert student([folder]).data.valid == _rows_of(config, folder, None, None)[0].data.valid == config.data.valid


def test_what_cannot_teach_is_refused(tmp_path: Path) -> None:
    teacher = reading(tmp_path, "t", 8)
    write_table(tmp_path / "other.tsv", [(word, spoken(word)) for word in words(60, 5, "ateo")])
    other = antiphon.train(tmp_path / "other.tsv", tmp_path / "o", settings=WRITTEN, quiet=True)
    with pytest.raises(ConfigError, match=r"train\.teachers: .*o: reads or writes other symbols than .*t"):
        antiphon.distill([teacher.folder, other.folder], tmp_path / "s", settings=WRITTEN, quiet=True)
    with pytest.raises(TrainingError, match="rows or from inputs"):
        student(teacher.folder, "a.tsv", "b.txt")
    with pytest.raises(TrainingError, match="needs a teacher"):
        student([])
    with pytest.raises(AntiphonError, match="no such model folder"):
        student(tmp_path / "nothing")
    wrong = {**WRITTEN, "source.tokens": "words"}
    with pytest.raises(ConfigError, match=r"train\.teachers: the student must read and write the same symbols"):
        antiphon.distill(teacher.folder, tmp_path / "s", settings=wrong, quiet=True)
    model = teacher_of(tmp_path / "lm", "the next symbol")
    with pytest.raises(TrainingError, match="is a language model"):
        student(model.folder, inputs="inputs.txt")
    crf = teacher_of(tmp_path / "crf", "spelled words to labels of a CRF")
    with pytest.raises(ConfigError, match="no distribution over symbols or labels at each step"):
        antiphon.distill(crf.folder, tmp_path / "s", settings={**SHORT, "train.teacher_share": 0.5}, quiet=True)
