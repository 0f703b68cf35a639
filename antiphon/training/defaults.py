"""Every key that the user did not set, chosen from the data: the same for a table, a configuration and from Python.

`complete` is the only entry. A key that is set stays, and others follow from it: fewer rows per update mean fewer
epochs for as many updates. The measurements behind the numbers: docs/results/small.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.data.codecs.base import Answers
from antiphon.data.formats import suffix_of
from antiphon.data.load import load_rows, sides_of, untrained
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.model.build import structure_of
from antiphon.training import sides
from antiphon.training.optimizer import UNSCALED
from antiphon.training.prepare import check_names

MOST_UPDATES = 200_000
SMALL, MIDDLE = 20_000, 300_000  # training rows
FEW = 200  # training rows: fewer are learned better with the context only at the start
MISSING = object()


@dataclass
class Keys:
    """The keys of a configuration: the user's stay, and the open ones are chosen."""

    user_keys: Mapping[str, Any]
    chosen: dict[str, Any] = field(default_factory=dict)

    def __call__(self, key: str, value: Any) -> Any:
        """The value of `key`: the user's, or else `value`, which is then chosen."""
        user_value = self.of(key)
        if user_value is not MISSING:
            return user_value
        set_value(self.chosen, key, value)
        return value

    def of(self, key: str) -> Any:
        """The user's value of `key`, or MISSING."""
        here: Any = self.user_keys
        for name in key.split("."):
            if not isinstance(here, Mapping) or name not in here:
                return MISSING
            here = here[name]
        return here

    def gives(self, key: str) -> bool:
        return self.of(key) is not MISSING


@dataclass(frozen=True)
class Facts:
    """The facts on which the choice of a model and of its training depends."""

    structure: str
    form: Answers  # the target's form
    kinds: tuple[str, ...]  # the kinds of the sources
    target: str  # the kind of the target
    rows: int = 1  # training rows
    steps: int = 1  # symbols of one long text
    rearranged: bool = False  # targets have the symbols of their source in another order

    @property
    def small(self) -> bool:
        return self.rows < SMALL

    @property
    def middle(self) -> bool:
        return self.rows < MIDDLE


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
    tree = _of_sentences(tree) if teacher is None else _taught(tree, teacher)
    target = tree.get("target", {})
    if "kind" in target or target.keys() - {"column"}:  # else it may become a label
        keys = Keys(tree)
        _choose(keys, _facts_of(parse_config(tree, Path())))
        check_names(parse_config(_laid_over(keys.chosen, tree), Path()))
        are_open = any(map(_is_open, [*_as_list(tree.get("source", {})), target])) or tree["data"].get("valid") is None
        if not keys.chosen and not are_open:
            return Completed(parse_config(tree, Path()), [])
    rows, tree, about = _with_sides(tree, skip, chosen=teacher is None)
    keys = Keys(tree)
    if tree["data"].get("valid") is None:
        tree = _laid_over(tree, {"data": {"valid": _fraction(len(rows))}})
    facts = _counted(parse_config(tree, Path()), rows)
    _choose(keys, facts)
    if like is not None:
        keys.chosen.pop("model", None)
    config = parse_config(_laid_over(keys.chosen, tree), Path())
    return Completed(config, [*about, *_summary(config, facts)])


