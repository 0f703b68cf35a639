"""Commands that predict: predict, chat, score."""

from __future__ import annotations

import json
import sys
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.common import STDIN, files_of, load, refuse_inputs, refuse_options, settings_of
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
from antiphon.cli.output import WRITERS, write_conll, write_records
from antiphon.common.written import Record, json_line, one_line, record_of, text_line
from antiphon.errors import DataError, count_of

if TYPE_CHECKING:
    from antiphon.common.answers import Prediction
    from antiphon.use.predictor import Predictor


def predict(
    folder: Folder,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="one input per line, or a table as training reads it; by default stdin; with --ray files and folders",
        ),
    ] = None,
    as_json: Json = False,
    beam: Beam = None,
    n_best: Annotated[int, typer.Option(min=1, help="how many candidates for each input; needs --json")] = 1,
    sample: Sampled = False,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    mbr: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", help="minimum Bayes risk: draw N outputs and write the one that is most like the others"
        ),
    ] = None,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="the prefix of every output")] = None,
    align: Annotated[bool, typer.Option("--align", help="the source token of each output token; needs --json")] = False,
    settings: DecodeSettings = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="predict for each line as soon as it is read; for labels and numbers a line is a step"
        ),
    ] = False,
    abstain_below: Abstain = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="a table of the inputs and their outputs: .tsv, .csv, .jsonl, .parquet or .conll; with --ray a folder",
        ),
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="with --out: also columns with scores or probabilities, and confidence")
    ] = False,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|local",
            help="predict with the workers of a Ray cluster, or of this machine: a file of outputs for each FILE",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="with --ray: worker processes; by default one per CPU")
    ] = None,
) -> None:
    """Write the output of every input, in order."""
    if ray is not None:
        unused = {
            "--mbr": mbr, "--prefix": prefix, "--align": align, "--stream": stream, "--ensemble": ensemble,
            "--device": device, "--threads": threads,
        }  # fmt: skip
        refuse_options("cannot be used with --ray", unused)
        _predict_on_ray(
            folder, files or [], out, ray, workers,
            {
                "as_json": as_json, "scores": scores, "n_best": n_best, "beam": beam, "abstain_below": abstain_below,
                "sample": _drawing(sample, temperature, top_k, top_p, seed), "settings": settings_of(settings),
            },
        )  # fmt: skip
        return
    if workers is not None:
        raise typer.BadParameter("needs --ray", param_hint="--workers")
    if files and len(files) > 1:
        raise typer.BadParameter(f"one file, not {len(files):,}; several need --ray (--ray local)", param_hint="FILE")
    file = files[0] if files else None
    _check_out(out, scores, abstain_below is not None, as_json, stream)
    refuse_inputs(out, file)
    if n_best > 1 and not as_json:
        raise typer.BadParameter("needs --json", param_hint="--n-best")
    if align and not as_json:
        raise typer.BadParameter("needs --json", param_hint="--align")
    drawn = _drawing(sample, temperature, top_k, top_p, seed)
    model = load(folder, device, threads, ensemble, combine)
    if abstain_below is not None:
        model.refuse_unsure()
    chosen = settings_of(settings) | ({} if mbr is None else {"decode.mbr.samples": mbr})
    if n_best > model.most_outputs(beam, chosen, drawn):
        series = model.codecs.target.kind == "series"
        reason = "of a series needs --sample" if series else "cannot be more than the beam's width"
        raise typer.BadParameter(reason, param_hint="--n-best")
    name = str(file or STDIN)
    decoding = Decoding(beam, drawn, chosen, prefix, align)
    output = Output(as_json, n_best, abstain_below, stream)
    plain = not (as_json or stream or abstain_below is not None)
    # options of outputs that are texts; and those of all decoding
    written: dict[str, object] = {"--beam": beam, "--mbr": mbr, "--prefix": prefix, "--align": align}
    others: dict[str, object] = {
        "--set": settings, "--sample": sample, "--temperature": temperature, "--top-k": top_k, "--top-p": top_p,
        "--seed": seed,
    }  # fmt: skip
    if file is not None and not stream and _is_long_table(model, file):
        refuse_options("does nothing for a long table, which is continued with numbers", written | {"--scores": scores})
        _continue(model, file, decoding, output, out)
    elif out is not None:
        write_records(_records(model, file, decoding, output, scores), out)
    elif name.removesuffix(".gz").endswith(".conll") and plain and model.codecs.target.kind == "labels":
        write_conll(_records(model, file, decoding, output, False), sys.stdout.buffer)
    elif name.removesuffix(".gz").endswith(".conllu"):
        refuse_options("does nothing for a .conllu file, whose words are given the best labels", written | others)
        _tag(model, name, output)
    elif stream and model.answers_steps:
        many: dict[str, object] = {"--n-best": None if n_best == 1 else n_best}
        refuse_options("does nothing with --stream, where each step has one prediction", written | others | many)
        _answer_steps(model, file, output)
    else:
        _answer_inputs(model, file, decoding, output)


