"""One input's run through a model, seen from inside, as a `Trace`.

States and gates are those of the cells' equations, step by step; everything else comes from the functions that predict
and score.
"""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antiphon.answers import NumberPrediction, NumbersPrediction
from antiphon.config.schema import Config
from antiphon.data.batches import Examples, Padded, Sequences, pad
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.text import LabelCodec, TextCodec
from antiphon.data.load import Codecs, side_names
from antiphon.decoding.alignment import written
from antiphon.decoding.batches import TOKENS
from antiphon.decoding.beam import Extended
from antiphon.decoding.hypothesis import Hypothesis, best_of
from antiphon.decoding.plan import Search, written_side
from antiphon.decoding.run import Watch, decode_sources
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.answering import Answer, answered
from antiphon.evaluation.measure import read_sources, score_rows
from antiphon.inspection.trace import (
    Ablation,
    Attribution,
    Beam,
    Choice,
    Forced,
    Grid,
    Node,
    Run,
    Source,
    Token,
    Trace,
)
from antiphon.inspection.trace import Layer as LayerTrace
from antiphon.inspection.trace import Step as StepTrace
from antiphon.model.build import structure_of
from antiphon.model.models import Aligner, Input, LanguageModel, Model, Reader, Writer
from antiphon.model.parts.bridges import ProjectedAll
from antiphon.model.parts.pooling import shares
from antiphon.model.parts.recurrent import Cell
from antiphon.model.parts.sources import ImageSource, ImagesSource
from antiphon.model.state import Encoded, Layer, State, Step
from antiphon.symbols import BOS, EOS, UNK

DECIMALS = 6
MOST_LABELS = 50  # of labels so many are told of at each step, where there are more
ME = "input"  # what messages call the input

M = TypeVar("M", bound=Model)


