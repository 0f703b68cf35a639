"""The command line: arguments to calls, errors to one message and an exit status. Torch is imported when needed."""

from __future__ import annotations

import functools
import io
import json
import os
import shlex
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon import __version__
from antiphon.errors import AntiphonError

if TYPE_CHECKING:
    from antiphon.common.answers import Prediction
    from antiphon.config.schema import Files
    from antiphon.use.predictor import Predictor

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Recurrent sequence models, from a table of pairs to a shipped model.",
)

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default a GPU if there is one")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads; by default all cores")]
Beam = Annotated[int | None, typer.Option(min=1, help="beam width; 1 is greedy")]
Sampled = Annotated[bool, typer.Option("--sample", help="draw symbols by their probability")]
Temperature = Annotated[float | None, typer.Option(help="of --sample: below 1 surer, above 1 bolder")]
TopK = Annotated[int | None, typer.Option(help="of --sample: among so many most probable symbols")]
TopP = Annotated[float | None, typer.Option(help="of --sample: among the fewest that hold this probability")]
Seed = Annotated[int | None, typer.Option(help="of --sample: another seed, other draws")]
Members = Annotated[
    list[Path] | None, typer.Option("--ensemble", metavar="DIR", help="a further model, to be asked with the first")
]
Combine = Annotated[str, typer.Option(metavar="log_linear|mean", help="of --ensemble: how models are combined")]
Abstain = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, metavar="P", help="no answer where the confidence is below P (see calibrate)"),
]
Json = Annotated[bool, typer.Option("--json", help="write JSON")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="set a key of the configuration")
]
DecodeSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="decode.KEY=VALUE", help="set a key of decode")
]
STDIN = "standard input"
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="a model folder")]


def _printable(message: str) -> str:
    """A message without control characters that a file's content may have brought into it."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in message)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are one message and an exit status."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except AntiphonError as error:
            print(_printable(str(error)), file=sys.stderr)
            raise typer.Exit(1) from None
        except typer.Exit:  # a RuntimeError, by its base
            raise
        except (MemoryError, RuntimeError) as error:
            from antiphon.training.update import is_out_of_memory

            if not is_out_of_memory(error):
                raise
            print("out of memory; give fewer or shorter inputs at once, or a narrower beam", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interrupt:
            print(interrupt if interrupt.args else "interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:  # files of the user's are guarded where they are opened; this is a full disk
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print(f"standard output: cannot be written: {error.strerror or error}", file=sys.stderr)
            raise typer.Exit(1) from None

    return guarded


@app.callback(invoke_without_command=True)
@_guarded
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="import a module that adds parts of its own")
    ] = None,
) -> None:
    if version:
        print(f"antiphon {__version__}")
        raise typer.Exit
    import importlib

    if imports:
        sys.path.insert(0, os.getcwd())
    for module in imports or []:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError, TypeError) as error:
            raise AntiphonError(f"--import {module}: {error}") from None
    if context.invoked_subcommand is None:
        print(context.get_help())


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    from antiphon.config.load import parse_value

    found = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        found[key] = parse_value(value, key)
    return found


@app.command()
@_guarded
def train(
    what: Annotated[Path, typer.Argument(metavar="CONFIG.yaml|TABLE", help="a configuration, or a table of pairs")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the model goes")],
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the training in DIR")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the model in DIR")] = False,
    init_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="start from the weights of a trained model, where they fit")
    ] = None,
    device: Device = None,
    threads: Annotated[
        int | None, typer.Option(min=0, max=1024, help="CPU threads; 0: as many as are fastest; by default all cores")
    ] = None,
) -> None:
    """Train a model from a configuration, or from a table with settings chosen from its data."""
    from antiphon.api import naming, read_config
    from antiphon.training.loop import train as run

    if resume and overwrite:
        raise typer.BadParameter("goes on with a model or replaces it, not both", param_hint="--resume --overwrite")
    wishes = _settings(settings)
    with naming(what):
        found = read_config(what, wishes, init_from, out if resume else None)
    command = shlex.join(["antiphon", *sys.argv[1:]])
    with naming(what):
        run(found.config, out, resume, overwrite, device, threads, command, init_from, found.about)


def _load(folder: Path, device: str | None, threads: int | None, members: list[Path] | None, combine: str) -> Predictor:
    import torch

    from antiphon.use.predictor import load

    if threads:
        torch.set_num_threads(threads)
    return load([folder, *(members or [])], device, combine)


def _files(data: Path | None, source: Path | None, target: Path | None) -> Files | None:
    from antiphon.config.schema import Parallel

    if (source is None) != (target is None) or (source is not None and data is not None):
        raise typer.BadParameter("give DATA, or both --source and --target")
    if source is not None and target is not None:
        return Parallel(source=str(source), target=str(target))
    return None if data is None else str(data)


@app.command()
@_guarded
def evaluate(
    folder: Folder,
    data: Annotated[Path | None, typer.Argument(metavar="[DATA]", help="by default the configured test set")] = None,
    source: Annotated[Path | None, typer.Option(help="source lines, with --target")] = None,
    target: Annotated[Path | None, typer.Option(help="target lines, with --source")] = None,
    as_json: Json = False,
    beam: Beam = None,
    settings: DecodeSettings = None,
    abstain_below: Abstain = None,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure a model on data."""
    files = _files(data, source, target)
    model = _load(folder, device, threads, ensemble, combine)
    scores, signatures = model.evaluate_signed(files, beam, _settings(settings), abstain_below)
    if as_json:
        print(json.dumps({**scores, "signatures": signatures}))
        return
    for name, value in scores.items():
        shown = f"{value:,.0f}" if name == "rows" else f"{value:.4f}"
        print(f"{name:26} {shown:>10}  {signatures.get(name, '')}".rstrip())


