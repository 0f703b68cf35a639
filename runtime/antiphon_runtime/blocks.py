"""Blocks of rows and their predictions as they are written to a file: what a worker of a cluster does.

A worker is given the files of an exported folder, so it needs no disk that it shares with others.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from antiphon_runtime.common.written import json_line, record_of, tsv_line
from antiphon_runtime.errors import InputError, RuntimeModelError
from antiphon_runtime.loading import load

__all__ = ["Block", "Form", "RuntimeModelError", "Worker", "Written"]


@dataclass(frozen=True)
class Form:
    """How rows are predicted, as `Model.predict` takes it, and how they are written.

    `as_json` writes a line of JSON for each input; otherwise a row of a table has the cells of the sources, which are
    called `names`, and the prediction. With `abstain_below` no prediction is given whose confidence is less.
    """

    names: Sequence[str] = ("source",)
    as_json: bool = False
    scores: bool = False
    n_best: int = 1
    beam: int | None = None
    sample: Mapping[str, Any] | None = None
    abstain_below: float | None = None


class Block(NamedTuple):
    """Rows that stand one behind the other in a file: what is at `inputs[i]` stands on `lines[i]`.

    `first` is the number of its first row in the file, from 0; `cells` has the content of each row's source columns.
    """

    file: str
    first: int
    lines: Sequence[int]
    inputs: Sequence[Any]
    cells: Sequence[Sequence[Any]]


class Written(NamedTuple):
    """What a block becomes: the header of its file, its rows, how many inputs have unknown symbols; or its error."""

    header: bytes = b""
    content: bytes = b""
    rows: int = 0
    unknown: int = 0
    error: str | None = None


class Worker:
    """A model that predicts blocks. The same block gives the same bytes, whichever worker predicts it."""

    def __init__(self, files: Mapping[str, bytes], form: Form) -> None:
        """`files` is the content of an exported folder. What is wrong with it is a `FolderError`, what is wrong with
        the options an `OptionError`."""
        self.form = form
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self.model = load(folder)
        if form.abstain_below is not None:
            self.model.refuse_unsure()
        self._answers([], 0, str)

    def written(self, block: Block) -> Written:
        """The rows of a block as they are written; the first that is wrong makes it an error that names its line."""
        answers = self._answers(block.inputs, block.first, lambda place: f"{block.file}:{block.lines[place - 1]}")
        wrong = next((answer for answer in answers if isinstance(answer, InputError)), None)
        if wrong is not None:
            return Written(error=str(wrong))
        unknown = sum(getattr(answer, "unknown", 0) > 0 for answer in answers)
        form = self.form
        if form.as_json:
            lines = (json_line(answer, form.n_best, form.abstain_below) + "\n" for answer in answers)
            return Written(b"", "".join(lines).encode(), len(answers), unknown)
        records = [
            record_of(form.names, cells, answer, form.scores, form.abstain_below, self.model.calibration is not None)
            for cells, answer in zip(block.cells, answers, strict=True)
        ]
        header = tsv_line(records[0]) if records else b""
        return Written(header, b"".join(tsv_line(record.values()) for record in records), len(answers), unknown)

    def __call__(self, table: Any) -> Any:
        """The rows of a table of Ray Data with their blocks, pickled in the column `input`, written (`Written`)."""
        import pyarrow as pa

        written = [self.written(pickle.loads(block)) for block in table["input"].to_pylist()]
        columns = {name: [getattr(block, name) for block in written] for name in Written._fields}
        kinds = {"header": pa.large_binary(), "content": pa.large_binary(), "error": pa.string()}
        added = pa.table({name: pa.array(values, kinds.get(name, pa.int64())) for name, values in columns.items()})
        kept = {name: table[name] for name in table.column_names if name != "input"}
        return pa.table(kept | {name: added[name] for name in added.column_names})

    def _answers(self, inputs: Sequence[Any], first: int, where: Callable[[int], str]) -> list[Any]:
        form, numbers = self.form, range(first, first + len(inputs))
        return self.model.answers(inputs, form.beam, form.n_best, form.sample, numbers, form.as_json, where)
