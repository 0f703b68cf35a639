"""The command that writes pronunciations for other programs: lexicon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.cli.common import refuse_inputs
from antiphon.cli.options import Beam, Device, Folder, Threads

if TYPE_CHECKING:
    from antiphon.tools.lexicon import Word


def lexicon(
    folder: Folder,
    words: Annotated[Path, typer.Argument(metavar="WORDS", help="a file with a word on each line")],
    to: Annotated[str, typer.Option(metavar="sherpa|mfa|cmudict|tsv", help="the format of the lexicon")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="where it goes; by default standard output")] = None,
    known: Annotated[
        Path | None,
        typer.Option(metavar="LEXICON", help="pronunciations that are known (.dict, .tsv): they win over the model's"),
    ] = None,
    n_best: Annotated[int, typer.Option(min=1, help="how many pronunciations for each word, with probabilities")] = 1,
    inventory: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the symbols that may be used, such as tokens.txt; others are an error"),
    ] = None,
    doubtful: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a list of the words to look at, the least sure first (see calibrate)"),
    ] = None,
    below: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="with --doubtful: a confidence below this is doubtful")
    ] = 0.5,
    beam: Beam = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write the pronunciations of a list of words as a lexicon; DIR is a trained or an exported model."""
    from antiphon.data.lexicons import LEXICONS
    from antiphon.files import write_text
    from antiphon.tools.lexicon import lexicon as make
    from antiphon.use.pronouncing import pronouncer

    if below != 0.5 and doubtful is None:
        raise typer.BadParameter("needs --doubtful", param_hint="--below")
    if to not in LEXICONS:
        raise typer.BadParameter(f"{to!r} is none of {', '.join(LEXICONS)}", param_hint="--to")
    for option, path in (("--out", out), ("--doubtful", doubtful)):
        refuse_inputs(path, words, known, inventory, option=option)
    model = pronouncer(folder, device, threads)
    if doubtful is not None:
        model.refuse_unsure()
    made = make(model, words, known, n_best, beam, inventory, to)
    for note in made.notes:
        print(note, file=sys.stderr)
    if doubtful is not None:
        doubted = made.doubtful(below)
        write_text(doubtful, "".join(f"{line}\n" for line in doubtful_lines(doubted, below)))
        print(f"{doubtful}: {len(doubted):,} words to look at", file=sys.stderr)
    if out is None:
        for line in made.lines(to):
            print(line)
    else:
        write_text(out, "".join(f"{line}\n" for line in made.lines(to)))


def doubtful_lines(words: list[Word], below: float) -> Iterator[str]:
    """A line for each word: its pronunciation, confidence, and why it is doubtful, with tabs between."""
    for word in words:
        best = " ".join(word.pronunciations[0].symbols) if word.pronunciations else ""
        sure = "" if word.confidence is None else f"{word.confidence:.4f}"
        yield f"{word.word}\t{best}\t{sure}\t{word.reason(below)}"
