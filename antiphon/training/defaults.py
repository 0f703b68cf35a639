"""Every key that the user did not set, chosen from the data: the same for a table, a configuration and from Python.

`complete` is the only entry. A key that is set stays, and others follow from it: fewer rows per update mean fewer
epochs for as many updates. Model and training are chosen in `facts.py`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from antiphon.config.load import parse_config
from antiphon.config.schema import Config
from antiphon.data.encoded_table import EncodedTable, is_encoded
from antiphon.data.formats import suffix_of
from antiphon.data.hallucinate import have_stems
from antiphon.data.load import load_rows, sides_of, untrained
from antiphon.data.long_table import parts_in_time
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.data.shards import is_streamed
from antiphon.data.windows import Windows
from antiphon.model.build import structure_of
from antiphon.training import sides
from antiphon.training.autotune import parts_to_time, seconds_of_update
from antiphon.training.facts import FEW, FEWEST_ROWS, Facts, Keys, choose
from antiphon.training.prepare import check_names
from antiphon.training.streamed import rows_of_shards, sample_of_encoded

MEASURED = 4_000  # rows with which the time of an update is measured
LEARNING = 0.85  # of the minutes; the rest is for reading, validation and saving
LONGEST = 2.0  # seconds of a timing
ENOUGH = 2_500  # updates: for as many as that, batches are made smaller
SHORT, NARROWED, WORTH = 0.3, 2 / 3, 1.5  # with less than this share of the usual updates, widths are so many times the
# usual ones, if the updates are so many times as fast


@dataclass(frozen=True)
class Completed:
    """A whole configuration, and a few lines about what was chosen for it."""

    config: Config
    about: list[str]


def complete(
    user_config: Config, like: Config | None = None, skip: bool = False, teacher: Config | None = None
) -> Completed:
    """`user_config`, with every key that it leaves open chosen from its data.

    Sides, model and decoding are those of `like`, the configuration of a model to start from, if it is not None; a
    student has the sides of its `teacher`. No data is read if no key is open, or if a key of the user is wrong with any
    data. Bad rows are errors; with `skip` they are skipped, and the caller reports them.
    """
    tree = user_config.user_keys if like is None else _started(user_config.user_keys, like)
    if is_encoded(user_config.data.train):
        tree = _of_encoded(tree)
    tree = _of_formats(tree) if teacher is None else _taught(tree, teacher)
    target = tree.get("target", {})
    if "kind" in target or target.keys() - {"column"}:  # else it may become a label
        keys = Keys(tree)
        choose(keys, _facts_of(parse_config(tree, Path())))
        check_names(parse_config(_laid_over(keys.chosen, tree), Path()))
        are_open = any(map(_is_open, [*_as_list(tree.get("source", {})), target])) or tree["data"].get("valid") is None
        if not keys.chosen and not are_open:
            return Completed(parse_config(tree, Path()), [])
    rows, tree, about = _with_sides(tree, skip, chosen=teacher is None)
    keys = Keys(tree)
    if tree["data"].get("valid") is None:
        tree = _laid_over(tree, {"data": {"valid": _fraction(len(rows))}})
    facts = _counted(parse_config(tree, Path()), rows)
    choose(keys, facts)
    if like is not None:
        keys.chosen.pop("model", None)
    config = parse_config(_laid_over(keys.chosen, tree), Path())
    if config.train.minutes is not None and like is None and teacher is None:
        config, facts, line = _within(config, tree, facts, rows)
        about.append(line)
    return Completed(config, [*about, *_summary(config, facts)])


def _within(config: Config, tree: Mapping[str, Any], facts: Facts, rows: Sequence[Row]) -> tuple[Config, Facts, str]:
    """The configuration for `train.minutes`, `config` if they allow all its updates; its facts, and a line about it."""
    minutes, usual = config.train.minutes, config.train.max_steps
    assert minutes is not None
    if usual is None or int(os.environ.get("WORLD_SIZE", "1")) > 1:  # several processes would measure several times
        return config, facts, f"{minutes:g} minutes: the schedule fits them"
    some = rows if len(rows) <= MEASURED else [rows[place * len(rows) // MEASURED] for place in range(MEASURED)]
    parts, available = parts_to_time(config, some), 60 * minutes * LEARNING
    limit = min(LONGEST, 60 * minutes / 100)  # seconds of a timing
    seconds = seconds_of_update(config, parts, limit)
    if available >= seconds * usual:
        return config, facts, f"{minutes:g} minutes: all of the {usual:,} updates fit"
    facts = replace(facts, share=available / (seconds * usual))
    if facts.share < SHORT:  # a narrower model learns more in the time, if it is much faster
        narrow = replace(facts, narrow=NARROWED)
        narrow_seconds = seconds_of_update(_timed(tree, narrow), parts, limit)
        if seconds >= WORTH * narrow_seconds:
            facts, seconds = narrow, narrow_seconds
    config = _timed(tree, facts)
    while available < ENOUGH * seconds and config.train.batch_size > FEWEST_ROWS and facts.rows_each > 0.25:
        # smaller batches make more updates
        facts = replace(facts, rows_each=facts.rows_each / 2)
        config = _timed(tree, facts)
        seconds = seconds_of_update(config, parts, limit)
    chosen = f"encoder {config.model.encoder.hidden}, {config.train.batch_size} rows each"
    return config, facts, f"{minutes:g} minutes: about {available / seconds:,.0f} updates, not {usual:,}; {chosen}"


def _timed(tree: Mapping[str, Any], facts: Facts) -> Config:
    """The configuration for a training that has to be short."""
    keys = Keys(tree)
    choose(keys, facts)
    keys("train.precision", "auto")
    return parse_config(_laid_over(keys.chosen, tree), Path())


def _of_formats(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree, with what the format of all training files says where the user does not.

    Of files with one token per line (.conll) the last column has the labels of the first; in a pronunciation lexicon
    (.dict) blanks separate the symbols of the target.
    """
    train, target = tree["data"]["train"], tree.get("target", {})
    files = [train] if isinstance(train, str) else train if isinstance(train, list) else []
    source = tree.get("source", {})
    suffixes = {suffix_of(file) for file in files}
    if suffixes == {".dict"} and target.get("kind", "text") == "text":
        return {**tree, "target": {"kind": "text", "tokens": "words", **target}}
    if suffixes != {".conll"} or isinstance(source, list):
        return dict(tree)
    sides = [(source, 0), (target, -1)]
    placed = [side if {"column", "columns"} & side.keys() else {**side, "column": place} for side, place in sides]
    return {**tree, "source": placed[0], "target": {"kind": "labels", **placed[1]}}


