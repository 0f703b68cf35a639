"""Streamed tables: every row once an epoch, in an order that no process changes, from any place on; and what is wrong
with a shard is named."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tasks import TINY, tiny_config, write_table

from antiphon.config.files import Parallel
from antiphon.config.load import parse_config
from antiphon.config.schema import Config
from antiphon.data import stream as streams
from antiphon.data import workers
from antiphon.data.encoded import Examples, Sequences
from antiphon.data.load import load_rows, train_codecs
from antiphon.data.problems import Problems
from antiphon.data.shards import digests
from antiphon.data.stream import Chunk, Placed, Position, Stream, Tables, Window, dealt, in_turn
from antiphon.data.workers import Pace
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.training.plan import Update, updates
from antiphon.training.prepare import check_names, read_parts

Pairs = list[tuple[str, str]]


def numbered(count: int, first: int = 0) -> Pairs:
    """Distinct rows of different length."""
    return [(f"{'ab' * (number % 5)}{number}", f"X {number % 7} Y") for number in range(first, first + count)]


def config_of(folder: Path, train: Any, **data: Any) -> Config:
    write_table(folder / "valid.tsv", numbered(5))
    tree = {**TINY, "data": {"train": train, "valid": "valid.tsv", **data}}
    return parse_config(tree, folder)


def in_shards(folder: Path, sizes: Sequence[int], suffix: str = ".tsv") -> Pairs:
    """Rows in shards of these sizes; all of them."""
    folder.mkdir()
    rows: Pairs = []
    for number, size in enumerate(sizes):
        part = numbered(size, len(rows))
        path = folder / f"{number:03}{suffix}"
        write_as(path, part)
        rows += part
    return rows


def write_as(path: Path, rows: Pairs) -> None:
    text = "".join(f"{source}\t{target}\n" for source, target in rows)
    if ".csv" in path.name:
        text = "source,target\n" + "".join(f'"{source}",{target}\n' for source, target in rows)
    if ".jsonl" in path.name:
        text = "".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in rows)
    if path.name.endswith(".parquet"):
        import pyarrow
        from pyarrow import parquet

        columns = {"source": [source for source, _ in rows], "target": [target for _, target in rows]}
        parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def stream_of(config: Config) -> Stream:
    stream = read_parts(config).stream
    assert stream is not None
    return stream


def decoded(stream: Stream, window: Window) -> Iterator[tuple[str, str]]:
    """The rows of a window as texts."""
    assert isinstance(stream.shards, Tables)
    source, target = (codec for codec in stream.shards.codecs.named.values())
    sides: list[tuple[Any, Sequences]] = [(source, window.examples.sources[0]), (target, window.examples.target)]
    for row in range(len(window.examples)):
        first, second = (codec.decode(array[row]) for codec, array in sides)
        yield first, second


def epochs(stream: Stream, count: int) -> list[list[Window]]:
    """The windows of the first epochs."""
    made: list[list[Window]] = [[] for _ in range(count)]
    with closing(stream.visit(Position())) as windows:  # type: ignore[type-var]
        for window in windows:
            if window.position.epoch == count:
                return made
            made[window.position.epoch].append(window)
    raise AssertionError("a stream has no end")


def same(update: Update, other: Update) -> bool:
    """Whether two updates are of the same rows."""
    rows = [[[*map(part.examples.sources[0].__getitem__, batch)] for batch in part.batches] for part in (update, other)]
    texts = [[[array.tolist() for array in batch] for batch in batches] for batches in rows]
    return (update.step, update.epoch, update.place) == (other.step, other.epoch, other.place) and texts[0] == texts[1]


SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".jsonl", ".jsonl.gz", ".parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_row_of_every_shard_is_read_once_an_epoch(suffix: str, tmp_path: Path) -> None:
    rows = in_shards(tmp_path / "shards", [30, 1, 17, 44], suffix)
    keys = {"source": {"tokens": "chars", "column": "source"}, "target": {"tokens": "words", "column": "target"}}
    config = config_of(tmp_path, f"shards/*{suffix}", shuffle=25, workers=0)
    write_as(tmp_path / f"valid{suffix}", numbered(5))
    config = parse_config({**config.user_keys, **(keys if suffix[:4] != ".tsv" else {})}, tmp_path)
    config = parse_config(
        {**config.user_keys, "data": {**config.user_keys["data"], "valid": f"valid{suffix}"}}, tmp_path
    )
    stream = stream_of(config)
    assert abs(stream.rows - len(rows)) <= 4, "a header of .csv counts"
    for windows in epochs(stream, 2):
        assert Counter(row for window in windows for row in decoded(stream, window)) == Counter(rows)


def test_a_folder_a_pattern_and_a_list_with_a_window_are_the_same_stream(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [9, 8, 7])
    files = [f"shards/{number:03}.tsv" for number in range(3)]
    orders = []
    for train, data in (("shards", {}), ("shards/*.tsv", {}), (files, {"shuffle": 100_000})):
        stream = stream_of(config_of(tmp_path, train, workers=0, **data))
        orders.append([[*decoded(stream, window)] for windows in epochs(stream, 2) for window in windows])
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] != orders[0][1], "the next epoch has another order"


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [str(tmp_path / name / "t.txt") for name in ("en", "de")] + [str(tmp_path / "other.txt")]
    for number, path in enumerate(paths):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(f"row {number}\n")
    before = digests([Parallel(source=paths[0], target=paths[1]), paths[2]])
    assert list(before) == ["the shard t.txt (file 1)", "the shard t.txt (file 2)", "the shard other.txt"]
    Path(paths[0]).write_text("row 9\n")
    after = digests([Parallel(source=paths[0], target=paths[1]), paths[2]])
    assert [name for name in before if before[name] != after[name]] == ["the shard t.txt (file 1)"]


def test_a_table_without_a_window_is_in_memory(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert read_parts(config).stream is None


@settings(max_examples=40, deadline=None)
@given(shards=st.integers(0, 50), readers=st.sets(st.integers(0, 7)), turn=st.integers(0, 7), seed=st.integers(0, 9))
def test_readers_may_be_divided_among_processes(shards: int, readers: set[int], turn: int, seed: int) -> None:
    own = dealt(shards, seed, 0)
    assert sorted(shard for part in own for shard in part) == list(range(shards)), "each shard has one reader"

    def chunks(chosen: Sequence[int]) -> list[tuple[int, Any]]:
        made: dict[int, Iterator[Any]] = {
            number: iter([(shard, part) for shard in own[number] for part in range(shard % 4)]) for number in chosen
        }
        return list(in_turn(made, turn))

    alone = [item for item in chunks(range(len(own))) if item[0] in readers]
    assert alone == chunks([number for number in range(len(own)) if number in readers])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    shuffle=st.integers(1, 60),
    start=st.integers(0, 60),
    tokens=st.booleans(),
    accumulate=st.integers(1, 3),
)
def test_updates_go_on_at_the_very_row(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], shuffle: int, start: int, tokens: bool, accumulate: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    in_shards(folder / "shards", sizes)
    config = config_of(folder, "shards", shuffle=shuffle, workers=0)
    changes = {"batch_size": 8, "batch_tokens": 60 if tokens else None, "accumulate": accumulate, "epochs": 3}
    train = config.train.model_copy(update={**changes, "max_steps": 80})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK", 6)
        stream = stream_of(config)
        whole = list(updates(train, stream, 0))
        assert [update.step for update in whole] == list(range(1, len(whole) + 1))
        start = min(start, len(whole))
        place = whole[start - 1].place if start else None
        rest = list(updates(train, stream, start, place))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))


def test_the_processes_that_read_do_not_change_the_order(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [700, 40, 650, 1, 520, 90])
    config = config_of(tmp_path, "shards", shuffle=600)
    train = config.train.model_copy(update={"batch_size": 50, "max_steps": 90, "epochs": 3})
    orders = []
    for number in (0, 1, 3):
        data = config.data.model_copy(update={"workers": number})
        stream = stream_of(config.model_copy(update={"data": data}))
        assert (stream.ahead is None) == (number == 0)
        orders.append(list(updates(train, stream, 0)))
    assert len(orders[0]) == 90
    step, place = next(
        (update.step, update.place) for update in orders[0][50:] if update.place and update.place["window"]
    )
    assert all(all(map(same, order, orders[0])) for order in orders[1:])
    data = config.data.model_copy(update={"workers": 2})
    resumed = list(updates(train, stream_of(config.model_copy(update={"data": data})), step, place))
    assert len(resumed) == 90 - step
    assert all(map(same, resumed, orders[0][step:]))


def test_a_window_mixes_shards_and_is_all_that_is_read(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [2000] * 4)
    stream = stream_of(config_of(tmp_path, "shards", shuffle=1500, sample=100, workers=0))
    with closing(stream.windows(Position())) as windows:  # type: ignore[type-var]
        first = next(windows)
    assert 1500 <= len(first.examples) < 1500 + streams.CHUNK
    shards = Counter(int(source.lstrip("ab")) // 2000 for source, _ in decoded(stream, first) if source.lstrip("ab"))
    assert len(shards) >= 3, "rows of several shards"


def test_rows_of_validation_inputs_are_left_out_of_every_shard(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = numbered(40)
    for number in range(3):  # the same inputs in each shard
        write_table(folder / f"{number}.tsv", rows)
    config = config_of(tmp_path, "shards", valid=0.2, shuffle=50, sample=60, workers=0)
    parts = read_parts(config)
    assert parts.stream is not None
    held = {row.sources[0] for row in parts.valid_rows}
    assert held
    (windows,) = epochs(parts.stream, 1)
    met = Counter(source for window in windows for source, _ in decoded(parts.stream, window))
    assert not held & met.keys()
    assert met == Counter({source: 3 for source, _ in rows if source not in held})


def test_vocabularies_from_all_rows_are_those_of_rows_in_memory(tmp_path: Path) -> None:
    rows = [("abc", "X")] * 8 + [("xyz", "Y Z")]
    write_table(tmp_path / "t.tsv", rows)
    config = config_of(tmp_path, "t.tsv", shuffle=5, sample="all", workers=0)
    tree = {**config.user_keys, "source": {"tokens": {"kind": "bpe", "size": 12}}}
    config = parse_config(tree, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.data.shards.SAMPLE", 4)
        parts = read_parts(config)
    assert len(parts.rows) == 4
    in_memory = parse_config({**tree, "data": {"train": "t.tsv", "valid": "valid.tsv"}}, tmp_path)
    assert parts.codecs.to_json() == train_codecs(in_memory, read_parts(in_memory).rows).to_json()


def test_all_bad_rows_are_met_where_all_are_read(tmp_path: Path) -> None:
    write_table(tmp_path / "t.tsv", [*numbered(9), ("bad", ""), *numbered(9, 9), ("worse", "")])
    config = config_of(tmp_path, "t.tsv", shuffle=5, sample="all", workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.data.shards.SAMPLE", 4)
        with pytest.raises(DataError) as caught:
            read_parts(config)
    assert "t.tsv:10: the target is empty" in str(caught.value)
    assert "t.tsv:20: the target is empty" in str(caught.value)


class Rows:
    """Rows that can be read again, as a data set of another library."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def test_an_iterable_is_streamed_from_python(tmp_path: Path) -> None:
    from antiphon.api import user_config

    rows = numbered(60)
    what = Rows([{"source": source, "target": target} for source, target in rows])
    keys = {"data.shuffle": 20, "data.valid": str(write_table(tmp_path / "valid.tsv", numbered(5))), "data.sample": 30}
    config = user_config(what, keys | {"target.tokens": "words"})
    stream = stream_of(config)
    assert stream.ahead is None, "what is in this process is read by it"
    assert stream.rows == 60
    (windows,) = epochs(stream, 1)
    assert Counter(row for window in windows for row in decoded(stream, window)) == Counter(rows)
    with pytest.raises(DataError, match="can be read only once"):
        user_config(iter(rows), keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data.hallucinate": 5}, "data.hallucinate: needs all rows in memory"),
        ({"train.teachers": ["x"]}, "train.teachers: needs all rows in memory"),
    ],
)
def test_what_needs_all_rows_is_refused_for_a_stream(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    from antiphon.config.load import set_value

    in_shards(tmp_path / "shards", [9])
    tree = config_of(tmp_path, "shards").user_keys
    for key, value in keys.items():
        set_value(tree, key, value)
    with pytest.raises(ConfigError, match=message):
        check_names(parse_config(tree, tmp_path))


def test_one_long_text_has_no_window(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("once upon a time\n" * 9)
    data = {"train": "book.txt", "valid": 0.2, "shuffle": 5}
    tree = {"data": data, "source": "long_text", "target": "next"}
    with pytest.raises(ConfigError, match=r"data.shuffle: one long text"):
        check_names(parse_config(tree, tmp_path))


def test_another_command_reads_all_rows_of_a_streamed_table(tmp_path: Path) -> None:
    rows = in_shards(tmp_path / "shards", [30, 30])
    config = config_of(tmp_path, "shards", sample=10)
    assert len(read_parts(config).rows) == 10
    assert len(load_rows(config, config.data.train)) == len(rows)


def test_keys_of_streams_are_refused_in_memory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.workers: is for a streamed table"):
        check_names(tiny_config(tmp_path, data__workers=1))


# --- what is wrong with a shard -------------------------------------------------------------------


def visit(stream: Stream) -> None:
    for _ in islice(stream.visit(Position()), 1000):
        pass


def broken(folder: Path, suffix: str, damage: Any, **data: Any) -> str:
    """The message when shard 002 is damaged after the sample was read."""
    in_shards(folder / "shards", [40] * 4, suffix)
    named = {} if suffix == ".tsv" else {"source": {"column": "source"}, "target": {"column": "target"}}
    config = config_of(folder, f"shards/*{suffix}", shuffle=30, sample=8, valid=0.2, **data)
    config = parse_config({**config.user_keys, **named}, folder)
    stream = stream_of(config)
    damage(folder / "shards" / f"002{suffix}")
    with pytest.raises(AntiphonError) as caught:
        visit(stream)
    return str(caught.value)


def _corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + 60] = random.Random(1).randbytes(60)
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_disappears_is_named(workers: int, tmp_path: Path) -> None:
    message = broken(tmp_path, ".tsv", Path.unlink, workers=workers)
    assert message == f"{tmp_path}/shards/002.tsv: cannot be read: No such file or directory"


def test_a_damaged_page_of_parquet_is_named_with_its_row_group(tmp_path: Path) -> None:
    message = broken(tmp_path, ".parquet", _corrupt, workers=0)
    assert f"{tmp_path}/shards/002.parquet: row group" in message
    assert "is damaged" in message


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    message = broken(tmp_path, ".jsonl.gz", _corrupt, workers=0)
    assert message.startswith(f"{tmp_path}/shards/002.jsonl.gz: is damaged")


@pytest.mark.parametrize(
    ("suffix", "content", "expected"),
    [
        (".tsv", "one\ttwo\tthree\n", ": has 3 columns, but 2 are needed"),
        (".csv", "input,target\na,X\n", ": no column 'source' in the header"),
        (".jsonl", '{"input": "a"}\n', ":1: no field 'source': the object has input"),
    ],
)
def test_a_shard_with_another_schema_is_named(suffix: str, content: str, expected: str, tmp_path: Path) -> None:
    message = broken(tmp_path, suffix, lambda path: path.write_text(content), workers=0)
    assert f"{tmp_path}/shards/002{suffix}" in message
    assert expected in message


def test_a_parquet_file_with_another_schema_is_named(tmp_path: Path) -> None:
    def other(path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"input": ["a"], "target": ["X"]}), path)

    message = broken(tmp_path, ".parquet", other, workers=0)
    assert message.startswith(f"{tmp_path}/shards/002.parquet: no column 'source'")


