"""Commands between model folders and other formats: export, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.common import settings_of
from antiphon.cli.options import DecodeSettings, Folder, Out


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder to write")],
    to: Annotated[str, typer.Option(help="the format: onnx")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="weights of 8 bits: smaller, a little less exact")] = False,
    data: Annotated[
        Path | None, typer.Option(help="what --int8 is measured on; by default the configured test set")
    ] = None,
    settings: DecodeSettings = None,
) -> None:
    """Write a model that runs without PyTorch, after comparing it with PyTorch."""
    if data is not None and not int8:
        raise typer.BadParameter("is what --int8 is measured on", param_hint="--data")
    from antiphon.export.folder import export as run
    from antiphon.saved import examples

    written = run(folder, out, to, int8, None if data is None else str(data), settings_of(settings))
    if (out / examples.FILE).exists():
        print(f"{examples.FILE} goes with it: validation inputs, which its page shows; remove it if they are private")
    print(f"largest difference from PyTorch over 20 shapes: {written.difference:.1e}")
    print(f"graphs: {written.size / 1e6:,.2f} MB in float32")
    if written.quantized_size is not None:
        print(f"graphs: {written.quantized_size / 1e6:,.2f} MB in int8")
        for name, (before, after) in (written.changes or {}).items():
            print(f"{name}: {before:.4f} in float32, {after:.4f} in int8")
        if written.changes is None:
            print("what int8 changes is not measured: no test data; name some with --data")


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="the checkpoint20.npz of g2p_en")],
    out: Out,
) -> None:
    """Make a model folder of another program's model."""
    from antiphon.saved.conversion import convert as run

    run(source, out)
