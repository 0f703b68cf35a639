"""Made tasks are learned by the settings that are chosen when none are given: from a table, and from sides alone."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tasks import write_table

import antiphon
from antiphon.api import read_config

Pair = tuple[str, str]
Make = Callable[[random.Random], Pair]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September"]
MONTHS += ["October", "November", "December"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def letters(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randint(3, 8)))


def reverse(chance: random.Random) -> Pair:
    word = letters(chance)
    return word, word[::-1]


def copy(chance: random.Random) -> Pair:
    word = letters(chance)
    return word, word


def in_order(chance: random.Random) -> Pair:
    word = letters(chance)
    return word, "".join(sorted(word))


def brackets(chance: random.Random) -> Pair:
    """Brackets that match, and at each how deep it lies."""
    size, depth, symbols, depths = chance.randint(2, 8), 0, [], []
    left = right = 0
    while right < size:
        opens = left < size and (depth == 0 or chance.random() < 0.5)
        depth += opens
        symbols.append("(" if opens else ")")
        depths.append(str(depth))
        depth -= not opens
        left, right = left + opens, right + (not opens)
    return " ".join(symbols), " ".join(depths)


def date(chance: random.Random) -> Pair:
    """A date in one of seven ways, and as ISO 8601 writes it."""
    year, month, day = chance.randint(1900, 2099), chance.randint(1, 12), chance.randint(1, 28)
    name, short = MONTHS[month - 1], MONTHS[month - 1][:3]
    ways = [
        f"{day} {name} {year}", f"{name} {day}, {year}", f"{short} {day} {year}", f"{month}/{day}/{year}",
        f"{day:02}.{month:02}.{year}", f"{chance.choice(DAYS)}, {name} {day}, {year}", f"{day}-{short}-{year % 100:02}",
    ]  # fmt: skip
    way = chance.randrange(7)
    if way == 6:
        year = 2000 + year % 100
    return ways[way], f"{year}-{month:02}-{day:02}"


def majority(chance: random.Random) -> Pair:
    """The letter that stands most often; there is one."""
    while True:
        word = "".join(chance.choices("abc", k=chance.randint(3, 11)))
        (first, most), *others = Counter(word).most_common()
        if not others or others[0][1] < most:
            return word, first


def total(chance: random.Random) -> Pair:
    item, other = chance.randint(100, 999), chance.randint(100, 999)
    return f"{item}+{other}", str(item + other)


TASKS: dict[str, tuple[Make, int, float]] = {
    "reverse": (reverse, 1_000, 0.98),
    "copy": (copy, 1_000, 0.98),
    "sort": (in_order, 1_000, 0.98),
    "depth of brackets": (brackets, 1_000, 0.98),
    "dates of seven formats": (date, 5_000, 0.99),
    "the majority letter": (majority, 1_000, 0.95),
    "sums of three digits": (total, 10_000, 0.97),
}
UNSEEN = 500


def rows_of(make: Make, count: int) -> tuple[list[Pair], list[Pair]]:
    """Distinct rows, and others that are not among them."""
    chance = random.Random(11)
    pairs: dict[str, str] = {}
    while len(pairs) < count + UNSEEN:
        source, target = make(chance)
        pairs[source] = target
    rows = list(pairs.items())
    return rows[:count], rows[count:]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_made_task_is_learned_by_the_defaults(name: str, tmp_path: Path) -> None:
    make, count, least = TASKS[name]
    rows, unseen = rows_of(make, count)
    table = write_table(tmp_path / "rows.tsv", rows)
    (tmp_path / "c.yaml").write_text(json.dumps({"data": {"train": "rows.tsv"}, "source": {"kind": "text"}}))
    config = read_config(table).config
    assert read_config(tmp_path / "c.yaml").config == config, "what follows is true of both doors"
    assert config.target.kind == {"brackets": "labels", "majority": "label"}.get(make.__name__, "text")
    model = antiphon.train(table, threads=1)
    predictions = [item.text for item in model.predict([source for source, _ in unseen])]
    right = sum(text == target for text, (_, target) in zip(predictions, unseen, strict=True)) / UNSEEN
    print(f"{name}: {right:.3f} in {model.metrics['minutes']:.1f} minutes, {model.metrics['updates']:,} updates")
    assert right >= least
