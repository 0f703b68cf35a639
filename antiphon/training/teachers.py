"""What a student learns from teachers, models that are trained already (knowledge distillation).

Their outputs become targets of training rows, also of inputs without an answer (Kim & Rush 2016, arXiv 1606.07947,
section 3.2). And at each step of a target the student learns the teachers' distribution beside the symbol that stands
there (Hinton et al. 2015, arXiv 1503.02531; Kim & Rush, section 3.1): the mean of the teachers', computed once before
the first update, of which only the most probable symbols are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.config.schema import Config
from antiphon.data.batches import Examples, Guide, Ints, Sequences, collate
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import NumbersCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs, copying_of
from antiphon.data.rows import Row
from antiphon.decoding.batches import batches_by_length
from antiphon.errors import ConfigError, DataError, TrainingError
from antiphon.evaluation.answering import Answer, answered
from antiphon.evaluation.outputs import best_outputs
from antiphon.evaluation.scores import read_sources
from antiphon.evaluation.series import series_of
from antiphon.evaluation.task import Task
from antiphon.files import make_folder, write_text
from antiphon.model.ensemble import Ensemble
from antiphon.model.models import LanguageModel, Reader, Writer
from antiphon.model.parts.heads.base import SymbolHead
from antiphon.model.parts.heads.combined import log_linear
from antiphon.model.series import SeriesWriter
from antiphon.saved import folder as bundle
from antiphon.saved.folder import Bundle
from antiphon.training.distributed import Ranks

KEY = "train.teachers"
OUTPUTS = "-outputs.json"  # in the folder of what --resume needs
TOP = 16  # symbols that are kept of a distribution
LOGITS = 1 << 23  # of a piece of positions


@dataclass(frozen=True)
class Teachers:
    """The teachers of a training."""

    config: Config  # of the student
    members: Sequence[Bundle]
    ranks: Ranks
    outputs: dict[str, str]  # their outputs for training and validation rows as JSON, where they are known

    @property
    def codecs(self) -> Codecs:
        return self.members[0].codecs

    @property
    def only(self) -> bool:
        """Whether the training rows have no answers of their own."""
        return self.config.train.teacher_outputs == "only"


def load_teachers(config: Config, ranks: Ranks, folder: Path | None) -> Teachers | None:
    """The configured teachers, None if there are none; those that cannot teach this student are a `ConfigError`.

    `folder` has their outputs if a training is resumed.
    """
    settings = config.train
    if not settings.teachers:
        return None
    members = [bundle.load(Path(name), ranks.device) for name in settings.teachers]
    for member, name in zip(members, settings.teachers, strict=True):
        if settings.teacher_share and not isinstance(member.model.head, SymbolHead):
            reason = f"{name}: predicts no distribution over symbols or labels at each step"
            raise ConfigError(KEY, f"{reason}; learn from its outputs alone, with train.teacher_share: 0")
        if settings.teacher_outputs != "none" and isinstance(member.model, LanguageModel):
            raise ConfigError(
                "train.teacher_outputs", f"{name}: is a language model, which answers no inputs; set none"
            )
        for side, codec in member.codecs.named.items():
            first = members[0].codecs.named.get(side)
            if first is None or first.to_json() != codec.to_json():
                reason = f"{name}: reads or writes other symbols than {settings.teachers[0]} ({side})"
                raise ConfigError(KEY, f"{reason}; teachers need the same vocabularies, from the same training rows")
    first_config = members[0].config
    mine, theirs = ([(s.kind, s.options) for s in (*c.sources, c.target)] for c in (config, first_config))
    if mine != theirs or config.model.copy_ != first_config.model.copy_:
        reason = "the student must read and write the same symbols as its teachers, copied or not; set source, target"
        raise ConfigError(KEY, f"{reason} and model.copy as in {settings.teachers[0]}/config.yaml")
    kept = sorted(folder.glob(f"*{OUTPUTS}")) if folder is not None and ranks.first else []
    outputs = {path.name.removesuffix(OUTPUTS): path.read_text(encoding="utf-8") for path in kept}
    return Teachers(config, members, ranks, outputs)


def keep_outputs(teachers: Teachers | None, folder: Path) -> None:
    """Write the teachers' outputs into a folder, so that a training that is resumed has the same rows."""
    if teachers is not None and teachers.outputs:
        make_folder(folder)
        for name, text in teachers.outputs.items():
            write_text(folder / f"{name}{OUTPUTS}", text)