@app.command()
@_guarded
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="the model that the others are compared with")],
    others: Annotated[list[Path], typer.Argument(metavar="DIR... TABLE", help="other models, and the data")],
    samples: Annotated[int, typer.Option(min=1, max=1_000_000, help="how often rows are drawn anew")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="other draws")] = 1,
    as_json: Json = False,
    beam: Beam = None,
    settings: DecodeSettings = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure models on the same rows, and how sure their differences are (paired bootstrap)."""
    *folders, data = others
    if not folders:
        raise typer.BadParameter("give two models or more, and the data behind them", param_hint="DIR... TABLE")
    from antiphon.use.comparison import compare as run

    models = [_load(folder, device, threads, None, "log_linear") for folder in (first, *folders)]
    found = run(models, str(data), samples, seed, beam, _settings(settings))
    if as_json:
        print(json.dumps([vars(one) for one in found]))
        return
    for one in found:
        print(one.line())


@app.command()
@_guarded
def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="the page to write")],
    data: Annotated[Path | None, typer.Argument(metavar="[TABLE]", help="rows, of which the worst are shown")] = None,
    source: Annotated[Path | None, typer.Option(help="source lines, with --target")] = None,
    target: Annotated[Path | None, typer.Option(help="target lines, with --source")] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Show a training on one page: curves, data, configuration, and the examples that it is worst at."""
    if out.suffix.lower() != ".html":
        raise typer.BadParameter("must end in .html", param_hint="--out")
    from antiphon.tools.report import report as run

    files = _files(data, source, target)
    run(_load(folder, device, threads, None, "log_linear"), files, out)


def _lines() -> Iterator[str]:
    """Lines of standard input."""
    from antiphon.data.formats import read_lines
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


@app.command()
@_guarded
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
    from antiphon.use.predictor import WINDOW

    how = _drawing(sample, temperature, top_k, top_p, seed)
    model = _load(folder, device, threads, ensemble, combine)
    if abstain_below is not None:
        model.refuse_unsure()
    chosen = _settings(settings) | ({} if mbr is None else {"decode.mbr.samples": mbr})
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