def plain(values: Any) -> Any:
    """Numbers of a tensor or an array as lists of floats, rounded."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.round(np.asarray(values, dtype=np.float64), DECIMALS).tolist()


class Given(NamedTuple):
    """An input: what each source holds, and its arrays."""

    values: Sequence[Any]
    arrays: Sequence[Any]

    @property
    def sources(self) -> list[Sequences]:
        return [Sequences([array]) for array in self.arrays]


@dataclass(frozen=True)
class Asked:
    """What a trace is asked for: the value of the reference, an input whose context is taken, symbols that are forced
    at steps, how many symbols a step is told of, and the symbols that the output begins with."""

    reference: Any = None
    other: Given | None = None
    force: Sequence[tuple[int, Token]] = ()
    top: int = 5
    begin: Sequence[Token] = ()


# --- cells over time ----------------------------------------------------------------------------------


class _Moment(NamedTuple):
    """A step of a cell."""

    before: Layer
    after: Layer
    gates: dict[str, Tensor]


class Observed(Generic[M]):
    """A copy of a model that shares its parameters, whose cells run their equations and are watched while they do."""

    def __init__(self, model: M) -> None:
        self.model: M = copy.deepcopy(model, {id(value): value for value in model.parameters()}).eval()
        self._seen: dict[str, list[_Moment]] = {}
        for name, cell in self.model.named_modules():
            if isinstance(cell, Cell) and not _within_source(name):
                self._seen[name] = []
                cell.fused = None  # type: ignore[misc]
                cell.advance = _recording(cell, self._seen[name])  # type: ignore[assignment, method-assign]

    def take(self, part: str, tokens: Sequence[Token], cell: str) -> list[LayerTrace]:
        """The layers of a part, `encoder`, `encoder-2` or `decoder`, since they were last taken; of one row alone."""
        found = []
        for name, moments in self._seen.items():
            *_, stack, depth = name.split(".")
            if _part_of(name) != part or not moments:
                continue
            backward = stack == "backward_cells"
            steps = moments[::-1] if backward else moments
            first = moments[0]
            series = {name: _stacked(step.after[place] for step in steps) for place, name in _names(first.after)}
            series |= {gate: _stacked(step.gates[gate] for step in steps) for gate in first.gates}
            found.append(
                LayerTrace(
                    part=part,
                    depth=int(depth),
                    direction="backward" if backward else "forward",
                    cell=cell,
                    tokens=list(tokens),
                    start={name: plain(first.before[place][0]) for place, name in _names(first.before)},
                    series=series,
                )
            )
            moments.clear()
        return found


def _within_source(name: str) -> bool:
    """Whether a cell reads the letters of words, not the steps of a source."""
    return "source" in name.split(".")


def _part_of(name: str) -> str:
    """What a trace calls the part that a cell is in."""
    first, *rest = name.split(".")
    return f"encoder-{int(rest[0]) + 2}" if first == "others" else first


def _names(layer: Layer) -> list[tuple[int, str]]:
    return list(enumerate(("state", "cell")[: len(layer)]))


def _stacked(steps: Iterator[Tensor]) -> Grid:
    grid: Grid = plain(torch.cat(list(steps)))
    return grid


def _recording(cell: Cell, seen: list[_Moment]) -> Callable[[Tensor, Layer], Layer]:
    advance = cell.advance

    def recording(inputs: Tensor, state: Layer) -> Layer:
        after = advance(inputs, state)
        seen.append(_Moment(state, after, cell.activations(inputs, state[0])))
        return after

    return recording


# --- the beam -----------------------------------------------------------------------------------------


@dataclass
class Tree:
    """All prefixes of one source's beam, put together while it is watched."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    prefixes: list[tuple[int, ...]] = field(default_factory=list)
    _rows: list[int] | None = None  # the node of each of the beam's prefixes; at first all are the empty one

    def __call__(self, seen: Extended) -> None:
        if self._rows is None:
            self._add(None, None, 0.0, "kept")
            self._rows = [0] * seen.going.shape[1]
        one = [values[0].tolist() for values in seen[1:]]
        origin, symbol, score, rank, ends, going, alive = one
        kept = {place for place, lives in zip(going, alive, strict=True) if lives}
        made: dict[int, int] = {}
        for place, parent in enumerate(origin):
            if rank[place] > -np.inf:
                status = "finished" if ends[place] else "kept" if place in kept else "pruned"
                made[place] = self._add(self._rows[parent], symbol[place], score[place], status)
        self._rows = [made.get(place, 0) for place in going]  # those that are not alive are never extended

    def _add(self, parent: int | None, symbol: int | None, score: float, status: str) -> int:
        self.nodes.append({"id": len(self.nodes), "parent": parent, "log_prob": plain(score), "status": status})
        self.prefixes.append(() if parent is None or symbol is None else (*self.prefixes[parent], symbol))
        return len(self.nodes) - 1

    def trace(self, search: Search, codec: TextCodec, hypotheses: Sequence[Hypothesis]) -> Beam:
        """The tree, with the places of the final outputs."""
        ranks = {(*one.tokens, EOS): (place, plain(one.rank_score)) for place, one in enumerate(hypotheses)}
        nodes = []
        for node, prefix in zip(self.nodes, self.prefixes, strict=True):
            token = codec.vocabulary.symbol(prefix[-1]) if prefix else None
            rank, rank_score = ranks.get(prefix, (None, None)) if node["status"] == "finished" else (None, None)
            nodes.append(Node(**node, token=token, rank=rank, rank_score=rank_score))
        settings = search.settings
        return Beam(width=settings.beam, length_penalty=settings.length_penalty, nodes=nodes)


@dataclass(frozen=True)
class _Ablated:
    """A writer that is told another context C [1, size] than its sources'."""

    writer: Writer
    context: Tensor

    def eval(self) -> object:
        return self.writer.eval()

    def start(self, sources: Sequence[Input]) -> State:
        encoded = self.writer.encode(sources)
        return self.writer.start_from(encoded, self.context.expand(len(encoded.last), -1))

    def first_read(self, sources: Sequence[Input]) -> Tensor | None:
        return self.writer.first_read(sources)

    def step(self, tokens: Tensor, state: State) -> Step[State]:
        answer: Step[State] = self.writer.step(tokens, state)
        return answer


