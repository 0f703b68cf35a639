"""Exported = eager, and the runtime predicts what `predict` does, for every structure, kind, cell and attention."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import NAMES, Choice, cell_choice, covering, name, settings
from typer.testing import CliRunner
from untrained import CHANCE, FRAMES, KINDS, TEXTS, WORDS, picture_files, rows_of, untrained
from untrained import SERIES as SERIES_ROWS

from antiphon.cli.main import app

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")

import antiphon_runtime

from antiphon.errors import AntiphonError
from antiphon.export.comparing import CLOSE
from antiphon.export.folder import Exported, export
from antiphon.export.formats import FORMATS
from antiphon.export.refusals import Support
from antiphon.model.parts.likelihoods.table import LIKELIHOODS
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

RUNTIME = Path(antiphon_runtime.__file__).parents[1]


def same(expected: list[Any], computed: list[Any]) -> None:
    """Answers of the same class, with the same words and nearly the same numbers."""
    assert len(expected) == len(computed)
    for item, other in zip(expected, computed, strict=True):
        assert type(item).__name__ == type(other).__name__
        left, right = shared_fields(item), shared_fields(other)
        candidates = left.pop("n_best", []), right.pop("n_best", [])
        for best, again in zip(*candidates, strict=True):
            close(shared_fields(best), shared_fields(again))
            assert (best.token_scores is None) == (again.token_scores is None)
            close(best.token_scores or [], again.token_scores or [])
        close(left, right)


def shared_fields(answer: Any) -> dict[str, Any]:
    """The fields that the runtime has too: all but those that are computed only on request."""
    arguments = ("attention", "token_scores", "alignment")
    return {name: value for name, value in vars(answer).items() if name not in arguments}


def close(expected: Any, computed: Any) -> None:
    if isinstance(expected, dict):
        assert expected.keys() == computed.keys()
        for key, value in expected.items():
            close(value, computed[key])
    elif isinstance(expected, list) and expected and isinstance(expected[0], np.ndarray):
        for item, other in zip(expected, computed, strict=True):
            close(item, other)
    elif isinstance(expected, float | np.ndarray) or (
        isinstance(expected, list) and isinstance((expected or [""])[0], float)
    ):
        np.testing.assert_allclose(computed, expected, atol=1e-4, rtol=1e-4)
    else:
        assert expected == computed


def shipped(model: Predictor, out: Path, **options: Any) -> tuple[antiphon_runtime.Model, Exported]:
    exported = export(model.folder, out, **options)
    assert exported.difference < CLOSE
    return antiphon_runtime.load(out), exported


# --- every part of a writer ---------------------------------------------------------------------------


def few(choices: list[Choice]) -> list[Choice]:
    """Few choices in which every value of every axis occurs."""
    missing = {(axis, value) for choice in choices for axis, value in enumerate(choice)}
    chosen = []
    while missing:
        chosen.append(max(choices, key=lambda choice: len(missing & set(enumerate(choice)))))
        missing -= set(enumerate(chosen[-1]))
    return chosen


QUICK = few(covering())
CHOICES = [
    pytest.param(choice, id=name(choice), marks=[] if choice in QUICK else pytest.mark.slow) for choice in covering()
]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_writer_of_any_parts_says_what_it_says_in_pytorch(choice: Choice, tmp_path: Path) -> None:
    parts = settings(choice).model_dump(by_alias=True, exclude={"image", "embeddings"})
    at = dict(zip(NAMES, choice, strict=True))
    parts["cell"] = cell_choice(at)
    parts["context"] = {"from": at["context"], "to": at["to"]}
    parts["context"] |= {"pool": at["pool"]} if at["context"] == "projected_all" else {}
    tree = {"source": {"column": "x"}, "target": {"column": "y", "tokens": "chars"}, "model": parts}
    scale = {"rnn_relu": 0.3, "selective": 0.3}.get(at["cell"], 0.6)
    if at["cell"] == "lstm" and at["varied"]:
        scale = 0.4  # normalised Mogrifier rounds of larger random weights amplify what rounding does in a few steps
    model = untrained(tmp_path, tree, rows_of(x=TEXTS, y=WORDS), scale)
    runtime, _ = shipped(model, tmp_path / "out")
    inputs = [*TEXTS, "", "zz a", "c"]
    same(model.predict(inputs), runtime.predict(inputs))
    same(model.predict(inputs, beam=3, n_best=3), runtime.predict(inputs, beam=3, n_best=3))
    drawn = {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "seed": 4}
    same(model.predict(inputs, sample=drawn), runtime.predict(inputs, sample=drawn))


@pytest.mark.parametrize("beside", [None, "category", "text"])
@pytest.mark.parametrize("attention", ["general", "hard", "hard_monotonic", "transducer"])
def test_a_writer_that_copies_says_what_it_says_in_pytorch(attention: str, beside: str | None, tmp_path: Path) -> None:
    """Also of symbols that only the source has, and of two sources that can be copied."""
    if beside == "text" and attention != "general":
        beside = None  # one source alone is aligned; the other is read as the category is
    sources: list[dict[str, Any]] = [{"column": "x", "tokens": "chars"}]
    sources += [] if beside is None else [{"column": "z", "kind": beside}]
    if beside == "text":
        sources[1]["tokens"] = "chars"
    tree = {
        "source": sources, "target": {"column": "y", "tokens": "chars"}, "model": {"copy": True, "attention": attention}
    }  # fmt: skip
    model = untrained(tmp_path, tree, rows_of(x=TEXTS, y=[text[:2] for text in TEXTS], z=WORDS))
    runtime, _ = shipped(model, tmp_path / "out")
    more = () if beside is None else (WORDS[0],) if beside == "category" else ("Ünal ab",)
    inputs: list[Any] = [(text, *more) if more else text for text in [*TEXTS, "ŽŽ", "q ab Q", "qQ", "QŽQŽ", "c"]]
    answers = model.predict(inputs, beam=3, n_best=3)
    same(answers, runtime.predict(inputs, beam=3, n_best=3))
    assert any(symbol in "ŽqQÜnl" for answer in answers for best in answer.n_best for symbol in best.tokens)
    same(model.predict(inputs), runtime.predict(inputs))
    drawn = {"temperature": 0.9, "top_k": 5, "top_p": 0.9, "seed": 4}
    same(model.predict(inputs, sample=drawn), runtime.predict(inputs, sample=drawn))


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
def test_few_symbols_are_looked_up_as_the_cells_share_of_them(cell: str, tmp_path: Path) -> None:
    """And many inputs, of which some end early, are answered alike in one thread and in several."""
    import onnx

    wide = {"embedding": 24, "encoder": {"hidden": 5}, "decoder": {"hidden": 7}, "cell": cell}
    tree = {"source": {"column": "x"}, "target": {"column": "y", "tokens": "chars"}, "model": wide}
    tree["decode"] = {"beam": 1, "max_length": 12}
    model = untrained(tmp_path, tree, rows_of(x=TEXTS, y=WORDS), 0.3 if cell == "rnn_relu" else 0.6)
    runtime, _ = shipped(model, tmp_path / "out")
    weights = onnx.load(tmp_path / "out" / "step.onnx").graph.initializer
    assert not [item.name for item in weights if item.name.endswith("input_weight")]
    inputs = ["".join(CHANCE.choice(list("abc É"), CHANCE.integers(1, 9))).strip() for _ in range(70)]
    several = antiphon_runtime.load(tmp_path / "out", threads=3)
    lengths: set[int] = set()
    for options in ({}, {"beam": 3, "n_best": 2}, {"sample": {"seed": 2}}):
        expected = model.predict(inputs, **options)
        lengths |= {len(item.tokens) for item in expected}
        same(expected, runtime.predict(inputs, **options))
        same(expected, several.predict(inputs, **options))
    assert len(lengths) > 3


# --- every structure and kind --------------------------------------------------------------------------


OFTEN = {"frames to text with CTC", "unigram, two sources", "dialogue", "image to text",
         "spelled words to labels of a CRF", "frames to labels, live", "vector to number",
         "the next symbol", "frames to a series"}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(k, marks=[] if k in OFTEN else pytest.mark.slow) for k in KINDS])
def test_the_runtime_answers_as_predict(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an input to predict is a path of the user's own
    tree, columns = KINDS[case]
    if "pictures" in str(columns):
        files = picture_files(tmp_path)
        nested = isinstance(columns["x"][0], list)
        columns = {**columns, "x": [files[: n + 1] if nested else file for n, file in enumerate(files)]}
    model = untrained(tmp_path, tree, rows_of(**columns))
    asked = SERIES if "series" in case else None
    runtime, _ = shipped(model, tmp_path / "out", settings=asked)
    several = [key for key in columns if key != "y"]
    inputs: list[Any] = list(zip(*(columns[key] for key in several), strict=True)) if len(several) > 1 else []
    inputs = inputs or list(columns[several[0]] if several else ["", ""])
    if case in ("unigram, two sources", "bpe to chars"):
        inputs += ["zé a\ten", "\t"] if len(several) > 1 else ["zé a", ""]
    if case in ("text to label", "spelled words to labels of a CRF", "the next symbol", "words to numbers, live"):
        inputs += ["zé ab", "", "c"]
    same(model.predict(inputs, settings=asked), runtime.predict(inputs))
    if "series" in case:
        _same_series(model, runtime, [*inputs, ""])
    elif runtime.structure in ("one_to_many", "many_to_many") or case == "the next symbol":
        arguments: dict[str, Any] = {"beam": 3, "n_best": 2, "token_scores": True}
        same(model.predict(inputs, **arguments), runtime.predict(inputs, **arguments))
        for item in runtime.predict(inputs, token_scores=True):
            for best in item.n_best:
                assert sum(best.token_scores) == pytest.approx(best.score, abs=1e-4)
        same(model.predict(inputs, sample={"seed": 2}), runtime.predict(inputs, sample={"seed": 2}))
    if case == "frames to text with CTC":
        for beam in (1, 2, 7):
            arguments = {"beam": beam, "n_best": beam, "token_scores": True}
            same(model.predict([*inputs, ""], **arguments), runtime.predict([*inputs, ""], **arguments))
        with pytest.raises(antiphon_runtime.OptionError, match="cannot be used with CTC"):
            runtime.predict(inputs, sample={})
        with pytest.raises(antiphon_runtime.OptionError, match="does not write symbol by symbol"):
            next(runtime.write(inputs[0]))
    if case.endswith("live"):
        steps: list[Any] = [*(inputs[0].split() if isinstance(inputs[0], str) else inputs[0]), ""]
        steps += inputs[2].split() if isinstance(inputs[2], str) else inputs[2]
        same(list(model.live(steps)), list(runtime.live(steps)))
        done = command(tmp_path / "out", "--stream", "--beam", "2")
        assert (done.returncode, b"--beam does nothing with --stream" in done.stderr) == (2, True)


SERIES = {"decode.quantiles": [0.1, 0.5, 0.8], "decode.paths": 30, "decode.min_length": 2}


def _same_series(model: Predictor, runtime: antiphon_runtime.Model, inputs: list[Any]) -> None:
    """Also where they are drawn, several of each, and with quantiles."""
    for sample in ({}, {"seed": 3, "temperature": 0.5}):
        expected = model.predict(inputs, sample=sample, n_best=3, settings=SERIES)
        assert all(len(answer.samples) == 3 for answer in expected[:-1])
        same(expected, runtime.predict(inputs, sample=sample, n_best=3))
    with pytest.raises(antiphon_runtime.OptionError, match="top_k and top_p are for symbols"):
        runtime.predict(inputs, sample={"top_k": 3})
    with pytest.raises(antiphon_runtime.OptionError, match="without sampling it is 1"):
        runtime.predict(inputs, n_best=2)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", list(LIKELIHOODS))
@pytest.mark.parametrize("read", ["output", "position"])
def test_every_likelihood_is_drawn_without_pytorch(likelihood: str, read: str, tmp_path: Path) -> None:
    targets = [(np.asarray(rows) > 0).astype(int).tolist() for rows in SERIES_ROWS]
    target = {"kind": "series", "column": "y", "horizon": 4, "likelihood": likelihood, "read": read}
    tree = {"source": {"kind": "frames", "column": "x"}, "target": target, "model": {"cell": "gru"}}
    rows = rows_of(x=FRAMES, y=targets if likelihood == "bernoulli" else SERIES_ROWS)
    model = untrained(tmp_path, tree, rows)
    draws = likelihood not in ("mse", "mae")
    asked = SERIES if draws else None
    runtime, _ = shipped(model, tmp_path / "out", settings=asked)
    same(model.predict(FRAMES, settings=asked), runtime.predict(FRAMES))
    if draws:
        same(model.predict(FRAMES, sample={}, settings=asked), runtime.predict(FRAMES, sample={}))
    else:
        with pytest.raises(antiphon_runtime.OptionError, match="has no distribution of its numbers"):
            runtime.predict(FRAMES, sample={})


def test_one_long_text_goes_on_as_in_pytorch(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("ab ba\nbab aab b\ncab\n" * 3)
    tree = {
        "data": {"train": str(tmp_path / "book.txt")},
        "source": {"kind": "long_text"},
        "target": {"kind": "next"},
        "model": {"cell": "gru", "dropout": 0.0},
    }
    model = untrained(tmp_path, tree, [])
    runtime, _ = shipped(model, tmp_path / "out")
    prompts = ["ab", "b\nc", "", "zz"]
    same(model.predict(prompts), runtime.predict(prompts))
    same(model.predict(prompts, sample={"temperature": 0.8}), runtime.predict(prompts, sample={"temperature": 0.8}))


# --- the distribution ----------------------------------------------------------------------------------

ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "antiphon", "pydantic"):
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Refuse())
import antiphon_runtime
assert "onnxruntime" not in sys.modules, "importing is light"
print(antiphon_runtime.load(sys.argv[1]).predict(["shoe"], beam=2)[0].text)
"""


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    """The kept model of a release, exported."""
    model = load(Path(__file__).parents[1] / "golden" / "v0.1.0", "cpu")
    out = tmp_path_factory.mktemp("golden") / "out"
    export(model.folder, out)
    return model, out


