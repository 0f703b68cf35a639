"""`antiphon-runtime FOLDER < inputs`: a prediction for each line. `antiphon-runtime serve FOLDER`: a server.

A package that holds a model has the same command without a folder: `answer`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from antiphon_runtime.codecs import Category, Text
from antiphon_runtime.common.answers import SeriesPrediction, abstains
from antiphon_runtime.errors import InputError, RuntimeModelError
from antiphon_runtime.loading import load
from antiphon_runtime.model import WINDOW, Model

INPUT = "standard input"
LONGEST_LINE = 16 << 20  # bytes


def main() -> None:
    """Exit status 0 done, 1 an error that the user can fix, 2 wrong usage."""
    if sys.argv[1:2] == ["serve"]:  # a folder of this name is ./serve
        try:
            from antiphon_runtime.serving import main as serve
        except ModuleNotFoundError as error:
            print(f"serve needs {error.name}: pip install 'antiphon-runtime[serve]'", file=sys.stderr)
            raise SystemExit(1) from None
        serve(sys.argv[2:])
        return
    parser = _parser("antiphon-runtime")
    parser.epilog = "antiphon-runtime serve FOLDER... answers over HTTP; antiphon-runtime serve --help shows how."
    parser.add_argument("folder", metavar="FOLDER", help="what `antiphon export` has written")
    _answer(parser, parser.parse_args())


def answer(folder: Path, name: str, version: str) -> None:
    """The command `name` of a package of this version that holds the model in `folder`: as `main`."""
    parser = _parser(name)
    parser.set_defaults(folder=folder)
    parser.add_argument("--version", action="version", version=version)
    _answer(parser, parser.parse_args())


def _parser(name: str) -> argparse.ArgumentParser:
    """The options of both."""
    parser = argparse.ArgumentParser(name, description="Write a prediction for every line of standard input.")
    parser.add_argument("--json", action="store_true", help="JSON Lines, one object per input")
    parser.add_argument("--beam", type=int, help="beam width; 1 is greedy")
    parser.add_argument("--n-best", type=int, default=1, help="how many candidates for each input; needs --json")
    parser.add_argument("--sample", action="store_true", help="draw symbols by their probability")
    parser.add_argument(
        "--temperature", type=float, help="with --sample: below 1 fewer, above 1 more improbable symbols"
    )
    parser.add_argument("--top-k", type=int, help="with --sample: draw only from this many most probable symbols")
    parser.add_argument(
        "--top-p",
        type=float,
        help="with --sample: draw only from the most probable symbols that together have this probability",
    )
    parser.add_argument("--seed", type=int, help="with --sample: the seed of the random numbers")
    parser.add_argument(
        "--abstain-below", type=float, metavar="P", help="write an empty line where the confidence is below P"
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="predict for each line as soon as it is read; for labels and numbers a line is a step",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; by default 1")
    return parser


def _refuse_decoding(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options of decoding where each line is a step, since nothing would come of them."""
    for name in ("beam", "n_best", "sample", "temperature", "top_k", "top_p", "seed"):
        if getattr(arguments, name) != parser.get_default(name):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} does nothing with --stream, where each step has one prediction")


def _answer(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Answer standard input as the arguments say."""
    if arguments.n_best > 1 and not arguments.json:
        parser.error("--n-best needs --json")
    if arguments.abstain_below is not None and not 0 <= arguments.abstain_below <= 1:
        parser.error(f"--abstain-below must lie between 0 and 1 (is {arguments.abstain_below:g})")
    drawn = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "seed")}
    options = {name: value for name, value in drawn.items() if value is not None}
    sample = options if arguments.sample or options else None
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        model, origin = load(arguments.folder, arguments.threads), f"{INPUT}:"
        if arguments.abstain_below is not None:
            model.refuse_unsure()
        if arguments.stream and model.target.steps and model.structure == "synchronous":
            _refuse_decoding(parser, arguments)
            answers = model.live(_lines(), origin)
        else:
            window = 1 if arguments.stream else WINDOW
            answers = model.stream(
                _lines(model), arguments.beam, arguments.n_best, sample, window, origin, arguments.json
            )
        strange = 0
        for answer in answers:
            strange += getattr(answer, "unknown", 0) > 0
            silent = arguments.abstain_below is not None and abstains(answer, arguments.abstain_below)
            if arguments.json:
                value = answer.to_json() | ({"abstained": True} if silent else {})
                if arguments.n_best > 1 and not isinstance(answer, SeriesPrediction):  # whose samples it has already
                    value["n_best"] = [candidate.to_json() for candidate in getattr(answer, "n_best", [])]
                line = json.dumps(value, ensure_ascii=False)
            else:
                line = "" if silent else answer.text.translate({ord("\n"): " ", ord("\r"): " "})
            print(line, flush=arguments.stream)
        sys.stdout.flush()
        if strange:
            advice = "their predictions are guesses (--json counts them as unknown)"
            print(f"inputs with symbols that the training rows do not have: {strange:,}; {advice}", file=sys.stderr)
    except RuntimeModelError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(model: Model | None = None) -> Iterator[str]:
    """Lines of standard input; only a newline ends a line. For a model that reads one text per line has no tab."""
    alone = model is not None and sum(source.reads for source in model.sources) == 1
    alone = alone and model is not None and isinstance(model.sources[0], Text | Category)
    for number in count(1):
        line = sys.stdin.buffer.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise InputError(f"{INPUT}:{number}: is longer than {LONGEST_LINE >> 20} MiB")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{INPUT}:{number}: is not UTF-8 text") from None
        if alone and "\t" in text:
            fields = text.count("\t") + 1
            raise InputError(f"{INPUT}:{number}: has {fields} fields, and the model reads 1: cut -f1 gives the first")
        yield text


if __name__ == "__main__":
    main()