def _of_sentences(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree; of files with one token per line (.conll) the last column has the labels of the first, unless the user
    sets another column."""
    train, target = tree["data"]["train"], tree.get("target", {})
    files = [train] if isinstance(train, str) else train if isinstance(train, list) else []
    source = tree.get("source", {})
    if not files or {suffix_of(file) for file in files} != {".conll"} or isinstance(source, list):
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


def _with_sides(tree: Mapping[str, Any], skip: bool, chosen: bool) -> tuple[list[Row], dict[str, Any], list[str]]:
    """The rows as they are read; the tree with the sides' kinds and tokens, which are `chosen` where they are open; a
    few lines with the reasons."""
    about: list[str] = []
    reading = {name: tree[name] for name in ("data", "source", "target", "structure") if name in tree}
    config = parse_config(reading, Path())
    codecs = untrained(config)
    problems = Problems(skip=True) if skip else None
    targets = tree.get("train", {}).get("teacher_outputs") != "only"
    rows = load_rows(config, config.data.train, problems, codecs, warn=False, targets=targets)
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
    count = max(1, math.floor(len(rows) * share) - 1) if share < 1 else len(rows)
    return replace(facts, rows=count, rearranged=facts.form == "any" and sides.rearranged(rows))


def _summary(config: Config, facts: Facts) -> list[str]:
    """The main settings of the model and its training."""
    model, train, target = config.model, config.train, config.target
    kinds = " and ".join(facts.kinds)
    valid = config.data.valid
    held = f"{valid:.0%} of the inputs" if isinstance(valid, float) else str(valid)
    cell = model.cell.kind + "".join(f", {name} {value}" for name, value in model.cell.options.items() if value)
    widths = [f"embedding {model.embedding}", f"encoder {model.encoder.hidden}"]
    if facts.form == "any":
        copies = " with copying" if model.copy_ else ""
        widths += [f"decoder {model.decoder.hidden}", f"attention {model.attention.kind}{copies}"]
    size = f"{facts.steps:,} symbols" if facts.steps > 1 else f"about {facts.rows:,} rows"
    batch = f"{train.batch_size:,} rows" if train.batch_tokens is None else f"{train.batch_tokens} tokens"
    ceilings = [f"{train.max_steps:,} updates"] if train.max_steps else []
    return [
        f"structure: {facts.structure}, as {kinds} -> {target.kind} is; {size} to train with; valid: {held}",
        f"model: {cell}; {', '.join(widths)}; dropout {model.dropout}",
        f"train: at most {' and '.join([*ceilings, f'{train.epochs:,} epochs'])}, {batch} each",
    ]


# --- model and training -------------------------------------------------------------------------------


def _choose(keys: Keys, facts: Facts) -> None:
    """Choose the open keys of `model` and `train`. Which keys are chosen depends only on the kinds of the sides."""
    if facts.kinds == ("long_text",):
        _long_text(keys, facts)
    elif facts.form == "any":
        _written(keys, facts)
    elif facts.form == "aligned":
        _aligned(keys, facts)
    elif facts.form == "next":
        _next(keys, facts)
    else:
        _answered(keys, facts)


def _written(keys: Keys, facts: Facts) -> None:
    """A decoder writes a text, with attention to the steps of a sequence or to the places of a picture."""
    small, middle = facts.small, facts.middle
    sequence, pictures = facts.structure == "many_to_many", {"image", "grid"} & {*facts.kinds}
    keys("model.embedding", 128 if middle else 256)
    hidden = _recurrent(keys, facts, 128 if small else 192 if middle else 256, weight_drop=0.3)
    memory = hidden * 2 if sequence and keys("model.encoder.bidirectional", True) else hidden
    keys("model.decoder.hidden", (memory if sequence else 2 * hidden) * _joined(keys, facts))
    keys("model.dropout", 0.4 if small else 0.3)
    # rearranged targets need all symbols at every step, and a look at the next one: with it 0.99 instead of 0.87 of 500
    # unseen sorted words are right, but 0.73 instead of 0.77 of pronunciations; from 100 rows it learns less
    moved = facts.rearranged and small and facts.rows >= FEW
    keys("model.context.from", "projected_all" if pictures or moved else "projected_last")
    features = len(facts.kinds) > 1 and facts.rows >= FEW  # all sources must reach every step
    keys("model.context.to", "initial_state" if sequence and not features and not moved else "every_step")
    asks = {"kind": "additive", "query": "previous"} if moved else "general" if sequence or not pictures else "additive"
    keys("model.attention", asks)
    batch = 16 if facts.rows < 2_000 else 32 if small else 64 if middle else 128
    _budget(keys, facts, batch, least=3_000, epochs=40 if small else 25, patience=3_000)
    # 100 words to reverse: 0.86 instead of 0.79 of unseen ones are right with half the rate, 0.11 instead of 0.09 of
    # pronunciations; from 300 rows it loses up to 8 points, and with two sources it is not better
    halved = facts.kinds == ("text",) and facts.rows < FEW
    _learning(keys, rate=2e-3 if small and not halved else 1e-3, smoothing=0.1, average=0.999, unknown=0.01)


def _joined(keys: Keys, facts: Facts) -> int:
    """The width of the context as a multiple of a source's states: with `last` the states are concatenated."""
    return len(facts.kinds) if keys.of("model.context.from") == "last" else 1


def _aligned(keys: Keys, facts: Facts) -> None:
    """CTC: the steps of the source predict a text together."""
    keys("model.embedding", 128)
    _recurrent(keys, facts, 128 if facts.small else 256, weight_drop=0.0)
    keys("model.dropout", 0.3)
    batch = 16 if facts.rows < 2_000 else 32
    _budget(keys, facts, batch, least=2_000, epochs=40 if facts.small else 25, patience=2_000)
    _learning(keys, rate=3e-3, smoothing=0.0, average=0.998, unknown=0.01)


def _answered(keys: Keys, facts: Facts) -> None:
    """A reader predicts a label or a number for the whole source, or for each of its steps."""
    text, steps = "text" in facts.kinds, facts.form == "each"
    pictures = {"image", "images"} & {*facts.kinds}
    keys("model.embedding", 128 if text or pictures else 64)
    _recurrent(keys, facts, 128, weight_drop=0.0)
    if not steps:
        keys("model.pooling", "max" if text else "attention")
    keys("model.dropout", 0.5 if text or steps else 0.3)
    batch = 8 if facts.rows < 500 else 16 if facts.rows < 2_000 else 32 if facts.small else 64
    epochs = 20 if facts.rows < 5_000 else 12
    _budget(keys, facts, batch, least=1_500, epochs=epochs, patience=500, validations=5, often=100)
    _learning(keys, rate=2e-3, smoothing=0.0, average=0.998, unknown=0.05 if text else 0.01)


def _next(keys: Keys, facts: Facts) -> None:
    """A language model of rows: names, sentences."""
    _tied(keys, 128, _recurrent(keys, facts, 256 if facts.small else 512, weight_drop=0.3))
    keys("model.dropout", 0.4 if facts.small else 0.3)
    batch = 16 if facts.rows < 2_000 else 32 if facts.small else 64
    _budget(keys, facts, batch, least=1_500, epochs=40 if facts.small else 20, patience=1_500)
    _learning(keys, rate=2e-3, smoothing=0.0, average=0.998, unknown=0.01)


def _long_text(keys: Keys, facts: Facts) -> None:
    """A language model of one long text, read in many places at once."""
    short = facts.steps < 200_000
    _tied(keys, 64 if short else 128, _recurrent(keys, facts, 256 if short else 384, weight_drop=0.3))
    keys("model.dropout", 0.4)
    lanes = keys("train.batch_size", min(32, max(1, facts.steps // 4_000)))
    piece = keys("train.bptt", 128)
    pieces = max(1, math.ceil(facts.steps / (lanes * piece)))
    _ceilings(keys, pieces, max(1_500, min(40 * pieces, 10_000)), patience=1_500)
    keys("train.schedule", {"kind": "cosine", "warmup": 100})
    _learning(keys, rate=3e-3, smoothing=0.0, average=0.995, unknown=0.0)


def _tied(keys: Keys, embedding: int, output: int) -> None:
    """The width of a language model's embedding: with `tie` the width of its output."""
    keys("model.embedding", output if keys.of("model.tie") is True else embedding)


def _recurrent(keys: Keys, facts: Facts, hidden: int, weight_drop: float) -> int:
    """The encoder's width, and the regularisation that keeps a small table from being learned by heart."""
    hidden = keys("model.encoder.hidden", hidden)
    keys("model.locked_dropout", facts.small and weight_drop > 0)
    keys(
        "model.cell", {"kind": "lstm", "weight_drop": weight_drop if facts.small else 0.0}
    )  # a cell that the user names stays plain
    if {"image", "images"} & {*facts.kinds}:
        keys("model.image.channels", [16, 32, 64])
        keys("model.image.jitter", 0.1 if facts.small else 0.0)
    return int(hidden)


def _budget(
    keys: Keys,
    facts: Facts,
    batch: int,
    least: int,
    epochs: int,
    patience: int,
    validations: int = 10,
    often: int = 200,
) -> None:
    """As many updates as a table of this size needs, in batches of rows."""
    size = keys("train.batch_size", batch)
    a_batch = size * (1 if keys.of("train.accumulate") is MISSING else keys.of("train.accumulate"))
    updates = max(least, min(epochs * facts.rows // a_batch, MOST_UPDATES))
    by_tokens = keys.of("train.batch_tokens") not in (MISSING, None)  # then updates decide, not epochs
    an_epoch = 1 if by_tokens else max(1, math.ceil(facts.rows / a_batch))
    _ceilings(keys, an_epoch, updates, patience, validations, often)
    keys("train.schedule", {"kind": "cosine", "warmup": 100})


def _ceilings(keys: Keys, an_epoch: int, updates: int, patience: int, validations: int = 10, often: int = 200) -> None:
    """How long it trains at most, and how long it continues without getting better, from the updates of an epoch.

    It validates once per epoch, at least `often` updates apart; its patience is at least `validations` validations and
    `patience` updates. If the user sets a ceiling, it is the only one.
    """
    if keys.gives("train.epochs"):
        keys("train.max_steps", None)
    else:
        updates = keys("train.max_steps", updates) or updates
        keys("train.epochs", max(1, math.ceil(updates / an_epoch)))
    usual = min(max(an_epoch, often), 2_000)
    every = keys("train.validate_every", usual) or usual
    keys("train.patience", max(validations, math.ceil(patience / every)))


def _learning(keys: Keys, rate: float, smoothing: float, average: float, unknown: float) -> None:
    """Learning rate, smoothing and unknown symbols; a moving average of the weights, unless the user sets another."""
    optimizer = keys.of("train.optimizer")
    kind = optimizer.get("kind") if isinstance(optimizer, Mapping) else optimizer
    keys("train.learning_rate", "auto" if kind in UNSCALED else rate)
    keys("train.label_smoothing", smoothing)
    keys("train.unknown", unknown)
    if not keys.gives("train.average") and kind != "asgd":  # which ships a mean of its own
        keys("train.ema", average)
