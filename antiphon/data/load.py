"""From a configuration's `data` to rows, codecs and encoded examples: where configuration meets data."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from antiphon.common.numbers import with_point
from antiphon.config.files import Files, InMemory, Parallel
from antiphon.config.schema import Config, SideKeys
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.kinds import SOURCES, TARGETS, codec_from_json
from antiphon.data.codecs.numbers import ScaledCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.copying import Copying
from antiphon.data.long_table import load_windows, parts_in_time, sides_of_windows
from antiphon.data.oddities import header, quotes, white_space
from antiphon.data.problems import Problems
from antiphon.data.rows import Row, SideReader, read_rows, read_texts
from antiphon.data.shards import is_streamed, read_sample
from antiphon.data.windows import Windows
from antiphon.errors import ConfigError, DataError, count_of
from antiphon.registry import Table

if TYPE_CHECKING:
    from antiphon.data.shortlist import Shortlist  # which needs PyTorch

DEFAULT_FRACTION = 0.05  # share of the training inputs for validation, unless configured
LOG = logging.getLogger("antiphon")


def tell(problems: Problems) -> None:
    """Log which bad rows were left out, and what may be a mistake."""
    for note in problems.notes:
        LOG.warning("%s", note)
    if problems.first:
        LOG.warning("skipped %s:\n%s", count_of(problems.reasons.total(), "bad row"), problems.summary())


@dataclass(frozen=True)
class Codecs:
    """The codecs of all sides, and if there is one the shortlist of the target symbols that a source can need."""

    sources: tuple[Codec, ...]
    target: Codec
    shortlist: Shortlist | None = None

    @cached_property
    def all(self) -> tuple[Codec, ...]:
        """The codecs of the sources, and behind them the target's."""
        return (*self.sources, self.target)

    @cached_property
    def named(self) -> dict[str, Codec]:
        """Every codec by its side's name: source, source-2, ..., target."""
        return dict(zip(side_names(len(self.sources)), self.all, strict=True))

    def to_json(self) -> str:
        """All codecs as one JSON text."""
        return json.dumps([codec.to_json() for codec in self.named.values()])

    @classmethod
    def from_json(cls, text: str) -> Codecs:
        """What `to_json` gave."""
        *sources, target = json.loads(text)
        names = side_names(len(sources))
        read = (codec_from_json(SOURCES, value, name) for value, name in zip(sources, names, strict=False))
        return cls(tuple(read), codec_from_json(TARGETS, target, "target"))

    def key_of(self, row: Row) -> Hashable:
        """A key that is equal for two rows if their inputs are the same to a model."""
        return tuple(codec.key_of(value) for codec, value in zip(self.sources, row.sources, strict=True))

    def shown(self, row: Row) -> dict[str, str]:
        """A row's sources and its target by name, each as one line; a side that is not read is left out."""
        sides = zip(self.named.items(), (*row.sources, row.target), strict=True)
        return {name: codec.shown(value) for (name, codec), value in sides if codec.reads}


def side_names(sources: int) -> list[str]:
    """source, source-2, ..., target: the names of the sides in files and messages."""
    return ["source", *(f"source-{number}" for number in range(2, sources + 1)), "target"]


def untrained(config: Config) -> Codecs:
    """Codecs that have learned nothing yet: enough to read rows. A wrong option is a `ConfigError`."""
    several = len(config.sources) > 1
    sources = [
        _untrained(SOURCES, side, f"source.{number}" if several else "source")
        for number, side in enumerate(config.sources)
    ]
    codecs = Codecs(tuple(sources), _untrained(TARGETS, config.target, "target"))
    if isinstance(codecs.target, SeriesCodec):
        codecs.target.relate(codecs.sources, [side.columns for side in config.sources], config.target.columns)
    return codecs


def _untrained(table: Table[Codec], side: SideKeys, key: str) -> Codec:
    table.row(side.kind, f"{key}.kind")
    return table.build(side.kind, side.options, key, also=side.own_keys(), where=key)


def sides_of(config: Config, codecs: Codecs) -> list[SideReader]:
    """How rows are read; unless configured otherwise the sources are the first columns, and the target the next."""
    sides = []
    for number, (name, codec) in enumerate(codecs.named.items()):
        keys = config.target if name == "target" else config.sources[number]
        place = keys.place(number) if codec.reads else None
        named = not codec.reads or keys.column is not None or keys.columns is not None
        gathers = codec.steps and (codec.form not in ("any", "aligned") or isinstance(codec, SeriesCodec))
        points = config.data.decimal == "," and isinstance(codec, ScaledCodec)
        read = _with_points(codec.read) if points else codec.read
        sides.append(SideReader(name.replace("-", " "), place, read, gathers, named, codec.fills, codec.kind == "text"))
    if config.data.group is not None and not any(side.gathers and side.columns is not None for side in sides):
        raise ConfigError(
            "data.group", "makes one row of several for frames, labels, numbers or a series, and no side is these"
        )
    return sides