# --- the trace ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Explainer(Generic[M]):
    """A model, and what it takes to follow an input through it."""

    model: M
    config: Config
    codecs: Codecs
    device: torch.device

    def _padded(self, given: Given) -> list[Padded]:
        return [pad(source, [0]).to(self.device) for source in given.sources]

    def _sources(self, given: Given) -> list[Source]:
        found = []
        names = side_names(len(given.values))[:-1]
        parts = (source for source, _ in self.model.channels)
        for name, codec, value, array, part, padded in zip(
            names, self.codecs.sources, given.values, given.arrays, parts, self._padded(given), strict=True
        ):
            grid = picture = None
            if isinstance(part, ImageSource) and not isinstance(part, ImagesSource):
                with torch.inference_mode():
                    rows, columns = part.grid(padded.values).shape[2:]
                grid, picture = (rows, columns), _png(array[0])
            tokens, unknown = _tokens(codec, value, array, grid)
            found.append(
                Source(
                    name=name, kind=codec.kind, text=codec.shown(value), tokens=tokens, unknown=unknown,
                    grid=grid, picture=picture,
                )
            )  # fmt: skip
        return found

    def _encoder(self, observed: Observed[M], sources: Sequence[Source]) -> list[LayerTrace] | None:
        found = []
        for source in sources:
            part = source.name.replace("source", "encoder")
            found += observed.take(part, source.tokens, self.config.model.cell.kind)
        return found or None

    def _vectors(self, given: Given) -> list[Input]:
        """The sources' vectors [1, S, size], and their lengths."""
        with torch.no_grad():
            channels = zip(self.model.channels, self._padded(given), strict=True)
            return [source(*padded) for (source, _), padded in channels]


def _png(pixels: Any) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def _tokens(codec: Codec, value: Any, array: Any, grid: tuple[int, int] | None) -> tuple[list[Token], list[int]]:
    """A source's tokens, one for each of its states, and the places of unknown ones."""
    if grid is not None:
        rows, columns = grid
        return [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)], []
    if isinstance(codec, TextCodec):
        symbols: list[Token] = [symbol or None for symbol in codec.split_turns(value)]
        ids = np.asarray(array).reshape(len(array), -1)[:, 0]
        return [*symbols, None][: len(array)], np.flatnonzero(ids == UNK).tolist()
    if not codec.reads:
        return [None] * len(array), []
    if codec.kind == "category":
        return [str(value)], np.flatnonzero(np.asarray(array) == UNK).tolist()
    return [str(step) for step in range(1, len(array) + 1)], []


def _choices(log_probs: Tensor, top: int, name: Callable[[int], Token]) -> list[Choice]:
    """The most probable of log-probabilities [symbols]; UNK, which is never said, is none."""
    found, ids = log_probs.sort(descending=True, stable=True)
    pairs = zip(found[: top + 1].tolist(), ids[: top + 1].tolist(), strict=True)
    said = [(value, number) for value, number in pairs if value > -np.inf and number != UNK]
    return [Choice(token=name(number), log_prob=plain(value)) for value, number in said[:top]]


def _said(log_probs: Tensor, ids: Sequence[int]) -> Tensor:
    """Of log-probabilities [steps, symbols] those of the ids, one a step."""
    return log_probs[torch.arange(len(ids)), torch.tensor(ids, dtype=torch.long)]


def _divergence(output: Sequence[Any], reference: Sequence[Any]) -> int | None:
    """The first place at which two sequences differ."""
    for place, (one, other) in enumerate(zip(output, reference, strict=False)):
        if one != other:
            return place
    return None if len(output) == len(reference) else min(len(output), len(reference))


@contextmanager
def _differentiable() -> Iterator[None]:
    """Within it gradients are kept; cuDNN has none for a recurrent call that does not train."""
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        yield


