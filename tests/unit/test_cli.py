"""The command line: exit statuses, one message and no traceback, results to standard output."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from antiphon import __version__, api
from antiphon.cli import main as cli
from antiphon.cli.common import show
from antiphon.cli.examples import EXAMPLES

Write = Callable[[str, str | bytes], Path]

COMMANDS = [
    "train", "evaluate", "predict", "score", "chat", "inspect", "compare", "report", "check", "export", "exceptions",
    "calibrate", "convert", "demo", "bench", "serve", "help", "lexicon", "doubt", "next", "pull", "push",
]  # fmt: skip
CONFIG = "data: {train: pairs.tsv, valid: 0.2}\n"


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def call(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["antiphon", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def ready(write: Write, pairs: Path) -> Path:
    """A folder with a configuration and its table; the configuration's path."""
    shutil.copyfile(pairs, write("pairs.tsv", ""))
    return write("c.yaml", CONFIG)


def one_message(ran: Ran, status: int = 1) -> str:
    """The single message of a command that failed."""
    assert ran.status == status, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    message = ran.err.removesuffix("\n")
    assert message
    return message


# --- help and usage -----------------------------------------------------------------------------------


def python(code: str) -> str:
    """The output of a program in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    heavy = "('torch', 'numpy', 'tokenizers', 'matplotlib', 'sacrebleu')"
    out = python(
        f"import sys; sys.argv = ['antiphon', *{arguments}]\n"
        "from antiphon.cli import main as cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])\n"
    )
    assert out.endswith("loaded: []\n")


def test_the_package_is_light_until_used() -> None:
    out = python("import sys, antiphon; print('torch' in sys.modules); antiphon.load; print('torch' in sys.modules)")
    assert out == "False\nTrue\n"


def test_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    for command in COMMANDS:
        assert f"  {command} " in ran.out


def parser(name: str) -> Any:
    """The parser of a command."""
    application: Any = typer.main.get_command(cli.app)
    return application.commands[name]


@pytest.mark.parametrize("name", [command.__name__ for command in cli.COMMANDS] + ["help"])
def test_help_has_examples_that_the_command_reads(run: Run, name: str) -> None:
    ran = run(name, "-h")
    assert ran.status == 0
    assert run(name, "--help") == ran
    assert run("help", name).out == ran.out
    assert "\n  Examples:\n" in ran.out
    for example in EXAMPLES[name]:
        assert f"\n    {example}\n" in f"{ran.out}\n", "it stands on a line of its own"
        words = shlex.split(example.split(" | ")[-1])
        assert words[:2] == ["antiphon", name]
        parser(name).make_context(name, words[2:])


def test_examples_are_those_of_commands() -> None:
    assert EXAMPLES.keys() == {command.__name__ for command in cli.COMMANDS} | {"help"}
    with pytest.raises(Exception, match=r"(?i)no such option"):
        parser("train").make_context("train", ["pairs.tsv", "--out", "m", "--nonsense"])


def test_help_of_help(run: Run) -> None:
    assert run("help").out == run("--help").out
    assert "there is no command 'nope'" in one_message(run("help", "nope"), 2)


def test_the_shell_can_complete_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['antiphon']; from antiphon.cli.main import main; main()"],
        env={**os.environ, "_ANTIPHON_COMPLETE": "complete_bash", "COMP_WORDS": "antiphon ex", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["exceptions", "export"]


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "antiphon", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"antiphon {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["--nonsense"],
        ["train"],
        ["train", "c.yaml"],
        ["train", "c.yaml", "--out"],
        ["train", "c.yaml", "--out", "m", "--threads", "-1"],
        ["train", "c.yaml", "--out", "m", "--threads", "x"],
        ["train", "c.yaml", "--out", "m", "--set", "nothing"],
        ["train", "c.yaml", "--out", "m", "--set", "=3"],
        ["train", "c.yaml", "more", "--out", "m"],
        ["predict"],
        ["predict", "m", "--beam", "0"],
        ["predict", "m", "--n-best", "2"],
        ["predict", "m", "--n-best", "0", "--json"],
        ["evaluate", "m", "--source", "s"],
        ["score", "m", "--target", "t"],
        ["evaluate", "m", "data.tsv", "--source", "s", "--target", "t"],
        ["check"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    assert "Error: " in one_message(run(*arguments), 2)


def test_long_lines_break_between_words_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "short\n  one two three four five six seven eight nine ten eleven twelve thirteen fourteen\n" + "x" * 80
    monkeypatch.setenv("COLUMNS", "70")
    show(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(text)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert [len(line) > 70 for line in lines] == [False, False, False, True]
    assert lines[2].startswith("      "), "what goes on is indented"
    assert shown.split() == text.split()


# --- mistakes of configuration and data ---------------------------------------------------------------


@pytest.mark.parametrize("command", [["train", "--out", "m"], ["check"]], ids=["train", "check"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {train: pairs.tsv}\nmodle: {}\n", "modle: unknown key; did you mean 'model'? "),
        ("data: {train: pairs.tsv}\nmodel: {cell: lstmm}\n", "model.cell: unknown cell 'lstmm'; did you mean 'lstm'? "),
        ("data: {train: pairs.tsv}\nmodel: {attention: genral}\n", "model.attention: unknown attention 'genral'; "),
        ("data: {train: pairs.tsv}\nsource: {tokens: charz}\n", "source.tokens: unknown tokenizer 'charz'; "),
        ("data: {train: pairs.tsv}\ntrain: {metric: blue}\n", "train.metric: unknown metric 'blue' for text; "),
        ("data: {train: pairs.tsv}\ntrain: {epochs: many}\n", "train.epochs: "),
        ("data: {train: '${NO_SUCH}/x'}\n", "data.train: the environment variable NO_SUCH is not set"),
        ("data: {train: [", "is not YAML: "),
        ("just words", "must be a table of keys"),
    ],
)
def test_a_wrong_configuration_is_one_message_with_its_file(
    run: Run, ready: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], text: str, message: str
) -> None:
    monkeypatch.chdir(ready.parent)
    ready.write_text(text, encoding="utf-8")
    printed = one_message(run(command[0], ready, *command[1:]))
    assert printed.startswith(f"{ready}: {message}")
    assert "\n" not in printed
    assert not (ready.parent / "m").exists()


@pytest.mark.parametrize("command", [["train", "--out", "m"], ["check"]], ids=["train", "check"])
@pytest.mark.parametrize("name", ["none.yaml", "none.tsv", "none.csv.gz"])
def test_a_missing_file_is_one_message(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    message = one_message(run(command[0], path, *command[1:]))
    assert message == f"{path}: cannot be read: No such file or directory"


def test_neither_table_nor_configuration_is_one_message(run: Run, write: Write) -> None:
    path = write("data.xlsx", "a\tb\n")
    message = one_message(run("check", path))
    assert message.startswith(f"{path}: is neither a configuration (.yaml) nor a table (.tsv, ")


@pytest.mark.parametrize("command", [["train", "--out", "m"], ["check"]], ids=["train", "check"])
def test_bad_rows_of_a_table_are_told_with_lines(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    path = write("t.tsv", "a\tb\nc\n\td\n")
    monkeypatch.chdir(path.parent)
    lines = one_message(run(command[0], path, *command[1:])).split("\n")
    assert lines[0] == f"{path}:2: column 1 is missing: the row has only column 0"
    assert lines[1] == f"{path}:3: the source is empty"


def test_settings_are_checked_like_the_file(run: Run, ready: Path) -> None:
    message = one_message(run("check", ready, "--set", "train.epoch=3"))
    assert message.startswith(f"{ready}: train.epoch: unknown key; did you mean 'epochs'? ")
    message = one_message(run("check", ready, "--set", "train.epochs=[1"))
    assert "train.epochs: not a YAML value: " in message
    message = one_message(run("check", ready, "--set", "train.seed=2020-99-99"))
    assert "train.seed: not a YAML value: " in message


def test_a_module_that_cannot_be_imported_is_one_message(run: Run, ready: Path) -> None:
    message = one_message(run("--import", "no_such_module_here", "check", ready))
    assert message == "--import no_such_module_here: No module named 'no_such_module_here'"


def test_an_imported_module_adds_parts(run: Run, ready: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon.data import tokenizers as text

    monkeypatch.setattr(text.TOKENIZERS, "_rows", dict(text.TOKENIZERS._rows))
    monkeypatch.syspath_prepend(str(ready.parent))
    write(
        "my_unit_parts.py",
        "from antiphon.data.tokenizers import TOKENIZERS, Chars\nTOKENIZERS.add('letters', Chars)\n",
    )
    ran = run("--import", "my_unit_parts", "check", ready, "--set", "source.tokens=letters")
    sys.modules.pop("my_unit_parts", None)
    assert ran.status == 0, ran.err
    assert "source: 5 symbols (letters)" in ran.out


# --- check --------------------------------------------------------------------------------------------


def test_check_reports_to_standard_output_and_trains_nothing(run: Run, ready: Path) -> None:
    before = sorted(ready.parent.iterdir())
    ran = run("check", ready)
    assert ran.status == 0
    assert ran.out.startswith("train: 48 rows, 48 distinct inputs\n")
    assert "baseline, copy the input: " in ran.out
    assert ran.err == ""
    assert sorted(ready.parent.iterdir()) == before


def test_check_of_bad_rows_is_status_1_with_the_report(run: Run, ready: Path) -> None:
    table = ready.with_name("pairs.tsv")
    table.write_text(table.read_text(encoding="utf-8") + "\tx\n", encoding="utf-8")
    ran = run("check", ready)
    assert ran.status == 1
    assert f"{table}:61: the source is empty" in ran.out
    assert ran.err == f"{ready}: 1 bad row; correct the table, or set data.on_error: skip\n"
    assert run("check", ready, "--set", "data.on_error=skip").status == 0


def test_check_agrees_with_training_about_too_long_rows(run: Run, ready: Path) -> None:
    arguments = [ready, "--set", "data.max_length=3", "--set", "train.max_steps=1"]
    trained = run("train", *arguments, "--out", ready.parent / "m", "--device", "cpu")
    assert trained.status == 1
    assert "too long: the " in trained.err
    assert run("check", *arguments).status == 1


# --- training -----------------------------------------------------------------------------------------


def test_train_writes_a_model_and_keeps_standard_output_clean(run: Run, tiny_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    ran = run("train", tiny_config, "--out", out, "--device", "cpu", "--set", "train.max_steps=2")
    assert ran.status == 0, ran.err
    assert ran.out == ""
    assert f"the model is in {out}" in ran.err
    assert (out / "weights.safetensors").is_file()
    assert "antiphon train" in (out / "README.md").read_text(encoding="utf-8")


def test_an_existing_folder_is_left_alone(run: Run, tiny_config: Path, model_folder: Path, tmp_path: Path) -> None:
    message = one_message(run("train", tiny_config, "--out", model_folder))
    assert message.startswith(f"{model_folder}: exists; resume it (--resume, resume=True), replace it ")
    (tmp_path / "precious.txt").touch()
    message = one_message(run("train", tiny_config, "--out", tmp_path, "--overwrite"))
    assert message.startswith(f"{tmp_path}: is not a model folder, so it is not replaced; ")
    assert (tmp_path / "precious.txt").exists()
    message = one_message(run("train", tiny_config, "--out", tmp_path / "none", "--resume"))
    assert message.startswith(f"{tmp_path / 'none'}: has no training to resume")


def test_a_folder_that_cannot_be_made_is_one_message(run: Run, tiny_config: Path) -> None:
    message = one_message(run("train", tiny_config, "--out", tiny_config / "model", "--device", "cpu"))
    assert str(tiny_config / "model") in message


@pytest.mark.parametrize(
    ("device", "reason"), [("nonsense", "unknown; choose cpu"), ("cuda:99", "cannot be used here")]
)
def test_a_device_that_is_not_there_is_one_message(
    run: Run, tiny_config: Path, model_folder: Path, tmp_path: Path, device: str, reason: str
) -> None:
    for arguments in (["train", tiny_config, "--out", tmp_path / "m"], ["predict", model_folder]):
        message = one_message(run(*arguments, "--device", device))
        assert message.startswith(f"--device {device}: {reason}")
    assert not (tmp_path / "m").exists()


def test_an_interruption_is_status_130_and_one_line(run: Run, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt("stopped; go on with --resume")

    monkeypatch.setattr(api, "read_config", interrupted)
    ran = run("train", ready, "--out", ready.parent / "m")
    assert ran.status == 130
    assert ran.err == "stopped; go on with --resume\n"


def test_resume_finds_settings_where_the_first_call_found_them(
    run: Run, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words with --resume, from the same folder and from another: the same rows are read."""
    for name in ("here/inner", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copyfile(pairs, tmp_path / "here/pairs.tsv")
    rows = (tmp_path / "here/pairs.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "here/inner/valid.tsv").write_text("".join(rows[:9]), encoding="utf-8")
    (tmp_path / "here/c.yaml").write_text("data: {train: pairs.tsv}\n", encoding="utf-8")
    valid = "data.valid=inner/valid.tsv"
    for what in ("pairs.tsv", "c.yaml"):
        out = tmp_path / f"model-{what}"
        monkeypatch.chdir(tmp_path / "here")
        updates = ["--set", "train.validate_every=1", "--set", "train.max_steps=1"]
        ran = run("train", what, "--out", out, "--set", valid, *updates)
        assert ran.status == 0, ran.err
        assert "60 training rows, 9 validation rows" in ran.err
        for step, folder in enumerate(("here", "elsewhere"), 2):
            monkeypatch.chdir(tmp_path / folder)
            table = tmp_path / "here" / what
            updates = ["--set", f"train.max_steps={step}"]
            ran = run("train", table, "--out", out, "--resume", "--set", valid, *updates)
            assert ran.status == 0, ran.err
            assert "60 training rows, 9 validation rows" in ran.err
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert run("train", table, "--out", out, "--resume", "--set", "train.max_steps=4").status == 0


# --- predict, score, evaluate -------------------------------------------------------------------------


def test_predict_gives_a_line_for_every_line(run: Run, model_folder: Path, write: Write) -> None:
    content = "\ufeffabc\r\n\nedc\u2028b\n  \nzzz".encode()
    ran = run("predict", model_folder, stdin=content)
    assert ran.status == 0
    assert ran.out.count("\n") == 5
    assert ran.out.split("\n")[1] == ""
    assert run("predict", model_folder, write("in.txt", content)).out == ran.out


def test_predict_of_nothing_is_nothing(run: Run, model_folder: Path) -> None:
    assert run("predict", model_folder) == Ran(0, "", "")


def test_json_is_one_object_a_line(run: Run, model_folder: Path) -> None:
    ran = run("predict", model_folder, "--json", "--n-best", "2", stdin=b"abc\n\nde\n")
    answers = [json.loads(line) for line in ran.out.splitlines()]
    keys = {"text", "tokens", "score", "n_best"}
    assert [set(item) for item in answers] == [keys | {"token_scores"}, keys, keys | {"token_scores"}]
    assert [len(item["n_best"]) for item in answers] == [2, 0, 2]
    plain = run("predict", model_folder, stdin=b"abc\n\nde\n").out.split("\n")[:-1]
    assert [item["text"] for item in answers] == plain
    assert "n_best" not in json.loads(run("predict", model_folder, "--json", stdin=b"abc").out)


def test_a_language_model_draws_from_nothing(run: Run, write: Write) -> None:
    """`echo | predict --sample`: each empty line is an output of its own; without --sample it stays empty."""
    names = write("names.txt", "".join(f"{first}{rest}\n" for first in "ABCDEFGHKL" for rest in ("nna", "lo", "ra")))
    out = names.with_name("m")
    settings = ["--set", "target.kind=next", "--set", "train.max_steps=60", "--set", "train.validate_every=30"]
    ran = run("train", names, "--out", out, *settings, "--quiet")
    assert ran.status == 0, ran.err
    drawn = run("predict", out, "--sample", "--seed", "1", stdin=b"\n" * 20).out.splitlines()
    assert len(drawn) == 20
    assert len({name for name in drawn if name}) > 5
    assert run("predict", out, "--sample", "--seed", "1", stdin=b"\n").out.splitlines() == drawn[:1]
    assert run("predict", out, stdin=b"\n").out == "\n"
    assert run("predict", out, "--sample", "--seed", "1", stdin=b"\nAn\n\n").out.splitlines()[::2] == drawn[:3:2]


@pytest.mark.parametrize("command", ["predict", "score", "evaluate"])
def test_a_folder_without_a_model_is_one_message(run: Run, tmp_path: Path, command: str) -> None:
    assert one_message(run(command, tmp_path / "none")) == f"{tmp_path / 'none'}: no such model folder"
    assert one_message(run(command, tmp_path)) == f"{tmp_path}: is not a complete model: config.yaml is missing"


def test_a_line_that_is_not_utf8_is_one_message(run: Run, model_folder: Path, write: Write) -> None:
    path = write("in.txt", b"abc\n\xff\n")
    ran = run("predict", model_folder, path)
    assert ran.status == 1
    assert ran.err == f"{path}:2: not UTF-8 text\n"
    ran = run("predict", model_folder, stdin=b"\xff\n")
    assert (ran.status, ran.err) == (1, "standard input:1: not UTF-8 text\n")


def test_a_too_long_line_is_named_with_its_file(run: Run, model_folder: Path, write: Write) -> None:
    path = write("in.txt", "abc\n" + "a" * 501 + "\n")
    ran = run("predict", model_folder, path)
    assert ran.status == 1
    assert ran.err.startswith(f"{path}:2: ")
    assert "501 tokens" in ran.err


def test_score_is_the_last_column(run: Run, model_folder: Path, write: Write) -> None:
    path = write("t.tsv", "ab\tB A\nabc\tC B A\n")
    ran = run("score", model_folder, path)
    assert ran.status == 0
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert [line[:2] for line in lines] == [["ab", "B A"], ["abc", "C B A"]]
    scored = [json.loads(line) for line in run("score", model_folder, path, "--json").out.splitlines()]
    assert [item["score"] for item in scored] == pytest.approx([float(line[2]) for line in lines], abs=1e-6)
    assert [item["target"] for item in scored] == ["B A", "C B A"]


def test_evaluate_prints_every_metric_and_signature(run: Run, model_folder: Path, write: Write) -> None:
    scores = json.loads(run("evaluate", model_folder, "--json").out)
    plain = run("evaluate", model_folder).out
    assert scores["rows"] == 60
    assert scores["wer"] == pytest.approx(1 - scores["exact_match"])
    for name in ("loss", "perplexity", "token_error_rate", "exact_match", "bleu", "chrf", "ter", "distinct_1"):
        assert f"{name} " in plain
    assert set(scores["signatures"]) == {"bleu", "chrf", "ter"}
    source, target = write("s", "ab\n"), write("t", "B A\n")
    assert json.loads(run("evaluate", model_folder, "--source", source, "--target", target, "--json").out)["rows"] == 1


def test_rows_without_a_target_cannot_be_scored(run: Run, model_folder: Path, write: Write) -> None:
    path = write("t.tsv", "ab\n")
    for command in ("score", "evaluate"):
        message = one_message(run(command, model_folder, path))
        assert message == f"{path}:1: column 1 is missing: the row has only column 0"


def test_a_reader_that_stops_early_is_no_error(model_folder: Path, write: Write) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "antiphon",
        "predict",
        model_folder,
        write("in.txt", "abc\n" * 20_000),
    ]
    child = subprocess.Popen(
        [*command, "--device", "cpu", "--beam", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        errors = child.stderr.read()
        status = child.wait()
    assert (status, errors) == (0, b"")
