"""Rubbish of every kind is read, or refused with a message; never a traceback."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from tasks import TINY, text_sides

from antiphon.config.load import parse_config, read_config_file, set_value
from antiphon.data.codecs.kinds import SOURCES, codec_from_json
from antiphon.data.codecs.text import LongTextCodec
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader, read_rows, read_texts
from antiphon.errors import AntiphonError, ModelFolderError
from antiphon.training.prepare import check_names

FEW, MANY = 40, 2500
Sized = Callable[[Callable[..., None]], Callable[..., None]]


def tries(count: int) -> Sized:
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


TEXTS = ["a", "X Y", "\t", "\n", "\r\n", "\r", ",", '"', '""', "\0", "{", "}", "[", "]", ":", "null", "1e999"]
TEXTS += ['["a", "b"]', '{"a": "b"}', "\\ud800", "é\u2028\x85"]
BROKEN = [b"\xff", b"\xef\xbb\xbf", b"\xff\xfe"]
PIECES = st.sampled_from([text.encode() for text in TEXTS] + BROKEN)
CONTENT = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join))
COLUMNS = st.sampled_from([(0, 1), (-1, 0), (0, 7), ("a", "b"), ("a", 1)])


def read(name: str, content: bytes, columns: Any, header: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        problems = Problems()
        try:
            for row in read_rows([str(path)], [], text_sides(*columns), header, problems):
                assert row.sources[0].strip()
                assert row.target.strip()
                (row.sources[0] + row.target).encode()
            problems.raise_any()
        except AntiphonError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.conllu", "a.dict", "a.npz", "a.npy", "a.parquet"])
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_every_reader_reads_or_refuses(name: str, count: int) -> None:
    @tries(count)
    @given(CONTENT, COLUMNS, st.booleans())
    def check(content: bytes, columns: Any, header: bool) -> None:
        read(name, content, columns, header)

    check()


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_any_file_is_a_long_text_or_refused(count: int) -> None:
    codec = LongTextCodec("source")

    @tries(count)
    @given(CONTENT)
    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "a.txt")
            Path(path).write_bytes(content)
            problems = Problems()
            try:
                for row in read_texts([path], SideReader("source", 0, codec.read), problems):
                    codec.learn(list(row.sources))
                    assert codec.decode(codec.encode(row.sources[0])) == codec.normalize(row.sources[0])
                problems.raise_any()
            except AntiphonError as error:
                assert path in str(error)

    check()


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_damaged_gz_is_refused(count: int) -> None:
    whole = gzip.compress(b"a\tX\nb\tY\n" * 20, mtime=0)

    @tries(count)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.integers(0, len(whole)))
    def check(place: int, value: int, end: int) -> None:
        read("a.tsv.gz", (whole[:place] + bytes([value]) + whole[place + 1 :])[:end], (0, 1), False)

    check()


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 1 << 40),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["lstm", "gru", "none", "dot", "additive", "last", "a.tsv", "${X}", "words", "bpe", "scheduled"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["kind", "size", "from", "to", "source", "target", "query", "x", ""]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def keys(tree: dict[str, Any], above: str = "") -> list[str]:
    names = []
    for name, value in tree.items():
        names.append(above + name)
        if isinstance(value, dict):
            names += keys(value, f"{above}{name}.")
    return names


WHOLE = parse_config(TINY | {"data": {"train": "a.tsv"}}, Path.cwd()).model_dump(by_alias=True)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_configuration_is_accepted_or_refused_with_its_key(count: int) -> None:
    @tries(count)
    @given(st.dictionaries(st.sampled_from(keys(WHOLE)), VALUES, min_size=1, max_size=3))
    def check(changes: dict[str, Any]) -> None:
        tree: dict[str, Any] = {"data": {"train": "a.tsv"}}
        try:
            for key, value in changes.items():
                set_value(tree, key, value)
            if _is_small(tree):
                check_names(parse_config(tree, Path.cwd()))
        except AntiphonError as error:
            assert str(error)

    check()


def _is_small(tree: Any) -> bool:
    """Whether it asks for no model larger than a test should build."""
    if isinstance(tree, dict):
        return all(map(_is_small, tree.values()))
    return not isinstance(tree, int | float) or abs(tree) < 64 or isinstance(tree, bool)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_any_text_is_a_configuration_or_refused(count: int) -> None:
    @tries(count)
    @given(
        st.one_of(
            st.binary(max_size=100), st.text(alphabet="data: {}[]&*!|>-?%@`\"'\n\tab0.", max_size=60).map(str.encode)
        )
    )
    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.yaml"
            path.write_bytes(content)
            try:
                read_config_file(path)
            except AntiphonError as error:
                assert str(error).startswith(str(path))

    check()


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_any_json_is_a_vocabulary_or_refused(count: int) -> None:
    names = ["tokens", "options", "normalize", "lowercase", "learned", "symbols"]
    sound = {
        "tokens": "chars",
        "options": {},
        "normalize": "nfc",
        "lowercase": False,
        "learned": None,
        "symbols": ["a"],
    }

    @tries(count)
    @given(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    def check(changes: dict[str, Any]) -> None:
        try:
            codec_from_json(SOURCES, sound | changes, "source").encode("ab")
        except AntiphonError as error:
            assert isinstance(error, ModelFolderError) or str(error)

    check()


def test_yaml_of_every_configuration_reads_back() -> None:
    config = parse_config(TINY | {"data": {"train": "a.tsv"}}, Path.cwd())
    assert parse_config(YAML(typ="safe", pure=True).load(config.to_yaml()), Path("/")) == config
