"""Commands between model folders and other formats: export, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.cli.common import settings_of
from antiphon.cli.options import DecodeSettings, Out, or_ready


def export(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="a model folder", show_default=False, callback=or_ready)
    ] = None,
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="what to write", show_default=False)] = None,
    to: Annotated[str, typer.Option(metavar="onnx|wheel|web", help="the format; --list explains them")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="weights of 8 bits: smaller, a little less exact")] = False,
    data: Annotated[
        Path | None, typer.Option(help="what --int8 is measured on; by default the configured test set")
    ] = None,
    settings: DecodeSettings = None,
    name: Annotated[str | None, typer.Option(help="of a wheel: the name of the package, such as my-g2p")] = None,
    version: Annotated[str | None, typer.Option(help="of a wheel: its version, by default 0.1.0")] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(help="of a wheel: an SPDX expression such as MIT, or the file of a licence; may be repeated"),
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(help="of a page: the folder of the npm package onnxruntime-web, to copy it from")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="print what exports to which format, or with DIR whether this model does")
    ] = False,
) -> None:
    """Write a model that runs without PyTorch, after comparing it with PyTorch."""
    if list_:
        _list(folder)
        return
    if folder is None or out is None:
        raise typer.BadParameter("give a model folder and what to write", param_hint="DIR OUT")
    if data is not None and not int8:
        raise typer.BadParameter("is what --int8 is measured on", param_hint="--data")
    from antiphon.export.folder import export as run
    from antiphon.export.formats import wrong_option

    given = {"name": name, "version": version, "licence": licence, "runtime": runtime and str(runtime)}
    options = {key: value for key, value in given.items() if value is not None}
    wrong = wrong_option(to, options)
    if wrong is not None:
        raise typer.BadParameter(wrong[1], param_hint=f"--{wrong[0]}")
    written = run(folder, out, to, int8, None if data is None else str(data), settings_of(settings), options)
    _tell(written)
    if to == "wheel" and not licence:
        print("the wheel states no licence; --licence states one")
    if to == "web" and not runtime:
        print(f"fetch ONNX Runtime once: cd {out} && npm install; --runtime copies it from a folder")


def _tell(written: Any) -> None:
    """What was written, how near it is to PyTorch, and how large."""
    print(f"written: {written.path}")
    if written.examples is not None:
        print(f"{written.examples} goes with it: validation inputs that pages show; remove it if they are private")
    print(f"largest difference from PyTorch over 20 shapes: {written.difference:.1e}")
    print(f"graphs: {written.size / 1e6:,.2f} MB in float32")
    if written.quantized_size is not None:
        print(f"graphs: {written.quantized_size / 1e6:,.2f} MB in int8")
        for metric, (before, after) in (written.changes or {}).items():
            print(f"{metric}: {before:.4f} in float32, {after:.4f} in int8")
        if written.changes is None:
            print("what int8 changes is not measured: no test data; name some with --data")


def _list(folder: Path | None) -> None:
    if folder is None:
        from antiphon.export.formats import listed

        for line in listed():
            print(line)
        return
    from antiphon.export.folder import exportable

    for to, reasons in exportable(folder).items():
        print(f"{to}: {'; '.join(reasons) if reasons else 'yes'}")


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="the checkpoint20.npz of g2p_en")],
    out: Out,
) -> None:
    """Make a model folder of another program's model."""
    from antiphon.saved.conversion import convert as run

    run(source, out)