def _predict_on_ray(
    folder: Path, inputs: list[Path], out: Path | None, address: str, workers: int | None, options: dict[str, Any],
) -> None:  # fmt: skip
    """Write the outputs of every file into a folder, computed by the workers of a cluster."""
    if not inputs:
        raise typer.BadParameter("--ray needs files or folders of inputs", param_hint="FILE")
    if out is None:
        raise typer.BadParameter("needs --out DIR, the folder of the outputs", param_hint="--ray")
    if options["n_best"] > 1 and not options["as_json"]:
        raise typer.BadParameter("needs --json", param_hint="--n-best")
    if options["scores"] and options["as_json"]:
        raise typer.BadParameter("adds columns to a table; --json has the scores anyway", param_hint="--scores")
    from antiphon.shards.run import Wish, predict

    summary = predict(folder, inputs, out, address, Wish(**options), workers)
    print(f"{out}: {count_of(summary.files, 'file')}, {count_of(summary.rows, 'row')}", file=sys.stderr)
    if summary.unknown:
        _tell_unknown(summary.unknown, summary.rows, summary.copies)
    if summary.errors:
        raise DataError("\n".join(summary.errors))


@dataclass(frozen=True)
class Decoding:
    """The options of decoding."""

    beam: int | None
    sample: dict[str, Any] | None  # how symbols are drawn, if they are
    settings: dict[str, Any]
    prefix: str | None
    align: bool


@dataclass(frozen=True)
class Output:
    """How predictions are written."""

    as_json: bool
    n_best: int
    abstain_below: float | None
    at_once: bool  # each prediction as soon as its line is read

    def line(self, answer: Prediction) -> str:
        """A prediction as a line. JSON also contains predictions below the threshold, and marks them."""
        if self.as_json:
            return json_line(answer, self.n_best, self.abstain_below)
        return text_line(answer, self.abstain_below)


def _is_long_table(model: Predictor, file: Path) -> bool:
    """Whether a model continues the table in a file."""
    from antiphon.use.inputs import is_read_as_table

    return model.config.data.window is not None and is_read_as_table(str(file), model.config, model.codecs)


def _continue(model: Predictor, file: Path, decoding: Decoding, output: Output, out: Path | None) -> None:
    """Continue each group of a long table behind its last row: a line for each group, or in a file a row for each
    predicted row."""
    forecasts = model.forecast(file, decoding.sample, output.n_best, decoding.settings)
    if out is not None:
        data = model.config.data
        time = data.time if isinstance(data.time, str) else "time"
        group = data.group if isinstance(data.group, str) else "group"
        write_records((record for made in forecasts for record in made.records(time, group)), out)
        return
    for made in forecasts:
        print(json.dumps(made.to_json(), ensure_ascii=False) if output.as_json else made.text)


def _tag(model: Predictor, path: str, output: Output) -> None:
    """Write the sentences of a CoNLL-U file with the model's labels."""
    if output.as_json or output.at_once or output.abstain_below is not None:
        hint = "--json" if output.as_json else "--stream" if output.at_once else "--abstain-below"
        raise typer.BadParameter("a .conllu file is answered in CoNLL-U", param_hint=hint)
    for sentence in model.tag(path):
        print(sentence, end="")


def _answer_steps(model: Predictor, file: Path | None, output: Output) -> None:
    """Write the prediction for each line, which is a step of a sequence."""
    name = str(file or STDIN)
    steps = (line for _, line in model.lines(name, None if file else sys.stdin.buffer))
    for answer in model.live(steps, origin=f"{name}:"):
        print(output.line(answer), flush=True)