def test_bad_rows_are_skipped_as_configured_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = in_shards(tmp_path / "shards", [20, 20])
    with (tmp_path / "shards/001.tsv").open("a") as file:
        file.write("no target\n")
    stream = stream_of(config_of(tmp_path, "shards", on_error="skip", workers=0))
    caplog.clear()
    made = epochs(stream, 2)
    assert all(Counter(row for w in windows for row in decoded(stream, w)) == Counter(rows) for windows in made)
    (record,) = caplog.records
    assert "001.tsv:21: column 1 is missing" in record.getMessage()


@contextmanager
def begun_workers() -> Iterator[list[workers.Worker]]:
    """Within it, the processes that begin to read."""
    begun: list[workers.Worker] = []
    begin = workers.Worker.begin

    def noted(*given: Any) -> workers.Worker:
        begun.append(begin(*given))
        return begun[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers.Worker, "begin", noted)
        yield begun


def test_a_process_that_is_killed_is_named(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [3000] * 2)
    stream = stream_of(config_of(tmp_path, "shards", shuffle=400, sample=10, workers=1))
    with begun_workers() as begun, closing(stream.visit(Position())) as windows:  # type: ignore[type-var]
        next(windows)
        begun[0].process.kill()
        with pytest.raises(DataError, match="ended by signal 9"):
            all(windows)
    assert begun[0].process.returncode == -9


