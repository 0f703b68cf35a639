"""Prediction at scale without Ray: files to pieces, blocks in order to files, what is finished, and all of it together
with workers of this process, against `predict`."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from untrained import KINDS, picture_files, rows_of, untrained

from antiphon.cli.main import app
from antiphon.errors import AntiphonError, DataError, ModelFolderError
from antiphon.shards import cluster, reading, run, writing
from antiphon.shards.files import Shard, shards_of
from antiphon.shards.finished import MANIFEST, Entry, digest, digest_of_model, opened
from antiphon.shards.reading import Reading, pieces
from antiphon.shards.writing import Done, in_order, write
from antiphon.use.serving import blocks

pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'antiphon[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'antiphon[export]'")
pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'antiphon[parquet]'")


# --- files ---------------------------------------------------------------------------------------------


def test_folders_are_read_with_their_folders_and_names_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.tsv", "a.txt.gz", "deep/part-0", "deep/c.v1.csv", "_SUCCESS", ".hidden.tsv", "_tmp/d.tsv", "x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with caplog.at_level(logging.WARNING, "antiphon"):
        shards = shards_of([tmp_path], ".tsv", tmp_path / "out")
    assert [shard.name for shard in shards] == ["a.tsv", "b.tsv", "deep/c.v1.tsv", "deep/part-0.tsv"]
    assert shards[0].path == str(tmp_path / "a.txt.gz")
    assert f"{tmp_path}: 1 file are not read, for example x.md" in caplog.text


def test_a_file_named_twice_is_one_shard_and_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(2), y=np.zeros(2))
    file = tmp_path / "a.npz"
    names = [
        shard.name
        for shard in shards_of([Path(f"{file}#x"), Path(f"{file}#y"), Path(f"{file}#x")], ".tsv", tmp_path / "out")
    ]
    assert names == ["a-x.tsv", "a-y.tsv"]


def test_what_cannot_be_written_or_read_is_refused(tmp_path: Path) -> None:
    for name in ("a.tsv", "a.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"a\.csv: would be written to a\.tsv, as .*a\.tsv; rename one of them"):
        shards_of([tmp_path / "a.tsv", tmp_path / "a.csv"], ".tsv", tmp_path / "out")
    (tmp_path / "manifest.txt").write_text("")
    with pytest.raises(DataError, match=r"manifest\.txt: would be written over manifest\.jsonl"):
        shards_of([tmp_path / "manifest.txt"], ".jsonl", tmp_path / "out")
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        shards_of([tmp_path / "nowhere"], ".tsv", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no file that can be read: \.tsv"):
        shards_of([tmp_path / "empty"], ".tsv", tmp_path / "out")


# --- pieces --------------------------------------------------------------------------------------------


class Rows(Reading):
    """Rows from a list; one that is an error is raised."""

    def __init__(self, rows: list[Any]) -> None:
        object.__setattr__(self, "given", rows)

    def rows(self, path: str) -> Iterator[Any]:
        for number, row in enumerate(self.given, 1):  # type: ignore[attr-defined]
            if isinstance(row, Exception):
                raise row
            yield number, row, [row]


@given(st.lists(st.text("ab", max_size=9), max_size=40), st.integers(1, 7), st.integers(1, 30), st.booleans())
def test_pieces_are_the_file(texts: list[str], most: int, size: int, broken: bool) -> None:
    rows: list[Any] = [*texts, DataError("f:9: wrong")] if broken else list(texts)
    cut = list(pieces(Rows(rows), "f", most, size))
    assert [row[1] for piece in cut for row in piece.rows] == texts
    assert [piece.first for piece in cut] == [sum(len(p.rows) for p in cut[:n]) for n in range(len(cut))]
    assert [piece.last for piece in cut] == [False] * (len(cut) - 1) + [True]
    assert [piece.unread for piece in cut] == [None] * (len(cut) - 1) + (["f:9: wrong"] if broken else [None])
    for piece in cut:
        assert len(piece.rows) <= most
        assert sum(len(row[1]) for row in piece.rows[:-1]) < size


# --- order ---------------------------------------------------------------------------------------------


def blocks_of(counts: list[int]) -> list[Done]:
    return [
        Done(shard, block, block == count - 1, content=f"{shard} {block}\n".encode(), rows=1)
        for shard, count in enumerate(counts)
        for block in range(count)
    ]


@given(st.lists(st.integers(1, 5), max_size=5), st.randoms(use_true_random=False), st.data())
def test_blocks_come_once_and_in_order_whatever_the_cluster_does(
    counts: list[int], chance: random.Random, data: st.DataObject
) -> None:
    expected = blocks_of(counts)
    given_blocks = expected + data.draw(st.lists(st.sampled_from(expected), max_size=4) if expected else st.just([]))
    chance.shuffle(given_blocks)
    assert list(in_order(given_blocks, len(counts))) == expected
    if expected:
        lost = data.draw(st.sampled_from(expected))
        with pytest.raises(AntiphonError, match="Ray has lost rows"):
            list(in_order([block for block in given_blocks if block != lost], len(counts)))


# --- what is finished ----------------------------------------------------------------------------------


def entry_of(folder: Path, name: str = "a.tsv", source: str = "s") -> Entry:
    (folder / name).write_text("x\n")
    return Entry(name, source, digest(folder / name), 1, 0)


def test_a_finished_file_is_known_while_nothing_has_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with opened(out, "m", {"beam": 1}) as finished:
        assert finished.get("a.tsv", "s") is None
        finished.add(entry_of(out))
    with (out / MANIFEST).open("ab") as file:
        file.write(b'{"name": "b.tsv", "sou')  # killed while it wrote
    (out / ".b.tsv.0000.partial").write_text("half")
    with opened(out, "m", {"beam": 1}) as finished:
        entry = finished.get("a.tsv", "s")
        assert entry is not None
        assert entry.rows == 1
        assert finished.get("a.tsv", "other input") is None
        finished.add(entry_of(out, "c.tsv"))
        (out / "a.tsv").write_text("y\n")
        assert finished.get("a.tsv", "s") is None
    assert sorted(path.name for path in out.iterdir()) == ["a.tsv", "c.tsv", MANIFEST]
    with opened(out, "m", {"beam": 1}) as finished:
        assert finished.get("c.tsv", "s") is not None


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "out", "m", {"beam": 1}):
        pass
    for folder, model, beam, reason in (
        ("other", "m", 1, "other: exists and has other files in it; name a new folder"),
        ("file", "m", 1, "file: is a file; with --ray, --out names a folder"),
        ("out", "n", 1, "out: its predictions were made with another model; name a new folder"),
        ("out", "m", 2, r"out: its predictions were made with other options, {\"beam\": 1}; give the same, or name"),
    ):
        with pytest.raises(ModelFolderError, match=reason), opened(tmp_path / folder, model, {"beam": beam}):
            pass
    (tmp_path / "out" / MANIFEST).write_text("[]\n[\n")
    with pytest.raises(ModelFolderError, match=r"manifest\.jsonl: is damaged"), opened(tmp_path / "out", "m", {}):
        pass
    assert (tmp_path / "other/thesis.txt").read_text() == "years of work"


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        opened(tmp_path / "out", "m", {}),
        pytest.raises(ModelFolderError, match="another process writes predictions there"),
        opened(tmp_path / "out", "m", {}),
    ):
        pass


# --- files of predictions ------------------------------------------------------------------------------


def test_a_wrong_row_stops_its_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shards = [Shard(str(tmp_path / name), f"deep/{name}.tsv") for name in ("a", "b", "c")]
    for shard in shards:
        Path(shard.path).write_text("x\n")
    done = blocks_of([2, 3, 1])
    done[2] = replace(done[2], notes=("odd",))
    done[3] = replace(done[3], error="b:7: the input is wrong")
    done[4] = replace(done[4], unread="b:9: later")
    with opened(out, "m", {}) as finished:
        entries, errors = write(shards, done, out, finished)
    assert errors == ["b:7: the input is wrong"]
    assert [entry.name for entry in entries] == ["deep/a.tsv", "deep/c.tsv"]
    assert (out / "deep/a.tsv").read_text() == "0 0\n0 1\n"
    assert sorted(path.name for path in (out / "deep").iterdir()) == ["a.tsv", "c.tsv"]
    assert "warning: odd" in capsys.readouterr().err


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("x\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path / "out", "m", {}) as finished:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(AntiphonError, match=r"a\.tsv: cannot be written: No space left on device"):
            write([Shard(str(tmp_path / "a"), "a.tsv")], blocks_of([1]), tmp_path / "out", finished)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MANIFEST]


# --- all together, with workers of this process --------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of Ray, this process; blocks come in reverse order."""

    @contextmanager
    def connected(address: str, workers: int | None) -> Iterator[int]:
        yield 1

    def predicted(shards: Any, how: Any, model: Any, form: Any, workers: int, worker: Any = None) -> Iterator[Done]:
        predicting = blocks().Worker(model, form)
        numbers = pa.table({"shard": list(range(len(shards)))})
        tables = [predicting(table) for table in cluster.read_blocks(numbers, shards, how, os.getcwd())]
        yield from (Done(**row) for table in reversed(tables) for row in table.to_pylist())

    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(cluster, "connected", connected)
    monkeypatch.setattr(cluster, "predicted", predicted)
    monkeypatch.setattr(reading, "ROWS", 4)


