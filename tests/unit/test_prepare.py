"""What the tables of prepared data sets hold, on data sets made by code."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PREPARE = loaded()


def made(path: Path) -> list[Any]:
    return list(map(json.loads, PREPARE.read_lines(path)))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("source", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "source", tmp_path / "out"


@settings(max_examples=10)
@given(st.floats(-300, 300), st.floats(-300, 300), st.floats(-900, 900), st.floats(0.2, 4))
def test_a_face_is_the_same_wherever_it_stands(right: float, down: float, away: float, size: float) -> None:
    chance = np.random.default_rng(1)
    points = chance.normal(scale=(20, 20, 40), size=(6, 100, 3))
    moved = points * [size, size, 1] + [right, down, away]
    assert PREPARE.faces(moved) == pytest.approx(PREPARE.faces(points), abs=1e-6)
    assert PREPARE.faces(points).shape == (6, 300)
    assert PREPARE.faces(points).mean(0) == pytest.approx(0, abs=1e-9)
    points[3, 7, 2] = 5000  # the wall behind
    others = np.delete(PREPARE.faces(points), 3, axis=0)
    assert np.abs(others).max() < 200


def test_every_recording_is_cut_in_the_order_of_time(folders: tuple[Path, Path]) -> None:
    source, out = folders
    rows = [[time, *point] for time, point in enumerate(np.random.default_rng(2).integers(0, 99, (140, 300)))]
    points = gzip.compress(("header\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows)).encode())
    for name in (f"{person}_{expression}" for expression in PREPARE.EXPRESSIONS for person in "ab"):
        (source / f"{name}_datapoints.txt.gz").write_bytes(points)
        (source / f"{name}_targets.txt").write_text("0\n" * 105 + "1\n" * 35)
    PREPARE.video_facial(source, out)
    parts = {part: made(out / f"topics-{part}.jsonl") for part in PREPARE.PARTS}
    assert [[len(row["labels"]) for row in parts[part]] for part in PREPARE.PARTS] == [[100, 5], [35], [100, 40]]
    assert {label for row in parts["train"] for label in row["labels"]} == {"0"}
    assert {label for row in parts["valid"] for label in row["labels"]} == {"1"}
    assert all(len(row["frames"]) == len(row["labels"]) for rows in parts.values() for row in rows)


def test_movements_stand_with_the_joints_of_their_frame(folders: tuple[Path, Path]) -> None:
    source, out = folders
    for video in PREPARE.VIDEOS:
        joints = [[float(frame + place) ** 1.5 for place in range(18)] for frame in range(9)]
        raw = [[*row, 5000, "Preparação"] for row in joints]
        moves = [[frame / 1e4] * 32 + ["DPSHR"[frame]] for frame in range(5)]
        for name, rows in (("raw", raw), ("va3", moves)):
            lines = [["header"], *rows]
            text = "\ufeff" + "".join(",".join(map(str, row)) + "\n" for row in lines)
            (source / f"{video}_{name}.csv").write_text(text, encoding="utf-8")
    PREPARE.video_gesture(source, out)
    (row,) = made(out / "b1-test.jsonl")
    assert row["labels"] == ["rest", "preparation", "stroke", "hold", "retraction"]
    assert [len(frame) for frame in row["frames"]] == [47] * 5
    assert [frame[-1] for frame in row["frames"]] == [0, 1e-4, 2e-4, 3e-4, 4e-4]
    head = np.asarray(row["frames"])[:, 6:9]
    assert np.linalg.norm(head, axis=1) == pytest.approx(1, abs=1e-5)
    assert len(made(out / "b1-train.jsonl")) == 5


def test_a_piece_is_shifted_by_one_frame(folders: tuple[Path, Path]) -> None:
    from scipy.io import savemat

    source, out = folders
    pieces = np.empty((1, 2), dtype=object)
    pieces[0, 0], pieces[0, 1] = np.eye(88, dtype=np.uint8)[:4], np.eye(88, dtype=np.uint8)[:1]
    savemat(source / "Tunes.mat", {f"{part}data": pieces for part in PREPARE.PARTS})
    PREPARE.music_poly(source, out)
    (row,) = made(out / "Tunes-valid.jsonl.gz")  # there is nothing to predict for a single frame
    assert row["frames"][1:] == row["next"][:-1]
    assert row["frames"] == np.eye(88)[:3].tolist()


def captions(source: Path, header: str, rows: list[str]) -> None:
    (source / "images").mkdir()
    for part in PREPARE.PARTS:
        (source / f"{part}.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    (source / "images" / "a.png").write_bytes(b"a")


def test_shuffled_captions_are_all_of_another_image(folders: tuple[Path, Path]) -> None:
    source, out = folders
    rows = [f"images/{number // 2}.jpg\tcaption {number}" for number in range(20)]
    captions(source, "image\tcaption", rows)
    for _ in range(2):  # a second time is the same
        PREPARE.captions_flickr8k(source, out)
    shuffled = (out / "train.tsv").read_text().splitlines()[1:]
    assert all(ours != theirs for ours, theirs in zip(shuffled, rows, strict=True))
    assert sorted(row.split("\t")[0] for row in shuffled) == sorted(row.split("\t")[0] for row in rows)
    assert [row.split("\t")[1] for row in shuffled] == [row.split("\t")[1] for row in rows]
    assert shuffled[0].split("\t")[0] == shuffled[1].split("\t")[0]
    assert (out / "images" / "a.png").read_bytes() == b"a"


def test_every_language_has_a_row(folders: tuple[Path, Path]) -> None:
    source, out = folders
    captions(source, "image\ten\tzh\tde\tfr", ['images/a.png\t"a"\t一\tein A\tun a'])
    Image.new("RGB", (4, 4), "red").save(source / "images/a.png")
    PREPARE.captions_emoji(source, out)
    lines = (out / "test.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ['images/a.png\ten\t"a"', "images/a.png\tzh\t一", "images/a.png\tde\tein A"]


def test_an_icon_has_the_names_of_the_nearest_others(folders: tuple[Path, Path]) -> None:
    source, out = folders
    colors = {
        "red": (255, 0, 0),
        "dark red": (200, 0, 0),
        "brown": (150, 50, 0),
        "black": (0, 0, 0),
        "blue": (0, 0, 255),
    }
    rows = [f"images/{number}.png\t{name}\t{name}\t{name}" for number, name in enumerate(colors)]
    captions(source, "image\ten\tzh\tde", rows)
    for number, color in enumerate(colors.values()):
        Image.new("RGB", (4, 4), color).save(source / f"images/{number}.png")
    PREPARE.captions_emoji(source, out)
    near = [line.split("\t") for line in (out / "train-near.tsv").read_text(encoding="utf-8").splitlines()]
    assert near[:2] == [["image", "near", "en"], ["images/0.png", "dark red / brown / black", "red"]]


def test_reviews_are_words_and_marks(folders: tuple[Path, Path]) -> None:
    source, out = folders
    rows = [{"text": "It isn't<br /><br />BAD, is it?", "label": 1}, {"text": "a " * 500 + "end", "label": 0}]
    for part in ("train", "test"):
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (source / f"{part}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    PREPARE.sentiment_imdb(source, out)
    first, second = made(out / "test.jsonl.gz")
    assert first == {"text": "it isn't bad , is it ?", "label": "pos"}
    assert len(second["text"].split()) == 400
    assert second["text"].endswith("a end")


def test_a_reply_has_the_turns_before_it(folders: tuple[Path, Path]) -> None:
    source, out = folders
    for part in PREPARE.PARTS:
        content = json.dumps({"turns": ["1", " ", "2 ", "3", "4", "5", "6", "7"]}) + "\n" + json.dumps({"turns": ["x"]})
        (source / f"dialogues-{part}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    PREPARE.chat_en(source, out)
    rows = made(out / "valid.jsonl")
    assert [row["reply"] for row in rows] == list("234567")
    assert rows[0]["turns"] == ["1"]
    assert rows[-1]["turns"] == list("23456")


def test_the_plays_are_cut_and_nothing_is_lost(folders: tuple[Path, Path]) -> None:
    source, out = folders
    (source / "input.txt").write_text("Speak, speak.\n\né!\n" * 9)
    PREPARE.chars_shakespeare(source, out)
    train, valid = ((out / f"{part}.txt").read_text() for part in ("train", "valid"))
    assert train + valid == "Speak, speak.\n\né!\n" * 9
    assert len(train) == 9 * len("Speak, speak.\n\né!\n") * 9 // 10