def test_processes_end_with_their_stream(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [2000] * 2)
    stream = stream_of(config_of(tmp_path, "shards", shuffle=400, sample=10, workers=2))
    with begun_workers() as begun, closing(stream.visit(Position())) as windows:  # type: ignore[type-var]
        next(windows)
    assert len(begun) == 2
    assert all(worker.process.returncode is not None for worker in begun)


def test_a_place_is_plain_values(tmp_path: Path) -> None:
    in_shards(tmp_path / "shards", [700] * 3)
    stream = stream_of(config_of(tmp_path, "shards", shuffle=600, workers=0))
    *_, last = epochs(stream, 1)[0]
    assert last.position.window > 0
    assert Position(**json.loads(json.dumps(asdict(last.position)))) == replace(
        last.position, places=[list(place) for place in last.position.places]
    )


def test_a_window_is_read_over_most_of_the_time_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [100.0], list[float]()
    monkeypatch.setattr("antiphon.data.workers.time.monotonic", lambda: now[0])
    pace = Pace(100)
    monkeypatch.setattr(pace.ended, "wait", waits.append)

    def chunk(rows: int) -> Placed:
        examples = Examples((Sequences([[1]] * rows),), Sequences([[1]] * rows))
        return 0, Chunk(rows, examples, Problems(True))

    pace.wait(chunk(50))
    pace.taken()  # the first, at once
    pace.wait(chunk(100))
    assert waits == [0, 0]  # nothing is known yet
    now[0] += 60
    pace.taken()  # after the first was used for a minute
    pace.wait(chunk(25))
    now[0] += 30
    pace.wait(chunk(25))  # late, since the reading takes its time
    pace.wait(chunk(75))  # a last chunk may exceed the window
    assert waits[2:] == pytest.approx([workers.SHARE * 15, 0, workers.SHARE * 60 - 30])