def antiphon(*arguments: object, status: int = 0) -> Any:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is exported once for all tests with the same settings."""
    export = run.exported

    def kept(folder: Path, settings: Any) -> dict[str, bytes]:
        key = (folder, json.dumps(dict(settings)))
        if key not in EXPORTED:
            EXPORTED[key] = export(folder, settings)
        return EXPORTED[key]

    monkeypatch.setattr(run, "exported", kept)


EXPORTED: dict[tuple[Path, str], dict[str, bytes]] = {}


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose outputs differ from input to input, with a known answer."""
    folder = tmp_path_factory.mktemp("speller")
    tree = {"source": {"column": "x"}, "target": {"column": "y"}, "decode": {"beam": 3, "max_length": 6}}
    rows = rows_of(x=["ab ba", "a", "bab", "b  c", "cab"], y=["x y", "y", "x", "z y x", "y z"])
    untrained(folder, tree, rows, scale=1.5)
    (folder / "known.tsv").write_text("cab\tz z\n")
    antiphon("exceptions", folder / "model", folder / "known.tsv")
    return folder / "model"


FEW = ("unigram, two sources", "frames to bits", "image to text")  # kinds that are always tested
LINES = ["ab", "", "cab", "b?a", "a b", "  ", "bbb", "", "c", "abcabc", "ba"]
OPTIONS: list[list[str]] = [
    [], ["--scores"], ["--json"], ["--json", "--n-best", "2"], ["--beam", "1"], ["--abstain-below", "0.2"],
    ["--abstain-below", "0.2", "--scores"], ["--sample", "--seed", "4"], ["--set", "decode.max_length=3"],
]  # fmt: skip


