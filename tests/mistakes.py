"""Every kind of bad input that a user is known to give, and the command that meets it.

`python tests/mistakes.py` writes docs/errors.md; tests/unit/test_mistakes.py holds every line of it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tasks import tiny_config
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.config.load import parse_config
from antiphon.saved import folder as bundle
from antiphon.saved.conversion import g2p_shapes
from antiphon.tools.preparing import prepare_table
from antiphon.training import checkpoint
from antiphon.training.loop import train

Content = str | bytes | Callable[[Path], object]
ROWS = "ab\tX Y\nba\tY X\nabb\tX Y Y\nbaa\tY X X\n"
CONFIG = """data: {train: rows.tsv, valid: rows.tsv}
model: {embedding: 4, encoder: {hidden: 4}, decoder: {hidden: 8}}
train: {max_steps: 1}
"""

CONFIG_OF_ALL = """data: {train: rows.tsv, valid: rows.tsv}
model: {cell: gru, encoder: {hidden: 4}, dropout: 0.1, attention: general, context: {to: every_step}}
train: {max_steps: 1, learning_rate: 0.01, batch_size: 2, label_smoothing: 0.1}
"""


def _saved(*arrays: object, **named: object) -> Callable[[Path], None]:
    return lambda path: np.savez(path, *arrays, **named)  # type: ignore[arg-type]


@dataclass
class Mistake:
    """What is wrong, in words; the command line, typed in a folder; the files there beside rows.tsv and model/."""

    what: str
    command: str = "train rows.tsv --out m"
    files: dict[str, Content] = field(default_factory=dict)
    model: bool = False  # whether the folder `model`, a trained model, is needed
    status: int = 1  # 2 of a value that an option cannot have


def _rows(what: str, content: Content, name: str = "rows.tsv") -> Mistake:
    return Mistake(what, f"train {name} --out m", {name: content})


def _kinds(what: str, source: str, target: str, rows: str, valid: str | None = None, **files: Content) -> Mistake:
    """Rows of other kinds than text."""
    data = "data: {train: rows.tsv, valid: valid.tsv}"
    config = CONFIG.replace("data: {train: rows.tsv, valid: rows.tsv}", f"{data}\nsource: {source}\ntarget: {target}")
    return _config(what, config, **{"rows.tsv": rows, "valid.tsv": valid or rows}, **files)


def _grouped(what: str, rows: str) -> Mistake:
    """Groups of rows that are frames and a label."""
    mistake = _kinds(what, "{kind: frames, column: 1}", "{kind: label, column: 2}", rows)
    return replace(mistake, command=f"{mistake.command} --set data.group=0")


def _image(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(content, "PNG")
    return content.getvalue()


def _config(what: str, content: str, **files: Content) -> Mistake:
    return Mistake(what, "train c.yaml --out m", {"c.yaml": content, **files})


def _set(what: str, *pairs: str) -> Mistake:
    settings = " ".join(f"--set {shlex.quote(pair)}" for pair in pairs)
    return Mistake(what, f"train c.yaml --out m {settings}", {"c.yaml": CONFIG})


def _damage(name: str, change: Callable[[bytes], bytes]) -> dict[str, Content]:
    def apply(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return {f"model/{name}": apply}


def _flip(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 16]) + content[-8:]


def _remove(path: Path) -> None:
    shutil.rmtree(path)


def _damage_states(path: Path) -> None:
    for state in checkpoint.states(path.parent):
        state.write_bytes(_flip(state.read_bytes()))


def _without_test(content: bytes) -> bytes:
    return re.sub(rb"test:\s+\S+?,", b"test: null,", content)


def _decode(what: str, arguments: str, **files: Content) -> Mistake:
    return Mistake(what, f"predict model in.txt {arguments}", {"in.txt": "shoe\n", **files}, model=True)


def _inspect(what: str, arguments: str) -> Mistake:
    return Mistake(what, f"inspect model {arguments}", model=True)


def _encode(path: Path) -> None:
    """The rows of c.yaml, encoded as `antiphon prepare` does."""
    tree = {"data": {"train": str(path.parent / "rows.tsv"), "valid": 0.5, "workers": 0, "shuffle": 2}}
    with contextlib.redirect_stderr(io.StringIO()):
        prepare_table(parse_config({**tree, "source": {"tokens": "chars"}}, path.parent), path)


def _encoded(what: str, arguments: str, change: Callable[[Path], object] = bool) -> Mistake:
    """A training from encoded rows, of which one file is changed."""
    return Mistake(
        what, f"train encoded --out m {arguments}".strip(), {"encoded": _encode, "encoded/valid.rows": change}
    )


def _report(what: str, files: dict[str, Content]) -> Mistake:
    return Mistake(what, "report model --out t.html", files, model=True)


SECTIONS: dict[str, list[Mistake]] = {
    "Rows": [
        Mistake("a file that does not exist", "train none.tsv --out m"),
        _rows("a file of an unsupported kind", ROWS, "rows.xlsx"),
        Mistake("a folder without tables", "train folder --out m", {"folder/notes.md": "no rows"}),
        Mistake("a pattern that fits no table", "train 'parts/*.tsv' --out m", {"parts/notes.md": "no rows"}),
        Mistake(
            "two shards of which one has other columns",
            "train parts --out m --set data.workers=0",
            {"parts/a.tsv": ROWS, "parts/b.tsv": "one\ttwo\tthree\n"},
        ),
        _set("processes that read ahead, for rows in memory", "data.workers=2"),
        _set("rows made of others, for a streamed table", "data.shuffle=2", "data.hallucinate=5"),
        _encoded("encoded rows and another tokenizer", "--set source.tokens=words"),
        _encoded("encoded rows of which a file is damaged", "", lambda path: path.write_text("[]")),
        _encoded("encoded rows of which a file is missing", "", Path.unlink),
        _rows("an empty file", ""),
        _rows("only empty lines", "\n\n\n"),
        _rows("more columns than are needed", "ab\tX Y\tN\nba\tY X\tV\n"),
        _rows("a row with one column more than the others", ROWS + "ab\tX\tY\n"),
        _rows("a table with only one column", "Anna\nBert\n"),
        _rows("a .txt table whose columns are separated by commas", "ab,X Y\nba,Y X\n", "rows.txt"),
        _rows("a row without the target column", ROWS + "only\n"),
        _rows("rows with too few columns, many of them", ROWS + "only\n" * 12),
        _rows("a row that is not UTF-8", ROWS.encode() + "é\tX\n".encode("latin-1")),
        _rows("UTF-16", ROWS.encode("utf-16")),
        _rows("a NUL character", ROWS + "a\0b\tX\n"),
        _rows("an empty source", ROWS + "\tX\n"),
        _rows("an empty target", ROWS + "ab\t \n"),
        _rows("a very long line", lambda path: path.write_bytes(ROWS.encode() + b"a" * (17 << 20) + b"\tX\n") and None),
        _rows("a .gz file cut short", gzip.compress(ROWS.encode() * 99, mtime=0)[:-20], "rows.tsv.gz"),
        _rows("a text file with the ending .gz", ROWS, "rows.tsv.gz"),
        _rows("CSV with a quote that is never closed", 'a,X\n"b,Y\n', "rows.csv"),
        _rows("CSV with a quote that is never closed, with many lines after it", 'a,X\n"b,Y\nc,Z\nd,W\n', "rows.csv"),
        _rows("semicolons in a table that should have tabs", "a;X\nb;Y\n"),
        _rows("CSV in UTF-16, as spreadsheets write it", "a,X\nb,Y\n".encode("utf-16"), "rows.csv"),
        _rows("lines that end in carriage returns", "a\tX\rb\tY\r"),
        _rows("NaN in place of a text", '["a", NaN]\n["b", "Y"]\n', "rows.jsonl"),
        _rows("CSV in another encoding", b"a,X\n\xe9,Y\n", "rows.csv"),
        _rows("JSON Lines that are not JSON", '["a", "X"]\n{a}\n', "rows.jsonl"),
        _rows("a JSON line that is neither an object nor a list", '["a", "X"]\n3\n', "rows.jsonl"),
        _rows("JSON objects without configured column names", '{"word": "a", "sounds": "X"}\n', "rows.jsonl"),
        _rows("a field that is not text", '["a", "X"]\n["b", ["Y"]]\n', "rows.jsonl"),
        _rows("half of a surrogate pair", '["a", "X"]\n["\\ud800", "Y"]\n', "rows.jsonl"),
        Mistake(
            "a JSON object without the configured field",
            "train rows.jsonl --out m --set source.column=word --set target.column=sounds",
            {"rows.jsonl": '{"word": "a", "sounds": "X"}\n{"word": "b"}\n'},
        ),
        Mistake(
            "a JSON list although columns have names",
            "train rows.jsonl --out m --set source.column=word --set target.column=sounds",
            {"rows.jsonl": '["a", "X"]\n'},
        ),
        Mistake(
            "a column that the header does not name",
            "train rows.tsv --out m --set source.column=word --set target.column=sound",
            {"rows.tsv": "word\tsounds\n" + ROWS},
        ),
        Mistake(
            "a header that names a column twice",
            "train rows.tsv --out m --set source.column=word --set target.column=sounds",
            {"rows.tsv": "word\tword\tsounds\n" + ROWS},
        ),
        Mistake(
            "a header that is not text",
            "train rows.tsv --out m --set source.column=word --set target.column=sounds",
            {"rows.tsv": b"w\xf6rd\tsounds\n" + ROWS.encode()},
        ),
        _config(
            "parallel files of unequal length",
            "data: {train: {source: a.txt, target: b.txt}}",
            **{"a.txt": "a\nb\n", "b.txt": "X\n"},
        ),
        _config(
            "one of two parallel files is missing",
            "data: {train: {source: a.txt, target: b.txt}}",
            **{"a.txt": "a\n"},
        ),
        _config(
            "a parallel file in another encoding",
            "data: {train: {source: a.txt, target: b.txt}}",
            **{"a.txt": b"\xe9\n", "b.txt": b"X\n"},
        ),
        _set("a row longer than allowed", "data.max_length=2"),
        _rows("a file of arrays", _saved(pairs=np.array([["a", "X"]])), "rows.npz"),
        Mistake(
            "an array that is not in the file",
            "train rows.npz#pair --out m",
            {"rows.npz": _saved(pairs=np.array([["a", "X"]]))},
        ),
        Mistake(
            "an array of Python objects",
            "train rows.npz#pairs --out m",
            {"rows.npz": _saved(pairs=np.array([["a", {}]], dtype=object))},
        ),
        Mistake(
            "an array of more than rows and columns",
            "train rows.npz#pairs --out m",
            {"rows.npz": _saved(pairs=np.zeros((2, 2, 2)))},
        ),
        _kinds("a vector that is not a list of numbers", "vector", "text", "[1, 2]\tX\n[1, two]\tY\n"),
        _kinds("a vector of texts", "vector", "text", '[1, 2]\tX\n["a", "b"]\tY\n'),
        _kinds("vectors of different widths", "vector", "text", "[1, 2]\tX\n[1, 2, 3]\tY\n"),
        _kinds("frames in place of a vector", "vector", "text", "[1, 2]\tX\n[[1, 2], [3, 4]]\tY\n"),
        _kinds("frames of different widths", "frames", "label", "[[1, 2], [3]]\tX\n"),
        _kinds("frames whose file is missing", "frames", "label", "walk.npy\tX\n"),
        _kinds("a dialogue with an empty turn", "{kind: text, turns: 2}", "text", '["a", ""]\tX\n'),
        _grouped("a group whose rows do not stand together", "a\t1\tX\nb\t2\tX\na\t3\tX\n"),
        _grouped("a group with two labels", "a\t1\tX\na\t2\tY\n"),
        _kinds("a vector with an infinite number", "vector", "label", "[1, 2]\tX\n[1e99, 2]\tY\n"),
        _kinds("a number that is a word", "text", "number", "a\t1.5\nb\tmany\n"),
        _kinds(
            "one label too few for the words of a row",
            "{kind: text, tokens: words}",
            "labels",
            "a b\tX Y\na b c\tX Y\n",
        ),
        _kinds("a label that no training row has", "text", "label", "a\tX\nb\tY\n", valid="c\tZ\n"),
        _kinds("label weights that are not a table", "text", "{kind: label, weights: balancd}", "a\tX\nb\tY\n"),
        _kinds("a label weight that is not a number", "text", "{kind: label, weights: {X: much}}", "a\tX\nb\tY\n"),
        _kinds("a weight of a label that no row has", "text", "{kind: label, weights: {XX: 2}}", "a\tX\nb\tY\n"),
        _kinds(
            "label weights together with a CRF", "text", "{kind: labels, crf: true, weights: balanced}", "a\tX\nb\tY\n"
        ),
        _kinds("a CRF for a single label", "text", "{kind: label, crf: true}", "a\tX\nb\tY\n"),
        _kinds(
            "a text longer than its frames, with CTC",
            "frames",
            "{kind: text, tokens: chars, ctc: true}",
            "[[1], [2]]\tXX\n[[1], [2]]\tXY\n[[1]]\tXY\n",
        ),
        _kinds("CTC with a vector as source", "vector", "{kind: text, ctc: true}", "[1]\tX\n[2]\tY\n"),
        _kinds("an image that is missing", "image", "label", "a.png\tX\n"),
        _kinds("an image outside of the table's folder", "image", "label", "../a.png\tX\n"),
        _kinds("a file that is not an image", "image", "label", "a.png\tX\n", None, **{"a.png": b"no image"}),
        _kinds("an image cut short", "image", "label", "a.png\tX\n", None, **{"a.png": _image(40, 40)[:-60]}),
        _kinds("an image of too many pixels", "image", "label", "a.png\tX\n", None, **{"a.png": _image(9000, 9000)}),
        Mistake("a text file with the ending .npz", "train rows.npz#pairs --out m", {"rows.npz": ROWS}),
        _rows("a text file with the ending .parquet", ROWS, "rows.parquet"),
        _config(
            "only one distinct input, so that no row is left for validation",
            "data: {train: rows.tsv}",
            **{"rows.tsv": "a\tX\na\tY\n"},
        ),
        _config("an empty validation file", "data: {train: rows.tsv, valid: v.tsv}", **{"v.tsv": ""}),
    ],
    "Configuration": [
        _config("not YAML", "data: [\n"),
        _config("YAML that is not a table", "- data\n"),
        _config("YAML with a Python object", "data: !!python/object/apply:os.system ['true']\n"),
        _config("a YAML alias", "x: &x {train: rows.tsv}\ndata: *x\n"),
        _config("YAML that is nested very deeply", "data: " + "[" * 3000),
        _config("the same key twice", "data: {train: rows.tsv}\ndata: {train: rows.tsv}\n"),
        _config("a configuration in another encoding", "data: {train: r\\xf6ws.tsv}\n".replace("\\xf6", "\udcf6")),
        _config("no training data", "model: {}\n"),
        _config("an unknown section", CONFIG + "optimizer: adam\n"),
        _set("an unknown key", "train.learning_rat=0.1"),
        _set("an unknown key, deeper", "model.encoder.hiden=3"),
        _set("a word in place of a number", "model.encoder.hidden=big"),
        _set("a number below the minimum", "model.encoder.layers=0"),
        _set("a number above the maximum", "model.dropout=1.5"),
        _set("a number in place of true or false", "model.tie=1"),
        _set("a value in place of a table", "model.encoder=3"),
        _set("an empty list of files", "data.train=[]"),
        _set("only one of two parallel files", "data.train={source: rows.tsv}"),
        _set("a fraction above one", "data.valid=1.5"),
        _set("an environment variable that is not set", "data.train=${NOT_SET_AT_ALL}/rows.tsv"),
        _set("an unknown cell", "model.cell=lstn"),
        _set("an unknown option of a cell", "model.cell.forget=1"),
        _set("a bias that is NaN", "model.cell.forget_bias=.nan"),
        _set("a zoneout rate of 1", "model.cell.zoneout=1.0"),
        _set("a layer of a billion units", "model.encoder.hidden=1000000000"),
        _set("an unknown attention", "model.attention=dott"),
        _set("dot attention between unequal widths", "model.attention=dot", "model.decoder.hidden=6"),
        _set("input feeding without attention", "model.attention=none", "model.attention.input_feeding=true"),
        _set("a previous query without attention", "model.attention=none", "model.attention.query=previous"),
        _set("attention in the first layer of a decoder with one layer", "model.attention.layer=first"),
        _set("multi-head attention with 0 heads", "model.attention={kind: multi_head, heads: 0}"),
        _set("location attention with a filter of even width", "model.attention={kind: location, width: 4}"),
        _set("negative noise", "model.attention={kind: monotonic, noise: -1.0}"),
        _set("copying without attention", "model.copy=true", "target.tokens=chars", "model.attention=none"),
        _set("copying with monotonic attention", "model.copy=true", "target.tokens=chars", "model.attention=monotonic"),
        _set("copying with bpe tokens", "model.copy=true", "source.tokens=bpe"),
        _set("copying from characters to words", "model.copy=true", "target.tokens=words"),
        replace(
            _kinds("copying from a vector", "vector", "text", "[1]\tX\n[2]\tY\n"),
            command="train c.yaml --out m --set model.copy=true",
        ),
        _set("an unknown context", "model.context=lasst"),
        _set("the last state as context of another width", "model.context=last", "model.decoder.hidden=6"),
        _set("min_count above the count of every symbol", "target.tokens={kind: words, min_count: 99}"),
        _set("an unknown tokenizer", "source.tokens=letters"),
        _set("a bpe vocabulary of size 1", "source.tokens={kind: bpe, size: 1}"),
        _set("an empty separator", 'source.tokens={split: ""}'),
        _set("characters of tokens that are not words", "source.characters=true"),
        _set("characters in a language model", "source={tokens: words, characters: true}", "target=next"),
        _set("an unknown option of characters", "source={tokens: words, characters: {hiden: 3}}"),
        _set("an unknown normal form", "source.normalize=nfx"),
        _set("an unknown kind", "source.kind=smell"),
        _set("a structure that does not fit the kinds", "structure=one_to_many"),
        _set("an unknown metric", "train.metric=acuracy"),
        _config(
            "span F1 with labels that mark no spans",
            CONFIG.replace("max_steps", "metric: span_f1, max_steps") + "target: {kind: labels}\n",
            **{"rows.tsv": "ab\tX Y\nba\tY X\n"},
        ),
        _set("an unknown optimizer", "train.optimizer=sgdd"),
        _set("an unknown option of an optimizer", "train.optimizer.momentum=0.9"),
        _set("an unknown schedule", "train.schedule=cosin"),
        _set("a schedule with a negative end", "train.schedule={kind: linear, end: -5.0}"),
        _set("a negative warm-up", "train.schedule.warmup=-1"),
        _set(
            "scheduled sampling whose end is above its start", "train.feeding={kind: scheduled, start: 0.1, end: 0.5}"
        ),
        _set("a probability above one", "train.feeding={kind: scheduled, start: 2.0}"),
        _set("two ways to average the weights", "train.ema=0.9", "train.average=3"),
        _set("an unknown part to freeze", "train.freeze=[encodre]"),
        _set("a value that is not YAML", "train.freeze=[a"),
        Mistake(
            "pretrained vectors of another width",
            "train c.yaml --out m --set model.embeddings=v.txt",
            {"c.yaml": CONFIG, "v.txt": "a 1 2 3\n"},
        ),
        Mistake(
            "pretrained vectors of other words",
            "train c.yaml --out m --set model.embeddings=v.txt",
            {"c.yaml": CONFIG, "v.txt": "the 1 2 3 4\n"},
        ),
        Mistake(
            "a file of pretrained vectors that does not exist",
            "train c.yaml --out m --set model.embeddings=v.txt",
            {"c.yaml": CONFIG},
        ),
    ],
    "Decoding": [
        _decode("an unknown key of decode", "--set decode.no_repeat=2"),
        _decode("a key of a trained model that is not in decode", "--set model.cell=gru"),
        _decode("an n-gram size of 0", "--set decode.no_repeat_ngram=0"),
        _decode("an unknown symbol as the only allowed one", "--set decode.allowed=[none]"),
        _decode("a lexicon that does not exist", "--set decode.lexicon=names.txt"),
        _decode("a lexicon with unknown symbols", "--set decode.lexicon=names.txt", **{"names.txt": "SH\nwhat\n"}),
        _decode("a lexicon with a line too long", "--set decode.lexicon=names.txt", **{"names.txt": "SH " * 18}),
        _decode("a required phrase of unknown symbols", "--set 'decode.require=[what]'"),
        _decode("required phrases longer than any output", f"--set 'decode.require=[{'SH ' * 18}]'"),
        _decode("a required phrase without symbols", "--set 'decode.require=[\"\"]'"),
        _decode("a required phrase with sampling", "--set 'decode.require=[SH]' --sample"),
        _decode("two ways to divide a beam", "--set 'decode.require=[SH]' --set decode.diversity.groups=2"),
        _decode("a shortlist for a model without one", "--set decode.shortlist.likely=20"),
        _decode("a shortlist with sampling", "--set decode.shortlist.likely=20 --sample"),
        _decode("a shortlist without common symbols", "--set decode.shortlist.common=0"),
        _decode("groups that cannot share a beam", "--beam 5 --set decode.diversity.groups=2"),
        _decode("a diverse beam without a number of groups", "--set decode.diversity.strength=1.0"),
        _decode("a prefix of unknown symbols", "--prefix what"),
        _decode("a prefix longer than any output", f"--prefix '{'SH ' * 18}'"),
        _decode(
            "rules that allow no output",
            "--set decode.allowed=[SH] --set decode.no_repeat_ngram=1 --set decode.min_length=2",
        ),
        _decode("models combined by an unknown method", "--ensemble model --combine mane"),
        _decode("an ensemble with a folder that does not exist", "--ensemble none"),
        _set("coverage without attention", "model.attention=none", "decode.coverage_penalty=0.2"),
        replace(
            _kinds("max_length with CTC", "frames", "{kind: text, ctc: true}", "[[1]]\tX\n[[2]]\tY\n"),
            command="train c.yaml --out m --set decode.max_length=9",
        ),
        replace(
            _kinds("replace_unknown with a vector as source", "vector", "text", "[1]\tX\n[2]\tY\n"),
            command="train c.yaml --out m --set decode.replace_unknown=true",
        ),
    ],
    "Model folders and trainings": [
        Mistake("an output folder that exists", "train c.yaml --out model", {"c.yaml": CONFIG}, model=True),
        Mistake(
            "--overwrite of a folder that is not a model",
            "train c.yaml --out f --overwrite",
            {"c.yaml": CONFIG, "f/precious": "x"},
        ),
        Mistake(
            "--overwrite of a model folder with other files",
            "train c.yaml --out model --overwrite",
            {"c.yaml": CONFIG, "model/notes.md": "precious"},
            model=True,
        ),
        Mistake(
            "--overwrite of another program's folder",
            "train c.yaml --out f --overwrite",
            {"c.yaml": CONFIG, "f/config.yaml": "server: {port: 80}\n"},
        ),
        Mistake("--resume without a training", "train c.yaml --out m --resume", {"c.yaml": CONFIG}),
        Mistake(
            "--resume with other settings", "train model.yaml --out model --resume --set model.dropout=0.5", model=True
        ),
        Mistake("--resume with other rows", "train model.yaml --out model --resume", {"train.tsv": ROWS}, model=True),
        Mistake(
            "--resume with damaged checkpoints",
            "train model.yaml --out model --resume",
            {"model/x": _damage_states},
            model=True,
        ),
        Mistake("a model folder that does not exist", "predict none rows.tsv"),
        Mistake("a folder that is not a model", "predict f rows.tsv", {"f/notes.md": "x"}),
        Mistake(
            "a model without its weights",
            "predict model rows.tsv",
            {"model/weights.safetensors": Path.unlink},
            model=True,
        ),
        Mistake(
            "a model without a vocabulary",
            "predict model rows.tsv",
            {"model/vocabulary-source.json": Path.unlink},
            model=True,
        ),
        Mistake("weights cut short", "predict model rows.tsv", _damage(bundle.WEIGHTS, lambda b: b[:-7]), model=True),
        Mistake("weights with a flipped bit", "predict model rows.tsv", _damage(bundle.WEIGHTS, _flip), model=True),
        Mistake(
            "a vocabulary that is not JSON", "predict model rows.tsv", {"model/vocabulary-source.json": "{"}, model=True
        ),
        Mistake(
            "a vocabulary of another kind", "predict model rows.tsv", {"model/vocabulary-source.json": "{}"}, model=True
        ),
        Mistake(
            "a vocabulary of another model",
            "predict model rows.tsv",
            _damage("vocabulary-source.json", lambda b: b.replace(b'"s"', b'"z"')),
            model=True,
        ),
        Mistake(
            "a model of a later format",
            "predict model rows.tsv",
            _damage(bundle.CONFIG, lambda b: b.replace(b"format: 1", b"format: 2")),
            model=True,
        ),
        Mistake(
            "a configuration that its weights do not fit",
            "predict model rows.tsv",
            _damage(bundle.CONFIG, lambda b: b.replace(b"embedding: 16", b"embedding: 17")),
            model=True,
        ),
        Mistake("a damaged metrics file", "predict model rows.tsv", {"model/metrics.json": "[]"}, model=True),
        Mistake("no test data", "evaluate model", _damage(bundle.CONFIG, _without_test), model=True),
        Mistake("an input that is not UTF-8", "predict model in.txt", {"in.txt": b"ab\n\xff\n"}, model=True),
        _set("minutes below zero", "train.minutes=-1"),
        Mistake("a teacher that does not exist", "distill none --rows rows.tsv --out m"),
        Mistake("rows and inputs for a student", "distill model --rows a.tsv --inputs b.txt --out m", model=True),
        Mistake(
            "a student that reads other symbols than its teacher",
            "distill model --out m --set source.tokens=words",
            model=True,
        ),
        Mistake("inputs for a student that are not there", "distill model --inputs none.txt --out m", model=True),
        Mistake("--init-from a folder that does not exist", "train rows.tsv --out m --init-from none"),
        Mistake(
            "--init-from a model with other tokens",
            "train c.yaml --out m --init-from model",
            {"c.yaml": CONFIG.replace("data:", "source: {tokens: words}\ndata:")},
            model=True,
        ),
        Mistake("an unknown device", "predict model rows.tsv --device gpu", model=True),
        Mistake("a device that does not exist", "predict model rows.tsv --device cuda:99", model=True),
        Mistake("an unknown format to export to", "export model out --to tflite", model=True, status=2),
        Mistake("an exported folder that exists", "export model f", {"f/precious": "x"}, model=True),
        Mistake("export of a model that does not exist", "export none out"),
        Mistake("conversion of a file that does not exist", "convert none.npz --out m"),
        Mistake(
            "conversion of a file of an unknown program",
            "convert other.npz --out m",
            {"other.npz": _saved(weights=np.zeros(3))},
        ),
        Mistake(
            "conversion of weights with other shapes",
            "convert c.npz --out m",
            {"c.npz": _saved(**{name: np.zeros((3, 3)) for name in g2p_shapes(0, 0)})},
        ),
        Mistake("conversion into a folder that exists", "convert x.npz --out f", {"f/precious": "x"}),
        Mistake("--import of a module that does not exist", "--import no_such_module_at_all check rows.tsv"),
    ],
    "Looking inside": [
        _inspect("an empty input", "'' --out t.html"),
        _inspect("an empty input for --other", "shoe --other '' --out t.html"),
        _inspect("an empty reference", "shoe --reference ' ' --out t.html"),
        _inspect("an unknown forced symbol", "shoe --force 1=Q --out t.html"),
        _inspect("a forced symbol after the end of the output", "shoe --force 99=UW --out t.html"),
        _inspect("an unknown view", "shoe --out t.png --view attenton"),
        _inspect("a view that this model does not have", "shoe --out t.png --view beliefs"),
        Mistake(
            "a report of a model without its training log",
            "report model --out t.html",
            {"model/training": _remove},
            model=True,
        ),
        Mistake(
            "a damaged log", "report model --out t.html", {"model/training/log.jsonl": '{"step": 1}\n'}, model=True
        ),
        _decode("--abstain-below with a model that is not calibrated", "--abstain-below 0.5"),
        Mistake("a damaged calibration", "predict model rows.tsv", {"model/calibration.json": "{}"}, model=True),
        Mistake(
            "a known answer without an output", "exceptions model known.tsv", {"known.tsv": "ab\tX\nba\n"}, model=True
        ),
        Mistake(
            "two known answers for one input", "exceptions model known.tsv", {"known.tsv": "ab\tX\nab\tY\n"}, model=True
        ),
        Mistake("an empty training log", "report model --out t.html", {"model/training/log.jsonl": ""}, model=True),
        Mistake("a table to compare on that does not exist", "compare model model none.tsv", model=True),
        _inspect("a picture in a folder that does not exist", "shoe --out no/folder/t.svg --view summary"),
    ],
    "Experiments": [
        Mistake("a grid with an unknown key", "sweep rows.tsv --grid train.learning_rat=1,2 --out s"),
        Mistake("a grid with an unknown cell", "sweep rows.tsv --grid model.cell=gru,gruu --out s"),
        Mistake("a grid that is not closed", "sweep rows.tsv --grid 'model.cell=[gru' --out s"),
        Mistake("seeds in a grid", "sweep rows.tsv --grid train.seed=1,2 --out s"),
        Mistake(
            "a key in the grid and beside it", "sweep rows.tsv --grid model.dropout=0.1 --set model.dropout=0 --out s"
        ),
        Mistake("a sweep into a folder with other things", "sweep rows.tsv --out other", {"other/notes.txt": "x"}),
        Mistake("a sweep of other settings", "sweep rows.tsv --out s", {"s/sweep.yaml": "rows: {train: abc}\n"}),
        Mistake("a table of no model", "table none"),
        Mistake("a table of a model that is not finished", "table m", {"m/config.yaml": "format: 1\n"}),
        Mistake("a table with an unknown baseline", "table model --baseline modle --data rows.tsv", model=True),
        Mistake("a table with an unknown metric", "table model --metric exact_mach --data rows.tsv", model=True),
        Mistake("a table on data that is not there", "table model --data none.tsv", model=True),
        Mistake("a search where no key is open", "tune c.yaml --minutes 1 --out t", {"c.yaml": CONFIG_OF_ALL}),
    ],
    "Lexicons, labels, the hub": [
        Mistake("a list of words with several columns", "lexicon model rows.tsv --to sherpa", model=True),
        Mistake(
            "a list of words that is empty", "lexicon model w.txt --to sherpa", {"w.txt": "\n;;; no word\n"}, model=True
        ),
        Mistake(
            "a word that a lexicon cannot hold", "lexicon model w.txt --to mfa", {"w.txt": "ab\na b\n"}, model=True
        ),
        Mistake(
            "a known lexicon with a word alone",
            "lexicon model w.txt --to mfa --known k.dict",
            {"w.txt": "ab\n", "k.dict": "ab  A B\nba\n"},
            model=True,
        ),
        Mistake(
            "an inventory that is none",
            "lexicon model w.txt --to sherpa --inventory t.txt",
            {"w.txt": "ab\n", "t.txt": "A B C\n"},
            model=True,
        ),
        Mistake(
            "doubtful words of a model that is not calibrated",
            "lexicon model w.txt --to sherpa --doubtful d.tsv",
            {"w.txt": "ab\n"},
            model=True,
        ),
        Mistake("a lexicon of a model that does not exist", "lexicon none w.txt --to sherpa", {"w.txt": "ab\n"}),
        Mistake("a lexicon to train from with a word alone", "check t.dict", {"t.dict": "ab  A B\nba\n"}),
        Mistake("doubt about too few rows", "doubt model few.tsv", {"few.tsv": "ab\tA B\nba\tB A\n"}, model=True),
        Mistake("doubt with an unknown key", "doubt model rows.tsv --set train.epoch=1", model=True),
        Mistake("doubt about a table that does not exist", "doubt model none.tsv", model=True),
        Mistake("an unknown uncertainty", "next model rows.tsv --count 2 --by luck", model=True, status=2),
        Mistake("inputs to choose from that do not exist", "next model none.txt --count 2", model=True),
        Mistake("a model on the hub without its user", "pull french", status=2),
        Mistake("a folder to pull into that exists", "pull anna/french --out f", {"f/precious": "x"}),
        Mistake("a folder to push that is no model", "push f anna/french", {"f/precious": "x"}),
    ],
}


def make_model(folder: Path) -> None:
    """The folder `model`, its rows and its configuration `model.yaml`."""
    config = tiny_config(folder)
    (folder / "model.yaml").write_text(config.to_yaml())
    with contextlib.redirect_stderr(io.StringIO()):
        train(config, folder / "model", threads=1)


def meet(mistake: Mistake, folder: Path, model: Path) -> tuple[int, str]:
    """Run the command in `folder` (copied from `model` where needed): exit status and message, paths made relative."""
    if mistake.model:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        for path in (folder / "model.yaml", folder / "model" / bundle.CONFIG):
            path.write_text(path.read_text().replace(str(model), str(folder)))
    (folder / "rows.tsv").write_text(ROWS)
    for name, content in mistake.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner().invoke(app, shlex.split(mistake.command))
    finally:
        os.chdir(before)
    message = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("#"))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        message += f"\nTRACEBACK {done.exception!r}"
    return done.exit_code, message.replace(f"{folder}/", "").replace(str(folder), ".").strip()


def page() -> str:
    """docs/errors.md."""
    out = [
        "# What Antiphon says when something is wrong",
        "",
        "Every mistake ends with status 1, or 2 if an option has a value that it cannot have, and one message that",
        "names the file and the line, or the key, and leaves nothing half-written. This page is written by",
        "`python tests/mistakes.py`, and a test holds every line of it.",
    ]
    with tempfile.TemporaryDirectory() as top:
        model = Path(top) / "model"
        model.mkdir()
        make_model(model)
        number = 0
        for section, mistakes in SECTIONS.items():
            out += ["", f"## {section}", "", "| what is wrong | command | message |", "|---|---|---|"]
            for mistake in mistakes:
                number += 1
                folder = Path(top) / str(number)
                folder.mkdir()
                status, message = meet(mistake, folder, model)
                if status != mistake.status:
                    sys.exit(f"{mistake.what}: status {status}: {message}")
                out.append(f"| {mistake.what} | `{cell(mistake.command)}` | {cell(message)} |")
    return "\n".join(out) + "\n"


def cell(text: str) -> str:
    """Text as a cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "errors.md").write_text(page(), encoding="utf-8")