def _noting(lines: array[int], inputs: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """The inputs, each of which notes the line it stands on."""
    for line, given in inputs:
        lines.append(line)
        yield given


@app.command()
@_guarded
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
    model = _load(folder, device, threads, ensemble, combine)
    lines = _lines()
    if sys.stdin.isatty():
        lines = _prompted(lines)
    how = _drawing(sample, temperature, top_k, top_p, seed)
    for answer in model.chat(lines, beam, how, _settings(settings)):
        print(_one_line(answer.text), flush=True)


def _one_line(text: str, breaks: str = "\n\r") -> str:
    """Plain output is a line an input: characters that would break it become spaces (JSON keeps them)."""
    return text.translate({ord(character): " " for character in breaks})


def _answer_line(found: Prediction, as_json: bool, n_best: int, abstain_below: float | None) -> str:
    """An answer as `predict` writes it. JSON holds one that is not given, too, and says so."""
    from antiphon.common.answers import abstains

    silent = abstain_below is not None and abstains(found, abstain_below)
    if not as_json:
        return "" if silent else _one_line(found.text)
    value = found.to_json() | ({"abstained": True} if silent else {})
    if n_best > 1:
        value["n_best"] = [candidate.to_json() for candidate in getattr(found, "n_best", [])]
    return json.dumps(value, ensure_ascii=False)


@app.command()
@_guarded
def score(
    folder: Folder,
    data: Annotated[Path | None, typer.Argument(metavar="[DATA]", help="by default the configured test set")] = None,
    source: Annotated[Path | None, typer.Option(help="source lines, with --target")] = None,
    target: Annotated[Path | None, typer.Option(help="target lines, with --source")] = None,
    as_json: Json = False,
    ensemble: Members = None,
    combine: Combine = "log_linear",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write log p(target | source) of every row, in nats, as the last column."""
    files = _files(data, source, target)
    model = _load(folder, device, threads, ensemble, combine)
    for row, value in model.scored(files):
        sides = model.codecs.shown(row)
        if as_json:
            print(json.dumps({**sides, "score": value}, ensure_ascii=False))
        else:
            print(*(_one_line(text, "\n\r\t") for text in sides.values()), f"{value:.6f}", sep="\t")


@app.command()
@_guarded
def calibrate(
    folder: Folder,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="rows not learned from; by default the validation rows")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="source lines, with --target")] = None,
    target: Annotated[Path | None, typer.Option(help="target lines, with --source")] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Make a model say how sure it is: the probability that an answer is right, kept in its folder."""
    files = _files(data, source, target)
    found = _load(folder, device, threads, None, "log_linear").calibrate(files)
    print(f"{found.rows}: {found.summary()}\n\n{found.table()}")


@app.command()
@_guarded
def exceptions(
    folder: Folder,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="rows of an input and its output; by default show those")
    ] = None,
) -> None:
    """Keep answers that are known in a model's folder: they win over the model."""
    from antiphon.saved.known_answers import FILE

    if table is not None:
        count = _load(folder, "cpu", None, None, "log_linear").use_exceptions(table)
        print(f"known answers in {folder / FILE}: {count:,}")
    elif (folder / FILE).is_file():
        sys.stdout.write((folder / FILE).read_text(encoding="utf-8"))


@app.command()
@_guarded
def inspect(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="what is written: .json, .html, .png or .svg")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT]...", help="by default the lines of standard input")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="what should be said; one for each input")
    ] = None,
    other: Annotated[str | None, typer.Option(metavar="INPUT", help="try the context of this input, too")] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=SYMBOL", help="say this symbol at this step, from 1, and go on; no symbol: end"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="so many of the most probable symbols a step")] = 5,
    view: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="draw this view alone: attention, steps, beam, ...")
    ] = None,
    beam: Beam = None,
    settings: DecodeSettings = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Show what a model did with an input: as a page, a picture, or JSON.

    Of several inputs each has a file of its own, with its number before the ending.
    """
    if out.suffix.lower() not in (".json", ".html", ".png", ".svg"):
        raise typer.BadParameter("must end in .json, .html, .png or .svg", param_hint="--out")
    if view and out.suffix.lower() == ".json":
        raise typer.BadParameter("is for pictures; JSON holds all", param_hint="--view")
    if inputs and reference and len(reference) != len(inputs):
        raise typer.BadParameter(f"is given {len(reference)} times for {len(inputs)} inputs", param_hint="--reference")
    from antiphon.inspection.files import write

    forced = [_forced(pair) for pair in force or []]
    model = _load(folder, device, threads, None, "log_linear")
    read = inputs or [line for _, line in model.lines(STDIN, sys.stdin.buffer)]
    if reference and len(reference) != len(read):
        raise typer.BadParameter(f"is given {len(reference)} times for {len(read)} inputs", param_hint="--reference")
    for number, given in enumerate(read):
        wanted = reference[number] if reference else None
        trace = model.explain(given, wanted, other, forced, top, beam, _settings(settings))
        path = out if len(read) == 1 else out.with_stem(f"{out.stem}-{number + 1}")
        write(trace, path, view or [])
        typer.echo(str(path), err=True)


def _forced(pair: str) -> tuple[int, str | None]:
    """A step, from 0, and the symbol that is to be said there."""
    step, equals, symbol = pair.partition("=")
    if not equals or not step.isascii() or not step.isdigit() or int(step) < 1:
        raise typer.BadParameter(f"{pair!r} is not STEP=SYMBOL, with a step from 1", param_hint="--force")
    return int(step) - 1, symbol or None


@app.command()
@_guarded
def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder to write")],
    to: Annotated[str, typer.Option(help="the format: onnx")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="weights of 8 bits: smaller, a little less exact")] = False,
    data: Annotated[
        Path | None, typer.Option(help="what --int8 is measured on; by default the configured test set")
    ] = None,
) -> None:
    """Write a model that runs without PyTorch, after comparing it with PyTorch."""
    if data is not None and not int8:
        raise typer.BadParameter("is what --int8 is measured on", param_hint="--data")
    from antiphon.export.folder import export as run

    found = run(folder, out, to, int8, None if data is None else str(data))
    print(f"largest difference from PyTorch over 20 shapes: {found.difference:.1e}")
    print(f"graphs: {found.size / 1e6:,.2f} MB in float32")
    if found.quantized_size is not None:
        print(f"graphs: {found.quantized_size / 1e6:,.2f} MB in int8")
        for name, (before, after) in (found.changes or {}).items():
            print(f"{name}: {before:.4f} in float32, {after:.4f} in int8")
        if found.changes is None:
            print("what int8 changes is not measured: no test data; name some with --data")


@app.command()
@_guarded
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="the checkpoint20.npz of g2p_en")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the model goes")],
) -> None:
    """Make a model folder of another program's model."""
    from antiphon.saved.conversion import convert as run

    run(source, out)


