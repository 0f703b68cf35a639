"""How predictions are written: a line for each, or a row of a table beside the cells of its sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answers import Prediction

Record = Mapping[str, Any]
PREDICTION = "prediction"


def one_line(text: str, breaks: str = "\n\r") -> str:
    """Plain output is one line per input: characters that would break it become spaces (JSON keeps them)."""
    return text.translate({ord(character): " " for character in breaks})


def is_silent(answer: Prediction, below: float | None) -> bool:
    """Whether no prediction is given, because its confidence is less than `below` (None: all are given)."""
    from .answers import abstains  # which imports numpy: the command line's help does not wait for it

    return below is not None and abstains(answer, below)


def text_line(answer: Prediction, below: float | None = None) -> str:
    """A prediction as one line, without its end; empty where the confidence is less than `below`."""
    return "" if is_silent(answer, below) else one_line(answer.text)


def json_line(answer: Prediction, n_best: int = 1, below: float | None = None) -> str:
    """A prediction as one line of JSON; one whose confidence is less than `below` is marked, not left out."""
    value = answer.to_json() | ({"abstained": True} if is_silent(answer, below) else {})
    if n_best > 1 and "samples" not in value:  # a series has its samples already
        value["n_best"] = [candidate.to_json() for candidate in getattr(answer, "n_best", [])]
    return json.dumps(value, ensure_ascii=False)


def record_of(
    names: Sequence[str],
    cells: Sequence[Any],
    answer: Prediction,
    scores: bool = False,
    below: float | None = None,
    calibrated: bool = False,
) -> Record:
    """A row: the cells of the sources, called `names`, and the prediction. All rows of a model have the same columns.

    With `scores` a text has its log-probability, a label or labels their probabilities, and all of these their
    confidence if the model is `calibrated`: None where there is none, as of an empty input. With `below` no prediction
    is given whose confidence is less, and a column says so, since an empty output would look the same.
    """
    plain, silent = answer.to_json(), is_silent(answer, below)
    values = [plain[name] for name in ("text", "label", "labels", "value", "values") if name in plain]
    more: dict[str, Any] = {name: plain[name] for name in ("score", "probabilities") if scores and name in plain}
    if scores and calibrated:
        more["confidence"] = plain.get("confidence")
    if "probabilities" in more and "label" in plain:
        more["probability"] = more.pop("probabilities").get(plain["label"])  # an empty input has none
    written: dict[str, Any] = {PREDICTION: next(iter(values), None), **more}
    if silent:
        written = dict.fromkeys(written)
    abstained = {} if below is None else {"abstained": silent}
    return {**dict(zip(names, map(_plain, cells), strict=True)), **written, **abstained}


def _plain(cell: object) -> object:
    return cell.tolist() if hasattr(cell, "tolist") else cell  # arrays and scalars of numpy


def as_text(value: object) -> str:
    """A value of a row in a column of text: words with blanks between, what is no text as JSON."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def tsv_line(cells: Iterable[object]) -> bytes:
    """Cells with tabs between, and a newline; characters that would break the line become blanks."""
    return ("\t".join(one_line(as_text(cell), "\t\n\r") for cell in cells) + "\n").encode()