def laid_over(whole: Config, user_config: Config) -> Config:
    """A whole configuration with the user's keys in place of its own."""
    return parse_config(_laid_over(whole.model_dump(by_alias=True), user_config.user_keys), Path())


def _started(tree: Mapping[str, Any], like: Config) -> dict[str, Any]:
    """The user's keys in place of those of a model to start from."""
    base = like.model_dump(by_alias=True, include={"sources", "target", "model", "decode"})
    base["model"]["embeddings"] = None
    base["decode"]["max_length"] = None
    return _laid_over(base, tree)


def _of_encoded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The user's keys over those that the rows of an encoded table were encoded by, which must not differ."""
    table = EncodedTable.open(tree["data"]["train"])
    table.refuse_changed(tree)
    base = {name: table.tree[name] for name in ("data", "source", "target")}
    base["data"] = {**base["data"], "shuffle": None, "workers": None}
    return _laid_over({**base, "model": {"copy": table.tree["model"]["copy"]}}, tree)


def _taught(tree: Mapping[str, Any], teacher: Config) -> dict[str, Any]:
    """The user's keys in place of those of a teacher's sides, which its student has, too."""
    sides = teacher.model_dump(by_alias=True, include={"sources", "target"})
    return _laid_over({**sides, "model": {"copy": teacher.model.copy_}}, tree)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees as one, where the values of `above` win; a part of another kind takes no options from `below`."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        same = isinstance(value, Mapping) and isinstance(under, Mapping) and _agree(under, value)
        merged[name] = _laid_over(under, value) if same else value  # type: ignore[arg-type]
    return merged