def _input_x_gradient(
    vectors: Sequence[Input], steps: int, said: Callable[[list[Input], Tensor], Tensor]
) -> list[Grid]:
    """Of each source's vectors [1, S, size] the grid [steps, S] of x * d said / d x, summed over the size.

    `said` maps as many copies of the vectors [n, S, size] as there are steps in a tensor [n] to what each copy's step
    has said [n]: so each copy has the gradient of one step.
    """
    longest = max(steps, *(one.shape[1] for one, _ in vectors))
    found: list[list[Tensor]] = [[] for _ in vectors]
    for rows in torch.split(torch.arange(steps, device=vectors[0][0].device), max(1, TOKENS // longest)):
        copies = [(one.expand(len(rows), -1, -1).clone().requires_grad_(), n.expand(len(rows))) for one, n in vectors]
        leaves = [one for one, _ in copies]
        with _differentiable():
            slopes = torch.autograd.grad(said(copies, rows).sum(), leaves, allow_unused=True)
        for grid, leaf, slope in zip(found, leaves, slopes, strict=True):
            grid.append(leaf.new_zeros(leaf.shape[:2]) if slope is None else (leaf.detach() * slope).sum(-1))
    return [plain(torch.cat(grid)) for grid in found]


# --- readers ------------------------------------------------------------------------------------------


class ReaderExplainer(Explainer[Reader]):
    """Of a model that gives one answer, or one a step."""

    def trace(self, given: Given, asked: Asked) -> Trace:
        """The input's run."""
        sources, top = self._sources(given), max(asked.top, MOST_LABELS)
        observed = Observed(self.model)
        with torch.inference_mode():
            encoded = observed.model.encode(self._padded(given))
        (answer,) = self._answers([given])
        output = self._run(answer, top)
        reference = None if asked.reference is None else self._reference(given, answer, asked.reference, top)
        pooled = self.model.pooling is not None
        labels = isinstance(self.codecs.target, LabelCodec)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=output if not labels else output.model_copy(update={"score": self._score(given, answer.said)}),
            reference=reference,
            divergence=None if reference is None or not labels else _divergence(output.tokens, reference.tokens),
            encoder=self._encoder(observed, sources),
            pooling=self._shares(encoded),
            beliefs=self._beliefs(given, top) if pooled and self.codecs.sources[0].steps else None,
            attribution=self._attribution(given, sources, answer),
        )

    def _answers(self, inputs: Sequence[Given]) -> list[Answer]:
        columns = zip(*(one.arrays for one in inputs), strict=True)
        return read_sources(self.model, list(map(Sequences, columns)), self.codecs.sources[0].ends, self.device)

    def _score(self, given: Given, target: Any) -> float:
        found = score_rows(self.model, Examples(tuple(given.sources), Sequences([target])), self.device)
        return float(plain(found.totals[0]))

    def _numbers(self, answer: Answer) -> list[list[float]]:
        found = answered(self.codecs.target, answer)
        assert isinstance(found, NumberPrediction | NumbersPrediction)
        numbers: list[list[float]] = plain([[found.value]] if isinstance(found, NumberPrediction) else found.values)
        return numbers

    def _steps(self, answer: Answer, said: Sequence[int], top: int) -> list[StepTrace]:
        """A step for each answer; of labels those `said`."""
        codec = self.codecs.target
        if not isinstance(codec, LabelCodec):
            return [StepTrace(values=values) for values in self._numbers(answer)]
        name = codec.vocabulary.symbol
        return [
            StepTrace(
                token=name(number),
                log_prob=plain(values[number]),
                top=_choices(torch.from_numpy(values), top, name),
            )
            for number, values in zip(said, answer.values, strict=True)
        ]

    def _run(self, answer: Answer, top: int) -> Run:
        labels = isinstance(self.codecs.target, LabelCodec)
        steps = self._steps(answer, list(map(int, answer.said)) if labels else [], top)
        text = answered(self.codecs.target, answer).text
        return Run(text=text, tokens=[step.token for step in steps], score=None, steps=steps)

    def _reference(self, given: Given, answer: Answer, reference: Any, top: int) -> Run:
        codec = self.codecs.target
        value, encoded = _encoded_reference(codec, reference)
        if len(encoded) != len(answer.said):
            reason = f"has {len(encoded)} {codec.unit} for {len(answer.said)} {self.codecs.sources[0].unit}"
            raise DataError(f"{ME}: the reference {reason} of the input")
        score = self._score(given, encoded)
        if isinstance(codec, LabelCodec):
            steps = self._steps(answer, [int(number) for number in encoded], top)
        else:
            steps = [StepTrace(values=values) for values in plain(value)]
        return Run(text=codec.shown(value), tokens=[step.token for step in steps], score=score, steps=steps)

    def _shares(self, encoded: Encoded) -> list[float] | None:
        return _shares(encoded, None if self.model.pooling is None else self.model.pooling.score)

    def _beliefs(self, given: Given, top: int) -> list[StepTrace]:
        """The answer to every beginning of the first source, which ends as a whole one would."""
        codec = self.codecs.sources[0]
        whole = np.asarray(given.arrays[0])
        end = whole[len(whole) - codec.ends :]
        prefixes = []
        for length in range(1, len(whole) - codec.ends + 1):
            cut = whole[:length]
            if not np.array_equal(cut[-1:], end):  # the end of a turn is an end
                cut = np.concatenate([cut, end])
            prefixes.append(Given(given.values, [cut, *given.arrays[1:]]))
        answers = self._answers(prefixes)
        return [step for answer in answers for step in self._run(answer, top).steps]

    def _attribution(self, given: Given, sources: Sequence[Source], answer: Answer) -> list[Attribution]:
        steps = len(answer.said)
        labels = isinstance(self.codecs.target, LabelCodec)

        def said(vectors: list[Input], rows: Tensor) -> Tensor:
            features = self.model.features_of(self.model.encode_vectors(vectors))[:, :steps]
            positions = torch.arange(len(rows) * steps, device=self.device)
            values = self.model.head.answer(features, positions)[1].view(len(rows), steps, -1)[_each(rows), rows]
            return values[_each(rows), torch.from_numpy(answer.said).to(rows)[rows]] if labels else values.sum(-1)

        return _attributed(sources, _input_x_gradient(self._vectors(given), steps, said))


def _each(rows: Tensor) -> Tensor:
    """0, 1, ... for each of them."""
    return torch.arange(len(rows), device=rows.device)


def _shares(encoded: Encoded, score: torch.nn.Linear | None) -> list[float] | None:
    """What share each state has in the pool, if that is learned."""
    if score is None:
        return None
    with torch.inference_mode():
        found: list[float] = plain(shares(encoded, score)[0])
    return found


def _attributed(sources: Sequence[Source], grids: Sequence[Grid]) -> list[Attribution]:
    return [
        Attribution(source=source.name, tokens=source.tokens, values=grid)
        for source, grid in zip(sources, grids, strict=True)
    ]


def _encoded_reference(codec: Codec, reference: Any) -> tuple[Any, Any]:
    try:
        value = codec.read(reference, "")
        return value, codec.encode(value)
    except ValueError as error:
        raise DataError(f"{ME}: the reference {error}") from None


# --- writers and language models ----------------------------------------------------------------------

S = TypeVar("S", bound=Writer | LanguageModel)


@dataclass(frozen=True)
class _Speaking(Explainer[S]):
    """Of a model that writes."""

    search: Search

    @property
    def codec(self) -> TextCodec:
        return written_side(self.model, self.codecs)

    def _best(
        self,
        given: Given,
        model: Any = None,
        prefix: Sequence[int] | None = None,
        watch: Watch | None = None,
        where: str = ME,
    ) -> list[Hypothesis]:
        """The outputs, the best first."""
        prefixes = None if prefix is None else [prefix]
        sources = given.sources
        (found,) = decode_sources(model or self.model, sources, self.search, self.device, None, prefixes, watch)
        best_of(found, where)
        return found

    def _found(self, given: Given, asked: Asked) -> tuple[list[Hypothesis], Beam | None]:
        beginning = self._beginning(asked)
        if self.search.sample is not None:
            return self._best(given, prefix=beginning), None
        tree = Tree()
        found = self._best(given, prefix=beginning, watch=tree)
        return found, tree.trace(self.search, self.codec, found)

    def _symbols(self, given: Given, output: Sequence[int]) -> list[str]:
        codecs, search = self.codecs, self.search
        return written(self.model, codecs, search, given.sources, [given.values], [tuple(output)], self.device)[0]

    @torch.inference_mode()
    def _follow(self, model: Any, state: Any, first: int, ids: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """log p [steps, symbols] while ids are said in turn, and attention [steps, states]."""
        log_probs, looked = [], []
        last = torch.tensor([first], device=self.device)
        for number in ids:
            answer = model.step(last, state)
            log_probs.append(answer.log_probs)
            looked += [] if answer.attention is None else [answer.attention]
            last, state = torch.full_like(last, number), answer.state
        return torch.cat(log_probs), torch.cat(looked) if looked else None

    def _run(
        self,
        log_probs: Tensor,
        ids: Sequence[int],
        tokens: Sequence[Token],
        text: str,
        top: int,
        attention: Tensor | None = None,
        layers: list[LayerTrace] | None = None,
    ) -> Run:
        said = _said(log_probs, ids).tolist()
        name = self.codec.vocabulary.symbol
        steps = [
            StepTrace(token=token, log_prob=plain(value), top=_choices(row, top, name))
            for token, value, row in zip(tokens, said, log_probs, strict=True)
        ]
        looked = None if attention is None else plain(attention)
        return Run(text=text, tokens=list(tokens), score=plain(sum(said)), steps=steps, attention=looked, layers=layers)

    def _beginning(self, asked: Asked) -> list[int] | None:
        """The ids that every output begins with."""
        ids = [self._forced_id(token, "begin") for token in asked.begin]
        most = self.search.limits.max_length
        if EOS in ids[:-1]:
            raise ConfigError("begin", "has symbols behind the end symbol")
        if len(ids) - (ids[-1:] == [EOS]) > most:
            raise ConfigError("begin", f"has {len(ids)} tokens; decode.max_length is {most}")
        return ids or None

    def _forced_id(self, token: Token, key: str) -> int:
        number = EOS if token is None else self.codec.vocabulary.id(self.codec.normalize(token))
        if number == UNK:
            raise ConfigError(key, f"the model never says {token!r}; it is no symbol of its vocabulary")
        return number

    def _forced(self, given: Given, output: Sequence[int], asked: Asked) -> list[Forced] | None:
        found: list[Forced] = []
        most = self.search.limits.max_length
        for place, token in asked.force:
            if not 0 <= place <= len(output):
                reason = f"there is no step {place + 1}: the output has {len(output)} tokens, and the end symbol"
                raise ConfigError("force", reason)
            prefix = [*output[:place], self._forced_id(token, "force")]
            if len(prefix) > most and prefix[-1] != EOS:
                raise ConfigError("force", f"makes {len(prefix)} tokens; decode.max_length is {most}")
            best = self._best(given, prefix=prefix, where=f"{ME}, forced to say {token or 'the end symbol'}")[0]
            found.append(Forced(step=place, token=token, run=self._said(given, best.tokens, asked.top)))
        return found or None

    def _said(self, given: Given, output: Sequence[int], top: int) -> Run:
        """The run of an output."""
        raise NotImplementedError


class WriterExplainer(_Speaking[Writer]):
    """Of a model that reads its sources and writes."""

    def trace(self, given: Given, asked: Asked) -> Trace:
        """The input's run."""
        sources = self._sources(given)
        found, tree = self._found(given, asked)
        output = found[0].tokens
        observed = Observed(self.model)
        with torch.inference_mode():
            encoded = self.model.encode(self._padded(given))
            context = self.model.bridge.context(encoded)
            start = observed.model.start(self._padded(given))
        encoder = self._encoder(observed, sources)
        run = self._told(observed, start, [*output, EOS], self._symbols(given, output), asked.top)
        wanted = reference = None
        if asked.reference is not None:
            value, wanted = _encoded_reference(self.codec, asked.reference)
            reference = self._told(observed, start, wanted, self.codec.split(value), asked.top)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=run,
            reference=reference,
            divergence=None if reference is None else _divergence(run.tokens, reference.tokens),
            encoder=encoder,
            pooling=self._shares(encoded),
            context=plain(context[0]),
            beam=tree,
            ablation=self._ablation(given, encoded, output, wanted, asked),
            forced=self._forced(given, output, asked),
            attribution=self._attribution(given, sources, [*output, EOS]),
        )

    def _told(self, observed: Observed[Writer], start: State, ids: Sequence[int], symbols: list[str], top: int) -> Run:
        """A run that is told what to say, with the decoder's layers."""
        log_probs, looked = self._follow(observed.model, start, BOS, ids)
        layers = observed.take("decoder", [None, *symbols], self.config.model.cell.kind)
        return self._run(log_probs, ids, [*symbols, None], self.codec.join(symbols), top, looked, layers)

    def _said(self, given: Given, output: Sequence[int], top: int, start: State | None = None) -> Run:
        if start is None:
            with torch.inference_mode():
                start = self.model.start(self._padded(given))
        log_probs, looked = self._follow(self.model, start, BOS, [*output, EOS])
        symbols = self._symbols(given, output)
        return self._run(log_probs, [*output, EOS], [*symbols, None], self.codec.join(symbols), top, looked)

    def _shares(self, encoded: Encoded) -> list[float] | None:
        bridge = self.model.bridge
        return _shares(encoded, bridge.score if isinstance(bridge, ProjectedAll) else None)

    def _ablation(
        self, given: Given, encoded: Encoded, output: Sequence[int], reference: Sequence[int] | None, asked: Asked
    ) -> list[Ablation]:
        found = []
        for other in (None, asked.other) if asked.other is not None else (None,):
            with torch.inference_mode():
                own = self.model.bridge.context(encoded if other is None else self.model.encode(self._padded(other)))
                context = torch.zeros_like(own) if other is None else own
                start = self.model.start_from(encoded, context)
            ablated, where = _Ablated(self.model, context), f"{ME}, with another context"
            best = self._best(given, ablated, self._beginning(asked), where=where)[0]
            found.append(
                Ablation(
                    context="zero" if other is None else "other",
                    other=None if other is None else self._shown(other),
                    run=self._said(given, best.tokens, asked.top, start),
                    output_score=self._score(start, [*output, EOS]),
                    reference_score=None if reference is None else self._score(start, reference),
                )
            )
        return found

    def _shown(self, given: Given) -> str:
        sides = zip(self.codecs.sources, given.values, strict=True)
        return "\t".join(codec.shown(value) for codec, value in sides if codec.reads)

    def _score(self, start: State, ids: Sequence[int]) -> float:
        log_probs, _ = self._follow(self.model, start, BOS, ids)
        return float(plain(_said(log_probs, ids).sum()))

    def _attribution(self, given: Given, sources: Sequence[Source], ids: Sequence[int]) -> list[Attribution]:
        target = torch.tensor(ids, device=self.device)
        fed = torch.tensor([BOS, *ids[:-1]], device=self.device)

        def said(vectors: list[Input], rows: Tensor) -> Tensor:
            encoded = self.model.encode_vectors(vectors)
            start = self.model.start_from(encoded, self.model.bridge.context(encoded))
            inputs = self.model.embedding(fed.expand(len(rows), -1))
            features = self.model.decoder.unroll(inputs, start).features[_each(rows), rows]
            log_probs: Tensor = self.model.head.log_probs(features)
            return log_probs[_each(rows), target[rows]]

        return _attributed(sources, _input_x_gradient(self._vectors(given), len(ids), said))


class LanguageModelExplainer(_Speaking[LanguageModel]):
    """Of a model that goes on behind what it has read."""

    def trace(self, given: Given, asked: Asked) -> Trace:
        """The prompt's run."""
        sources = self._sources(given)
        found, tree = self._found(given, asked)
        output, prompt = found[0].tokens, self._prompt(given)
        symbols, read = self._symbols(given, output), sources[0].tokens
        observed = Observed(self.model)
        ids = [*prompt, *output, EOS]
        log_probs, _ = self._follow(observed.model, self._start(observed.model), self.model.first, ids)
        reads: list[Token] = [None, *read, *symbols]
        encoder = observed.take("encoder", reads, self.config.model.cell.kind)
        before = [symbol or "" for symbol in read]
        shown = self._run(log_probs[: len(prompt)], prompt, read, self.codec.join(before), asked.top)
        reference = None
        if asked.reference is not None:
            value, wanted = _encoded_reference(self.codec, asked.reference)
            wanted = [*wanted, EOS][: len(wanted) + 1 - self.codec.ends]
            reference = self._after(given, wanted, self.codec.split(value), asked.top)
        run = self._after(given, [*output, EOS], symbols, asked.top)
        return Trace(
            structure=structure_of(self.config),
            sources=sources,
            output=run,
            prompt=shown,
            reference=reference,
            divergence=None if reference is None else _divergence(run.tokens, reference.tokens),
            encoder=encoder or None,
            beam=tree,
            forced=self._forced(given, output, asked),
            attribution=self._attribution(ids, len(prompt), reads),
        )

    def _prompt(self, given: Given) -> list[int]:
        return list(map(int, given.arrays[0]))

    def _start(self, model: LanguageModel) -> State:
        return State(model.begin(1))

    def _after(self, given: Given, ids: Sequence[int], symbols: list[str], top: int) -> Run:
        """The run of what is said behind the prompt."""
        prompt = self._prompt(given)
        log_probs, _ = self._follow(self.model, self._start(self.model), self.model.first, [*prompt, *ids])
        text = self.codec.join([*self.codec.split_turns(given.values[0]), *symbols])
        return self._run(log_probs[len(prompt) :], ids, [*symbols, None], text, top)

    def _said(self, given: Given, output: Sequence[int], top: int) -> Run:
        return self._after(given, [*output, EOS], self._symbols(given, output), top)

    def _attribution(self, ids: Sequence[int], prompt: int, reads: Sequence[Token]) -> list[Attribution]:
        read = torch.tensor([[self.model.first, *ids[:-1]]], device=self.device)
        target = torch.tensor(ids[prompt:], device=self.device)
        vectors = self.model.source.embedding(read).detach()

        def said(vectors: list[Input], rows: Tensor) -> Tensor:
            states, _ = self.model.encoder.run(vectors[0][0], self.model.begin(len(rows)))
            log_probs = self.model.head.log_probs(states[_each(rows), prompt + rows])
            return log_probs[_each(rows), target[rows]]

        lengths = torch.tensor([read.shape[1]], device=self.device)
        (grid,) = _input_x_gradient([(vectors, lengths)], len(target), said)
        return [Attribution(source="source", tokens=list(reads), values=grid)]


def unexplained(model: Model) -> str | None:
    """The key of the configuration for which a model cannot be looked into yet; None: it can."""
    if isinstance(model, Aligner):
        return "target.ctc"
    return "model.copy" if isinstance(model, Writer) and model.copies else None


def explainer_of(
    model: Model, config: Config, codecs: Codecs, device: torch.device, search: Search | None
) -> ReaderExplainer | WriterExplainer | LanguageModelExplainer:
    """The explainer of a model; one that writes needs a search. Of one that copies or is trained with CTC there is none
    yet, and a `ConfigError` says so."""
    if (key := unexplained(model)) is not None:
        raise ConfigError(key, "cannot be looked into yet; train a model without it to see inside")
    if isinstance(model, Writer):
        assert search is not None
        return WriterExplainer(model, config, codecs, device, search)
    if isinstance(model, LanguageModel):
        assert search is not None
        return LanguageModelExplainer(model, config, codecs, device, search)
    assert isinstance(model, Reader)
    return ReaderExplainer(model, config, codecs, device)