@app.command()
@_guarded
def serve(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="model folders, trained or exported")],
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one, which is told")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="clients must show the token in it (Authorization: Bearer ...)")
    ] = None,
    allow_open: Annotated[bool, typer.Option("--allow-open", help="let other machines ask without a token")] = False,
    origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="pages of this origin may ask (CORS)")] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="seconds for a request, then 504")] = 30.0,
    queue: Annotated[int, typer.Option(min=1, help="inputs that may wait for a model, then 429")] = 1024,
    batch_steps: Annotated[int, typer.Option(min=1, help="characters or frames of a batch; 1: no two inputs")] = 16_384,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Answer over HTTP: predictions, scores, traces and streams of one model or of several (extra: serve)."""
    try:
        from antiphon.server.run import serve as run
        from antiphon.server.settings import Settings
    except ModuleNotFoundError as error:
        raise AntiphonError(f"serve needs {error.name}: pip install 'antiphon[serve]'") from None
    if threads:
        import torch

        torch.set_num_threads(threads)
    hosts = () if allow_open or token_file else (host, "localhost", "127.0.0.1", "[::1]")
    token = None if token_file is None else _token(token_file)
    settings = Settings(
        token=token, origins=tuple(origin or ()), hosts=hosts, deadline=deadline, queue=queue, batch_steps=batch_steps
    )
    run(folders, host, port, settings, allow_open, device)


def _token(path: Path) -> str:
    """The token that a file holds."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise AntiphonError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise AntiphonError(f"{path}: must hold a token of 16 or more ASCII characters without spaces")
    return token


@app.command()
@_guarded
def check(
    what: Annotated[Path, typer.Argument(metavar="CONFIG.yaml|TABLE", help="a configuration, or a table of pairs")],
    settings: Settings = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="write the whole configuration, and nothing else")] = False,
) -> None:
    """Read all data, report what would be chosen and what would go wrong; train nothing."""
    from antiphon.api import naming, read_config
    from antiphon.tools.checkup import check as run

    wishes = _settings(settings)
    with naming(what):
        found = read_config(what, wishes, skip=True)
        if as_yaml:
            print(found.config.to_yaml(), end="")
            return
        report = run(found.config)
    print("\n".join(report.lines))
    for line in found.about:
        print(f"chosen: {line}")
    for warning in report.warnings:
        print(f"warning: {warning}")
    if report.bad_rows:
        raise AntiphonError(f"{what}: {report.bad_rows:,} bad rows; mend them, or set data.on_error to skip")


@app.command()
@_guarded
def demo(
    structure: Annotated[str, typer.Argument(help="which structure to show")] = "many_to_many",
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the model goes")] = Path("demo-model"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the model in DIR")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="updates, to try it faster")] = None,
    threads: Threads = None,
) -> None:
    """Train, evaluate and use a small real model, offline, on the CPU."""
    from antiphon.tools.demo import run

    run(structure, out, lambda line: print(line, flush=True), overwrite, threads, steps)


@app.command()
@_guarded
def bench(
    seconds: Annotated[float, typer.Option(min=0.01, max=600, help="of measuring each figure")] = 3.0,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Measure how fast this machine multiplies, and how fast models learn and write on it."""
    from antiphon.tools.bench import run

    found = run(lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True), threads, seconds)
    if as_json:
        print(json.dumps(found, indent=2))


def main() -> None:
    """The entry point: exit status 0 done, 1 something of the user's is wrong, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app()
