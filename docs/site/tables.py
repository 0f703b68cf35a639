"""The files that the commands of a page read: real data for its recorded outputs, a few rows for the tests.

Data that is not in an installed package lies in $ANTIPHON_DATA; tests, which do not have it, get made-up rows.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import runpy
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("train", "valid", "test")

Write = Callable[[Path, bool], None]  # a folder, and whether a few rows are enough


def write(page: str, folder: Path, few: bool = False) -> None:
    """Write the files of a page into a folder."""
    for make in TABLES.get(page, ()):
        make(folder, few)


def data(name: str) -> Path:
    """The folder of a data set."""
    return Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data") / name


def prepared(name: str, folder: Path) -> Path:
    """A new folder within another, with the tables that `scripts/prepare NAME` makes."""
    out = folder / "prepared"
    out.mkdir()
    runpy.run_path(str(ROOT / "scripts/prepare.py"))["PREPARE"][name](data(name), out)
    return out


def table(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Rows, their values with tabs between."""
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def lines(path: Path, records: Iterable[object]) -> None:
    """Records as JSON Lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def pronunciations(folder: Path, few: bool) -> None:
    """pairs.tsv: English words and their phonemes (CMUdict): every fifth word, 25,000 rows."""
    from antiphon.tools.demo import cmudict_rows

    rows = islice(cmudict_rows(), 0, 1_000 if few else None, 5)
    (folder / "pairs.tsv").write_text("".join(f"{word}\t{phonemes}\n" for word, phonemes in rows), encoding="utf-8")


def first_pronunciations() -> list[tuple[str, str]]:
    """English words, each with its first pronunciation (CMUdict), in the order of the alphabet."""
    from antiphon.tools.demo import cmudict_rows

    rows: dict[str, str] = {}
    for word, phonemes in cmudict_rows():
        rows.setdefault(word, phonemes)
    return list(rows.items())


def words(folder: Path, few: bool) -> None:
    """words.tsv and test.tsv: 11,300 English words and their phonemes (CMUdict), and 1,100 others."""
    rows = first_pronunciations()
    table(folder / "words.tsv", rows[: 3_000 if few else None : 11])
    table(folder / "test.tsv", rows[5 : 3_000 if few else None : 110])


def spellings(folder: Path, few: bool) -> None:
    """spellings.txt and others.txt: 10,000 English words, one a line, and 1,000 others."""
    rows = first_pronunciations()[: 3_000 if few else None]
    for name, start, step in (("spellings", 0, 11), ("others", 5, 110)):
        table(folder / f"{name}.txt", ([word] for word, _ in rows[start::step] if word.isalpha() and len(word) > 2))


def broken(folder: Path, few: bool) -> None:
    """Tables of English pronunciations with a mistake in each, and orders whose names must be copied."""
    rows = first_pronunciations()[: 4_000 if few else None : 41]
    test, train = rows[::10], [row for number, row in enumerate(rows) if number % 10]
    chance = random.Random(1)
    others = [phonemes for _, phonemes in train]
    chance.shuffle(others)
    table(folder / "words.tsv", train)
    table(folder / "hundred.tsv", train[:100])
    table(folder / "test.tsv", test)
    table(folder / "numbered.tsv", ((str(number), *row) for number, row in enumerate(train, 1)))
    table(folder / "same.tsv", ((word, "done") for word, _ in train[:300]))
    table(folder / "shuffled.tsv", ((word, other) for (word, _), other in zip(train, others, strict=True)))
    table(folder / "leaking.tsv", [*train[:50], *test[:200]])
    table(folder / "capitals.tsv", ((word.upper(), phonemes) for word, phonemes in test))
    table(folder / "short.tsv", (row for row in train if len(row[0]) <= 6))
    table(folder / "long.tsv", (row for row in test if len(row[0]) > 8))
    table(folder / "orders.tsv", orders(chance, 60 if few else 1_000, "abdegiklmnoprstuz"))
    table(folder / "new-names.tsv", orders(chance, 20 if few else 200, "acdefhijlmnoqrtuvwxyz"))


def orders(chance: random.Random, count: int, letters: str) -> list[tuple[str, str]]:
    """Orders in a sentence, and the same as fields; names are of random letters."""
    rows = []
    for _ in range(count):
        thing, amount = chance.choice(("lamps", "chairs", "tables", "books")), chance.randint(2, 999)
        name = "".join(chance.choices(letters, k=chance.randint(3, 7))).capitalize()
        sentence = chance.choice((f"please send {amount} {thing} to {name}", f"{name} orders {amount} {thing}"))
        rows.append((sentence, f"{thing} {amount} {name}"))
    return rows


def french(folder: Path, few: bool) -> None:
    """{train,dev,test}.tsv: French words and their phonemes (SIGMORPHON 2021, 8,000, 1,000 and 1,000 rows)."""
    chance = random.Random(1)
    syllables = [
        ("an", "ɑ̃"),
        ("ti", "t i"),
        ("fon", "f ɔ̃"),
        ("oi", "w a"),
        ("zeau", "z o"),
        ("ma", "m a"),
        ("chan", "ʃ ɑ̃"),
    ]
    for part, count in (("train", 100), ("dev", 20), ("test", 20)):
        if few:
            made = [zip(*chance.choices(syllables, k=3), strict=True) for _ in range(count)]
            table(folder / f"{part}.tsv", (("".join(spelling), " ".join(sound)) for spelling, sound in made))
        else:
            shutil.copy(data("g2p-sigmorphon2021") / f"medium/fre_{part}.tsv", folder / f"{part}.tsv")


def forms(folder: Path, few: bool) -> None:
    """{train,dev,test}.tsv: Spanish lemmas, forms and tags (CoNLL-SIGMORPHON 2017, 1,000 rows each)."""
    endings = {"V;PRS;1;SG": "o", "V;PRS;2;SG": "as", "V;PRS;1;PL": "amos", "V;NFIN": "ar"}
    stems = ["habl", "cant", "mir", "trabaj", "and", "llev", "tom", "pas", "dej", "ayud", "busc", "llam"]
    made = [(f"{stem}ar", stem + ending, tags) for stem in stems for tags, ending in endings.items()]
    for part, rows in {"train": made[:30], "dev": made[30:39], "test": made[39:]}.items():
        if few:
            table(folder / f"{part}.tsv", rows)
        else:
            name = f"spanish-{'train-medium' if part == 'train' else part}.tsv"
            shutil.copy(data("inflection-conll2017") / name, folder / f"{part}.tsv")


def translations(folder: Path, few: bool) -> None:
    """{train,valid,test}.{en,de}: captions of images in English and German (Multi30k, 29,000, 1,014 and 1,000)."""
    chance = random.Random(1)
    sides = {"a man": "ein mann", "a woman": "eine frau", "two dogs": "zwei hunde", "a boy": "ein junge"}
    deeds = {"sleep in the grass": "schlafen im gras", "in a red shirt": "in einem roten hemd", "outside": "im freien"}
    for part, name, count in zip(PARTS, ("train", "val", "test2016"), (80, 12, 12), strict=True):
        if few:
            pairs = [(chance.choice([*sides.items()]), chance.choice([*deeds.items()])) for _ in range(count)]
            for place, language in enumerate(("en", "de")):
                texts = [f"{who[place]} {deed[place]} ." for who, deed in pairs]
                (folder / f"{part}.{language}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        else:
            for language in ("en", "de"):
                shutil.copy(data("multi30k") / f"tok/{name}.{language}", folder / f"{part}.{language}")


def treebank(folder: Path, few: bool) -> None:
    """{train,dev,test}.conllu: English sentences with parts of speech (UD_English-EWT; 3,000 to train with)."""
    for part, count in (("train", 3_000), ("dev", None), ("test", None)):
        if few:
            text = "".join(sentence(number) for number in range(40 if part == "train" else 8))
        else:
            path = data("tagging-ud-ewt") / f"{part}.conllu{'.gz' if part == 'train' else ''}"
            content = path.read_bytes()
            whole = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
            text = "".join(f"{rows}\n\n" for rows in whole.strip().split("\n\n")[:count])
        (folder / f"{part}.conllu").write_text(text, encoding="utf-8")


def sentence(number: int) -> str:
    """A made-up sentence as CoNLL-U."""
    words = [("the", "DET"), (("dog", "cat", "fish")[number % 3], "NOUN"), (("runs", "sleeps")[number % 2], "VERB")]
    rows = (f"{place}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n" for place, (word, tag) in enumerate(words, 1))
    return "".join(rows) + "\n"


def entities(folder: Path, few: bool) -> None:
    """{people,people-test}.conll: made-up sentences, a word and its tag a line, B- and I- for people and places."""
    chance = random.Random(1)
    for name, count in (("people", 40 if few else 1_500), ("people-test", 10 if few else 300)):
        texts = ["".join(f"{word} {tag}\n" for word, tag in entity_sentence(chance)) for _ in range(count)]
        (folder / f"{name}.conll").write_text("\n".join(texts), encoding="utf-8")


def entity_sentence(chance: random.Random) -> list[tuple[str, str]]:
    """Words and their tags."""
    first = chance.choice(("Anna", "Omar", "Li", "Maria", "John", "Wei", "Paul", "Rosa", "Yuki", "Ivan"))
    last = chance.choice(("Berg", "Costa", "Novak", "Wang", "Smith", "Haas", "Silva", "Meyer", "Tanaka", "Rossi"))
    place = chance.choice((["Berlin"], ["New", "York"], ["Paris"], ["Hong", "Kong"], ["Rome"], ["San", "Jose"]))
    person = [(first, "B-PER"), (last, "I-PER")][: chance.choice((1, 2, 2))]
    town = [(word, "I-LOC" if number else "B-LOC") for number, word in enumerate(place)]
    choices = (
        ("yesterday", "last week", "in May"),
        ("moved to", "flew to", "works in"),
        ("met", "wrote to", "was seen by"),
        ("in", "near", "before leaving"),
    )
    plain = [[(word, "O") for word in chance.choice(texts).split()] for texts in choices]
    return chance.choice(([*plain[0], *person, *plain[1], *town], [*person, *plain[2], *person[:1], *plain[3], *town]))


def reviews(folder: Path, few: bool) -> None:
    """{train,valid,test}.tsv: 1 or 0, and a sentence of a film review (SST-2, 6,920, 872 and 1,821 rows)."""
    good, bad = ("a warm , funny film", "moving and bright"), ("a dull mess", "tired and far too long")
    for part in PARTS:
        if few:
            rows = [
                (str(number % 2), f"{(bad, good)[number % 2][number // 2 % 2]} number {number}") for number in range(60)
            ]
            table(folder / f"{part}.tsv", rows[: 60 if part == "train" else 16])
        else:
            shutil.copy(data("sentiment-sst2") / f"{part}.tsv", folder / f"{part}.tsv")


def icons(folder: Path, few: bool) -> None:
    """{train,valid,test}.tsv: pictures of emoji and their English names, with a header; images/."""
    if few:
        from PIL import Image

        (folder / "images").mkdir()
        colors = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (30, 60, 220), "yellow": (240, 210, 40)}
        for name, color in colors.items():
            Image.new("RGB", (16, 16), color).save(folder / f"images/{name}.png")
        rows = [(f"images/{name}.png", f"{name} square") for name in colors]
        for part in PARTS:
            table(folder / f"{part}.tsv", [("image", "name"), *(rows * 10 if part == "train" else rows)])
        return
    shutil.copytree(data("captions-emoji") / "images", folder / "images")
    for part in PARTS:
        text = (data("captions-emoji") / f"{part}.tsv").read_text(encoding="utf-8")
        rows = [(line.split("\t")[0], line.split("\t")[1]) for line in text.splitlines()[1:]]
        table(folder / f"{part}.tsv", [("image", "name"), *rows])


def gestures(folder: Path, few: bool) -> None:
    """{train,valid,test}.csv: a row a frame, velocities of hands and wrists, and the phase of the gesture."""
    columns = [f"{joint}{axis}" for joint in ("lh", "rh", "lw", "rw") for axis in "xyz"]
    phases = {"D": "rest", "P": "preparation", "S": "stroke", "H": "hold", "R": "retraction"}
    recordings = {"train": ("a1", "a2", "b1", "b3", "c1"), "valid": ("a3",), "test": ("c3",)}
    chance = random.Random(1)
    for part, names in recordings.items():
        rows = [",".join(("recording", *columns, "phase"))]
        for name in names:
            if few:
                frames = [[f"{chance.random():.3f}" for _ in range(32)] + [chance.choice("DS")] for _ in range(100)]
            else:
                text = (data("video-gesture") / f"{name}_va3.csv").read_text(encoding="utf-8-sig")
                frames = [line.split(",") for line in text.splitlines()[1:]]
            rows += [
                ",".join((f"{name}-{number // 100:02}", *frame[:12], phases[frame[32].strip()]))
                for number, frame in enumerate(frames)
            ]
        (folder / f"{part}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def faces(folder: Path, few: bool) -> None:
    """{train,valid,test}.jsonl: frames of 100 points of a face, and for each whether it shows a question in doubt."""
    if few:
        chance = random.Random(1)
        for part in PARTS:
            records = [[[round(chance.random(), 3) for _ in range(6)] for _ in range(12)] for _ in range(8)]
            lines(folder / f"{part}.jsonl", ({"frames": frames, "labels": [*"000000111111"]} for frames in records))
        return
    out = prepared("video-facial", folder)
    for part in PARTS:
        shutil.copy(out / f"doubt_question-{part}.jsonl", folder / f"{part}.jsonl")


def scans(folder: Path, few: bool) -> None:
    """{train,test,longer}/: pictures of lines of 1 to 6 (7 to 12) handwritten digits, and {train,test,longer}.tsv."""
    import numpy as np
    from PIL import Image

    from antiphon.tools.demo import digit_images

    chance = np.random.default_rng(1)
    pictures, digits = digit_images()
    order = chance.permutation(len(digits))
    parts = {"train": (order[:1400], 2_500, 0), "test": (order[1400:], 300, 0), "longer": (order[1400:], 300, 6)}
    for name, (chosen, count, more) in parts.items():
        (folder / name).mkdir()
        rows = []
        for number in range(20 if few else count):
            line = chance.choice(chosen, more + int(chance.integers(1, 7)))
            pixels = np.concatenate([pictures[place] for place in line], axis=1) * 15
            path = f"{name}/{number:04}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / path)
            rows.append((path, "".join(str(digits[place]) for place in line)))
        table(folder / f"{name}.tsv", rows)


def dialogues(folder: Path, few: bool) -> None:
    """{train,valid,test}.jsonl: a reply in small talk, and the turns before it (chitchat-dataset)."""
    if few:
        turns = [["Hi!", "Hello, how are you?"], ["Hi!", "Hello!", "What do you like?"], ["Do you like music?"]]
        replies = ["I am fine.", "I like music.", "Yes, very much."]
        records = [{"turns": turns[number % 3], "reply": replies[number % 3]} for number in range(45)]
        for part in PARTS:
            lines(folder / f"{part}.jsonl", records[: 45 if part == "train" else 9])
        return
    out = prepared("chat-en", folder)
    for part, count in zip(PARTS, (None, 1_000, 1_000), strict=True):
        with (out / f"{part}.jsonl").open(encoding="utf-8") as file:
            (folder / f"{part}.jsonl").write_text("".join(islice(file, count)), encoding="utf-8")


TABLES: dict[str, tuple[Write, ...]] = {
    "index": (pronunciations,),
    "reference/experiments": (pronunciations,),
    "reference/inspecting": (pronunciations,),
    "reference/python": (pronunciations,),
    "reference/scale": (pronunciations,),
    "reference/shipping": (pronunciations,),
    "reference/using": (pronunciations,),
    "start/first-model": (words,),
    "start/not-learning": (broken,),
    "do/pronunciation": (french,),
    "do/lexicon": (french,),
    "do/labels": (french,),
    "do/inflection": (forms,),
    "do/translation": (translations,),
    "do/tagging": (treebank, entities),
    "do/sentiment": (reviews,),
    "do/captions": (icons,),
    "do/sensors": (gestures,),
    "do/video": (faces,),
    "do/lines": (scans,),
    "do/dialogue": (dialogues,),
    "do/generation": (spellings,),
    "do/drawing": (),
    "do/wheel": (pronunciations,),
    "do/page": (pronunciations,),
}