# --- outputs as targets -------------------------------------------------------------------------------


def with_outputs(teachers: Teachers | None, rows: Sequence[Row], name: str) -> Sequence[Row]:
    """Training rows with the teachers' outputs: as further rows where they differ, or in place of missing answers.

    Outputs that are known by `name` are not computed again.
    """
    if teachers is None or teachers.config.train.teacher_outputs == "none":
        return rows
    if teachers.ranks.first and name not in teachers.outputs:
        teachers.outputs[name] = json.dumps(_outputs(teachers, rows), ensure_ascii=False)
    outputs = json.loads(teachers.ranks.share(teachers.outputs.get(name, "")))
    if len(outputs) != len(rows):
        reason = f"the rows changed since the teachers' outputs were kept: {len(rows):,} rows, {len(outputs):,} outputs"
        raise TrainingError(f"{reason}; train into another folder")
    codec = teachers.codecs.target
    made = []
    for row, output in zip(rows, outputs, strict=True):
        with suppress(ValueError):  # an empty output is no target
            made.append(replace(row, target=codec.read(output, "")))
    if teachers.only:
        if not made:
            raise DataError(f"{rows[0].file}: the teachers' outputs are empty for all inputs")
        return made
    there = {(teachers.codecs.key_of(row), codec.key_of(row.target)) for row in rows}
    further = {(teachers.codecs.key_of(row), codec.key_of(row.target)): row for row in made}
    return [*rows, *(row for key, row in further.items() if key not in there)]


def _outputs(teachers: Teachers, rows: Sequence[Row]) -> list[Any]:
    """The teachers' output for every row, as a column of a table would have it."""
    first, codecs = teachers.members[0], teachers.codecs
    if isinstance(codecs.target, TextCodec):
        models: Any = [member.model.eval() for member in teachers.members]
        together = len(models) > 1 and isinstance(first.model, Writer)
        model = Ensemble(models, log_linear).eval() if together else models[0]
        examples = _inputs(teachers, rows)
        task = Task(model, first.config, codecs, rows, examples, teachers.ranks.device)
        _, symbols = best_outputs(task, [[row] for row in range(len(rows))], first.config.decode)
        return [codecs.target.join(tokens) for tokens in symbols]
    answers = [_answers(member, _inputs(teachers, rows), teachers.ranks.device) for member in teachers.members]
    return [_content(codecs, [answer[row] for answer in answers]) for row in range(len(rows))]


def _inputs(teachers: Teachers, rows: Sequence[Row]) -> Examples:
    """The inputs of rows as arrays; their targets are empty."""
    codecs, copying = teachers.codecs, copying_of(teachers.members[0].config, teachers.codecs)
    encoded = []
    for row in rows:
        try:
            arrays: list[Any] = [codec.encode(value) for codec, value in zip(codecs.sources, row.sources, strict=True)]
        except ValueError as error:
            raise DataError(f"{row.file}:{row.line}: the source {error}") from None
        encoded.append(arrays if copying is None else copying.read(row.sources, arrays))
    sources = tuple(Sequences(column) for column in zip(*encoded, strict=True))
    return Examples(sources, Sequences([[]] * len(rows)))


def _answers(member: Bundle, examples: Examples, device: torch.device) -> list[Answer]:
    if isinstance(member.model, SeriesWriter):
        target = member.codecs.target
        assert isinstance(target, SeriesCodec)
        return series_of(member.model, target, examples.sources, member.config.decode, device)
    assert isinstance(member.model, Reader)
    return read_sources(member.model, examples.sources, member.codecs.sources[0].ends, device)


