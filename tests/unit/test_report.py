"""The page of a training: what was logged, what the data is, and what the model is worst at."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.errors import ModelFolderError
from antiphon.tools.report import WORST, _curves, read_history, report
from antiphon.use.loading import load


@pytest.fixture(scope="module")
def page(model_folder: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "r.html"
    report(load(model_folder, "cpu"), str(pairs), path)
    return path.read_text(encoding="utf-8")


def test_the_page_has_all_its_sections_and_needs_nothing_else(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:3] == ["Summary", "Loss", "Error rates"]
    assert titles[-3:] == ["Worst examples", "Data", "Configuration"]
    assert {"Learning rate", "Gradient norms", "Saturated gates", "Dead units", "Tokens per second"} <= set(titles)
    assert "<script" not in page
    for element in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(element)
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))


def test_curves_are_what_was_logged(model_folder: Path) -> None:
    history = read_history(model_folder)
    assert len(history) == 2
    logged = [json.loads(line) for line in (model_folder / "training" / "log.jsonl").read_text().splitlines()]
    assert history == logged
    views = {view.title: view for view in _curves(history)}

    def lines(title: str) -> dict[str, list[float]]:
        figure = Figure()
        views[title].draw(figure)
        drawn = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
        assert (
            list(np.asarray(drawn.pop("kept").get_xdata()))
            == [next(e["step"] for e in reversed(history) if e["kept"])] * 2
        )
        for line in drawn.values():
            assert list(np.asarray(line.get_xdata())) == [entry["step"] for entry in history]
        return {name: list(line.get_ydata()) for name, line in drawn.items()}  # type: ignore[arg-type]

    assert lines("Loss") == {name: [entry[name] for entry in history] for name in ("train_loss", "loss")}
    assert lines("Learning rate") == {"learning_rate": [entry["learning_rate"] for entry in history]}
    norms = lines("Gradient norms")
    assert norms == {part: [entry["gradients"][part] for entry in history] for part in history[0]["gradients"]}
    for cell, values in lines("Dead units").items():
        assert values == [entry["cells"][cell]["dead"] for entry in history]


def test_the_learning_rate_is_the_schedules(model_folder: Path) -> None:
    from antiphon.training.optimizer import SCHEDULES

    train = load(model_folder, "cpu").config.train
    schedule = SCHEDULES.build(train.schedule.kind, train.schedule.options, "train.schedule")
    for entry in read_history(model_folder):
        expected = train.rate * schedule(entry["step"] - 1, train.max_steps)  # type: ignore[arg-type]
        assert entry["learning_rate"] == pytest.approx(expected)


def test_the_worst_rows_are_the_least_probable(model_folder: Path, pairs: Path, page: str) -> None:
    scored = sorted(load(model_folder, "cpu").scored(str(pairs)), key=lambda pair: pair[1])
    section = page[page.index("<h2>Worst examples") :]
    rows = re.findall(r"<tr>(.*?)</tr>", section)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert len(cells) == WORST
    for (row, score), (where, source, target, predicted, shown_score) in zip(scored[:WORST], cells, strict=True):
        assert (where, source, target, shown_score) == (
            f"{row.file}:{row.line}",
            row.sources[0],
            row.target,
            f"{score:.3f}",
        )
        assert predicted == load(model_folder, "cpu").predict([row.sources[0]])[0].text if row is scored[0][0] else True


def test_data_that_has_gone_is_told(model_folder: Path, tmp_path: Path) -> None:
    model = load(model_folder, "cpu")
    gone = model.config.data.model_copy(update={"train": str(tmp_path / "gone.tsv")})
    model.config = model.config.model_copy(update={"data": gone})
    report(model, None, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "cannot be read any more: " in page
    assert "Worst examples" not in page


@pytest.mark.parametrize("line", ["[]", "{", '{"step": 1}', '{"step": "x", "best": true}', "3"])
def test_a_log_of_something_else_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "log.jsonl").write_text('{"step": 1, "best": true}\n' + line + "\n")
    with pytest.raises(ModelFolderError, match=r"log\.jsonl:2: is not an entry of a training log$"):
        read_history(tmp_path)


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["report", str(model_folder), "--out", str(tmp_path / "r.html")]).exit_code == 0
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert CliRunner().invoke(app, ["report", str(model_folder), "--out", str(tmp_path / "r.pdf")]).exit_code == 2
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy, ignore=shutil.ignore_patterns("training"))
    ran = CliRunner().invoke(app, ["report", str(copy), "--out", str(tmp_path / "s.html")])
    assert ran.exit_code == 1
    assert "a copy of a model does not have it" in ran.stderr