def _with_points(read: Callable[[object, str], Any]) -> Callable[[object, str], Any]:
    """The reader of a side of numbers, for texts with decimal commas: 1.234,5 is 1234.5, and 1.234 is 1234."""

    def point(content: object) -> object:
        if isinstance(content, list):
            return [point(item) for item in content]
        return with_point(content) if isinstance(content, str) else content

    return lambda content, folder: read(point(content), folder)


def load_rows(
    config: Config,
    files: Files,
    problems: Problems | None = None,
    codecs: Codecs | None = None,
    warn: bool = True,
    targets: bool = True,
    sample: bool = False,
) -> Sequence[Row]:
    """All rows of `files`; bad ones are raised together at the end, or skipped if the configuration says so.

    With `sample` they are those of the sample of the streamed table that the configuration trains from.

    Without `targets` only their sources are read.

    With `problems` they are added to these, and nothing is raised. Skipped rows, and what is odd, are warnings
    unless `warn` is false.
    """
    met = problems if problems is not None else Problems(config.data.on_error == "skip")
    rows = _read(config, files, codecs or untrained(config), met, targets, sample)
    if problems is None:
        met.raise_any()
        if warn:
            tell(met)
    if not rows:
        raise DataError(met.summary() if met.first else f"{', '.join(map(str, _tables(files)))}: has no rows")
    return rows


def _read(
    config: Config, files: Files, codecs: Codecs, problems: Problems, targets: bool, sample: bool
) -> Sequence[Row]:
    """The rows that can be read; others, and what is odd, are added to `problems`."""
    if isinstance(files, InMemory) and files.rows is not None:
        return list(files.rows)
    sides = sides_of(config, codecs)
    if config.data.window is not None:
        return load_windows(config, _tables(files), sides_of_windows(config, codecs.all, sides), problems)
    if not targets:
        sides[-1] = replace(sides[-1], columns=None, read=lambda content, folder: "", named=True)
    tables = [] if isinstance(files, Parallel) else _tables(files)
    parallel = [files.source, files.target] if isinstance(files, Parallel) else []
    if parallel and len([side for side in sides if side.columns is not None]) != len(parallel):
        raise ConfigError("data.train", "parallel files are for one source and a target; give a table")
    if codecs.sources[0].whole:
        return list(read_texts(tables, sides[0], problems))
    data = config.data
    if sample:
        rows = list(read_sample(config, sides, problems))
    else:
        rows = list(read_rows(tables, parallel, sides, data.header, problems, data.group, data.separator))
    if not rows and files == config.data.train and problems.reasons.keys() == {"column 1 is missing"}:
        problems.hint = _hint_of_one_column(problems)
    problems.notes += oddities(config, codecs, rows)
    return rows


def _tables(files: Files) -> list[str | InMemory]:
    if isinstance(files, Parallel):
        return [files.source, files.target]
    return [files] if isinstance(files, str | InMemory) else list(files)


def _hint_of_one_column(problems: Problems) -> str:
    """A hint where all rows have one column: the notes, or which models learn from one column."""
    advised = sum("; is it" in line or "; are the" in line for line in problems.first)  # comments, another separator
    return "\n".join([*problems.notes, *([] if 2 * advised > len(problems.first) else [ONE_COLUMN])])


ONE_COLUMN = (
    "(rows of one column train a language model: add --set target.kind=next for separate rows, such as names, "
    "or --set source.kind=long_text --set target.kind=next for one long text, such as a book)"
)


def oddities(config: Config, codecs: Codecs, rows: Sequence[Row]) -> list[str]:
    """What may be a mistake in rows that can be read: a header, a spreadsheet's quotes, columns taken for steps."""
    keys = (*config.sources, config.target)
    notes = [
        f"{name}: each row is read as {len(side.columns)} steps of one number, its columns; if each row is a "
        "step, name the column that tells sequences apart in data.group"
        for (name, codec), side in zip(codecs.named.items(), keys, strict=True)
        if codec.kind == "frames" and side.columns is not None and config.data.group is None
    ]
    if isinstance(config.data.train, Parallel | InMemory) or not rows:
        return notes
    columns: dict[str, list[str]] = {}  # the texts of each side that is text
    for place, (name, codec) in enumerate(codecs.named.items()):
        if codec.reads and codec.kind in TEXTUAL:
            columns[name] = [str((*row.sources, row.target)[place]) for row in rows]
    if not config.data.header and not any(isinstance(side.column, str) for side in keys):
        notes += header(rows, list(columns.values()))
    notes += quotes(rows, columns)
    words = {name: column for name, column in columns.items() if getattr(codecs.named[name], "tokens", "") == "words"}
    return notes + white_space(rows, words)


TEXTUAL = ("text", "category", "label")