def _answer_inputs(model: Predictor, file: Path | None, decoding: Decoding, output: Output) -> None:
    """Write the prediction for every input."""
    name = str(file or STDIN)
    terminal = file is None and sys.stdin.isatty()
    inputs = model.file(name) if file else model.lines(name, sys.stdin.buffer)
    for answer in _answers(model, name, inputs, decoding, output, terminal):
        print(output.line(answer), flush=output.at_once or terminal)


def _records(model: Predictor, file: Path | None, decoding: Decoding, output: Output, scores: bool) -> Iterator[Record]:
    """The cells of every input with its prediction."""
    from antiphon.use.inputs import with_fields

    name = str(file or STDIN)
    waiting: deque[list[Any]] = deque()

    def inputs() -> Iterator[tuple[int, Any]]:
        lines = model.cells(name) if file else with_fields(model.lines(name, sys.stdin.buffer), model.codecs)
        for line, value, cells in lines:
            waiting.append(cells)
            yield line, value

    for answer in _answers(model, name, inputs(), decoding, output, False, scores):
        calibrated, below = model.calibration is not None, output.abstain_below
        yield record_of(model.source_names, waiting.popleft(), answer, scores, below, calibrated)


def _answers(
    model: Predictor, name: str, inputs: Iterator[tuple[int, Any]], decoding: Decoding, output: Output,
    terminal: bool, scores: bool = False,
) -> Iterator[Prediction]:  # fmt: skip
    """The prediction for every input; at the end is told how many inputs have unknown symbols."""
    from antiphon.use.predicting import WINDOW

    lines = array("q")  # the lines of the inputs
    values = _noting(lines, inputs)
    unknown = 0
    for answer in model.stream(
        _prompted(values) if terminal else values, decoding.beam, output.n_best, sample=decoding.sample,
        window=1 if output.at_once or terminal else WINDOW, origin=lambda number: f"{name}:{lines[number - 1]}",
        prefix=decoding.prefix, settings=decoding.settings, token_scores=output.as_json, align=decoding.align,
        scores=output.as_json or scores or output.abstain_below is not None,
    ):  # fmt: skip
        yield answer
        unknown += getattr(answer, "unknown", 0) > 0
    if unknown:
        sys.stdout.flush()
        _tell_unknown(unknown, len(lines), bool(model.config.model.copy_))


def _tell_unknown(unknown: int, inputs: int, copies: bool) -> None:
    """Tell how many inputs have unknown symbols; a model that copies can at least copy them."""
    advice = "the model can only copy them" if copies else "their predictions are guesses"
    print(
        f"inputs with symbols that the training rows do not have: {unknown:,} of {inputs:,}; {advice} "
        "(--json counts them as unknown)",
        file=sys.stderr,
    )


def _check_out(out: Path | None, scores: bool, abstain: bool, as_json: bool, stream: bool) -> None:
    """Refuse an ending that is not known, and options that cannot be combined with a file."""
    if out is None:
        if scores:
            raise typer.BadParameter("needs --out", param_hint="--scores")
        return
    if out.suffix.lower() not in WRITERS:
        raise typer.BadParameter(f"must end in {', '.join(WRITERS)}", param_hint="--out")
    if out.suffix.lower() == ".conll" and (scores or abstain):
        reason = "adds columns, and the columns of a .conll file are a token and its label; write .tsv or .jsonl"
        raise typer.BadParameter(reason, param_hint="--scores" if scores else "--abstain-below")
    if as_json or stream:
        reason = "is for standard output; the ending of --out says how the file is written"
        raise typer.BadParameter(reason, param_hint="--json" if as_json else "--stream")


def _noting(lines: array[int], inputs: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """The inputs; the line of each is appended to `lines`."""
    for line, value in inputs:
        lines.append(line)
        yield value


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
    """A dialogue, one turn per line: an empty line ends it, /new starts another."""
    model = load(folder, device, threads, ensemble, combine)
    lines = _lines()
    if sys.stdin.isatty():
        lines = _prompted(lines)
    drawn = _drawing(sample, temperature, top_k, top_p, seed)
    for answer in model.chat(lines, beam, drawn, settings_of(settings)):
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
    from antiphon.data.formats import read_lines

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
    """How symbols are drawn; None if no option of sampling is set."""
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    chosen = {name: value for name, value in options.items() if value is not None}
    return chosen if sample or chosen else None
