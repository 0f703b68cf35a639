"""A pair n-gram model of pronunciations, the control that networks have to beat: letters and sounds in joint units.

python studies/pairs.py [TABLE ...]     trains and measures what is not in docs/results/pairs.jsonl yet
python studies/pairs.py --table         writes the table of docs/results/pairs.md

Words and pronunciations are cut into pairs of one or two letters and up to two sounds by expectation maximisation
(Jiampojamarn et al. 2007, Proc. NAACL-HLT, many-to-many alignment); an n-gram model of these pairs with Kneser-Ney
smoothing is then searched with a beam (Bisani & Ney 2008, Speech Communication 50; Novak et al. 2016, Natural Language
Engineering 22, who call theirs Phonetisaurus).
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grid import ROOT, hardware, insert, keep, known

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve()
RUNS, TABLE = ROOT / "docs/results/pairs.jsonl", ROOT / "docs/results/pairs.md"
ORDER = 8  # pairs of an n-gram
SHAPES = ((1, 1), (1, 0), (1, 2), (2, 1))  # letters and sounds of a pair
ROUNDS = 8  # of expectation maximisation
SOME = 20_000  # words that it uses
BEAM = 40  # histories at each letter
BEGIN, END = ("", ""), ("</s>", "")
Pair = tuple[str, str]  # letters, and sounds with blanks between
Word = tuple[Sequence[str], Sequence[str]]  # letters and sounds


# --- alignment ----------------------------------------------------------------------------------------


def cells(word: Word) -> Iterator[tuple[int, int, int, int, Pair]]:
    """Every pair that a word can be cut into, with where it begins and ends in letters and sounds, in order."""
    letters, sounds = word
    for i in range(len(letters)):
        for j in range(len(sounds) + 1):
            for width, height in SHAPES:
                if i + width <= len(letters) and j + height <= len(sounds):
                    pair = "".join(letters[i : i + width]), " ".join(sounds[j : j + height])
                    yield i, j, i + width, j + height, pair


def aligned(words: Sequence[Word], seed: int = 1) -> list[list[Pair]]:
    """The most probable pairs of every word; a word with too many sounds for its letters is left out."""
    some = words if len(words) <= SOME else random.Random(seed).sample(list(words), SOME)
    chances = {pair: 1.0 for word in words for *_, pair in cells(word)}
    for _ in range(ROUNDS):
        expected: dict[Pair, float] = defaultdict(float)
        for word in some:
            expect(word, chances, expected)
        total = sum(expected.values())
        chances = {pair: count / total for pair, count in expected.items()}
    return [path for word in words if (path := best_path(word, chances))]


def expect(word: Word, chances: Mapping[Pair, float], expected: dict[Pair, float]) -> None:
    """Add how often each pair is expected in a word, by the forward-backward algorithm."""
    end = len(word[0]), len(word[1])
    steps = list(cells(word))
    forward: dict[tuple[int, int], float] = defaultdict(float, {(0, 0): 1.0})
    backward: dict[tuple[int, int], float] = defaultdict(float, {end: 1.0})
    for i, j, k, m, pair in steps:
        forward[k, m] += forward[i, j] * chances.get(pair, 0.0)
    if not forward[end]:
        return
    for i, j, k, m, pair in reversed(steps):
        backward[i, j] += backward[k, m] * chances.get(pair, 0.0)
    for i, j, k, m, pair in steps:
        share = forward[i, j] * chances.get(pair, 0.0) * backward[k, m] / forward[end]
        if share > 1e-6:
            expected[pair] += share


def best_path(word: Word, chances: Mapping[Pair, float]) -> list[Pair]:
    """The most probable pairs of a word; none if it cannot be cut."""
    end = len(word[0]), len(word[1])
    best: dict[tuple[int, int], tuple[float, tuple[int, int], Pair]] = {(0, 0): (0.0, (0, 0), BEGIN)}
    for i, j, k, m, pair in cells(word):
        if (i, j) in best and (chance := chances.get(pair, 1e-9)) > 0:
            score = best[i, j][0] + math.log(chance)
            if (k, m) not in best or score > best[k, m][0]:
                best[k, m] = score, (i, j), pair
    path: list[Pair] = []
    while end in best and end != (0, 0):
        _, before, pair = best[end]
        path.append(pair)
        end = before
    return path[::-1]


# --- n-grams ------------------------------------------------------------------------------------------


class Context(NamedTuple):
    """What followed a history: how often each pair, and all together."""

    counts: dict[Pair, int]
    total: int
    discount: float


def contexts(paths: Sequence[Sequence[Pair]], order: int = ORDER) -> list[dict[tuple[Pair, ...], Context]]:
    """For each length of a history, from none, what followed it: below the longest, in how many different places
    (Kneser & Ney 1995, Proc. ICASSP)."""
    grams: list[Counter[tuple[Pair, ...]]] = [Counter() for _ in range(order)]
    for path in paths:
        padded = [*[BEGIN] * (order - 1), *path, END]
        for place in range(order - 1, len(padded)):
            grams[order - 1][tuple(padded[place - order + 1 : place + 1])] += 1
    for size in range(order - 2, -1, -1):
        for gram in grams[size + 1]:
            grams[size][gram[1:]] += 1
    made = []
    for counted in grams:
        once, twice = (sum(count == times for count in counted.values()) for times in (1, 2))
        discount = once / max(once + 2 * twice, 1)
        after: dict[tuple[Pair, ...], dict[Pair, int]] = defaultdict(dict)
        for gram, count in counted.items():
            after[gram[:-1]][gram[-1]] = count
        made.append({history: Context(counts, sum(counts.values()), discount) for history, counts in after.items()})
    return made


def chance(model: Sequence[dict[tuple[Pair, ...], Context]], history: tuple[Pair, ...], pair: Pair) -> float:
    """p(pair | history), interpolated with shorter histories."""
    p = 1.0 / (len(model[0][()].counts) + 1)
    for size, table in enumerate(model):
        context = table.get(history[len(history) - size :] if size else ())
        if context is None:
            break
        count = context.counts.get(pair, 0)
        rest = context.discount * len(context.counts) / context.total
        p = max(count - context.discount, 0.0) / context.total + rest * p
    return p


def spoken(model: Sequence[dict[tuple[Pair, ...], Context]], pairs: Mapping[str, list[Pair]], word: str) -> str:
    """The sounds of the most probable pairs of a word, by a beam; letters that no pair has are silent."""
    order = len(model)
    beams: list[dict[tuple[Pair, ...], tuple[float, str]]] = [{} for _ in range(len(word) + 1)]
    beams[0][(BEGIN,) * (order - 1)] = 0.0, ""
    for place in range(len(word)):
        best = sorted(beams[place].items(), key=lambda item: -item[1][0])[:BEAM]
        for width in (1, 2):
            letters = word[place : place + width]
            if len(letters) < width:
                continue
            for history, (score, sounds) in best:
                for pair in pairs.get(letters, [(letters, "")] if width == 1 else []):
                    new = score + math.log(chance(model, history, pair))
                    key = (*history[1:], pair)
                    if key not in beams[place + width] or new > beams[place + width][key][0]:
                        beams[place + width][key] = new, f"{sounds} {pair[1]}"
    ends = [(score + math.log(chance(model, history, END)), sounds) for history, (score, sounds) in beams[-1].items()]
    return " ".join(max(ends)[1].split()) if ends else ""


# --- tables -------------------------------------------------------------------------------------------


def rows(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(word, sounds) for word, sounds, *_ in (line.split("\t") for line in lines if line.strip())]


def tables() -> dict[str, tuple[Path, Path]]:
    """Training and test rows by name."""
    folder = DATA / "g2p-sigmorphon2021/medium"
    found = {path.name.removesuffix("_train.tsv"): path for path in sorted(folder.glob("*_train.tsv"))}
    languages = {f"sigmorphon-{name}": (path, folder / f"{name}_test.tsv") for name, path in found.items()}
    return {"cmudict": (DATA / "g2p-cmudict/train.tsv", DATA / "g2p-cmudict/test.tsv"), **languages}


def measured(name: str) -> dict[str, Any]:
    """The model of a table, measured on its test rows: of several pronunciations the nearest counts."""
    train, test = map(rows, tables()[name])
    began = time.monotonic()
    paths = aligned([(list(word), sounds.split()) for word, sounds in train])
    model = contexts(paths)
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for pair in {pair for path in paths for pair in path}:
        pairs[pair[0]].append(pair)
    learned = time.monotonic() - began
    wanted: dict[str, set[str]] = defaultdict(set)
    for word, sounds in test:
        wanted[word].add(" ".join(sounds.split()))
    wrong = sum(spoken(model, pairs, word) not in right for word, right in wanted.items())
    return {
        "table": name, "words": len(wanted), "wer": wrong / len(wanted), "minutes": round(learned / 60, 2),
        "hardware": hardware(1),
    }  # fmt: skip


def table(runs: Sequence[Mapping[str, Any]]) -> None:
    """A row a table, and the mean of the ten languages."""
    lines = ["| table | test words | word error rate | minutes to learn |", "|---|---|---|---|"]
    lines += [f"| {run['table']} | {run['words']:,} | {run['wer']:.4f} | {run['minutes']:.1f} |" for run in runs]
    languages = [run["wer"] for run in runs if run["table"].startswith("sigmorphon")]
    if languages:
        mean = sum(languages) / len(languages)
        lines.append(f"| mean of {len(languages)} languages |  | {mean:.4f} |  |")
    insert(TABLE, "pairs", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    for name in arguments.names or tables():
        if name not in [run["table"] for run in known(RUNS)]:
            done = measured(name)
            keep(RUNS, done)


if __name__ == "__main__":
    main()
