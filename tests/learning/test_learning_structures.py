"""Every structure must learn: tasks made by code, held-out rows right to a threshold, from a file to an answer."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tasks import trained, words

import antiphon
from antiphon import metrics
from antiphon.config.load import parse_config, set_value
from antiphon.errors import AntiphonError
from antiphon.use.predictor import Predictor

CHANCE = np.random.default_rng(7)
ROWS, HELD = 1200, 100


def learned(folder: Path, rows: list[dict[str, Any]], steps: int, **settings: Any) -> Predictor:
    """Train on all rows but the last 200, which validate and test; sources and target are columns of a JSONL table."""
    for name, part in (("train", rows[:-200]), ("valid", rows[-200:-100]), ("test", rows[-100:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    tree: dict[str, Any] = {
        "data": {"train": "train.jsonl", "valid": "valid.jsonl", "test": "test.jsonl"},
        "model": {"embedding": 24, "encoder": {"hidden": 32}, "decoder": {"hidden": 64}, "dropout": 0.0},
        "train": {
            "epochs": 1000,
            "max_steps": steps,
            "batch_size": 32,
            "learning_rate": 0.005,
            "validate_every": steps // 2,
        },
        "decode": {"beam": 2},
    }
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    model: Predictor = trained(parse_config(tree, folder), folder / "model")
    return model


def test_one_to_one_learns_a_quadrant_from_a_vector(tmp_path: Path) -> None:
    points = CHANCE.normal(size=(ROWS, 2))
    rows = [{"x": x.tolist(), "y": f"{'N' if x[1] > 0 else 'S'}{'E' if x[0] > 0 else 'W'}"} for x in points]
    source, target = {"kind": "vector", "column": "x"}, {"kind": "label", "column": "y"}
    model = learned(tmp_path, rows, 200, source=source, target=target)
    assert model.evaluate()["accuracy"] >= 0.95
    answers = model.predict([[2, 2], "[-2, -2]", np.array([2, -2]), ""])
    assert [item.label for item in answers] == ["NE", "SW", "SE", ""]
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert next(iter(answers[0].probabilities)) == "NE"


def bar(upright: bool, place: int) -> np.ndarray[Any, Any]:
    picture = CHANCE.integers(0, 60, (12, 12)).astype(np.uint8)
    picture[(slice(None), place) if upright else (place, slice(None))] = 255
    return picture


def test_one_to_one_learns_an_image_from_a_file_and_from_an_array(tmp_path: Path) -> None:
    """Lines that stand or lie: files named in a column."""
    rows = []
    for number in range(500):
        upright = bool(number % 2)
        Image.fromarray(bar(upright, int(CHANCE.integers(12)))).save(tmp_path / f"{number}.png")
        rows.append({"file": f"{number}.png", "what": "stands" if upright else "lies"})
    source, target = {"kind": "image", "column": "file"}, {"kind": "label", "column": "what"}
    model = learned(tmp_path, rows, 60, source=source, target=target, model__image__channels=[8, 16])
    assert model.evaluate()["accuracy"] >= 0.95
    assert [item.label for item in model.predict([str(tmp_path / "4.png"), bar(True, 3)])] == ["lies", "stands"]


def test_one_to_one_learns_a_number(tmp_path: Path) -> None:
    points = CHANCE.uniform(-1, 1, size=(ROWS, 2))
    rows = [{"x": x.tolist(), "y": float(100 + 30 * x[0] * x[1])} for x in points]
    model = learned(
        tmp_path, rows, 400, source={"kind": "vector", "column": "x"}, target={"kind": "number", "column": "y"}
    )
    variance = np.var([row["y"] for row in rows])
    scores = model.evaluate()
    assert scores["mse"] < 0.1 * variance
    assert scores["loss"] == pytest.approx(scores["mse"] / float(model.codecs.target.deviation[0] ** 2), rel=1e-4)  # type: ignore[attr-defined]
    assert model.predict([[1, 1]])[0].value == pytest.approx(130, abs=12)


NUMERALS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]


def test_one_to_many_learns_to_spell_a_category(tmp_path: Path) -> None:
    rows = [{"n": number % 10, "word": NUMERALS[number % 10]} for number in range(400)]
    source, target = {"kind": "category", "column": "n"}, {"column": "word", "tokens": "chars"}
    model = learned(tmp_path, rows, 150, source=source, target=target, model__attention="none")
    assert model.evaluate()["exact_match"] == 1.0
    assert [item.text for item in model.predict(["5", 7, ""])] == ["fünf", "sieben", ""]


def test_one_to_many_learns_to_describe_an_image(tmp_path: Path) -> None:
    """Where the line is, in words, attending over the grid."""
    rows = []
    for number in range(900):
        upright, place = bool(number % 2), int(CHANCE.integers(3))
        Image.fromarray(bar(upright, 2 + 4 * place)).save(tmp_path / f"{number}.png")
        where = ("left", "middle", "right") if upright else ("top", "middle", "bottom")
        rows.append({"file": f"{number}.png", "text": f"{'stands' if upright else 'lies'} {where[place]}"})
    source, target = {"kind": "image", "column": "file"}, {"column": "text", "tokens": "words"}
    attention = {"kind": "additive", "query": "previous"}
    model = learned(
        tmp_path, rows, 250, source=source, target=target, model__attention=attention, model__image__channels=[8, 16]
    )
    assert model.evaluate()["exact_match"] >= 0.9


def test_synchronous_learns_which_way_a_line_moves_from_images_in_rows_of_a_table(tmp_path: Path) -> None:
    """A picture a row: what is asked is whether the line stands further right than in the picture before."""
    for place in range(12):
        Image.fromarray(bar(True, place)).save(tmp_path / f"{place}.png")
    for part, count in (("train", 200), ("valid", 50), ("test", 50)):
        lines = ["walk,image,moves\n"]
        for walk in range(count):
            before = 0
            for place in CHANCE.integers(12, size=4).tolist():
                lines.append(f"{walk},{place}.png,{'right' if place > before else 'left'}\n")
                before = place
        (tmp_path / f"{part}.csv").write_text("".join(lines), encoding="utf-8")
    tree: dict[str, Any] = {
        "data": {"train": "train.csv", "valid": "valid.csv", "test": "test.csv", "group": "walk"},
        "source": {"kind": "images", "column": "image"},
        "target": {"kind": "labels", "column": "moves"},
        "model": {
            "image": {"channels": [8]},
            "embedding": 16,
            "encoder": {"hidden": 24, "bidirectional": False},
            "dropout": 0.0,
        },
        "train": {"epochs": 100, "max_steps": 120, "validate_every": 60, "learning_rate": 0.01, "batch_size": 32},
    }
    model = trained(parse_config(tree, tmp_path), tmp_path / "model")
    assert model.evaluate()["accuracy"] >= 0.95
    steps = [str(tmp_path / f"{place}.png") for place in (1, 9, 3)]
    (whole,) = model.predict([json.dumps(steps)])
    assert whole.labels == [item.label for item in model.live(steps)] == ["right", "right", "left"]


def test_one_to_many_from_nothing_says_what_the_rows_say(tmp_path: Path) -> None:
    rows = [{"word": NUMERALS[5]} for _ in range(250)]
    model = learned(
        tmp_path, rows, 60, source="none", target={"column": "word", "tokens": "chars"}, model__attention="none"
    )
    assert [item.text for item in model.predict(["", "x"])] == ["fünf", "fünf"]
    assert model.evaluate()["loss"] < 0.05


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_many_to_one_learns_whether_ab_stands_in_a_word(tmp_path: Path, pooling: str) -> None:
    chosen = [word for word in words(3000, 5, "abc", 9) if len(word) > 4]
    half = [w for w in chosen if "ab" in w][:600] + [w for w in chosen if "ab" not in w][:600]
    random.Random(1).shuffle(half)
    rows = [{"word": word, "has": "ab" in word} for word in half]
    source, target = {"column": "word"}, {"kind": "label", "column": "has"}
    model = learned(tmp_path, rows, 250, source=source, target=target, model__pooling=pooling)
    assert model.evaluate()["accuracy"] >= 0.95
    assert [item.label for item in model.predict(["ccabcc", "bacbca"])] == ["true", "false"]


def test_many_to_one_learns_the_sum_of_frames(tmp_path: Path) -> None:
    frames = [CHANCE.normal(size=(int(CHANCE.integers(1, 8)), 2)) for _ in range(ROWS)]
    rows = [{"x": x.tolist(), "y": float(x[:, 0].sum())} for x in frames]
    source, target = {"kind": "frames", "column": "x"}, {"kind": "number", "column": "y"}
    model = learned(tmp_path, rows, 300, source=source, target=target)
    assert model.evaluate()["loss"] < 0.1


def test_many_to_many_reads_a_text_and_a_category(tmp_path: Path) -> None:
    """The category decides whether the word is to be copied or turned round."""
    change: dict[str, Callable[[str], str]] = {"copy": str, "turn": lambda word: word[::-1]}
    rows = [
        {"word": word, "do": do, "out": change[do](word)}
        for number, word in enumerate(words(1600, 2, "abcdefgh", 6))
        for do in [("copy", "turn")[number % 2]]
    ]
    sources = [{"column": "word"}, {"kind": "category", "column": "do"}]
    target = {"column": "out", "tokens": "chars"}
    model = learned(tmp_path, rows, 500, source=sources, target=target, model__context="projected_all")
    assert model.evaluate()["exact_match"] >= 0.9
    assert [item.text for item in model.predict(["abcde\tcopy", ("abcde", "turn"), ""])] == ["abcde", "edcba", ""]


def test_synchronous_learns_the_running_parity_of_a_text(tmp_path: Path) -> None:
    rows = []
    for word in words(ROWS, 4, "01", 10):
        ones = np.cumsum([int(bit) for bit in word]) % 2
        rows.append({"word": word, "labels": ["odd" if item else "even" for item in ones]})
    source, target = {"column": "word"}, {"kind": "labels", "column": "labels"}
    model = learned(tmp_path, rows, 400, source=source, target=target, model__encoder__bidirectional=False)
    scores = model.evaluate()
    assert scores["accuracy"] >= 0.98
    assert model.predict(["0110"])[0].labels == ["even", "odd", "even", "even"]
    assert model.predict([""])[0].labels == []
    table = model.confusion()
    assert sum(map(sum, (row.values() for row in table.values()))) == sum(len(row["labels"]) for row in rows[-100:])


@pytest.mark.parametrize("crf", [False, True])
def test_a_crf_learns_which_labels_go_together_and_a_softmax_cannot(tmp_path: Path, crf: bool) -> None:
    """Labels take turns, and nothing shows which comes first: log 1/2 is the best of a row, and of a label alone."""
    rows = []
    for number in range(600):
        length, first = int(CHANCE.integers(3, 8)), number % 2
        rows.append({"x": "." * length, "y": ["ab"[(first + step) % 2] for step in range(length)]})
    source, target = {"column": "x"}, {"kind": "labels", "column": "y", "crf": crf}
    rate = {"train__learning_rate": 0.05, "train__metric": "loss"}
    model = learned(tmp_path, rows, 150, source=source, target=target, model__encoder__bidirectional=False, **rate)
    scores = np.array(model.score())
    lengths = np.array([len(row["x"]) for row in rows[-100:]])
    if not crf:
        assert (scores / lengths).mean() == pytest.approx(np.log(0.5), abs=0.05)
        return
    assert scores.mean() == pytest.approx(np.log(0.5), abs=0.2)
    assert model.evaluate()["loss"] == pytest.approx(-scores.sum() / lengths.sum(), rel=1e-5)
    for answer in model.predict(["." * length for length in range(3, 8)]):
        assert answer.text.replace(" ", "") in "abababab"
        assert answer.probabilities == pytest.approx([0.5] * len(answer.labels), abs=0.2)
    again = antiphon.load(tmp_path / "model", device="cpu")
    assert again.predict(["....", ""]) == model.predict(["....", ""])
    with pytest.raises(AntiphonError, match=r"cannot answer a stream step by step: a CRF chooses all labels"):
        list(model.live(["."]))


def test_spans_are_learned_and_choose_the_best_model(tmp_path: Path) -> None:
    """Runs of one letter are spans; full stops are none."""
    rows = []
    for word in words(600, 6, "ab.", 8):
        labels = ["O" if x == "." else f"{'I' if before == x else 'B'}-{x}" for before, x in zip(" " + word, word)]  # noqa: B905
        rows.append({"x": word, "y": labels})
    target = {"kind": "labels", "column": "y", "crf": True}
    model = learned(
        tmp_path, rows, 150, source={"column": "x"}, target=target, train__metric="span_f1", train__label_smoothing=0.1
    )
    predictions = [answer.labels for answer in model.predict([row["x"] for row in rows[-100:]])]
    scores = model.evaluate()
    assert scores["span_f1"] == pytest.approx(metrics.span_f1(predictions, [row["y"] for row in rows[-100:]]))
    assert scores["span_f1"] >= 0.9
    assert model.metrics["valid"]["span_f1"] >= 0.9
    (tmp_path / "other").mkdir()
    plain = [{"x": "a", "y": ["B-a"]}, {"x": "b", "y": ["b"]}] * 200
    with pytest.raises(AntiphonError, match=r"^train.metric: span_f1 needs labels O, B-TYPE and I-TYPE"):
        learned(tmp_path / "other", plain, 4, source={"column": "x"}, target=target, train__metric="span_f1")


def test_weights_of_labels_move_what_is_said_and_not_what_is_reported(tmp_path: Path) -> None:
    """One row of four is rare whatever the input: balanced, either label is as good; weighing more, it is predicted."""
    rows = [{"x": "x", "y": "often" if number % 4 else "rare"} for number in range(400)]
    for weights, rare in ((None, 0.25), ("balanced", 0.5), ({"rare": 27}, 0.9)):
        folder = tmp_path / str(rare)
        folder.mkdir()
        target = {"kind": "label", "column": "y"} | ({"weights": weights} if weights else {})
        model = learned(folder, rows, 100, source={"kind": "category", "column": "x"}, target=target)
        probabilities = model.predict(["x"])[0].probabilities
        assert probabilities["rare"] == pytest.approx(rare, abs=0.05)
        loss = -0.25 * np.log(probabilities["rare"]) - 0.75 * np.log(probabilities["often"])
        assert model.evaluate()["loss"] == pytest.approx(loss, rel=1e-4)
        lines = [json.loads(line) for line in (folder / "model/training/log.jsonl").read_text().splitlines()]
        losses = [line["train_loss"] for line in lines if line.get("train_loss") is not None]
        assert losses[-1] == pytest.approx(loss, abs=0.1), "the loss of the training is without weights too"


def test_synchronous_learns_the_running_sum_of_frames(tmp_path: Path) -> None:
    frames = [CHANCE.normal(size=(int(CHANCE.integers(1, 8)), 1)) for _ in range(ROWS)]
    rows = [{"x": x.tolist(), "y": np.cumsum(x, 0).tolist()} for x in frames]
    source, target = {"kind": "frames", "column": "x"}, {"kind": "numbers", "column": "y"}
    model = learned(tmp_path, rows, 300, source=source, target=target)
    assert model.evaluate()["loss"] < 0.1
    np.testing.assert_allclose(model.predict([[[1.0], [1.0], [-1.0]]])[0].values[:, 0], [1, 2, 1], atol=0.35)


def test_synchronous_learns_the_next_frame_of_bits(tmp_path: Path) -> None:
    """A light that walks round: which of four is next."""
    rows = []
    for _ in range(600):
        start, length = int(CHANCE.integers(4)), int(CHANCE.integers(2, 9))
        lights = np.eye(4, dtype=int)[(start + np.arange(length + 1)) % 4]
        rows.append({"now": lights[:-1].tolist(), "next": lights[1:].tolist()})
    source, target = {"kind": "frames", "column": "now"}, {"kind": "numbers", "column": "next"}
    model = learned(tmp_path, rows, 500, source=source, target=target, model__encoder__bidirectional=False)
    scores = model.evaluate()
    assert scores["nll_per_frame"] < 0.05
    assert scores["accuracy"] >= 0.98
    assert model.predict([[[1, 0, 0, 0]]])[0].values.argmax(-1).tolist() == [1]


def test_a_table_of_labels_without_configuration_is_learned(tmp_path: Path) -> None:
    """Two targets for many rows are labels."""
    path = tmp_path / "rows.tsv"
    path.write_text(
        "".join(f"{w}\t{'yes' if 'a' in w else 'no'}\n" for w in words(800, 3, "abcd", 6)), encoding="utf-8"
    )
    model = antiphon.train(path, settings={"train.max_steps": 300, "train.validate_every": 150}, threads=1)
    assert model.config.target.kind == "label"
    assert model.metrics["valid"]["accuracy"] >= 0.95


def test_a_language_model_learns_and_goes_on_with_a_prompt(tmp_path: Path) -> None:
    """Six letters in the order of the alphabet: where it begins is all there is to know, ln 8 nats in seven symbols."""
    rows = [{"word": "abcdefghabcdefgh"[start : start + 6]} for start in CHANCE.integers(0, 8, 500).tolist()]
    model = learned(tmp_path, rows, 200, source={"column": "word"}, target="next")
    scores = model.evaluate()
    assert scores["bits_per_char"] == pytest.approx(scores["loss"] / np.log(2))
    assert scores["loss"] < np.log(8) / 7 + 0.1
    assert [item.text for item in model.predict(["cd", "", "gha"], beam=3)] == ["cdefgh", "", "ghabcd"]
    (tmp_path / "two.jsonl").write_text('{"word": "abcdef"}\n{"word": "abcdfe"}\n', encoding="utf-8")
    likely, unlikely = model.score(tmp_path / "two.jsonl")
    assert likely == pytest.approx(-np.log(8), abs=0.8)
    assert unlikely < likely - 2


def test_samples_depend_on_seed_and_place_alone(tmp_path: Path) -> None:
    rows = [{"word": word} for word in words(400, 9, "abcd", 6)]
    model = learned(tmp_path, rows, 60, source={"column": "word"}, target="next")
    prompts = ["a", "b", "", "cab", "a"]
    texts = [item.text for item in model.predict(prompts, sample={})]
    assert texts == [item.text for item in model.predict(prompts, sample={"seed": 1})]
    assert texts == [item.text for item in model.stream(prompts, sample={}, window=2)]
    assert texts != [item.text for item in model.predict(prompts, sample={"seed": 2})]
    assert all(text.startswith(prompt) for text, prompt in zip(texts, prompts, strict=True))
    greedy = [item.text for item in model.predict(prompts, beam=1)]
    for sample in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 0.01}):
        surest = [item.text for item in model.predict(prompts, sample=sample)]
        assert surest.pop(2), "a sample begins with nothing, too"
        assert surest == [text for text in greedy if text]


def test_a_stream_is_answered_as_the_whole_is(tmp_path: Path) -> None:
    """Frames to labels and words to labels, one step per line, one-directional models; sequences end with ''."""
    frames = [CHANCE.normal(size=(int(CHANCE.integers(1, 8)), 2)).round(3) for _ in range(300)]
    rows = [{"x": x.tolist(), "y": ["up" if v > 0 else "down" for v in np.cumsum(x[:, 0])]} for x in frames]
    source, target = {"kind": "frames", "column": "x"}, {"kind": "labels", "column": "y"}
    encoder = {"hidden": 12, "layers": 2, "residual": True, "bidirectional": False}
    (tmp_path / "frames").mkdir()
    model = learned(tmp_path / "frames", rows, 40, source=source, target=target, model__encoder=encoder)
    some = frames[:5]
    steps = [step for x in some for step in [*map(json.dumps, x.tolist()), ""]]
    labels = [item.text for item in model.live(steps)]
    assert labels == [label for whole in model.predict([x.tolist() for x in some]) for label in [*whole.labels, ""]]
    first = next(model.live(iter([some[0][0].tolist()])))
    assert first.to_json()["probabilities"][first.text] == pytest.approx(
        model.predict([some[0][:1]])[0].probabilities[0]
    )
    assert list(model.live([])) == []
    with pytest.raises(AntiphonError, match=r"^step 2: the input has 3 numbers per step, but the training rows have 2"):
        list(model.live([[1, 2], [1, 2, 3]]))

    (tmp_path / "text").mkdir()
    rows = [{"x": " ".join(word), "y": list(word.upper())} for word in words(300, 3, "ab", 8)]
    both = learned(tmp_path / "text", rows, 20, source={"column": "x", "tokens": "words"}, target=target)
    with pytest.raises(AntiphonError, match=r"cannot answer a stream step by step: .*bidirectional: false"):
        list(both.live(["a"]))


def test_spelled_words_that_no_training_row_has_are_understood(tmp_path: Path) -> None:
    """The label of a word depends on its last letter: predicted for unseen words, at once and word by word."""
    chosen = [text.split() for text in (" ".join(words(3, seed, "abcdef", 6)) for seed in range(ROWS // 2))]
    rows = [{"x": " ".join(line), "y": ["end" if word[-1] in "abc" else "on" for word in line]} for line in chosen]
    source = {"column": "x", "tokens": "words", "characters": {"embedding": 8, "hidden": 12, "width": 4}}
    target = {"kind": "labels", "column": "y"}
    model = learned(
        tmp_path, rows, 150, source=source, target=target, model__encoder__bidirectional=False, train__unknown=0.2
    )
    assert model.evaluate()["accuracy"] >= 0.95
    unseen = ["ffffffffa", "aaaaaaaaf", "zzb"]
    answers = antiphon.load(tmp_path / "model").predict([" ".join(unseen), unseen[0], ""])
    assert [item.labels for item in answers] == [["end", "on", "end"], ["end"], []]
    assert [item.text for item in model.live(unseen)] == ["end", "on", "end"]


def test_spelled_words_are_shown_as_words_where_a_decoder_attends(tmp_path: Path) -> None:
    rows = [{"x": " ".join(words(3, seed, "abc", 7)), "y": "said"} for seed in range(300)]
    source = {"column": "x", "tokens": "words", "characters": True}
    model = learned(tmp_path, rows, 4, source=source, target={"column": "y", "tokens": "chars"})
    (answer,) = model.predict(["abc unheard cab"], attention=True)
    assert answer.source_tokens == ["abc", "unheard", "cab"]
    assert answer.attention.shape == (len(answer.tokens) + 1, 4)


def test_synchronous_learns_to_read_digits_side_by_side(tmp_path: Path) -> None:
    """Handwritten digits as columns of pixels, read by CTC; no picture of the test rows stands in another."""
    pictures, digits = load_digits(return_X_y=True)
    columns, chance = pictures.reshape(-1, 8, 8).transpose(0, 2, 1), np.random.default_rng(1)
    order = chance.permutation(len(digits))
    chosen = [chance.choice(order[:1400], int(chance.integers(1, 5))) for _ in range(1900)]
    chosen += [chance.choice(order[1400:], int(chance.integers(1, 5))) for _ in range(100)]
    rows = [{"x": columns[row].reshape(-1, 8).tolist(), "y": "".join(map(str, digits[row]))} for row in chosen]
    target = {"column": "y", "tokens": "chars", "ctc": True}
    model = learned(tmp_path, rows, 600, source={"kind": "frames", "column": "x", "scale": "all"}, target=target)
    assert model.evaluate()["exact_match"] >= 0.85
    (best,) = model.predict([rows[-1]["x"]], beam=5, n_best=5)
    assert best.text == best.n_best[0].text
    assert sum(np.exp(item.score) for item in best.n_best) <= 1 + 1e-4
