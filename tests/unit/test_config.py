"""The configuration: reading, the schema, and one plain message for every mistake."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config.files import Parallel
from antiphon.config.load import parse_config, parse_value, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.load import load_rows, untrained
from antiphon.errors import AntiphonError, ConfigError
from antiphon.training.prepare import check_names

Write = Callable[[str, str | bytes], Path]
Configure = Callable[..., Config]


def whole_check(configure: Configure, keys: dict[str, Any]) -> None:
    """All that is checked before data is read, and the tokenizers."""
    config = configure(**keys)
    check_names(config)
    for codec in untrained(config).named.values():
        codec.learn(["a"])


def scheduled(**options: object) -> dict[str, object]:
    return {"train__feeding": {"kind": "scheduled", **options}}


WRONG: list[tuple[dict[str, Any], str]] = [
    # unknown keys
    ({"trian": {}}, "trian: unknown key; did you mean 'train'? known: data, decode, *"),
    ({"train__epoch": 3}, "train.epoch: unknown key; did you mean 'epochs'? known: *"),
    ({"data__trian": "x"}, "data.trian: unknown key; did you mean 'train'? known: *"),
    ({"model__encoder__hiden": 3}, "model.encoder.hiden: unknown key; did you mean 'hidden'? known: *"),
    ({"model__decoder__bidirectional": True}, "model.decoder.bidirectional: unknown key; *"),
    ({"decode__beams": 3}, "decode.beams: unknown key; did you mean 'beam'? known: *"),
    (
        {"source__lower": True},
        "source.lower: kind of source 'text' has no such option; did you mean 'lowercase'? known: *",
    ),
    ({"evaluate__bleu": "13a"}, "evaluate.bleu: unknown key; *bleu_tokenize"),
    # wrong types and bounds
    ({"model__encoder__hidden": "wide"}, "model.encoder.hidden: must be a whole number (is 'wide')"),
    ({"model__encoder__hidden": 0}, "model.encoder.hidden: must be at least 1 (is 0)"),
    ({"model__embedding": 1.5}, "model.embedding: must be a whole number (is 1.5)"),
    ({"model__dropout": 1}, "model.dropout: must be less than 1 (is 1)"),
    ({"model__tie": "perhaps"}, "model.tie: must be true or false (is 'perhaps')"),
    ({"train__clip": "x"}, "train.clip: *number*(is 'x')"),
    ({"train__learning_rate": 0}, "train.learning_rate: must be greater than 0 (is 0)"),
    ({"train__learning_rate": math.nan}, "train.learning_rate: *(is nan)"),
    ({"train__precision": "float8"}, "train.precision: *'float32'*(is 'float8')"),
    ({"train__normalize": "chars"}, "train.normalize: *'tokens' or 'rows' (is 'chars')"),
    ({"decode__beam": 0}, "decode.beam: must be at least 1 (is 0)"),
    ({"evaluate__bleu_tokenize": "x"}, "evaluate.bleu_tokenize: *'13a'*(is 'x')"),
    ({"data__max_length": 0}, "data.max_length: *(is 0)"),
    ({"data__on_error": "ignore"}, "data.on_error: *'fail' or 'skip' (is 'ignore')"),
    ({"data__references": "both"}, "data.references: *'rows' or 'group' (is 'both')"),
    ({"source__normalize": "nfx"}, "source.normalize: *'nfc'*(is 'nfx')"),
    ({"source__kind": "vectr"}, "source.kind: unknown kind of source 'vectr'; did you mean 'vector'? *"),
    ({"target__kind": "image"}, "target.kind: unknown kind of target 'image'; *"),
    ({"model": "lstm"}, "model: *(is 'lstm')"),
    ({"data": None}, "data: *(is None)"),
    ({"format": 2}, "format: *1 (is 2)"),
    ({"source": [{}, {"kind": "smell"}]}, "source.1.kind: unknown kind of source 'smell'; *"),
    ({"source": [{}, {"column": 0.5}]}, "source.1.column: * (is 0.5)"),
    (
        {"source": [{}, {}], "target": "labels"},
        "source: a prediction for each step needs the steps of one source, not of 2",
    ),
    ({"source": "vector", "target": "labels"}, "target.kind: vector -> labels: a prediction for each step needs *"),
    ({"source__kind": "vector", "source__lowercase": True}, "source.lowercase: kind of source 'vector' has no such *"),
    (
        {"source": {"kind": "vector", "column": 0, "columns": [1]}},
        "source: column and columns are two ways to one end*",
    ),
    ({"target": "label", "train__feeding": "free"}, "train.feeding: is for decoders; a target of label is not fed"),
    ({"target": "label", "train__metric": "bleu"}, "train.metric: unknown metric 'bleu' for label; *"),
    ({"source": {"kind": "image", "size": 4}}, "source.size: must lie between 8 and 512 pixels (is 4)"),
    ({"source": {"kind": "frames", "width": 0}}, "source.width: must be at least 1 (is 0)"),
    # choices
    ({"model__cell": "lstmm"}, "model.cell: unknown cell 'lstmm'; did you mean 'lstm'? known: gru, lstm, *"),
    ({"model__cell": {"kind": "gru", "x": 1}}, "model.cell.x: cell 'gru' has no such option; *"),
    ({"model__cell": {"size": 1}}, "model.cell: needs the key 'kind', or just the name*"),
    ({"model__cell__kind": 3}, "model.cell.kind: *string*(is 3)"),
    ({"model__attention": "genral"}, "model.attention: unknown attention 'genral'; did you mean 'general'? *"),
    (
        {"model__attention": {"kind": "additive", "siz": 3}},
        "model.attention.siz: attention 'additive' has no such option; did you mean 'size'? *",
    ),
    ({"model__attention": {"kind": "additive", "size": "b"}}, "model.attention.size: must be a whole number (is 'b')"),
    ({"model__attention": {"kind": "general", "querry": "previous"}}, "model.attention.querry: *'query'*"),
    ({"model__attention": {"kind": "none", "siez": 3}}, "model.attention.siez: *"),
    ({"model__attention__query": "next"}, "model.attention.query: *'previous' or 'current'*"),
    ({"model__attention": {"kind": "dot", "query": "x"}}, "model.attention.query: *'previous' or 'current' (is 'x')"),
    ({"model__context": "lasst"}, "model.context: unknown context 'lasst'; did you mean 'last'? *"),
    ({"model__context": {"form": "last"}}, "model.context.form: *'from'*"),
    ({"model__context__to": "x"}, "model.context.to: *'initial_state' or 'every_step' (is 'x')"),
    ({"model__context": {"from": "projected_all", "pool": "x"}}, "model.context.pool: *'mean', 'max'*(is 'x')"),
    ({"model__context": {"from": "last", "pool": "max"}}, "model.context.pool: context 'last' has no such option; *"),
    ({"source__tokens": "charz"}, "source.tokens: unknown tokenizer 'charz'; did you mean 'chars'? *"),
    ({"target__tokens": {"kind": "bpe", "siz": 9}}, "target.tokens.siz: tokenizer 'bpe' has no such option; *'size'*"),
    ({"target__tokens": {"kind": "bpe", "size": 1}}, "target.tokens.size: must lie between 2 and 1,000,000 (is 1)"),
    ({"target__tokens": {"kind": "words", "min_count": 0}}, "target.tokens.min_count: must be at least 1 (is 0)"),
    ({"source__tokens": {"split": ""}}, "source.tokens.separator: must not be empty; *"),
    ({"source__tokens": {"splt": " "}}, "source.tokens.splt: tokenizer 'chars' has no such option; *"),
    ({"train__optimizer": "adamww"}, "train.optimizer: unknown optimizer 'adamww'; did you mean 'adamw'? *"),
    ({"train__optimizer": {"kind": "adam", "weight_decay": 1}}, "train.optimizer.weight_decay: optimizer 'adam' has *"),
    ({"train__optimizer": {"kind": "adamw", "beta1": 3}}, "train.optimizer*beta*3*"),
    ({"train__optimizer": {"kind": "adamw", "weight_decay": -1}}, "train.optimizer*weight_decay*-1*"),
    ({"train__schedule": "cosin"}, "train.schedule: unknown schedule 'cosin'; did you mean 'cosine'? *"),
    ({"train__schedule": {"kind": "linear", "warmpu": 1}}, "train.schedule.warmpu: schedule 'linear' *'warmup'? *"),
    ({"train__schedule": {"kind": "linear", "warmup": -1}}, "train.schedule.warmup: must not be negative (is -1)"),
    ({"train__feeding": "techer"}, "train.feeding: unknown feeding 'techer'; did you mean 'teacher'? *"),
    ({"train__feeding": {"decay": "linear"}}, "train.feeding: needs the key 'kind', or just the name*"),
    (scheduled(decay="log"), "train.feeding.decay: *'constant', 'linear'*(is 'log')"),
    (scheduled(start=2), "train.feeding.start: must be a probability, from 0 to 1 (is 2.0)"),
    (scheduled(end=-0.5), "train.feeding.end: must be a probability, from 0 to 1 (is -0.5)"),
    (scheduled(start=0.2, end=0.4), "train.feeding.end: must not be above start (0.4 > 0.2)"),
    (scheduled(steps=0), "train.feeding.steps: must be at least 1 (is 0)"),
    (scheduled(step=9), "train.feeding.step: feeding 'scheduled' has no such option; did you mean 'steps'? *"),
    ({"train__metric": "bleuu"}, "train.metric: unknown metric 'bleuu' for text; did you mean 'bleu'? *"),
    # combinations
    (
        {"model__attention": "dot", "model__encoder__hidden": 8, "model__decoder__hidden": 8},
        "model.attention.kind: dot needs *8 and 16; set decoder.hidden to 16, or choose general",
    ),
    (
        {"model__context": "last", "model__encoder__hidden": 8, "model__decoder__hidden": 8},
        "model.context.from: last *16 wide while decoder.hidden is 8; make them equal, or choose projected_last",
    ),
    ({"model__attention": {"kind": "none", "input_feeding": True}}, "model.attention*: input_feeding needs an attent*"),
    ({"model__attention": {"kind": "none", "query": "previous"}}, "model.attention*: query: previous needs an attent*"),
    ({"model__attention": {"kind": "none", "layer": "first"}}, "model.attention*: layer: first needs an attention*"),
    (
        {"model__attention": {"kind": "general", "layer": "first"}},
        "model.attention.layer: first needs at least 2 decoder layers; set decoder.layers, or layer: last",
    ),
    ({"train__ema": 0.9, "train__average": 2}, "train: ema and average both average the weights; choose one of them"),
    ({"structure": "one_to_one"}, "structure: is one_to_one, but text -> text makes many_to_many"),
    # data
    ({"data__train": "${NO_SUCH_VARIABLE}/x"}, "data.train: the environment variable NO_SUCH_VARIABLE is not set"),
    (
        {"data__valid": {"source": "a", "target": "${NO_SUCH_VARIABLE}"}},
        "data.valid: the environment variable NO_SUCH_VARIABLE is not set",
    ),
    ({"data__test": ["a", "${NO_SUCH_VARIABLE}"]}, "data.test: the environment variable NO_SUCH_VARIABLE is not set"),
    ({"data__train": 3}, "data.train: *(is 3)"),
    ({"data__train": {"source": "a"}}, "data.train*target*"),
    ({"data__train": {"source": "a", "target": "b", "targt": "b"}}, "data.train*targt*"),
    ({"data__train": ["a", 3]}, "data.train*3*"),
    ({"data__valid": 1.5}, "data.valid: *less than 1*"),
    ({"data__valid": 0}, "data.valid: *greater than 0*"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[message[:45] for _, message in WRONG])
def test_a_mistake_has_its_message(configure: Configure, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        whole_check(configure, keys)
    pattern = ".*".join(map(re.escape, message.split("*")))
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)
    assert "\n" not in str(caught.value)


RIGHT: list[dict[str, Any]] = [
    {},
    {"structure": "many_to_many"},
    {"source": [{"column": 2}]},
    {"source__tokens": {"split": " | "}},
    {"model__context": "last", "model__decoder__hidden": 512},
    {"model__attention": "dot", "model__decoder__hidden": 512},
    {"model__attention": {"kind": "additive", "size": 7, "query": "previous"}},
    {"model__attention": {"kind": "general", "layer": "first"}, "model__decoder__layers": 2},
    {"model__context": {"from": "projected_all", "pool": "max", "to": "every_step"}},
    {"train__clip": None, "train__patience": None, "train__batch_tokens": 100},
    {"train__feeding": {"kind": "scheduled", "decay": "linear", "steps": 10}},
    {"train__ema": 0.9},
    {"train__average": 3},
    {"data__valid": 0.05, "data__test": ["a", "b"]},
]


@pytest.mark.parametrize("keys", RIGHT, ids=[str(sorted(keys)) for keys in RIGHT])
def test_a_right_configuration_survives_being_saved(configure: Configure, write: Write, keys: dict[str, Any]) -> None:
    whole_check(configure, keys)
    config = configure(**keys)
    saved = write("saved.yaml", config.to_yaml())
    assert read_config_file(saved) == config


def test_a_bare_name_is_a_table_with_that_kind(configure: Configure) -> None:
    assert configure(model__cell="gru") == configure(model__cell={"kind": "gru"})
    assert configure(model__attention="dot") == configure(model__attention={"kind": "dot"})
    assert configure(model__context="last") == configure(model__context={"from": "last"})
    assert configure(source="category") == configure(source={"kind": "category"}) == configure(source=["category"])
    item, other = (
        untrained(configure(source__tokens=tokens)).sources[0].to_json()
        for tokens in ({"split": "|"}, {"kind": "split", "separator": "|"})
    )
    assert item == other


def test_an_empty_list_of_files_is_refused(configure: Configure) -> None:
    with pytest.raises(AntiphonError, match=r"^data\.train"):
        load_rows(configure(data__train=[]), [])


def test_train_is_all_that_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"^data: is missing$"):
        parse_config({}, Path())
    with pytest.raises(ConfigError, match=r"^data\.train: is missing$"):
        parse_config({"data": {}}, Path())


# --- the file ---------------------------------------------------------------------------------------


def test_the_message_of_a_file_starts_with_its_name(write: Write) -> None:
    path = write("c.yaml", "data: {train: a.tsv}\nmodel: {cel: gru}\n")
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(f"{path}: model.cel: unknown key; did you mean 'cell'? ")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: {b",
        "a: b: c",
        "a: 1\na: 2\n",
        "a: *nowhere",
        "\tb: 1",
        "a: !!python/name:os.system",
        "a: 2020-99-99",
    ],
)
def test_what_is_not_yaml_is_one_line_with_the_file(write: Write, text: str) -> None:
    path = write("c.yaml", text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(f"{path}: is not YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "3"])
def test_a_file_without_a_table_says_what_it_needs(write: Write, text: str) -> None:
    path = write("c.yaml", text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert str(caught.value) == f"{path}: must be a table of keys such as data, model and train"


def test_a_file_that_cannot_be_read_says_why(write: Write, tmp_path: Path) -> None:
    missing, latin = tmp_path / "none.yaml", write("latin.yaml", "data: ü".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_config_file(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    with pytest.raises(ConfigError) as caught:
        read_config_file(latin)
    assert str(caught.value) == f"{latin}: is not UTF-8 text"


def test_numbers_and_words_follow_yaml_1_2(write: Write) -> None:
    path = write("c.yaml", "data: {train: no, test: yes}\nsource: {column: no}\ntrain: {learning_rate: 1e-3}\n")
    config = read_config_file(path)
    assert config.train.learning_rate == 0.001
    assert config.sources[0].column == "no"
    assert config.data.train == str(path.parent / "no")
    assert config.data.test == str(path.parent / "yes")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("7", 7), ("0o10", 8), ("010", 10), ("no", "no"), ("yes", "yes"),
        ("on", "on"), ("off", "off"), ("true", True), ("null", None), ("12:30:45", "12:30:45"), ("[1, 2]", [1, 2]),
        ("{kind: bpe, size: 9}", {"kind": "bpe", "size": 9}), ("a b", "a b"),
    ],
)  # fmt: skip
def test_a_set_value_is_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text, "k")
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_plain_value_is_read_back(value: object) -> None:
    text = repr(value).lower() if isinstance(value, bool) else repr(value)
    assert parse_value(text, "k") == value


@pytest.mark.parametrize("text", ["[1", "{a: b", "@x", "!!python/name:os.system", "2020-99-99", "a: b: c", "*x"])
def test_a_set_value_that_is_not_yaml_names_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^train\.seed: not a YAML value: "):
        parse_value(text, "train.seed")


@given(st.text(max_size=12))
def test_any_set_value_is_a_value_or_a_message(text: str) -> None:
    try:
        parse_value(text, "k")
    except ConfigError as error:
        message = str(error)
    else:
        message = "k: a value"
    assert message.startswith("k: ")


# --- settings and paths -------------------------------------------------------------------------------


def test_settings_lie_over_the_file(write: Write) -> None:
    path = write("c.yaml", "data: {train: a.tsv}\nmodel: {attention: additive, context: projected_all}\n")
    settings = {"model.attention.size": 5, "model.context.pool": "max", "train.epochs": 2, "data.valid": "v.tsv"}
    config = read_config_file(path, settings)
    assert (config.model.attention.kind, config.model.attention.options) == ("additive", {"size": 5})
    assert (config.model.context.from_, config.model.context.options) == ("projected_all", {"pool": "max"})
    assert config.train.epochs == 2
    assert config.data.valid == str(path.parent / "v.tsv")


def test_nothing_can_be_set_below_a_value(write: Write) -> None:
    path = write("c.yaml", "data: {train: a.tsv}\ntrain: {epochs: 3}\n")
    with pytest.raises(ConfigError, match=r"train\.epochs\.x: 'epochs' is not a table here"):
        read_config_file(path, {"train.epochs.x": 1})


def test_paths_are_relative_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = write("sub/c.yaml", "data: {train: [a.tsv, ../b.tsv], valid: {source: s, target: /t}, test: '${PLACE}/x'}\n")
    monkeypatch.setenv("PLACE", "/data")
    monkeypatch.chdir(tmp_path.root)
    data = read_config_file(path).data
    assert data.train == [str(tmp_path / "sub" / "a.tsv"), str(tmp_path / "b.tsv")]
    assert data.valid == Parallel(source=str(tmp_path / "sub" / "s"), target="/t")
    assert data.test == "/data/x"


def test_a_variable_may_have_a_default(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE", raising=False)
    assert configure(data__train="${PLACE:-/here}/x").data.train == "/here/x"
    monkeypatch.setenv("PLACE", "/there")
    assert configure(data__train="${PLACE:-/here}/x").data.train == "/there/x"
    assert configure(data__train="${PLACE}/x").data.train == "/there/x"


def test_a_fraction_is_no_path(configure: Configure) -> None:
    assert configure(data__valid=0.25).data.valid == 0.25


@pytest.mark.parametrize("key", ["format", "data", "more"])
def test_aliases_are_refused_wherever_they_stand(write: Write, key: str) -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    with pytest.raises(ConfigError, match="write the value again"):
        read_config_file(write("c.yaml", f"{laughs}{key}: *k\n"))


@pytest.mark.parametrize(
    "text", ["data: " + "[" * 3000, "a: !!bool x", "a: !!int ''", "a: !!float ''", "x" * (2 << 20)]
)
def test_odd_yaml_is_one_line(write: Write, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config_file(write("c.yaml", text))
    assert ": is not YAML: " in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train__learning_rate": float("inf")}, "train.learning_rate: "),
        ({"model__cell": {"kind": "lstm", "forget_bias": float("nan")}}, "model.cell.forget_bias: "),
        ({"model__cell": {"kind": "lstm", "forget_bias": 1e300}}, "model.cell.forget_bias: must lie between"),
        ({"train__schedule": {"kind": "linear", "end": -5.0}}, "train.schedule.end: must be a factor"),
        ({"train__optimizer": {"kind": "adam", "eps": 0.0}}, "train.optimizer.eps: must be above 0"),
        ({"model__encoder__hidden": 10**9}, "model.encoder.hidden: "),
        ({"model__encoder__layers": 10**8}, "model.encoder.layers: "),
        ({"decode__max_length": 10**12}, "decode.max_length: "),
        ({"data__train": ""}, "data.train: is an empty path"),
        ({"data__header": True, "data__train": {"source": "a", "target": "b"}}, "data.header: parallel files have no"),
        ({"data__train": {1: "a", "source": "b"}}, "data.train: parallel files need"),
        ({"source": []}, "source: is an empty list"),
        ({"train__freeze": ["encodre"]}, "train.freeze: no part is called 'encodre'; did you mean 'encoder'"),
    ],
)
def test_values_beyond_all_bounds_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    tree: dict[str, Any] = {"data": {"train": "a.tsv"}}
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)

    def read() -> None:
        check_names(parse_config(tree, tmp_path))

    with pytest.raises(ConfigError) as caught:
        read()
    assert message in str(caught.value)
