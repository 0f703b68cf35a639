"""Commands that answer: predict, chat, score."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.common import STDIN, files_of, load, one_line, settings_of
from antiphon.cli.options import (
    Abstain,
    Beam,
    Combine,
    Data,
    DecodeSettings,
    Device,
    Folder,
    Json,
    Members,
    Sampled,
    Seed,
    Source,
    Target,
    Temperature,
    Threads,
    TopK,
    TopP,
)

if TYPE_CHECKING:
    from antiphon.answers import Prediction


def predict(
    folder: Folder,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="one input a line, or a table as training reads it; by default stdin"),
    ] = None,
    as_json: Json = False,
    beam: Beam = None,
    n_best: Annotated[int, typer.Option(min=1, help="outputs an input; needs --json")] = 1,
    sample: Sampled = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    mbr: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="of N sampled outputs the one most like the others")
    ] = None,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="what every output begins with")] = None,
    align: Annotated[bool, typer.Option("--align", help="the source token of each output token; needs --json")] = False,
    settings: DecodeSettings = None,
    stream: Annotated[bool, typer.Option("--stream", help="answer each line at once; labels: a step a line")] = False,
    abstain_below: Abstain = None,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write the output of every input, in order."""
    if n_best > 1 and not as_json:
        raise typer.BadParameter("needs --json", param_hint="--n-best")
    if align and not as_json:
        raise typer.BadParameter("needs --json", param_hint="--align")
    from antiphon.use.predicting import WINDOW

    how = _drawing(sample, temperature, top_k, top_p, seed)
    model = load(folder, device, threads, ensemble, combine)
    if abstain_below is not None:
        model.refuse_unsure()
    chosen = settings_of(settings) | ({} if mbr is None else {"decode.mbr.samples": mbr})
    if n_best > model.most_outputs(beam, chosen):
        raise typer.BadParameter("cannot be more than the beam's width", param_hint="--n-best")
    name = str(file or STDIN)
    if name.removesuffix(".gz").endswith(".conllu"):
        if as_json or stream or abstain_below is not None:
            hint = "--json" if as_json else "--stream" if stream else "--abstain-below"
            raise typer.BadParameter("a .conllu file is answered in CoNLL-U", param_hint=hint)
        for sentence in model.tag(name):
            print(sentence, end="")
        return
    terminal = file is None and sys.stdin.isatty()
    one_by_one = stream or terminal
    if stream and model.answers_steps:
        steps = (line for _, line in model.lines(name, None if file else sys.stdin.buffer))
        for answer in model.live(steps, origin=f"{name}:"):
            print(_answer_line(answer, as_json, 1, abstain_below), flush=True)
        return
    lines = array("q")  # on which the inputs stand
    inputs = _noting(lines, model.file(name) if file else model.lines(name, sys.stdin.buffer))
    unknown = 0
    for found in model.stream(
        _prompted(inputs) if terminal else inputs, beam, n_best, sample=how, window=1 if one_by_one else WINDOW,
        origin=lambda number: f"{name}:{lines[number - 1]}",
        prefix=prefix, settings=chosen, token_scores=as_json, align=align, scores=as_json or abstain_below is not None,
    ):  # fmt: skip
        print(_answer_line(found, as_json, n_best, abstain_below), flush=one_by_one)
        unknown += getattr(found, "unknown", 0) > 0
    if unknown:
        sys.stdout.flush()
        count, advice = f"{unknown:,} of {len(lines):,}", "their answers are guesses (--json counts them as unknown)"
        print(f"inputs with symbols that the training rows do not have: {count}; {advice}", file=sys.stderr)


def chat(
    folder: Folder,
    beam: Beam = None,
    sample: Sampled = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    settings: DecodeSettings = None,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """A dialogue, a line a turn: an empty line ends it, /new begins anew."""
    model = load(folder, device, threads, ensemble, combine)
    lines = _lines()
    if sys.stdin.isatty():
        lines = _prompted(lines)
    how = _drawing(sample, temperature, top_k, top_p, seed)
    for answer in model.chat(lines, beam, how, settings_of(settings)):
        print(one_line(answer.text), flush=True)


def score(
    folder: Folder,
    data: Data = None,
    source: Source = None,
    target: Target = None,
    as_json: Json = False,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write log p(target | source) of every row, in nats, as the last column."""
    files = files_of(data, source, target)
    model = load(folder, device, threads, ensemble, combine)
    for row, value in model.scored(files):
        sides = model.codecs.shown(row)
        if as_json:
            print(json.dumps({**sides, "score": value}, ensure_ascii=False))
        else:
            print(*(one_line(text, "\n\r\t") for text in sides.values()), f"{value:.6f}", sep="\t")


def _lines() -> Iterator[str]:
    """Lines of standard input."""
    from antiphon.data.rows import read_lines
    from antiphon.errors import DataError

    for number, line, reason in read_lines(STDIN, sys.stdin.buffer):
        if line is None:
            raise DataError(f"{STDIN}:{number}: {reason}")
        yield line


def _prompted(lines: Iterator[Any]) -> Iterator[Any]:
    """The same lines, with a prompt before each."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = next(lines, None)
        if line is None:
            return
        yield line


def _drawing(
    sample: bool, temperature: float | None, top_k: int | None, top_p: float | None, seed: int | None
) -> dict[str, Any] | None:
    """How symbols are drawn, if they are: any of the options says so."""
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    given = {name: value for name, value in options.items() if value is not None}
    return given if sample or given else None


def _noting(lines: array[int], inputs: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """The inputs, each of which notes the line it stands on."""
    for line, given in inputs:
        lines.append(line)
        yield given


def _answer_line(found: Prediction, as_json: bool, n_best: int, abstain_below: float | None) -> str:
    """An answer as `predict` writes it. JSON holds one that is not given, too, and says so."""
    from antiphon.answers import abstains

    silent = abstain_below is not None and abstains(found, abstain_below)
    if not as_json:
        return "" if silent else one_line(found.text)
    value = found.to_json() | ({"abstained": True} if silent else {})
    if n_best > 1:
        value["n_best"] = [candidate.to_json() for candidate in getattr(found, "n_best", [])]
    return json.dumps(value, ensure_ascii=False)
