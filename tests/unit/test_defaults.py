"""Settings chosen from the data, for a table without a configuration."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import api
from antiphon.common.symbols import EOS
from antiphon.config.load import parse_config, read_config_file, set_value
from antiphon.config.schema import Config
from antiphon.data.batches import Examples, Sequences
from antiphon.data.load import load_rows, split_rows
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.training.plan import total_steps
from antiphon.training.prepare import check_names

Write = Callable[[str, str | bytes], Path]


def choose(path: Path, **settings: Any) -> Config:
    return api.read_config(path, {key.replace("__", "."): value for key, value in settings.items()}).config


def word_table(write: Write, count: int = 60) -> Path:
    """Single words and their letters, some words with two rows."""
    chance = random.Random(count)
    words = ["".join(chance.choices("abcdefgh", k=5)) for _ in range(count)]
    return write("words.tsv", "".join(f"{word}\t{' '.join(word.upper())}\n" for word in words))


# --- the budget ---------------------------------------------------------------------------------------

SIZES = [2, 3, 10, 39, 100, 599, 600, 601, 1000, 1999, 2000, 4999, 5000, 12_000, 19_999, 20_000, 49_999, 60_000]


def of_size(path: Path, count: int) -> Config:
    path.write_text("".join(f"w{i}\tx\n" for i in range(count)), encoding="utf-8")
    return choose(path)


@pytest.mark.parametrize("count", SIZES)
def test_a_table_of_any_size_is_trained_for_at_least_3000_updates(tmp_path: Path, count: int) -> None:
    config = of_size(tmp_path / "t.tsv", count)
    assert isinstance(config.data.valid, float)
    train, _ = split_rows(load_rows(config, config.data.train), config.data.valid, config.train.seed)
    sequences = Sequences([[EOS]] * len(train))
    assert total_steps(config.train, Examples((sequences,), sequences)) >= 3000
    assert config.train.patience is not None
    assert config.train.validate_every is not None
    assert config.train.patience * config.train.validate_every >= 3000


@given(st.integers(2, 3000), st.integers(1, 3000))
def test_more_rows_never_get_less_training_or_a_smaller_model(tmp_path: Path, count: int, more: int) -> None:
    small, large = of_size(tmp_path / "t.tsv", count), of_size(tmp_path / "t.tsv", count + more)
    assert large.model.encoder.hidden >= small.model.encoder.hidden
    assert large.train.batch_size >= small.train.batch_size

    def visits(config: Config) -> int:
        return (config.train.max_steps or 0) * config.train.batch_size

    assert visits(large) >= visits(small) - large.train.batch_size  # whole updates


@pytest.mark.parametrize(("count", "rate"), [(100, 1e-3), (1000, 2e-3)])
def test_few_texts_are_learned_with_half_the_rate(write: Write, count: int, rate: float) -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefgh", k=7)) for _ in range(count)]
    path = write("t.tsv", "".join(f"{word}\t{word[::-1]}\n" for word in words))
    assert choose(path).train.learning_rate == rate
    assert choose(path, train__learning_rate=0.005).train.learning_rate == 0.005
    two = write("two.tsv", "".join(f"{word}\tpast\t{word[::-1]}\n" for word in words))
    sides = {"source": [{"column": 0}, {"column": 1}], "target": {"column": 2}}
    assert choose(two, **sides).train.learning_rate == 2e-3


# --- tokens -------------------------------------------------------------------------------------------


def test_single_words_are_read_by_characters_and_phonemes_by_words(write: Write) -> None:
    config = choose(word_table(write))
    assert config.sources[0].options["tokens"] == "chars"
    assert config.target.options["tokens"] == "words"


def test_sentences_of_many_words_are_read_by_pieces(write: Write) -> None:
    chance = random.Random(1)
    lines = (" ".join("".join(chance.choices("abcdefgh", k=4)) for _ in range(8)) for _ in range(120))
    config = choose(write("t.tsv", "".join(f"{line}\t{line}\n" for line in lines)))
    assert config.sources[0].options["tokens"]["kind"] == "bpe"
    assert config.target.options["tokens"]["kind"] == "bpe"


# --- what the user set --------------------------------------------------------------------------------

SETTINGS: list[dict[str, Any]] = [
    {"train.epochs": 2},
    {"train.max_steps": 7, "train.patience": 1},
    {"model.cell": {"kind": "gru", "weight_drop": 0.2}},
    {"model.attention": "none"},
    {"model.attention.kind": "additive"},
    {"model.context": "last"},
    {"model.encoder.hidden": 32},
    {"model.decoder.layers": 2},
    {"source.tokens": "words"},
    {"source.tokens": {"kind": "bpe", "size": 50}},
    {"target.tokens.kind": "chars"},
    {"data.valid": 0.3},
    {"data.references": "group"},
    {"train.ema": None},
    {"train.average": 3},
    {"train.schedule": "constant"},
    {"train.schedule.warmup": 5},
    {"decode.beam": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_setting_is_kept_and_goes_with_what_is_chosen(write: Write, settings: dict[str, Any]) -> None:
    path = word_table(write)
    config = api.read_config(path, settings).config
    check_names(config)
    tree = config.model_dump(by_alias=True)
    expected = parse_config(tree, Path())
    again = dict(tree)
    for key, value in settings.items():
        set_value(again, key, value)
    assert parse_config(again, Path()) == expected


def test_without_settings_the_choice_is_a_whole_configuration(write: Write) -> None:
    path = word_table(write)
    config = choose(path)
    check_names(config)
    assert config.data.train == str(path)
    assert isinstance(config.data.valid, float)
    assert read_config_file(write("c.yaml", config.to_yaml())) == config


def test_a_relative_table_is_made_absolute(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = word_table(write)
    monkeypatch.chdir(path.parent)
    assert choose(Path(path.name)).data.train == str(path)


def test_validation_rows_of_the_user_leave_the_training_rows_whole(write: Write) -> None:
    path = word_table(write)
    assert choose(path, data__valid=str(path)).data.valid == str(path)


def test_columns_are_used_while_looking_at_the_data(write: Write) -> None:
    path = write("t.csv", "id,out,in\n" + "".join(f"{i},A B C D E F,word{i}\n" for i in range(20)))
    config = choose(path, source__column="in", target__column="out")
    assert (config.sources[0].column, config.target.column) == ("in", "out")
    assert (config.sources[0].options["tokens"], config.target.options["tokens"]) == ("chars", "words")


# --- mistakes -----------------------------------------------------------------------------------------


def test_a_bad_table_is_told_before_anything_is_chosen(write: Write) -> None:
    path = write("t.tsv", "a\tb\n\tc\n")
    with pytest.raises(DataError) as caught:
        choose(path)
    assert str(caught.value) == f"{path}:2: the source is empty"


def test_an_empty_table_holds_no_rows(write: Write) -> None:
    with pytest.raises(DataError, match=r"t\.tsv: has no rows$"):
        choose(write("t.tsv", ""))


def test_an_unknown_setting_names_the_nearest(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^train\.epoch: unknown key; did you mean 'epochs'\?"):
        choose(word_table(write), train__epoch=3)


def test_a_setting_that_fits_no_choice_is_told(write: Write) -> None:
    with pytest.raises(AntiphonError, match=r"^model\.context\.from: last "):
        check_names(choose(word_table(write), model__context="last", model__decoder__hidden=9))