def test_the_runtime_imports_neither_torch_nor_antiphon(golden: tuple[Predictor, Path]) -> None:
    model, out = golden
    command = [sys.executable, "-c", ALONE, str(out)]
    done = subprocess.run(command, cwd=RUNTIME, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == model.predict(["shoe"], beam=2)[0].text


def test_exceptions_are_shipped(golden: tuple[Predictor, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(golden[0].folder, tmp_path / "model")
    (folder / "exceptions.tsv").write_text("\N{BYTE ORDER MARK}shoe\tS Y U\r\n\nmoon\tM\n", encoding="utf-8")
    model = load(folder, "cpu")
    export(folder, tmp_path / "out")
    runtime = antiphon_runtime.load(tmp_path / "out")
    inputs = ["moon", "", "boat", "shoe"]
    same(model.predict(inputs, n_best=2), runtime.predict(inputs, n_best=2))
    assert [item.text for item in runtime.predict(["shoe", "moon"])] == ["S Y U", "M"]
    (tmp_path / "out" / "exceptions.tsv").write_text("shoe\n")
    with pytest.raises(antiphon_runtime.RuntimeModelError, match=r"exceptions.tsv:1: has 1 columns"):
        antiphon_runtime.load(tmp_path / "out")


def test_confidence_is_shipped(golden: tuple[Predictor, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(golden[0].folder, tmp_path / "model"))
    model = load(folder, "cpu")
    (tmp_path / "rows.tsv").write_text("shoe\tSH OW\nmoon\tM UW N\nchat\tCH AA T\nbath\tB\n", encoding="utf-8")
    model.calibrate(tmp_path / "rows.tsv")
    export(folder, tmp_path / "out")
    runtime = antiphon_runtime.load(tmp_path / "out")
    inputs = ["moon", "", "boat", "shoe"]
    same(model.predict(inputs, n_best=2), runtime.predict(inputs, n_best=2))
    sure = sorted(item.confidence for item in model.predict(inputs) if item.confidence is not None)
    assert len(sure) == 3
    between = str((sure[0] + sure[1]) / 2)
    text = "".join(f"{item}\n" for item in inputs)
    for option in ([], ["--json"]):
        done = command(tmp_path / "out", "--abstain-below", between, *option, text=text.encode())
        arguments = ["predict", str(folder), "--abstain-below", between, *option]
        assert done.stderr.startswith(b"inputs with symbols that the training rows do not have: 1;"), "the b of boat"
        lines = [line.split('"score"')[0] for line in done.stdout.decode().splitlines()]
        expected = [
            line.split('"score"')[0] for line in CliRunner().invoke(app, arguments, input=text).stdout.splitlines()
        ]
        assert lines == expected
        assert sum(not line for line in lines) == (0 if option else 2)
        assert done.stdout.decode().count('"abstained": true') == (1 if option else 0)
    plain = command(golden[1], "--abstain-below", "0.5", text=b"shoe\n")
    assert (plain.returncode, plain.stdout) == (1, b"")
    assert (
        b"has no confidence, since it is not calibrated; calibrate the model with antiphon, and export it again"
        in plain.stderr
    )


def command(out: Path, *options: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    arguments = [sys.executable, "-m", "antiphon_runtime.cli", str(out), *options]
    return subprocess.run(arguments, cwd=RUNTIME, input=text, capture_output=True, check=False, timeout=120)


def test_the_command_answers_lines(golden: tuple[Predictor, Path]) -> None:
    model, out = golden
    done = command(out, text=b"\xef\xbb\xbfshoe\r\n\nmoon")
    assert done.stdout.decode().splitlines() == [answer.text for answer in model.predict(["shoe", "", "moon"])]
    done = command(out, "--json", "--beam", "3", "--n-best", "2", text=b"shoe\n")
    arguments = ["predict", str(model.folder), "--json", "--beam", "3", "--n-best", "2"]
    expected = json.loads(CliRunner().invoke(app, arguments, input="shoe\n").stdout)
    printed = json.loads(done.stdout)
    assert printed.keys() == expected.keys()
    assert [item.keys() for item in printed["n_best"]] == [item.keys() for item in expected["n_best"]]
    for item, other in zip((printed, *printed["n_best"]), (expected, *expected["n_best"]), strict=True):
        close(item["token_scores"], other["token_scores"])
    assert json.loads(command(out, "--json", text=b"\n").stdout) == {"text": "", "tokens": [], "score": None}


def test_unknown_symbols_are_counted_and_white_space_at_the_ends_is_not_read(tmp_path: Path) -> None:
    tree = {"source": {"column": "x"}, "target": {"column": "y", "tokens": "chars"}}
    model = untrained(tmp_path, tree, rows_of(x=["ab", "ba", "abba"], y=["a", "b", "c"]))
    runtime, _ = shipped(model, tmp_path / "out")
    for item in (model, runtime):
        plain, spaced, strange, empty = item.predict(["ab", " ab\n", "aжbж", " "])
        assert plain == spaced
        assert [answer.unknown for answer in (plain, strange, empty)] == [0, 2, 0]
        assert strange.to_json()["unknown"] == 2
        assert "unknown" not in plain.to_json()
        assert empty.score is None


def test_a_header_that_claims_more_than_the_memory_holds_is_told(tmp_path: Path) -> None:
    """As in the package: one message, no traceback."""
    model = untrained(
        tmp_path,
        {"source": {"kind": "frames", "column": "x"}, "target": {"kind": "label", "column": "y"}},
        rows_of(x=FRAMES, y=["a", "b"] * 3),
    )
    export(model.folder, tmp_path / "out")
    header = {"descr": "<f8", "fortran_order": False, "shape": (3_000_000_000_000,)}
    with open(tmp_path / "huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    done = command(tmp_path / "out", text=f"{tmp_path / 'huge.npy'}\n".encode())
    arguments = CliRunner().invoke(app, ["predict", str(model.folder)], input=f"{tmp_path / 'huge.npy'}\n")
    assert (done.returncode, arguments.exit_code) == (1, 1)
    assert done.stderr.decode().strip() == arguments.output.strip()
    assert "is larger than the memory" in arguments.output


def test_a_beam_divides_no_batch_that_fits() -> None:
    """As many prefixes as rows are read at once, as in the package; few rows stay together."""
    from antiphon_runtime.batches import batches_by_length as runtime_batches

    from antiphon.decoding.batches import batches_by_length

    for count, width, parts in ((16, 5, 1), (100, 5, 2), (1000, 5, 1), (40, 1, 2)):
        sources = [[np.zeros(4, np.int64)] * count]
        ours = [len(batch) for batch in runtime_batches(sources, width, parts)]
        assert ours == [len(batch) for batch in batches_by_length(np.full(count, 4), width, parts=parts)]


@pytest.mark.parametrize(
    ("text", "options", "status", "message"),
    [
        (b"a\n\xff\n", [], 1, "standard input:2: is not UTF-8 text"),
        (b"shoe\tSH OW\n", [], 1, "standard input:1: has 2 fields, and the model reads 1: cut -f1 gives the first"),
        (b"a" * ((16 << 20) + 1), [], 1, "standard input:1: is longer than 16 MiB"),
        (b"a" * 501, [], 1, "standard input:1: has 501 tokens; the most that this model reads is 500"),
        (b"a", ["--beam", "0"], 1, "beam: must be at least 1 (is 0)"),
        (b"a", ["--top-p", "2"], 1, "sample.top_p: must be above 0 and at most 1 (is 2.0)"),
        (b"a", ["--threads", "0"], 1, "threads: must be at least 1 (is 0)"),
        (b"a", ["--n-best", "2"], 2, "--n-best needs --json"),
        (b"a", ["--abstain-below", "80"], 2, "--abstain-below must lie between 0 and 1 (is 80)"),
    ],
)
def test_the_command_says_what_is_wrong(
    golden: tuple[Predictor, Path], text: bytes, options: list[str], status: int, message: str
) -> None:
    done = command(golden[1], *options, text=text)
    assert done.returncode == status
    assert done.stderr.decode().strip().endswith(message)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("antiphon.json", b"{", "antiphon.json: is not JSON"),
        ("antiphon.json", b'{"format": 2}', "antiphon.json: has the format 2; this version reads format 1"),
        ("antiphon.json", b'{"format": 1}', "antiphon.json: is damaged: the key 'sources' is missing"),
        ("vocabulary-source.json", b"{}", "vocabulary-source.json: is incomplete or damaged"),
        ("vocabulary-source.json", b'{"kind": "smell"}', "unknown kind 'smell'"),
        ("step.onnx", b"", "step.onnx: is damaged"),
        ("step.onnx", None, "step.onnx: is missing"),
    ],
)
def test_a_damaged_folder_is_told(
    golden: tuple[Predictor, Path], tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    for path in golden[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(antiphon_runtime.FolderError, match=message):
        antiphon_runtime.load(tmp_path)


# --- int8, and what is refused --------------------------------------------------------------------------


LETTERS = ["".join(CHANCE.choice(list("abcdefghijklmnopqrstuvwxyz"), 8)) for _ in range(40)]
SIGNS = ["".join(map(chr, CHANCE.integers(0x4E00, 0x5000, 10))) for _ in range(40)]
WIDE = {"embedding": 48, "encoder": {"hidden": 48}, "decoder": {"hidden": 48}, "image": {"channels": [16, 48]}}


@pytest.mark.parametrize(
    ("case", "share"),
    [("lstm", 0.34), ("gru", 0.34), ("tied", 0.34), pytest.param("image", 0.4, marks=pytest.mark.slow),
     pytest.param("layer norm", 0.45, marks=pytest.mark.slow)],
)  # fmt: skip
def test_int8_narrows_every_weight_and_a_shared_table_once(case: str, share: float, tmp_path: Path) -> None:
    """Recurrent layers, convolutions and tables alike, and answers stay near."""
    import onnx

    cell: Any = {"gru": "gru", "layer norm": {"kind": "gru", "layer_norm": True}}.get(case, "lstm")
    kind = {"kind": "image", "column": "x", "size": 12} if case == "image" else {"column": "x"}
    tree = {"source": kind, "target": {"column": "y", "tokens": "chars"}}
    tree["model"] = {**WIDE, "cell": cell, "tie": case == "tied"}
    names = picture_files(tmp_path) if case == "image" else LETTERS
    model = untrained(tmp_path, tree, rows_of(x=names, y=SIGNS[: len(names)]), 0.15)
    runtime, exported = shipped(model, tmp_path / "out", int8=True)
    assert exported.quantized_size is not None
    assert exported.quantized_size < share * exported.size
    step = onnx.load(tmp_path / "out" / "step.onnx").graph
    tables = [item for item in step.initializer if len(item.dims) == 2 and model.codecs.target.size in item.dims]
    assert len([item for item in tables if min(item.dims) > 1]) == (1 if case == "tied" else 2)
    inputs: list[Any] = [str(tmp_path / name) for name in names] if case == "image" else LETTERS[:10]
    plain = [item.score for item in model.predict(inputs)]
    narrow = [item.score for item in runtime.predict(inputs)]
    assert np.mean(np.abs(np.subtract(plain, narrow))) < 0.02 * np.mean(np.abs(plain))


def test_graphs_hold_no_notes_of_the_exporter(golden: tuple[Predictor, Path]) -> None:
    for file in ("encode.onnx", "step.onnx"):
        content = (golden[1] / file).read_bytes()
        assert b"stack_trace" not in content
        assert b"antiphon/" not in content, "a path of this computer"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_int8_is_smaller_and_keeps_most_answers(cell: str, tmp_path: Path) -> None:
    from tasks import tiny_config, words

    from antiphon.training.loop import train

    wide = {"model__encoder": {"hidden": 32}, "model__cell": cell, "data__test": "train.tsv"}
    config = tiny_config(tmp_path, **wide, train__max_steps=400, train__validate_every=400)
    model = load(train(config, tmp_path / "model", device="cpu"), "cpu")
    assert model.evaluate()["token_error_rate"] < 0.3, "learned, or this compares nothing"
    runtime, exported = shipped(model, tmp_path / "out", int8=True)
    assert exported.quantized_size is not None
    assert exported.quantized_size < 0.7 * exported.size
    assert exported.changes is not None
    before, after = exported.changes["token_error_rate"]
    assert before == pytest.approx(model.evaluate()["token_error_rate"])
    assert after < before + 0.1
    inputs = words(120, 5, "shcteoamn")[:100]  # the training rows'
    kept = [a.text == b.text for a, b in zip(model.predict(inputs), runtime.predict(inputs), strict=True)]
    assert np.mean(kept) > 0.8


def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[1] / "golden" / "v0.1.0"
    (tmp_path / "there").mkdir()
    with pytest.raises(AntiphonError, match="there: exists; name a new folder"):
        export(folder, tmp_path / "there")
    with pytest.raises(AntiphonError, match="--to tflite: unknown; choose onnx, wheel, web"):
        export(folder, tmp_path / "out", "tflite")
    monkeypatch.setattr("antiphon.export.folder.compare", lambda *_: 1e-3)
    with pytest.raises(AntiphonError, match=r"its graphs differ from PyTorch by 1.0e-03; nothing is written"):
        export(folder, tmp_path / "out")
    monkeypatch.setattr("antiphon.export.folder.find_spec", lambda _: None)
    with pytest.raises(AntiphonError, match=r"export needs the extra: pip install 'antiphon\[export\]'"):
        export(folder, tmp_path / "out")
    support = Support("the runtime", frozenset({"image"}), frozenset(), frozenset())
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], support=support))
    with pytest.raises(AntiphonError, match="source: the kind text is not among those that the runtime reads"):
        export(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_search_that_the_runtime_has_not_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[1] / "golden" / "v0.1.0", tmp_path / "model")
    config = folder / "config.yaml"
    text = config.read_text(encoding="utf-8")
    refused = {"no_repeat_ngram: 3": "no_repeat_ngram: is 3", "coverage_penalty: 0.2": "coverage_penalty: is 0.2"}
    for key, shown in refused.items():
        changed = text.replace("\ndecode: {", f"\ndecode: {{{key}, ")
        assert changed != text
        config.write_text(changed, encoding="utf-8")
        with pytest.raises(
            AntiphonError,
            match=f"decode.{shown}.*which the runtime does not support; it supports beam, .*--set decode.",
        ):
            export(folder, tmp_path / "out")
        name, _ = key.split(": ")
        other = {"no_repeat_ngram": None, "coverage_penalty": 0.0}[name]
        export(folder, tmp_path / name, settings={f"decode.{name}": other, "decode.beam": 2})
        plain = load(folder, "cpu").predict(["shoe"], settings={f"decode.{name}": other, "decode.beam": 2})
        same(plain, antiphon_runtime.load(tmp_path / name).predict(["shoe"]))
    assert not (tmp_path / "out").exists()
    with pytest.raises(AntiphonError, match=r"train\.epochs: cannot be changed in a trained model"):
        export(folder, tmp_path / "out", settings={"train.epochs": 3})
