"""A trace: what a model did with one input, as plain values. docs/trace.md explains it for those who read the JSON.

A part that has no meaning for a structure, or was not asked for, is absent. Steps, tokens and nodes are counted from 0.
Log-probabilities are in nats. Floats are rounded to 6 decimals.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Token: TypeAlias = str | None
"""A symbol or a label; None for a special symbol: what stands before the first symbol, and the end symbol."""
Grid: TypeAlias = list[list[float]]


class Part(BaseModel):
    """Part of a trace."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Part):
    """A symbol or label that was possible at a step."""

    token: Token = Field(description="null is the end symbol")
    log_prob: float = Field(description="log p of it at this step")


class Step(Part):
    """One symbol, label or vector of a run."""

    token: Token = Field(
        None, description="the symbol or label; null is the end symbol; of a series the number of the step, from 1"
    )
    log_prob: float | None = Field(None, description="log p of it; absent (null) for numbers")
    top: list[Choice] = Field([], description="the most probable symbols at this step, the best first; up to 50 labels")
    values: list[float] | None = Field(None, description="the prediction, if it is numbers")
    quantiles: dict[str, list[float]] | None = Field(
        None, description="of a series: for a probability the numbers below which they lie with it"
    )


class Layer(Part):
    """A recurrent layer, in one direction, over time."""

    part: str = Field(description="`encoder`, of further sources `encoder-2`, ..., or `decoder`")
    depth: int = Field(description="0 is the lowest layer")
    direction: Literal["forward", "backward"] = Field(description="in which it reads")
    cell: str = Field(description="`model.cell` of the configuration")
    tokens: list[Token] = Field(description="what each step has read")
    start: dict[str, list[float]] = Field(description="`state` before the first step, of an LSTM `cell` too: [hidden]")
    series: dict[str, Grid] = Field(
        description="[steps, hidden] each, in the order of `tokens`: `state` (the output h) after each step, of an "
        "LSTM `cell` (c) too; and its gates: `input`, `forget`, `output`, `candidate`; of a GRU `reset`, `update`, "
        "`candidate`; of `mingru` `input` (what share of the state is replaced by the candidate), `candidate`; of "
        "`minlstm` `forget`, `input`, `candidate`; of `selective` `keep` (the share of a unit's states that stays)"
    )
    from_input: dict[str, Grid] = Field(
        {},
        description="[steps, hidden] each: W x + b of each gate and the candidate, of a cell without gates of `state`; "
        "with `layer_norm` LN(W x) + b; empty for a cell whose gates do not depend on the state before",
    )
    from_state: dict[str, Grid] = Field(
        {}, description="U h + d in the same way, with the state h one step before; both together are what a gate is of"
    )
    layer_norm: bool = Field(False, description="`model.cell.layer_norm`; of an LSTM the output is then o tanh(LN(c))")
    zoneout: float = Field(0.0, description="`model.cell.zoneout`: the share of the state before in each state")


class Run(Part):
    """A sequence that the model wrote, or one that it was fed (teacher forcing), step by step."""

    text: str = Field(description="as `predict` writes it")
    tokens: list[Token] = Field(description="one for each step; null is the end symbol")
    score: float | None = Field(
        description="log p of all steps together, as `score` gives it; of numbers minus the squared error, if known"
    )
    steps: list[Step] = Field(description="each symbol, label or vector; of a CRF a label's own probability")
    attention: Grid | None = Field(
        None, description="[steps, source states]: the weights with which each step looked at the sources' tokens"
    )
    layers: list[Layer] | None = Field(None, description="the decoder's layers")


class Source(Part):
    """One source of the input."""

    name: str = Field(description="`source`, `source-2`, ...")
    kind: str = Field(description="`source.kind` of the configuration")
    text: str = Field(description="the input as one line")
    tokens: list[Token] = Field(
        description="one for each encoder state; null ends the source or a turn; of an image `row,column` of its grid"
    )
    unknown: list[int] = Field([], description="places of tokens that are not in the vocabulary")
    grid: tuple[int, int] | None = Field(None, description="for an image: rows and columns of its states")
    picture: str | None = Field(None, description="for an image: what the model was given, a PNG in base64")


