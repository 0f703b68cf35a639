"""What can be exported to which format, and how that is told."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from untrained import rows_of, untrained

from antiphon.cli.main import app
from antiphon.data.codecs.kinds import SOURCES, TARGETS
from antiphon.data.tokenizers import TOKENIZERS
from antiphon.export.formats import FORMATS, listed, wrong_option
from antiphon.export.refusals import JAVASCRIPT, RUNTIME

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "v0.1.0"


def test_the_javascript_runtime_has_what_the_table_says() -> None:
    code = (
        "import { KINDS, TOKENIZERS } from './src/index.js';"
        "console.log(JSON.stringify([KINDS, TOKENIZERS].map((table) => Object.keys(table))))"
    )
    try:
        done = subprocess.run(
            ["node", "--input-type=module", "-e", code],
            cwd=ROOT / "runtime-js",
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        pytest.skip("needs node")
    kinds, tokens = json.loads(done.stdout)
    assert (frozenset(kinds), frozenset(tokens)) == (JAVASCRIPT.kinds, JAVASCRIPT.tokens)


def test_the_runtime_has_what_the_table_says() -> None:
    from antiphon_runtime.kinds import side

    for kind in RUNTIME.kinds:
        with suppress(KeyError, TypeError):  # it is known, and its content is missing
            side({"kind": kind})
    with pytest.raises(ValueError, match="unknown kind"):
        side({"kind": "smell"})


def test_every_kind_and_tokenizer_of_the_package_exports_everywhere() -> None:
    """Series, and calendars with them, to all but the browser."""
    for name, row in FORMATS.items():
        missing = row.support.missing()
        assert missing["kinds"] == (["calendar", "series"] if name == "web" else [])
        assert not missing["tokens"]
        assert "lexicon" in missing["decode"]


def test_what_a_user_adds_is_listed_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES._rows, "smell", object)
    monkeypatch.setitem(TARGETS._rows, "taste", object)
    monkeypatch.setitem(TOKENIZERS._rows, "syllables", object)
    lines = list(listed())
    assert len([line for line in lines if re.match(r" +not kinds of sides: .*smell, taste \(", line)]) == len(FORMATS)
    assert len([line for line in lines if line.strip().startswith("not tokenizers: syllables (")]) == len(FORMATS)


@pytest.mark.parametrize(
    ("to", "options", "wrong"),
    [
        ("onnx", {}, None),
        ("wheel", {"name": "a"}, None),
        ("wheel", {}, ("name", "--to wheel needs it")),
        ("onnx", {"name": "a"}, ("name", "is an option of --to wheel")),
        ("wheel", {"name": "a", "runtime": "b"}, ("runtime", "is an option of --to web")),
        ("web", {"colour": 1}, ("colour", "is unknown")),
    ],
)
def test_options_belong_to_formats(to: str, options: dict[str, Any], wrong: tuple[str, str] | None) -> None:
    assert wrong_option(to, options) == wrong


def test_the_command_lists_formats_and_says_what_of_a_model_is_in_the_way(tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(app, ["export", "--list"])
    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.output.splitlines() if not line.startswith(" ")] == list(FORMATS)
    assert run(app, ["export", "--list", str(GOLDEN)]).output.splitlines() == [f"{name}: yes" for name in FORMATS]
    tree: dict[str, Any] = {
        "source": {"column": "x"}, "target": {"column": "y"}, "decode": {"beam": 1, "max_length": 5, "sample": {}},
    }  # fmt: skip
    model = untrained(tmp_path, tree, rows_of(x=["ab", "ba"], y=["a", "b"]))
    lines = run(app, ["export", "--list", str(model.folder)]).output.splitlines()
    assert lines[:2] == ["onnx: yes", "wheel: yes"]
    assert lines[2].startswith("web: decode.sample: is {}, which the JavaScript runtime does not support")
    assert lines[2].endswith("export without it: --set decode.sample=null")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "give a model folder and what to write"),
        (["export", "model", "out", "--to", "wheel"], "--name: --to wheel needs it"),
        (["export", "model", "out", "--licence", "MIT"], "--licence: is an option of --to wheel"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
