"""A copy of a model whose cells are watched: states and gates are those of the cells' equations, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from antiphon.inspection.explain.rounding import rounded
from antiphon.inspection.trace import Grid, Token
from antiphon.inspection.trace import Layer as LayerTrace
from antiphon.model.models import Model
from antiphon.model.parts.recurrent import Cell
from antiphon.model.state import Layer

M = TypeVar("M", bound=Model)


class _Moment(NamedTuple):
    """A step of a cell."""

    before: Layer
    after: Layer
    gates: dict[str, Tensor]
    sums: dict[str, tuple[Tensor, Tensor]]


class Observed(Generic[M]):
    """A copy of a model that shares its parameters, whose cells run their equations and are watched while they do."""

    def __init__(self, model: M) -> None:
        self.model: M = copy.deepcopy(model, {id(value): value for value in model.parameters()}).eval()
        self._seen: dict[str, list[_Moment]] = {}
        self._cells: dict[str, Cell] = {}
        for name, cell in self.model.named_modules():
            if isinstance(cell, Cell) and not _within_source(name):
                self._seen[name], self._cells[name] = [], cell
                cell.fused = None  # type: ignore[misc]
                cell.advance = _recording(cell, self._seen[name])  # type: ignore[assignment, method-assign]

    def take(self, part: str, tokens: Sequence[Token], cell: str) -> list[LayerTrace]:
        """The layers of a part, `encoder`, `encoder-2` or `decoder`, since they were last taken; of one row alone."""
        layers = []
        for name, moments in self._seen.items():
            *_, stack, depth = name.split(".")
            if _part_of(name) != part or not moments:
                continue
            backward = stack == "backward_cells"
            steps = moments[::-1] if backward else moments
            first = moments[0]
            series = {name: _stacked(step.after[place] for step in steps) for place, name in _names(first.after)}
            series |= {gate: _stacked(step.gates[gate] for step in steps) for gate in first.gates}
            from_input, from_state = (
                {block: _stacked(step.sums[block][side] for step in steps) for block in first.sums} for side in (0, 1)
            )
            layers.append(
                LayerTrace(
                    part=part,
                    depth=int(depth),
                    direction="backward" if backward else "forward",
                    cell=cell,
                    tokens=list(tokens),
                    start={name: rounded(first.before[place][0]) for place, name in _names(first.before)},
                    series=series,
                    from_input=from_input,
                    from_state=from_state,
                    layer_norm=self._cells[name].input_norm is not None,
                    zoneout=self._cells[name].zoneout,
                )
            )
            moments.clear()
        return layers


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
    grid: Grid = rounded(torch.cat(list(steps)))
    return grid


def _recording(cell: Cell, seen: list[_Moment]) -> Callable[[Tensor, Layer], Layer]:
    advance = cell.advance

    def recording(inputs: Tensor, state: Layer) -> Layer:
        after = advance(inputs, state)
        read = cell.read(inputs, state)
        shown = state[: cell.parts], after[: cell.parts]
        seen.append(_Moment(*shown, cell.activations(read, state[0]), cell.sums(read, state[0])))
        return after

    return recording