class Node(Part):
    """A prefix that a beam looked at."""

    id: int = Field(description="its place among the nodes")
    parent: int | None = Field(description="the prefix that it extends; null for the empty one, the root")
    token: Token = Field(description="the last symbol; null for the end symbol, and for the root")
    log_prob: float = Field(description="log p of all its symbols; with `decode.shortlist`, among those listed")
    status: Literal["kept", "pruned", "finished"] = Field(
        description="`kept`: it went on (or would have, had the search not been done); `pruned`: others were better; "
        "`finished`: it ended, as an output"
    )
    rank: int | None = Field(None, description="the place of a finished one among the final outputs; 0 is the best")
    rank_score: float | None = Field(None, description="what the final outputs are ranked by")


class Beam(Part):
    """The tree of all prefixes that a beam looked at."""

    width: int = Field(description="`decode.beam`")
    length_penalty: float = Field(description="`decode.length_penalty`")
    nodes: list[Node] = Field(description="parents stand before their children")


class Ablation(Part):
    """The same input with another context C; what attention reads stays."""

    context: Literal["zero", "other"] = Field(description="C is zero, or another input's")
    other: str | None = Field(None, description="the other input")
    run: Run = Field(description="the output with this C")
    output_score: float = Field(description="log p, with this C, of the output with the true one")
    reference_score: float | None = Field(None, description="log p of the reference with this C")


class Forced(Part):
    """The output, if this symbol is written at this step and the search goes on from there."""

    step: int = Field(description="where it is forced; all before it is the output's own")
    token: Token = Field(description="null is the end symbol")
    run: Run = Field(description="the best output with this prefix")


class Attribution(Part):
    """Input x gradient: how much of each step's log p (for numbers: of their sum) depends on each token of a source.

    To first order, the part of log p that would be lost if the token's vector were zero.
    """

    source: str = Field(description="its name")
    tokens: list[Token] = Field(description="as in the source; for a language model all that it has read")
    values: Grid = Field(description="[steps of the output, tokens]")
    norms: Grid = Field(
        [],
        description="[steps of the output, tokens]: the Euclidean norm of the gradient, d log p of a step by a token's "
        "vector: how far back an output still depends on what was read",
    )


class Trace(Part):
    """One input's run through a model.

    `format` changes when a field changes its meaning or goes; further fields may come at any time.
    """

    format: Literal[1] = Field(1, description="the version of this schema")
    structure: str = Field(description="`one_to_one`, `one_to_many`, `many_to_one`, `many_to_many` or `synchronous`")
    sources: list[Source] = Field(description="the input")
    output: Run = Field(description="the output of the model, fed with its own symbols; for a reader its predictions")
    prompt: Run | None = Field(None, description="for a language model: the input, as it was read")
    reference: Run | None = Field(None, description="the reference, teacher-forced")
    divergence: int | None = Field(None, description="the first step at which output and reference differ")
    encoder: list[Layer] | None = Field(None, description="the recurrent layers of the encoders")
    pooling: list[float] | None = Field(
        None, description="the shares of the sources' states in their pool, where they are learned (`attention`)"
    )
    context: list[float] | None = Field(None, description="the context C, of a writer")
    beam: Beam | None = Field(None, description="for a writer that searches with a beam, or greedily (width 1)")
    ablation: list[Ablation] | None = Field(None, description="for a writer")
    forced: list[Forced] | None = Field(None, description="for a writer, if asked for")
    beliefs: list[Step] | None = Field(
        None, description="many to one: the answer to the first 1, 2, ... steps of the (first) source alone"
    )
    past: Grid | None = Field(
        None, description="for a series: the numbers of the source of frames that it goes on from, if there is one"
    )
    attribution: list[Attribution] | None = Field(None, description="what the output depends on, for each source")

    def to_json(self) -> dict[str, Any]:
        """As plain values; absent parts are left out."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
