"""Classic models without a network as controls: NB-SVM for sentences, a linear tagger for parts of speech.

python studies/classic.py [TABLE ...]     measures what is not in docs/results/classic.jsonl yet
python studies/classic.py --table         writes the table of docs/results/classic.md
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid import ROOT, hardware, insert, keep, known
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve()
RUNS, TABLE = ROOT / "docs/results/classic.jsonl", ROOT / "docs/results/classic.md"
Pairs = tuple[list[str], list[str]]  # texts and labels


def text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")


def columns(path: Path, source: int, target: int) -> Pairs:
    """Two columns of a table with tabs."""
    rows = [line.split("\t") for line in text(path).split("\n") if line.strip()]
    return [row[source] for row in rows], [row[target] for row in rows]


# --- sentences ----------------------------------------------------------------------------------------


def nbsvm(train: Pairs, test: Pairs, by_letters: bool) -> float:
    """The accuracy of a linear model on counts of words and pairs of words, each scaled by its log-count ratio of
    naive Bayes (Wang & Manning 2012, Proc. ACL, NB-SVM with a logistic loss); of Chinese, one to three letters."""
    options: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)} if by_letters else {"ngram_range": (1, 2)}
    counts = CountVectorizer(binary=True, token_pattern=r"\w+|[^\w\s]", min_df=2, **options)
    seen, unseen = counts.fit_transform(train[0]), counts.transform(test[0])
    positive = np.array(train[1]) == sorted(set(train[1]))[-1]

    def smoothed(rows: csr_matrix) -> Any:
        total = np.asarray(rows.sum(0)).ravel() + 1.0
        return total / total.sum()

    ratio = np.log(smoothed(seen[positive]) / smoothed(seen[~positive]))
    model = LogisticRegression(C=4.0, solver="liblinear", dual=True, max_iter=200)
    model.fit(seen.multiply(ratio).tocsr(), positive)
    expected = np.array(test[1]) == sorted(set(train[1]))[-1]
    return float((model.predict(unseen.multiply(ratio).tocsr()) == expected).mean())


# --- tags ---------------------------------------------------------------------------------------------


def sentences(path: Path) -> list[list[tuple[str, str]]]:
    """Words with their parts of speech of CoNLL-U."""
    made = []
    for block in text(path).split("\n\n"):
        words = [line.split("\t") for line in block.splitlines() if line[:1].isdigit()]
        pairs = [(word[1], word[3]) for word in words if word[0].isdigit()]
        if pairs:
            made.append(pairs)
    return made


def features(sentence: Sequence[tuple[str, str]]) -> Iterator[list[str]]:
    """What a linear tagger sees of every word: it, its beginnings and ends, its neighbours."""
    words = ["<", "<", *(word for word, _ in sentence), ">", ">"]
    for place in range(2, len(words) - 2):
        word = words[place]
        low = word.lower()
        shape = "".join("X" if letter.isupper() else "d" if letter.isdigit() else "x" for letter in word)[:6]
        yield [
            f"w={low}", f"exact={word}", f"shape={shape}",
            *(f"suffix={low[-size:]}" for size in range(1, 5)), *(f"prefix={low[:size]}" for size in range(1, 4)),
            *(f"{step}={words[place + step].lower()}" for step in (-2, -1, 1, 2)),
            f"-1,0={words[place - 1].lower()},{low}", f"0,1={low},{words[place + 1].lower()}",
            f"-1 suffix={words[place - 1].lower()[-3:]}", f"1 suffix={words[place + 1].lower()[-3:]}",
        ]  # fmt: skip


def linear_tagger(folder: Path) -> float:
    """The accuracy of a linear model on each word and its neighbours, without tags before."""
    hasher = FeatureHasher(1 << 20, input_type="string", alternate_sign=False)

    def arrays(path: Path) -> tuple[csr_matrix, list[str]]:
        read = sentences(path)
        rows = [row for sentence in read for row in features(sentence)]
        return hasher.transform(rows), [tag for sentence in read for _, tag in sentence]

    seen, tags = arrays(folder / "train.conllu.gz")
    unseen, expected = arrays(folder / "test.conllu")
    model = SGDClassifier(loss="modified_huber", alpha=2e-6, max_iter=20, tol=None, random_state=1, average=True)
    model.fit(seen, tags)
    return float((model.predict(unseen) == np.array(expected)).mean())


TABLES: dict[str, tuple[str, Callable[[], float]]] = {
    "sentiment-imdb": ("NB-SVM", lambda: nbsvm(*imdb(), by_letters=False)),
    "sentiment-sst2": ("NB-SVM", lambda: nbsvm(*halves("sentiment-sst2", 1), by_letters=False)),
    "sentiment-zh": ("NB-SVM, letters", lambda: nbsvm(*halves("sentiment-zh", 0), by_letters=True)),
    "tagging-ud-ewt": ("a linear tagger", lambda: linear_tagger(DATA / "tagging-ud-ewt")),
}


def halves(name: str, source: int) -> tuple[Pairs, Pairs]:
    """Texts, in the column `source` of two, and labels to learn from, and of the test."""
    train, test = (columns(DATA / f"{name}/{part}.tsv", source, 1 - source) for part in ("train", "test"))
    return train, test


def imdb() -> tuple[Pairs, Pairs]:
    """Reviews and labels of the two halves."""

    def part(name: str) -> Pairs:
        lines = text(DATA / f"sentiment-imdb/{name}.jsonl.gz").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return [row["text"] for row in rows], [str(row["label"]) for row in rows]

    return part("train"), part("test")


def table(runs: Sequence[Mapping[str, Any]]) -> None:
    lines = ["| table | control | accuracy | minutes |", "|---|---|---|---|"]
    lines += [f"| {r['table']} | {r['control']} | {r['accuracy']:.4f} | {r['minutes']:.1f} |" for r in runs]
    insert(TABLE, "classic", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    for name in arguments.tables or TABLES:
        if name not in [run["table"] for run in known(RUNS)]:
            control, measure = TABLES[name]
            began = time.monotonic()
            accuracy = measure()
            done = {
                "table": name, "control": control, "accuracy": accuracy,
                "minutes": round((time.monotonic() - began) / 60, 2), "hardware": hardware(1),
            }  # fmt: skip
            keep(RUNS, done)


if __name__ == "__main__":
    main()
