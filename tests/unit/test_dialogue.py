"""Dialogues of several turns: how they are read and encoded, and a model that answers by the turn before last."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.common.symbols import EOS
from antiphon.config.load import parse_config
from antiphon.data.codecs.kinds import SOURCES, codec_from_json
from antiphon.data.codecs.text import SourceTextCodec
from antiphon.errors import AntiphonError, ConfigError, ModelFolderError
from antiphon.training.loop import train
from antiphon.use.chat import NEW
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

turns = st.lists(st.text("ab [", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=5)


def codec(kept: int, **options: Any) -> SourceTextCodec:
    made = SourceTextCodec("source", turns=kept, **options)
    made.learn([("ab", "[ A"), ("b",)])
    return made


@given(turns, st.integers(1, 4), st.sampled_from(["chars", "words"]))
def test_the_last_turns_are_encoded_one_behind_the_other(dialogue: list[str], kept: int, tokens: str) -> None:
    made, plain = codec(kept, tokens=tokens), SourceTextCodec("source", tokens)
    plain.vocabulary = made.vocabulary
    value = made.read(dialogue, "")
    assert made.trims
    assert made.encode(value) == [number for turn in dialogue[-kept:] for number in plain.encode(turn.strip())]
    assert made.read(json.dumps(dialogue), "") == value == made.read(made.shown(value), "")
    again = codec_from_json(SOURCES, json.loads(json.dumps(made.to_json())), "source")
    assert again.encode(again.read(dialogue, "")) == made.encode(value)
    assert len(made.split_turns(value)) + 1 == len(made.encode(value))


@pytest.mark.parametrize("text", ["b", "[ a", "[a] b", "a [1]"])
def test_any_other_text_is_one_turn(text: str) -> None:
    made = codec(3)
    assert made.read(text, "") == (text,)
    assert list(made.encode((text,))).count(EOS) == 1


def test_turns_are_the_same_if_they_are_normalised_to_the_same() -> None:
    made = codec(2, lowercase=True)
    assert made.key_of(("AB", "b")) == made.key_of(("ab", "B"))
    assert made.key_of(("ab", "b")) != made.key_of(("a", "bb"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [("[]", "is empty"), (["a", " "], "an empty turn"), ('["a", ["b"]]', "is not text but list"), (" ", "empty turn")],
)
def test_what_is_no_dialogue_is_refused(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        codec(2).read(value, "")


def test_a_codec_without_turns_is_saved_as_before() -> None:
    assert "turns" not in SourceTextCodec("source").to_json()
    assert SourceTextCodec("source").read("[1, 2]", "") == "[1, 2]"


@pytest.mark.parametrize("wrong", [0, "2", [2]], ids=str)
def test_a_saved_number_of_turns_is_checked(wrong: object) -> None:
    with pytest.raises(AntiphonError):
        codec_from_json(SOURCES, {**codec(2).to_json(), "turns": wrong}, "source")


def test_an_answer_a_step_takes_no_turns() -> None:
    from antiphon.training.prepare import check_names

    tree = {"data": {"train": "t.tsv"}, "source": {"kind": "text", "turns": 2}, "target": "labels"}
    with pytest.raises(ConfigError, match=r"^source\.turns: text -> labels: a dialogue's turns are for"):
        check_names(parse_config(tree, Path.cwd()))


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model that answers with the turn before last, in capitals."""
    folder, chance = tmp_path_factory.mktemp("parrot"), random.Random(1)
    rows = []
    for _ in range(400):
        dialogue = ["".join(chance.choices("abcd", k=2)) for _ in range(chance.randint(1, 4))]
        rows.append({"said": dialogue, "reply": dialogue[-2].upper() if len(dialogue) > 1 else "-"})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tree = {
        "data": {"train": "train.jsonl", "valid": 0.2, "test": "train.jsonl", "max_length": 20},
        "source": {"kind": "text", "column": "said", "tokens": "chars", "turns": 3, "lowercase": True},
        "target": {"kind": "text", "column": "reply", "tokens": "chars"},
        "model": {"embedding": 16, "encoder": {"hidden": 24}, "decoder": {"hidden": 32}, "dropout": 0.0},
        "train": {"epochs": 100, "max_steps": 400, "batch_size": 32, "learning_rate": 0.01, "validate_every": 200},
        "decode": {"beam": 2},
    }
    return load(train(parse_config(tree, folder), folder / "model", device="cpu"), "cpu")


def test_the_answer_depends_on_the_turn_before_last(parrot: Predictor) -> None:
    assert parrot.evaluate()["exact_match"] > 0.95
    answers = parrot.predict([["ab", "cd"], ["ba", "cd"], '["ab", "dd", "cd"]', "cd", ""])
    assert [item.text for item in answers] == ["AB", "BA", "DD", "-", ""]
    assert "wer" not in parrot.evaluate()
    attention = parrot.predict([["ab", "cd"]], attention=True)[0]
    assert attention.source_tokens == ["a", "b", "", "c", "d"]
    assert attention.attention.shape == (3, 6)


def test_a_chat_keeps_the_last_turns_of_both_sides_until_it_begins_anew(parrot: Predictor) -> None:
    messages = ["ab", "cd", "da", NEW, "bb", "", "aa"]
    answers = [item.text for item in parrot.chat(messages)]
    assert answers[0] == answers[3] == "-"
    assert answers[:3] == [
        item.text for item in parrot.predict([["ab"], ["ab", "-", "cd"], ["cd", answers[1], "da"]])
    ]  # an answer is the turn before last, the user's own the one before it
    assert len(answers) == 4
    drawn = [item.text for item in parrot.chat(["ab"] * 5, sample={"temperature": 50.0})]
    assert len(set(drawn)) > 1


def test_a_chat_forgets_what_there_is_no_room_for(parrot: Predictor) -> None:
    long = "abcd" * 4
    answers = [item.text for item in parrot.chat(["ab", long, "cd"])]
    assert answers[1:] == [item.text for item in parrot.predict([["-", long], [answers[1], "cd"]])]


def test_chat_on_a_pipe_writes_answers_alone(parrot: Predictor) -> None:
    ran = CliRunner().invoke(app, ["chat", str(parrot.folder), "--beam", "1"], input="ab\ncd\n/new\nda\n\nbb\n")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == 3
    assert ran.stdout.splitlines()[0] == ran.stdout.splitlines()[2] == "-"


def test_check_reads_dialogues(parrot: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(parrot.config.to_yaml(), encoding="utf-8")
    ran = CliRunner().invoke(app, ["check", str(path)])
    assert ran.exit_code == 0
    assert "baseline, copy the input" in ran.stdout


def test_a_model_of_labels_does_not_chat(parrot: Predictor, tmp_path: Path) -> None:
    rows = "".join(f"{word}\t{word[0]}\n" for word in ("ab", "ba", "aa", "bb") * 3)
    (tmp_path / "t.tsv").write_text(rows, encoding="utf-8")
    tree = {"data": {"train": "t.tsv", "valid": 0.3}, "target": "label", "train": {"max_steps": 1}}
    model = load(train(parse_config(tree, tmp_path), tmp_path / "model", device="cpu"), "cpu")
    with pytest.raises(ModelFolderError, match="holds no dialogue"):
        next(model.chat(["a"]))
