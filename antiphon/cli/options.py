"""The options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.saved.ready import model_path


def or_ready(path: Path | None) -> Path | None:
    """The folder that an option names, or the ready model of this name."""
    return None if path is None else model_path(path)


Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default a GPU if there is one")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads; by default all cores")]
Beam = Annotated[int | None, typer.Option(min=1, help="beam width; 1 is greedy")]
Sampled = Annotated[bool, typer.Option("--sample", help="draw symbols by their probability")]
Temperature = Annotated[
    float | None, typer.Option(help="with --sample: below 1 fewer, above 1 more improbable symbols")
]
TopK = Annotated[int | None, typer.Option(help="with --sample: draw only from this many most probable symbols")]
TopP = Annotated[
    float | None,
    typer.Option(help="with --sample: draw only from the most probable symbols that together have this probability"),
]
Seed = Annotated[int | None, typer.Option(help="with --sample: the seed of the random numbers")]
Members = Annotated[
    list[Path] | None,
    typer.Option("--ensemble", metavar="DIR", help="another model, which predicts together with the first"),
]
Combine = Annotated[str, typer.Option(metavar="log_linear|mean", help="with --ensemble: how models are combined")]
Abstain = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, metavar="P", help="write an empty line where the confidence is below P (see calibrate)"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="write JSON")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="set a key of the configuration")
]
DecodeSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="decode.KEY=VALUE", help="set a key of decode")
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="a model folder, or the name of a ready model", callback=or_ready)
]
Data = Annotated[Path | None, typer.Argument(metavar="[DATA]", help="by default the configured test set")]
Source = Annotated[Path | None, typer.Option(help="source lines, with --target")]
Target = Annotated[Path | None, typer.Option(help="target lines, with --source")]
ConfigOrTable = Annotated[
    Path, typer.Argument(metavar="CONFIG.yaml|TABLE", help="a configuration, or a table of pairs")
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="where the model goes")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the model in DIR")]
