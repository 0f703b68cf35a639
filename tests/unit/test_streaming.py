"""A transducer that writes while its input arrives: what it has written depends on what has arrived, and on no more."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tasks import write_table

import antiphon
from antiphon.errors import ModelFolderError

CHANCE = random.Random(3)
SAID = {"a": "A", "b": "", "c": "C C", "d": "D", "e": "E"}
SETTINGS: dict[str, Any] = {
    "source.tokens": "chars", "target.tokens": "words", "model.attention": "transducer", "model.context": "none",
    "model.cell": "gru", "model.encoder": {"hidden": 32, "bidirectional": False}, "model.decoder.hidden": 32,
    "model.embedding": 16, "model.dropout": 0.0, "model.copy": False, "train.max_steps": 700,
    "train.validate_every": 200, "train.batch_size": 16, "train.learning_rate": 0.01, "train.label_smoothing": 0.0,
    "train.ema": None, "train.unknown": 0.0, "data.valid": 0.1, "model.locked_dropout": False,
}  # fmt: skip


def said(letters: str) -> str:
    return " ".join(" ".join(SAID[letter] for letter in letters).split())


def words(count: int) -> list[str]:
    return ["".join(CHANCE.choices("abcde", k=CHANCE.randint(1, 7))) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> antiphon.Predictor[Any]:
    folder = tmp_path_factory.mktemp("stream")
    write_table(folder / "rows.tsv", [(word, said(word)) for word in words(400) if said(word)])
    return antiphon.train(folder / "rows.tsv", folder / "m", settings=SETTINGS, threads=1, quiet=True)


UNSEEN = [word for word in words(60) if said(word)]


def test_it_learns_and_its_streams_end_as_it_predicts(model: antiphon.Predictor[Any]) -> None:
    assert model.answers_steps
    predicted = [prediction.text for prediction in model.predict(UNSEEN)]
    assert sum(text == said(word) for text, word in zip(predicted, UNSEEN, strict=True)) > 0.95 * len(UNSEEN)
    ends = []
    for word in UNSEEN:
        *_, whole = model.live([*word, ""])
        ends.append(whole.text)
    assert sum(left == right for left, right in zip(ends, predicted, strict=True)) > 0.95 * len(UNSEEN)


def test_what_is_written_grows_and_does_not_wait_for_the_end(model: antiphon.Predictor[Any]) -> None:
    early = 0
    for word in UNSEEN:
        texts = [answer.text for answer in model.live([*word, ""])]
        assert len(texts) == len(word) + 1
        assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
        early += len(texts[-2].split())
        other = [answer.text for answer in model.live([*word, "a", "c", ""])]
        assert other[: len(word)] == texts[:-1], "what follows does not change what is written"
    assert early > 0.5 * sum(len(said(word).split()) for word in UNSEEN), "most is written before the end"


def test_a_sequence_after_another_begins_anew(model: antiphon.Predictor[Any]) -> None:
    first, second = UNSEEN[:2]
    apart = [answer.text for word in (first, second) for answer in model.live([*word, ""])]
    together = [answer.text for answer in model.live([*first, "", *second, ""])]
    assert together == apart
    assert [answer.text for answer in model.live(["", ""])] == ["", ""], "an empty sequence has an empty text"


def test_from_the_command_line(model: antiphon.Predictor[Any]) -> None:
    word = UNSEEN[0]
    command = [sys.executable, "-m", "antiphon", "predict", str(model.folder), "--stream"]
    done = subprocess.run(
        command, input="".join(f"{letter}\n" for letter in word) + "\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [answer.text for answer in model.live([*word, ""])]


def test_frames_and_what_does_not_stream(model: antiphon.Predictor[Any], tmp_path: Path) -> None:
    rows = [(json.dumps([["abcde".index(letter), 1.0] for letter in word]), said(word)) for word in UNSEEN]
    write_table(tmp_path / "rows.tsv", rows)
    short = {**SETTINGS, "train.max_steps": 4, "train.validate_every": 4, "source.kind": "frames"}
    del short["source.tokens"]
    listening = antiphon.train(tmp_path / "rows.tsv", tmp_path / "f", settings=short, threads=1, quiet=True)
    answers = list(listening.live([[0.0, 1.0], "[2.0, 1.0]", ""]))
    assert len(answers) == 3
    both = {**SETTINGS, "train.max_steps": 2, "train.validate_every": 2}
    both["model.encoder"] = {"hidden": 8, "bidirectional": True}
    write_table(tmp_path / "words.tsv", [(word, said(word)) for word in UNSEEN])
    other = antiphon.train(tmp_path / "words.tsv", tmp_path / "b", settings=both, threads=1, quiet=True)
    assert not other.answers_steps
    with pytest.raises(ModelFolderError, match=r"or for a text model\.attention: transducer, model\.context: none"):
        list(other.live(["a"]))
