"""`check`: what would go wrong is reported, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.tools.checkup import Report
from antiphon.tools.checkup import check_config as check
from antiphon.training.prepare import prepare

Write = Callable[[str, str | bytes], Path]

TRAIN = "ab\tA B\nba\tB A\nabc\tA B C\ncab\tC A B\nbca\tB C A\n"
VALID = "cba\tC B A\nacb\tA C B\n"


def config_of(write: Write, train: str = TRAIN, valid: str | float = VALID, **keys: Any) -> Config:
    tree: dict[str, Any] = {"data": {"train": str(write("train.tsv", train))}}
    tree["data"]["valid"] = str(write("valid.tsv", valid)) if isinstance(valid, str) else valid
    for key, value in keys.items():
        set_value(tree, key.replace("__", "."), value)
    return parse_config(tree, Path())


def line(report: Report, start: str) -> str:
    lines = [text for text in report.lines if text.startswith(start)]
    assert len(lines) == 1, report.lines
    return lines[0]


def warnings(report: Report, part: str) -> list[str]:
    return [text for text in report.warnings if part in text]


def test_clean_data_has_no_warnings(write: Write) -> None:
    report = check(config_of(write))
    assert report.warnings == []
    assert report.bad_rows == 0
    assert line(report, "train:") == "train: 5 rows, 5 distinct inputs"
    assert line(report, "valid:") == "valid: 2 rows, 2 distinct inputs"
    assert line(report, "source:") == "source: 3 symbols (chars)"


def test_a_fraction_is_held_out_as_training_does(write: Write) -> None:
    config = config_of(write, train="".join(f"{'abc'[i % 3] * (i + 1)}\tX\n" for i in range(20)), valid=0.25)
    report = check(config)
    assert line(report, "valid:") == "valid: 5 rows, held out of the training rows by distinct input"
    assert len(prepare(config).valid_rows) == 5


def test_the_test_rows_are_read_too(write: Write) -> None:
    report = check(config_of(write, data__test=str(write("test.tsv", "a\tZ\n"))))
    assert line(report, "test:") == "test: 1 rows, 1 distinct inputs"
    assert warnings(report, "test: 100.0% of target symbols are not in the vocabulary")


def test_unknown_symbols_are_warned_about(write: Write) -> None:
    report = check(config_of(write, valid="xyz\tA\n"))
    assert warnings(report, "valid: 100.0% of source symbols are not in the vocabulary")
    assert not warnings(report, "of target symbols")


def test_repeated_rows_and_several_targets_are_counted(write: Write) -> None:
    report = check(config_of(write, train=TRAIN + "ab\tA B\nba\tA A\n"))
    assert warnings(report, "train: 1 rows repeat another row")
    assert line(report, "train: 1 inputs have several targets").endswith("counts any of them as right")
    grouped = check(config_of(write, train=TRAIN + "ba\tA A\n", data__references="group"))
    assert line(grouped, "train: 1 inputs have several targets") == "train: 1 inputs have several targets"


def test_inputs_on_both_sides_are_warned_about(write: Write) -> None:
    report = check(config_of(write, valid=VALID + "abc\tA B C\n"))
    assert warnings(report, "valid: 1 inputs also stand in the training rows, such as 'abc'")


def test_baselines_are_what_no_effort_scores(write: Write) -> None:
    report = check(config_of(write, train="a\tA\nb\tA\n", valid="A\tA\nA\tA\nx\tB\nA\tC\n"))
    assert line(report, "baseline, copy") == ("baseline, copy the input: token_error_rate 0.5000, exact_match 0.5000")
    assert line(report, "baseline, always") == ("baseline, always 'A': token_error_rate 0.5000, exact_match 0.5000")


def test_baselines_take_the_nearest_of_grouped_references(write: Write) -> None:
    report = check(config_of(write, train="a\tA\n", valid="x\tB\nx\tA\n", data__references="group"))
    assert line(report, "baseline, always").endswith("token_error_rate 0.0000, exact_match 1.0000")


# --- what is wrong ------------------------------------------------------------------------------------


def test_all_bad_rows_of_all_parts_are_in_the_report(write: Write) -> None:
    report = check(config_of(write, train=TRAIN + "\tx\ny\n", valid=VALID + "z\t\n"))
    assert report.bad_rows == 3
    text = "\n".join(report.warnings)
    assert "train.tsv:6: the source is empty" in text
    assert "train.tsv:7: column 1 is missing" in text
    assert "valid.tsv:3: the target is empty" in text


def test_skipped_rows_are_told_but_not_wrong(write: Write) -> None:
    report = check(config_of(write, train=TRAIN + "\tx\n", data__on_error="skip"))
    assert report.bad_rows == 0
    assert warnings(report, "train: 1 bad row will be skipped")


def test_too_long_rows_are_wrong_as_they_are_in_training(write: Write) -> None:
    config = config_of(write, train=TRAIN + "abcabc\tA\n", data__max_length=5)
    with pytest.raises(DataError, match="too long"):
        prepare(config)
    report = check(config)
    assert warnings(report, "train.tsv:6: too long: the source has 6 tokens, data.max_length is 5")
    assert report.bad_rows == 1


def test_too_long_rows_that_are_skipped_are_not_wrong(write: Write) -> None:
    report = check(config_of(write, train=TRAIN + "abcabc\tA\n", data__max_length=5, data__on_error="skip"))
    assert report.bad_rows == 0
    assert report.warnings


@pytest.mark.parametrize(
    "keys",
    [
        {"model__cell": "lstmm"},
        {"source__tokens": "charz"},
        {"train__metric": "blue"},
        {"model__attention": "dot", "model__decoder__hidden": 3},
    ],
    ids=str,
)
def test_a_wrong_configuration_is_told_as_in_training(write: Write, keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as checked:
        check(config_of(write, **keys))
    config = config_of(write, **keys)
    with pytest.raises(ConfigError) as trained:
        prepare_like_training(config)
    assert str(checked.value) == str(trained.value)


def prepare_like_training(config: Config) -> None:
    from antiphon.training.prepare import check_names

    check_names(config)
    prepare(config)


def test_wrong_choices_are_told_before_the_data_is_read(write: Write) -> None:
    for keys in ({"model__cell": "lstmm"}, {"source__tokens": "charz"}, {"target__tokens": {"kind": "bpe", "size": 0}}):
        config = config_of(write, data__train="/no/such/file.tsv", **keys)
        with pytest.raises(ConfigError):
            check(config)


def test_files_that_cannot_be_read_are_told(write: Write) -> None:
    with pytest.raises(AntiphonError, match=r"^/no/such/file\.tsv: cannot be read: No such file or directory$"):
        check(config_of(write, data__test="/no/such/file.tsv"))
