"""Data sets that Antiphon cannot read as they are, as tables that it can: one function a data set.

`scripts/prepare NAME` reads $ANTIPHON_DATA/NAME (by default ../shared/data/NAME) and writes prepared/NAME.
Every other data set is read where it lies, as its recipe in configs/ says.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("train", "valid", "test")
Floats = NDArray[np.float64]


def captions_emoji(source: Path, out: Path) -> None:
    """{train,valid,test}.tsv: image, language, caption, each image once in every language; and PART-near.tsv:
    image, the English captions of the three nearest other training images (by their pixels), caption."""
    link_images(source, out)
    training = read_table(source / "train.tsv")
    known = np.stack([pixels(source / row["image"]) for row in training])
    for part in PARTS:
        rows = [
            {"image": row["image"], "language": language, "caption": row[language]}
            for row in read_table(source / f"{part}.tsv")
            for language in ("en", "zh", "de")
        ]
        write_table(out / f"{part}.tsv", rows)
        near = []
        for row in read_table(source / f"{part}.tsv"):
            distances = ((known - pixels(source / row["image"])) ** 2).sum(1)
            others = [training[place] for place in distances.argsort()[:4] if training[place]["image"] != row["image"]]
            near.append(
                {"image": row["image"], "near": " / ".join(other["en"] for other in others[:3]), "en": row["en"]}
            )
        write_table(out / f"{part}-near.tsv", near)


def pixels(path: Path, side: int = 64) -> Floats:
    """A picture on white as a vector of numbers from 0 to 1."""
    with Image.open(path) as picture:
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture.convert("RGBA"))
        small = white.convert("RGB").resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float64).ravel() / 255


def captions_flickr8k(source: Path, out: Path) -> None:
    """A control: {train,valid,test}.tsv with the captions of every image given to another one of the same part."""
    link_images(source, out)
    for part in PARTS:
        rows = read_table(source / f"{part}.tsv")
        images = sorted({row["image"] for row in rows})
        random.Random(1).shuffle(images)
        other = dict(zip(images, images[1:] + images[:1], strict=True))
        write_table(out / f"{part}.tsv", [{**row, "image": other[row["image"]]} for row in rows])


def sentiment_imdb(source: Path, out: Path) -> None:
    """{train,test}.jsonl.gz: words and marks apart in lower case, of a long review the last 400; neg or pos."""
    for part in ("train", "test"):
        rows = map(json.loads, read_lines(source / f"{part}.jsonl.gz"))
        write_lines(
            out / f"{part}.jsonl.gz",
            (
                {
                    "text": " ".join(tokens(row["text"].replace("<br />", " "))[-400:]),
                    "label": ("neg", "pos")[row["label"]],
                }
                for row in rows
            ),
        )


def tokens(text: str) -> list[str]:
    """Words, with their apostrophes, and marks, in lower case."""
    return re.findall(r"\w+(?:'\w+)*|[^\w\s]", text.lower())


def chars_shakespeare(source: Path, out: Path) -> None:
    """{train,valid}.txt: the first nine tenths of the characters, and the last."""
    text = (source / "input.txt").read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    (out / "train.txt").write_text(text[:cut], encoding="utf-8")
    (out / "valid.txt").write_text(text[cut:], encoding="utf-8")


def chat_en(source: Path, out: Path) -> None:
    """{train,valid,test}.jsonl: a reply and up to five turns before it, of each the first 60 words."""
    for part in PARTS:
        dialogues = (json.loads(line)["turns"] for line in read_lines(source / f"dialogues-{part}.jsonl.gz"))
        write_lines(
            out / f"{part}.jsonl",
            (
                {"turns": turns[max(0, place - 5) : place], "reply": turns[place]}
                for dialogue in dialogues
                for turns in [[" ".join(turn.split()[:60]) for turn in dialogue if turn.strip()]]
                for place in range(1, len(turns))
            ),
        )


EXPRESSIONS = ("affirmative", "doubt_question", "emphasis", "negative", "topics", "wh_question", "yn_question")


def video_facial(source: Path, out: Path) -> None:
    """EXPRESSION-{train,valid,test}.jsonl: person A's first three quarters, A's last quarter, person B."""
    for expression in EXPRESSIONS:
        recordings = {}
        for person in "ab":
            lines = list(read_lines(source / f"{person}_{expression}_datapoints.txt.gz"))[1:]
            points = np.array([line.split()[1:] for line in lines], float).reshape(len(lines), 100, 3)
            labels = (source / f"{person}_{expression}_targets.txt").read_text().split()
            recordings[person] = faces(points), labels
        (frames, labels), held = recordings["a"], recordings["b"]
        cut = len(frames) * 3 // 4
        parts = zip(PARTS, ((frames[:cut], labels[:cut]), (frames[cut:], labels[cut:]), held), strict=True)
        for part, recording in parts:
            write_lines(out / f"{expression}-{part}.jsonl", sequences(*recording, 100))


def faces(points: Floats) -> Floats:
    """Points [frames, 100, 3] as frames [frames, 300] that do not tell where the face is, how large, or whose.

    Of every frame the middle of the face is 0 and its size in the picture 1; depth, in millimetres, is 0 where the
    sensor met the background. Of every recording the average face is subtracted.
    """
    flat = points[..., :2] - points[..., :2].mean(1, keepdims=True)
    flat /= np.sqrt((flat**2).mean((1, 2), keepdims=True))
    depth = points[..., 2:] - np.median(points[..., 2:], axis=1, keepdims=True)
    depth[np.abs(depth) > 150] = 0
    frames = np.concatenate([flat, depth], axis=2).reshape(len(points), -1)
    centred: Floats = frames - frames.mean(0)
    return centred


VIDEOS = ("a1", "a2", "a3", "b1", "b3", "c1", "c3")
PHASES = {"D": "rest", "P": "preparation", "S": "stroke", "H": "hold", "R": "retraction"}


def video_gesture(source: Path, out: Path) -> None:
    """VIDEO-{train,valid,test}.jsonl: the video tests, the next one validates, the other five train."""
    videos = {video: list(sequences(*gestures(source, video), 100)) for video in VIDEOS}
    for place, video in enumerate(VIDEOS):
        after = VIDEOS[(place + 1) % len(VIDEOS)]
        others = [row for name, rows in videos.items() if name not in (video, after) for row in rows]
        for part, rows in zip(PARTS, (others, videos[after], videos[video]), strict=True):
            write_lines(out / f"{video}-{part}.jsonl", rows)


def gestures(source: Path, video: str) -> tuple[Floats, list[str]]:
    """Frames [frames, 47] and their phases: five joints seen from the spine, in lengths of the upper body; movement.

    The file of movements (velocities and accelerations) begins with the fifth frame, and its labels are spelled alike.
    """
    raw = list(read_rows(source / f"{video}_raw.csv", ","))[1:]
    moves = list(read_rows(source / f"{video}_va3.csv", ","))[1:]
    joints = np.array([row[:18] for row in raw[len(raw) - len(moves) :]], float).reshape(len(moves), 6, 3)
    spine, head = joints[:, 3], joints[:, 2]
    seen = (joints[:, [0, 1, 2, 4, 5]] - spine[:, None]) / np.linalg.norm(head - spine, axis=1)[:, None, None]
    movement = np.array([row[:32] for row in moves], float)
    return np.concatenate([seen.reshape(len(moves), 15), movement], axis=1), [PHASES[row[32]] for row in moves]


def music_poly(source: Path, out: Path) -> None:
    """NAME-{train,valid,test}.jsonl.gz: the 88 keys of every frame but the last, and those of the frame after each."""
    from scipy.io import loadmat

    for path in sorted(source.glob("*.mat")):
        for part in PARTS:
            pieces = [np.asarray(piece, int).tolist() for piece in loadmat(path)[f"{part}data"][0]]
            rows = ({"frames": piece[:-1], "next": piece[1:]} for piece in pieces if len(piece) > 1)
            write_lines(out / f"{path.stem}-{part}.jsonl.gz", rows)


def sequences(frames: Floats, labels: list[str], length: int) -> Iterator[dict[str, Any]]:
    """A recording in rows of so many frames, in the order of time."""
    for start in range(0, len(frames), length):
        part = slice(start, start + length)
        yield {"frames": frames[part].round(6).tolist(), "labels": labels[part]}


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a text, compressed or not."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8-sig") as file:
        yield from (line.rstrip("\n") for line in file if line.strip())


def read_rows(path: Path, separator: str) -> Iterator[list[str]]:
    """Rows of a table without quotes."""
    return csv.reader(read_lines(path), delimiter=separator, quoting=csv.QUOTE_NONE)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a TSV with a header."""
    header, *rows = read_rows(path, "\t")
    return [dict(zip(header, row, strict=True)) for row in rows]


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Rows as a TSV with a header."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as JSON Lines, compressed if the name ends in .gz."""
    with (
        gzip.open(path, "wt", 1, encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file
    ):
        file.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def link_images(source: Path, out: Path) -> None:
    """The folder of images within the folder of the tables, which may name no file outside of it."""
    link = out / "images"
    link.unlink(missing_ok=True)
    link.symlink_to((source / "images").resolve(), target_is_directory=True)


PREPARE: dict[str, Callable[[Path, Path], None]] = {
    "captions-emoji": captions_emoji,
    "captions-flickr8k": captions_flickr8k,
    "chars-shakespeare": chars_shakespeare,
    "chat-en": chat_en,
    "music-poly": music_poly,
    "sentiment-imdb": sentiment_imdb,
    "video-facial": video_facial,
    "video-gesture": video_gesture,
}


def main() -> None:
    """Prepare what is named, or list what there is."""
    data = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        sys.exit(f"{data}: is no folder; set ANTIPHON_DATA to the folder of the data sets")
    names = sorted(path.name for path in data.iterdir() if path.is_dir())
    if len(sys.argv) != 2:
        for name in names:
            what = PREPARE[name].__doc__ if name in PREPARE else "read where it lies"
            print(f"{name:24} {what}")
        return
    name = sys.argv[1]
    if name not in names:
        sys.exit(f"{data}: holds no {name}; it has {', '.join(names)}")
    if name not in PREPARE:
        sys.exit(f"{name}: is read where it lies; there is nothing to prepare")
    out = ROOT / "prepared" / name
    out.mkdir(parents=True, exist_ok=True)
    PREPARE[name](data / name, out)
    print(out)


if __name__ == "__main__":
    main()
