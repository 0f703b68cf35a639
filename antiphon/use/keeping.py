"""What use adds to a model's folder: known answers, a calibration; and a copy of the folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ModelFolderError
from antiphon.files import write_text
from antiphon.model.ensemble import Ensemble
from antiphon.saved import calibration, examples
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.saved.calibration import Report
from antiphon.saved.card import add_calibration
from antiphon.saved.intervals import IntervalReport
from antiphon.use.loaded import Loaded


class TemporaryFolder:
    """A temporary folder, removed with the last model that uses it. It is pickled as its files, which unpickling writes
    into another one; what only `--resume` needs is left out."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="antiphon-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        for name, content in (files or {}).items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def __deepcopy__(self, memo: object) -> TemporaryFolder:
        return self

    def __reduce__(self) -> tuple[type[TemporaryFolder], tuple[dict[str, bytes]]]:
        paths = {path.relative_to(self.path): path for path in self.path.rglob("*") if path.is_file()}
        files = {str(name): path.read_bytes() for name, path in paths.items() if bundle.TRAINING not in name.parts}
        return TemporaryFolder, (files,)


def keep_exceptions(folder: Path, lines: Iterable[str]) -> None:
    """Write a table of known answers into a model's folder, in the place of the one before."""
    write_text(folder / exceptions.FILE, "".join(f"{line}\n" for line in lines))


def keep_calibration(folder: Path, report: Report | IntervalReport) -> None:
    """Write a calibration into a model's folder, and into its card."""
    write_text(folder / calibration.FILE, report.to_json())
    add_calibration(folder, report)


def save(loaded: Loaded, metrics: dict[str, Any], target: Path) -> None:
    """Write the model into a new folder; see `Predictor.save`."""
    if isinstance(loaded.model, Ensemble):
        raise ModelFolderError("an ensemble is several folders; copy each of them")
    if target.exists():
        raise ModelFolderError(f"{target}: exists; name a new folder")
    bundle.save_description(target, loaded.config, loaded.codecs)
    bundle.save_weights(target, bundle.parameters(loaded.model))
    bundle.save_metrics(target, metrics)
    for name in (bundle.CARD, bundle.CURVES, calibration.FILE, examples.FILE, exceptions.FILE):
        if (loaded.folder / name).is_file():
            shutil.copyfile(loaded.folder / name, target / name)