def _agree(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    names = below.keys() & above.keys() & {"kind", "from"}
    return all(below[name] == above[name] for name in names)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- the sides ----------------------------------------------------------------------------------------


def _is_open(side: Mapping[str, Any]) -> bool:
    """Whether a side has an open key."""
    return "kind" not in side or (side["kind"] in ("text", "long_text") and "tokens" not in side)


def _with_sides(tree: Mapping[str, Any], skip: bool, chosen: bool) -> tuple[Sequence[Row], dict[str, Any], list[str]]:
    """The rows as they are read; the tree with the sides' kinds and tokens, which are `chosen` where they are open; a
    few lines with the reasons."""
    about: list[str] = []
    reading = {name: tree[name] for name in ("data", "source", "target", "structure") if name in tree}
    config = parse_config(reading, Path())
    codecs = untrained(config)
    problems = Problems(skip=True) if skip else None
    targets = tree.get("train", {}).get("teacher_outputs") != "only"
    rows: Sequence[Row]
    if is_encoded(config.data.train):
        rows = sample_of_encoded(config)
    else:
        rows = load_rows(
            config, config.data.train, problems, codecs, warn=False, targets=targets, sample=is_streamed(config)
        )
    if not chosen:
        return rows, dict(tree), about
    target = dict(tree.get("target", {}))
    if "kind" not in target:
        kind = sides.target_kind(codecs, rows) if not target.keys() - {"column"} else None
        target["kind"] = kind.value if kind else "text"
        if kind:
            about.append(f"target: {kind.value}, as {kind.why}")
            config = parse_config({**reading, "target": target}, Path())
            codecs = untrained(config)
            read = sides_of(config, codecs)[-1].read
            rows = [replace(row, target=read(row.target, "")) for row in rows]
    sources = [{"kind": "text", **side} for side in _as_list(tree.get("source", {}))]
    for place, (name, side) in enumerate(zip(codecs.named, (*sources, target), strict=True)):
        tokens = sides.tokens(codecs, rows, place) if "tokens" not in side else None
        if tokens:
            side["tokens"] = tokens.value
            about.append(f"{name}: {sides.named(tokens.value)}, as {tokens.why}")
        if "normalize" not in side and sides.in_jamo(codecs, rows, place, side.get("tokens")):
            side["normalize"] = "nfd"
            about.append(f"{name}: Hangul as jamo, the letters of its syllables (normalize: nfd)")
        if place == 0 and "characters" not in side and sides.spelled(codecs, side.get("tokens")):
            side["characters"] = True
            about.append(f"{name}: with the spelling of each word, as each has a label")
    source = sources if isinstance(tree.get("source"), list) else sources[0]
    return rows, {**tree, "source": source, "target": target}, about


def _fraction(rows: int) -> float:
    """The share of the training inputs for validation."""
    return 0.1 if rows < 5_000 else 0.05 if rows < 50_000 else 0.02


# --- what the choice depends on -----------------------------------------------------------------------


def _facts_of(config: Config) -> Facts:
    """The facts that are known without the data."""
    codecs = untrained(config)
    kinds = tuple(side.kind for side in config.sources)
    return Facts(structure_of(config), codecs.target.form, kinds, config.target.kind)


def _counted(config: Config, rows: Sequence[Row]) -> Facts:
    facts, fraction = _facts_of(config), config.data.valid
    share = 1 - fraction if isinstance(fraction, float) else 1.0
    if facts.kinds == ("long_text",):
        symbols = sum(len(row.sources[0]) for row in rows)
        words = config.sources[0].options.get("tokens") not in (None, "chars")
        return replace(facts, steps=max(1, int(share * symbols / (5.5 if words else 1))))
    if isinstance(rows, Windows):
        return replace(facts, rows=len(parts_in_time(config, rows)["train"]))
    count = max(1, math.floor(len(rows) * share) - 1) if share < 1 else len(rows)
    streamed = is_streamed(config)
    if streamed:
        count = max(1, int(share * rows_of_shards(config)))
    if facts.form != "any" or facts.target == "series":
        return replace(facts, rows=count)
    rearranged = sides.rearranged(rows)
    copied = not rearranged and sides.copied(untrained(config), rows)
    stems = copied and not streamed and len(rows) < 2 * FEW and have_stems(rows, untrained(config))
    return replace(facts, rows=count, rearranged=rearranged, copied=copied, stems=stems)


def _summary(config: Config, facts: Facts) -> list[str]:
    """The main settings of the model and its training."""
    model, train, target = config.model, config.train, config.target
    kinds = " and ".join(facts.kinds)
    valid = config.data.valid
    held = f"{valid:.0%} of the inputs" if isinstance(valid, float) else str(valid)
    window = config.data.window
    if window is not None and isinstance(valid, float):
        held = f"the last {valid:.0%} of the rows" if window.valid_from is None else f"from {window.valid_from}"
    cell = model.cell.kind + "".join(f", {name} {value}" for name, value in model.cell.options.items() if value)
    widths = [f"embedding {model.embedding}", f"encoder {model.encoder.hidden}"]
    if facts.form == "any":
        copies = " with copying" if model.copy_ else ""
        widths += [f"decoder {model.decoder.hidden}", f"attention {model.attention.kind}{copies}"]
    size = f"{facts.steps:,} symbols" if facts.steps > 1 else f"about {facts.rows:,} rows"
    size = size if window is None else f"{facts.rows:,} windows"
    batch = f"{train.batch_size:,} rows" if train.batch_tokens is None else f"{train.batch_tokens} tokens"
    made = f", and {config.data.hallucinate:,} made of them with other stems" if config.data.hallucinate else ""
    ceilings = [f"{train.max_steps:,} updates"] if train.max_steps else []
    return [
        f"structure: {facts.structure}, as {kinds} -> {target.kind} is; {size}{made} to train with; valid: {held}",
        f"model: {cell}; {', '.join(widths)}; dropout {model.dropout}",
        f"train: at most {' and '.join([*ceilings, f'{train.epochs:,} epochs'])}, {batch} each",
    ]
