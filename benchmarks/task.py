"""What is learned in a comparison: parallel files of tokens between spaces, the same for every side."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path

DATA = Path(os.environ.get("ANTIPHON_DATA", Path(__file__).parents[2] / "shared/data"))
UNKNOWN = "<unk>"
VALID = 64  # rows: every tool validates or at least reads some
Rows = list[tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Task:
    """A data set and the width of the model that learns it: a bidirectional LSTM of `encoder` a direction, an LSTM of
    `decoder`, general attention, dropout 0.2, Adam, batches of 64 rows."""

    name: str
    rows: Callable[[str], Rows]
    embedding: int
    encoder: int
    decoder: int
    outputs: int  # tokens of every output when decoding is timed
    many: int  # inputs to decode: what they take longer than the first `FEW` is their own time
    decoders: Mapping[str, int] = field(default_factory=dict)  # other widths of tools, for as many parameters

    FEW = 100
    BATCH = 64
    DROPOUT = 0.2

    def of(self, tool: str) -> Task:
        """The task with the width of the decoder that gives a tool as many parameters as ours, within 5%."""
        return replace(self, decoder=self.decoders.get(tool, self.decoder))

    def write(self, folder: Path) -> None:
        """`train`, `valid`, `test`, and of the test's first rows `few` and `many`, again from the first where there are
        no more: each as `.source` and `.target` (tokens between spaces) and as `.tsv`."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"train": ("train", None), "valid": ("valid", VALID), "test": ("test", None)}
        for part, (rows_of, most) in {**parts, "few": ("test", self.FEW), "many": ("test", self.many)}.items():
            rows = list(islice(cycle(self.rows(rows_of)), most)) if most else self.rows(rows_of)
            for side, name in enumerate(("source", "target")):
                (folder / f"{part}.{name}").write_text("".join(" ".join(row[side]) + "\n" for row in rows))
            (folder / f"{part}.tsv").write_text("".join("\t".join(map(" ".join, row)) + "\n" for row in rows))

    def tokens(self, updates: int) -> float:
        """Target tokens, the end symbol among them, that so many updates read on average."""
        rows = self.rows("train")
        return updates * self.BATCH * sum(len(target) + 1 for _, target in rows) / len(rows)


def _sentences(part: str) -> Rows:
    """Multi30k, English to German; words that do not occur twice in the training text are one unknown word."""
    files = {"train": "train", "valid": "val", "test": "test2016"}

    def lines(name: str, language: str) -> Iterator[list[str]]:
        for line in (DATA / f"multi30k/tok/{name}.{language}").read_text(encoding="utf-8").splitlines():
            yield line.split()

    sides = []
    for language in ("en", "de"):
        counts = Counter(word for words in lines("train", language) for word in words)
        sides.append([[w if counts[w] > 1 else UNKNOWN for w in words] for words in lines(files[part], language)])
    return list(zip(*sides, strict=True))


def _letters(part: str) -> Rows:
    """CMUdict: the letters of a word and its phonemes."""
    lines = (DATA / f"g2p-cmudict/{'test' if part == 'test' else 'train'}.tsv").read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in lines.splitlines()]
    rows = [(list(word), phonemes.split()) for word, phonemes, *_ in pairs]
    if part == "test":  # one of several pronunciations of a word
        return list({"".join(source): (source, target) for source, target in rows}.values())
    return rows


LETTERS = {"yoyodyne": 256, "fairseq": 240, "eole": 340, "joeynmt": 296, "teaching": 296}
TASKS = {
    task.name: task
    for task in (
        Task("sentences", _sentences, embedding=256, encoder=256, decoder=512, outputs=13, many=5_000),
        Task("letters", _letters, embedding=128, encoder=256, decoder=272, outputs=7, many=10_000, decoders=LETTERS),
    )
}
