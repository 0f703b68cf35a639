"""`antiphon init`: what it writes can be read, and trains the table where the columns are clear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from antiphon.api import user_config
from antiphon.cli.main import app
from antiphon.data.load import load_rows
from antiphon.tools.starter import is_clear, starter

Write = Callable[[str, str | bytes], Path]

PAIRS = "".join(f"w{number}\tX Y\n" for number in range(8))
SENSOR = "time,device,ax,ay,activity\n" + "".join(
    f"{step},d{step // 4},{step}.5,-{step}.25,{'walk' if step % 3 else 'stand'}\n" for step in range(12)
)


@pytest.mark.parametrize(
    ("name", "content", "source", "target", "data"),
    [
        ("t.tsv", PAIRS, 0, 1, {}),
        ("t.csv", "word,pron\nab,A B\nba,B A\n", "word", "pron", {}),
        ("t.csv", "label,text\nu,ab\nv,ba\n", "text", "label", {}),
        ("t.csv", "id,text,more,label\n1,ab,x,u\n2,ba,y,v\n", "text", "label", {}),
        ("t.csv", "a b;n\nab;1,5\nba;2,5\n", "a b", "n", {"separator": ";", "decimal": ","}),
        ("t.jsonl", '{"x": "ab", "y": "u"}\n{"x": "ba", "y": "v"}\n', "x", "y", {}),
        ("t.conll", "a N O\nb V O\n\nc N O\n", 0, -1, {}),
    ],
)
def test_what_is_written_reads_the_table(
    write: Write, name: str, content: str, source: Any, target: Any, data: dict[str, str]
) -> None:
    path = write(name, content)
    text = starter(str(path), str(path.parent))
    assert is_clear(text)
    config = user_config(write("c.yaml", text))
    assert (config.sources[0].column, config.target.column) == (source, target)
    assert {key: getattr(config.data, key) for key in data} == data
    assert load_rows(config, config.data.train)


def test_parquet_too(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"word": ["ab", "ba"], "pron": ["A", "B"]}), tmp_path / "t.parquet")
    text = starter(str(tmp_path / "t.parquet"), str(tmp_path))
    assert "source: {column: word}" in text
    assert "target: {column: pron}" in text


def test_what_is_not_clear_is_asked(write: Write) -> None:
    path = write("walk.csv", SENSOR)
    ran = CliRunner().invoke(app, ["init", str(path), "--out", str(path.with_name("c.yaml"))])
    assert (ran.exit_code, "which columns are source and target is not clear" in ran.output) == (0, True)
    text = path.with_name("c.yaml").read_text(encoding="utf-8")
    assert "# group: device" in text
    assert "columns: [time, ax, ay]" in text
    assert "target: {column: activity}" in text
    assert "\nsource:" not in text
    for line in ("#   ax: '0.5', numbers", "#   device: 'd0'"):
        assert line in text.splitlines()
    ran = CliRunner().invoke(app, ["check", str(path.with_name("c.yaml"))])
    assert (ran.exit_code, "name them by position" in ran.output) == (1, True)
    ran = CliRunner().invoke(app, ["init", str(path), "--out", str(path.with_name("c.yaml"))])
    assert (ran.exit_code, "exists; name another file" in ran.output) == (1, True)


def test_the_command_writes_a_configuration_that_trains(write: Write) -> None:
    path = write("t.tsv", PAIRS)
    out = path.with_name("c.yaml")
    assert CliRunner().invoke(app, ["init", str(path), "--out", str(out)]).exit_code == 0
    quick = [text for key in ("train.max_steps=1", "model.encoder.hidden=3") for text in ("--set", key)]
    ran = CliRunner().invoke(app, ["train", str(out), "--out", str(path.with_name("m")), "--device", "cpu", *quick])
    assert ran.exit_code == 0, ran.output


def test_what_is_no_table_is_refused(write: Write) -> None:
    ran = CliRunner().invoke(app, ["init", str(write("t.pdf", ""))])
    assert (ran.exit_code, "is not a table" in ran.output) == (1, True)
    ran = CliRunner().invoke(app, ["init", str(write("t.tsv", ""))])
    assert (ran.exit_code, "has no rows" in ran.output) == (1, True)