def split_rows(
    rows: Sequence[Row], fraction: float, seed: int, key: Callable[[Row], Hashable] = lambda row: row.sources
) -> tuple[list[Row], list[Row]]:
    """Training and validation rows. All rows of one input (by its `key`) go to the same part, chosen by its hash."""
    inputs = {key(row) for row in rows}
    if len(inputs) < 2:
        raise DataError(
            f"{rows[0].file}: a fraction for validation needs at least 2 distinct inputs; give data.valid a file"
        )

    chosen = set(
        sorted(inputs, key=partial(rank_of, seed=seed))[: min(max(1, round(len(inputs) * fraction)), len(inputs) - 1)]
    )
    sides: tuple[list[Row], list[Row]] = [], []
    for row in rows:
        sides[key(row) in chosen].append(row)
    return sides


def rank_of(key: Hashable, seed: int) -> bytes:
    """A digest of an input, by which inputs are drawn for validation."""
    text = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()


def split_text(row: Row, fraction: float) -> tuple[list[Row], list[Row]]:
    """One long text as training and validation rows: the `fraction` at its end validates."""
    (text,) = row.sources
    cut = int(len(text) * (1 - fraction))
    if not text[:cut].strip() or not text[cut:].strip():
        raise DataError(f"{row.file}: is too short for a fraction for validation; give data.valid a file")
    return [replace(row, sources=(text[:cut],))], [
        replace(row, sources=(text[cut:],), line=row.line + text.count("\n", 0, cut))
    ]


def held_out(
    config: Config, codecs: Codecs, rows: Sequence[Row], fraction: float
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training and validation rows, where validation is a fraction of the inputs, or the tail of one long text."""
    if codecs.sources[0].whole:
        if len(rows) > 1:
            raise ConfigError("data.valid", "a fraction is for one long text; give a file")
        return split_text(rows[0], fraction)
    return split_rows(rows, fraction, config.train.seed, codecs.key_of)


def load_parts(
    config: Config, codecs: Codecs, train: Problems | None = None, valid: Problems | None = None
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training and validation rows, as configured, of a streamed table its sample; with `Problems` for each, nothing is
    raised."""
    targets = config.train.teacher_outputs != "only"
    rows = load_rows(config, config.data.train, train, codecs, targets=targets, sample=is_streamed(config))
    files = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if isinstance(rows, Windows):
        parts = parts_in_time(config, rows)
        return parts["train"], parts["valid"] if isinstance(files, float) else load_rows(config, files, valid, codecs)
    if isinstance(files, float):
        return held_out(config, codecs, rows, files)
    return rows, load_rows(config, files, valid, codecs)


def load_test(config: Config, codecs: Codecs, problems: Problems | None = None) -> Sequence[Row] | None:
    """The rows to test with: of the configured files, or the part of a long table behind `data.window.test_from`."""
    window = config.data.window
    if config.data.test is not None:
        return load_rows(config, config.data.test, problems, codecs)
    if window is None or window.test_from is None:
        return None
    windows = load_rows(config, config.data.train, None if problems is None else Problems(skip=True), codecs)
    assert isinstance(windows, Windows)
    return parts_in_time(config, windows)["test"]


def train_codecs(config: Config, rows: Sequence[Row]) -> Codecs:
    """The codecs of all sides, learned from training rows only."""
    if isinstance(rows, Windows):  # which keep the deviations of their table, since these are what they report
        return learned_codecs(config, rows.covered, paired=False)
    return learned_codecs(config, lambda place: [(*row.sources, row.target)[place] for row in rows])


def learned_codecs(config: Config, column: Callable[[int], Sequence[Any]], paired: bool = True) -> Codecs:
    """The codecs of all sides, learned from the training rows' values of each; the target's place is the last.

    `paired` says whether the values of all sides are those of the same rows, in order.
    """
    codecs = untrained(config)
    for place, codec in enumerate(codecs.all):
        codec.learn(column(place))
    if isinstance(codecs.target, SeriesCodec):
        past = codecs.target.past_source
        pairs = zip(column(past), column(len(codecs.sources)), strict=True) if paired else ()
        codecs.target.follow(codecs.sources, pairs)
    if codecs.target.form == "next":
        codecs.sources[0].trims = False  # a blank at the end of a prompt begins a word
    return codecs


def copying_of(config: Config, codecs: Codecs) -> Copying | None:
    """How the sides share ids if the model copies; sides that cannot are a `ConfigError`."""
    if not config.model.copy_:
        return None
    try:
        return Copying.between(codecs.sources, codecs.target)
    except ConfigError as error:
        raise ConfigError("model.copy", error.reason) from None


def group_references(config: Config, codecs: Codecs, rows: Sequence[Row]) -> list[list[int]]:
    """Rows that are references of one input: every row alone, or all rows of an input together."""
    if config.data.references == "rows":
        return [[number] for number in range(len(rows))]
    groups: dict[Hashable, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(codecs.key_of(row), []).append(number)
    return list(groups.values())
