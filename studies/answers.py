"""Twenty answers as they came: of the models that `studies/recipes.py` trained, to lines that they have not seen.

python studies/answers.py      then writes docs/results/answers.md
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from grid import ROOT
from recipes import folder_of

import antiphon
from antiphon.files import write_text

TAKEN = {
    "couplets-zh": "A couplet's second line, from its first.",
    "chat-en": "A reply, from the last three turns.",
}
ANSWERS = 20


def table(name: str, about: str) -> Iterator[str]:
    """Rows of the test data drawn with a fixed seed: the source, the prediction and the reference."""
    model = antiphon.load(folder_of(name, "", 1))
    by_input: dict[Any, str] = {}
    for row in model.rows(None):
        by_input.setdefault(row.sources[0], str(row.target))
    read = random.Random(1).sample(sorted(by_input), ANSWERS)
    yield f"## {name}\n\n{about}\n"
    yield "| read | said | in the data |\n|---|---|---|"
    given = [entry if isinstance(entry, str) else list(entry) for entry in read]
    for entry, answer in zip(read, model.predict(given), strict=True):
        yield f"| {_cell(entry)} | {_cell(answer.text)} | {_cell(by_input[entry])} |"
    yield ""


def _cell(text: str | Sequence[str]) -> str:
    return (text if isinstance(text, str) else " / ".join(text)).replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """All tables."""
    lines = [f"# {ANSWERS} answers to unseen lines, as they came\n", "Drawn from the test rows once, with a seed.\n"]
    write_text(
        ROOT / "docs/results/answers.md",
        "\n".join([*lines, *(entry for item in TAKEN.items() for entry in table(*item))]),
    )


if __name__ == "__main__":
    main()