def _content(codecs: Codecs, answers: Sequence[Answer]) -> Any:
    """The prediction of several teachers together: the label with the highest mean of p, or the mean of the numbers; of
    series that end at different steps the first teacher's."""
    first, target = answers[0], codecs.target
    if isinstance(target, LabelCodec):
        chances = np.mean([np.exp(answer.values) for answer in answers], 0)
        log_probs = np.log(np.maximum(chances, np.finfo(np.float32).tiny)).astype(np.float32)
        together = first if len(answers) == 1 else Answer(chances.argmax(-1), log_probs)
    else:
        alike = {answer.predicted.shape for answer in answers} == {first.predicted.shape}
        numbers = np.mean([answer.predicted for answer in answers], 0) if alike else first.predicted
        bits = isinstance(target, NumbersCodec | SeriesCodec) and target.bits
        together = Answer(numbers.round() if bits else numbers, first.values)
    plain = answered(target, together).to_json()
    return next(plain[name] for name in ("label", "labels", "value", "values") if name in plain)


# --- distributions ------------------------------------------------------------------------------------


def guided(teachers: Teachers | None, examples: Examples) -> Examples:
    """The training rows with what the teachers predict at every step; as they are without teachers."""
    if teachers is None or not teachers.config.train.teacher_share:
        return examples
    ids: list[Any] = [None] * len(examples)
    probabilities: list[Any] = [None] * len(examples)
    for rows, features, positions in _features(examples, teachers.members, teachers.ranks.device):
        best = [_top(teachers.members, features, places) for places in torch.split(positions, _most(teachers))]
        lengths = np.cumsum(examples.target.lengths[rows])[:-1]
        parts = [np.split(torch.cat(values).cpu().numpy(), lengths) for values in zip(*best, strict=True)]
        for row, symbols, chances in zip(rows, *parts, strict=True):
            ids[row], probabilities[row] = symbols, chances
    return replace(examples, guide=Guide(Sequences(ids), Sequences(probabilities)))


@torch.inference_mode()
def _features(
    examples: Examples, teachers: Sequence[Bundle], device: torch.device
) -> Iterator[tuple[Ints, list[Any], Tensor]]:
    """Rows, batch by batch, with every teacher's features of them, and the positions that are not padding."""
    models = [teacher.model.eval() for teacher in teachers]
    if examples.lanes is None:
        for rows in batches_by_length(examples.source_lengths + examples.target.lengths):
            batch = collate(examples, rows).to(device)
            yield rows, [model(batch.sources, batch.target.values) for model in models], batch.positions
        return
    readers = [model for model in models if isinstance(model, LanguageModel)]
    layers: list[Any] = [model.begin(examples.lanes) for model in readers]
    for first in range(0, len(examples), examples.lanes):  # pieces of one long text, each after the one before
        rows = np.arange(first, first + examples.lanes)
        batch = collate(examples, rows).to(device)
        ran = [model.run(batch.sources[0].values, before) for model, before in zip(readers, layers, strict=True)]
        layers = [after for _, after in ran]
        yield rows, [features for features, _ in ran], batch.positions


def _most(teachers: Teachers) -> int:
    """Positions of a piece."""
    head = teachers.members[0].model.head
    assert isinstance(head, SymbolHead)
    return max(1, LOGITS // len(head.weight))


@torch.inference_mode()
def _top(teachers: Sequence[Bundle], features: Sequence[Any], places: Tensor) -> tuple[Tensor, Tensor]:
    """The ids [N, K] of the symbols that are most probable by the mean of the teachers, and their probabilities, which
    add up to 1."""
    total: Tensor | None = None
    for teacher, values in zip(teachers, features, strict=True):
        head = teacher.model.head
        assert isinstance(head, SymbolHead)
        chances = head.log_probs(head.kept(values, places)).exp()
        total = chances if total is None else total + chances
    assert total is not None
    best = total.topk(min(TOP, total.shape[-1]))
    return best.indices.int(), (best.values / best.values.sum(-1, keepdim=True)).half()