@pytest.mark.usefixtures("here", "exported_once")
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_outputs_are_those_of_predict(speller: Path, tmp_path: Path, options: list[str]) -> None:
    """Texts byte by byte; scores are computed by another engine, and differ in the last digits."""
    for name, lines in (("a", LINES), ("b", ["", *LINES[:0:-1]]), ("none", [])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    out = tmp_path / "out"
    files = [tmp_path / f"{name}.txt" for name in ("a", "b", "none")]
    done = antiphon("predict", speller, *files, "--ray", "local", "--out", out, *options)
    assert f"{out}: 3 files, 22 rows" in done.stderr
    assert "inputs with symbols that the training rows do not have: 2 of 22" in done.stderr
    for file in files:
        name = file.stem
        if "--json" in options:
            plain = antiphon("predict", speller, file, "--device", "cpu", *options).stdout
            same_numbers(plain, (out / f"{name}.jsonl").read_text())
        else:
            antiphon("predict", speller, file, "--device", "cpu", "--out", tmp_path / "plain.tsv", *options)
            same_numbers((tmp_path / "plain.tsv").read_text(), (out / f"{name}.tsv").read_text())
            assert len({line.count("\t") for line in (out / f"{name}.tsv").read_text().splitlines()}) <= 1
            if "--scores" not in options:
                assert (tmp_path / "plain.tsv").read_bytes() == (out / f"{name}.tsv").read_bytes()


def same_numbers(expected: str, written: str) -> None:
    """Both are the same but for the last digits of numbers."""
    assert len(expected.splitlines()) == len(written.splitlines())
    for line, other in zip(expected.splitlines(), written.splitlines(), strict=True):
        if line.startswith("{"):
            close(json.loads(line), json.loads(other))
        else:
            for cell, again in zip(line.split("\t"), other.split("\t"), strict=True):
                close(value_of(cell), value_of(again))


def value_of(cell: str) -> Any:
    """A cell as JSON where it is that, else as text."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def close(expected: Any, written: Any) -> None:
    if isinstance(expected, dict):
        assert list(expected) == list(written)
        for name, value in expected.items():
            close(value, written[name])
    elif isinstance(expected, list):
        assert len(expected) == len(written)
        for value, other in zip(expected, written, strict=True):
            close(value, other)
    elif isinstance(expected, float):
        assert written == pytest.approx(expected, abs=1e-4)
    else:
        assert expected == written


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "kind", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_every_kind_of_table_is_read_as_predict_reads_it(kind: str, tmp_path: Path) -> None:
    tree, columns = KINDS[kind]
    if "pictures" in str(columns["x"]):
        files = picture_files(tmp_path)
        columns = {**columns, "x": [[name] for name in files] if tree["source"]["kind"] == "images" else files}
    model = untrained(tmp_path, dict(tree), rows_of(**columns))
    table = tmp_path / "rows.jsonl"
    antiphon("predict", model.folder, table, "--ray", "local", "--out", tmp_path / "out", "--scores")
    antiphon("predict", model.folder, table, "--device", "cpu", "--out", tmp_path / "plain.tsv", "--scores")
    same_numbers((tmp_path / "plain.tsv").read_text(), (tmp_path / "out/rows.tsv").read_text())


@pytest.mark.usefixtures("here", "exported_once")
def test_formats_and_wrong_rows(speller: Path, tmp_path: Path) -> None:
    """Every format, two of them with a wrong row: those are not written, and the messages are those of `predict`."""
    (tmp_path / "a.csv").write_text('x,y\n"ab",q\n"b, a",q\n')
    (tmp_path / "b.tsv").write_text("x\ty\nab\tq\nba\tq\n")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"ab\nba\n"))
    (tmp_path / "d.jsonl").write_text('{"x": "ab"}\n{"z": "ba"}\n')
    (tmp_path / "e.txt").write_bytes(b"ab\n" * 9 + b"\xff\n" + b"ba\n" * 9)
    out = tmp_path / "out"
    done = antiphon("predict", speller, tmp_path, "--ray", "local", "--out", out, status=1)
    assert sorted(path.name for path in out.iterdir()) == ["a.tsv", "b.tsv", "c.tsv", MANIFEST]
    for name in ("d.jsonl", "e.txt"):
        wrong = antiphon("predict", speller, tmp_path / name, "--device", "cpu", "--out", out / "_.tsv", status=1)
        assert wrong.stderr.strip() in done.stderr
    (tmp_path / "d.jsonl").write_text('{"x": "ab"}\n')
    (tmp_path / "e.txt").write_text("ab\n")
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tsv")}
    done = antiphon("predict", speller, tmp_path, "--ray", "local", "--out", out)
    assert "3 files of 5 are written already" in done.stderr
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("*.tsv")}.items()


@pytest.mark.usefixtures("here")
def test_an_exported_folder_predicts_lines_and_refuses_tables(speller: Path, tmp_path: Path) -> None:
    antiphon("export", speller, tmp_path / "shipped")
    (tmp_path / "a.txt").write_text("ab\nba\n")
    (tmp_path / "b.csv").write_text("x,y\nab,q\n")
    arguments = ("--ray", "local", "--out", tmp_path / "out")
    done = antiphon("predict", tmp_path / "shipped", tmp_path / "a.txt", tmp_path / "b.csv", *arguments, status=1)
    assert "b.csv: is a table, and an exported model does not know which columns it reads" in done.stderr
    expected = antiphon("predict", speller, tmp_path / "a.txt", "--device", "cpu").stdout.split("\n")[:-1]
    written = (tmp_path / "out/a.tsv").read_text().split("\n")
    assert written == ["source\tprediction", *map("\t".join, zip(["ab", "ba"], expected, strict=True)), ""]
    set_key = ("--set", "decode.beam=1", "--ray", "local", "--out", tmp_path / "other")
    done = antiphon("predict", tmp_path / "shipped", tmp_path / "a.txt", *set_key, status=1)
    assert "decode.beam: cannot be set" in done.stderr


def test_the_digest_of_a_model_is_that_of_what_its_predictions_depend_on(speller: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(speller, folder)
    assert digest_of_model(folder) == digest_of_model(speller)
    (folder / "README.md").write_text("a card")
    assert digest_of_model(folder) == digest_of_model(speller)
    (folder / "exceptions.tsv").write_text("cab\tx x\n")
    assert digest_of_model(folder) != digest_of_model(speller)


# --- wrong usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.txt", "--ray", "local"], "needs --out DIR, the folder of the outputs"),
        (["--ray", "local", "--out", "o"], "--ray needs files or folders of inputs"),
        (["a.txt", "--ray", "local", "--out", "o", "--n-best", "2"], "needs --json"),
        (["a.txt", "--ray", "local", "--out", "o", "--scores", "--json"], "adds columns to a table"),
        (["a.txt", "--ray", "local", "--out", "o", "--stream"], "cannot be used with --ray"),
        (["a.txt", "--ray", "local", "--out", "o", "--prefix", "x"], "cannot be used with --ray"),
        (["a.txt", "--workers", "2"], "needs --ray"),
        (["a.txt", "b.txt"], "one file, not 2; several need --ray"),
    ],
)
def test_wrong_usage(arguments: list[str], reason: str) -> None:
    assert reason in " ".join(antiphon("predict", "m", *arguments, status=2).stderr.replace("│", " ").split())


def test_a_machine_without_ray_says_how_it_is_installed(
    speller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    (tmp_path / "a.txt").write_text("ab\n")
    done = antiphon("predict", speller, tmp_path / "a.txt", "--ray", "local", "--out", tmp_path / "out", status=1)
    assert 'pip install "antiphon[ray]"' in done.stderr


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "--ray 127.0.0.1:9: no cluster answers there: Connection refused"),
        ("ray://head:10001", "is not HOST:PORT, auto or local"),
        ("cluster", "must be HOST:PORT, auto or local"),
        ("host:99999", "must be HOST:PORT, auto or local"),
    ],
)
def test_an_address_that_does_not_answer_is_told_in_seconds(address: str, reason: str) -> None:
    with pytest.raises(AntiphonError) as raised:
        cluster.refuse_silent(address)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "reason"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not a Ray"), (None, "timed out")]
)
def test_what_is_no_cluster_is_told_in_seconds(
    answer: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.2)
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            held.append(server.accept()[0])
            if answer is not None:
                held[0].sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(AntiphonError, match=reason):
            cluster.refuse_silent(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
        held[0].close()


def test_progress_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PLAIN_SECONDS", 0.0)
    progress = writing.Progress(3, 2)
    progress.add(4096)
    assert "file 2 of 3, 4,096 rows, " in capsys.readouterr().err
