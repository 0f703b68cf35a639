"""An exported model as a wheel: a package of Python that holds it and needs the runtime alone.

The same model and the same options give the same bytes: files stand in order, uncompressed, with one time and one set
of permissions. The format is that of
https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import keyword
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.metadata import Metadata
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from antiphon import __version__
from antiphon.data.codecs.text import TextCodec
from antiphon.errors import UsageError
from antiphon.export.shipped import Shipped
from antiphon.files import make_folder, write_atomically
from antiphon.model.build import structure_of
from antiphon.saved.card import read_card
from antiphon.saved.folder import CARD, Bundle

WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold
UNIX = 3  # in a zip file: the system whose permissions are stored
MODE = 0o100644 << 16  # of files: regular, readable by all
TAG = "py3-none-any"
TAKEN = {"antiphon", "antiphon_runtime", "numpy", "onnxruntime", "tokenizers", "PIL", *sys.stdlib_module_names}
PREDICTIONS = {
    "label": "LabelPrediction", "labels": "LabelsPrediction", "number": "NumberPrediction",
    "numbers": "NumbersPrediction", "series": "SeriesPrediction",
}  # fmt: skip
PICTURES = ("image", "images")
PIECES = ("bpe", "unigram")

PACKAGE = Template('''"""$summary

`predict(["..."])` gives the prediction for each input. The model is loaded when it is first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from antiphon_runtime import Model, $prediction
from antiphon_runtime import load as _load

__version__ = "$version"
__all__ = ["__version__", "model", "predict"]


@cache
def model() -> Model:
    """The model, loaded once: see `antiphon_runtime.Model` for all that it can do."""
    return _load(Path(__file__).parent / "model")


def predict(
    inputs: Iterable[Any],
    beam: int | None = None,
    n_best: int = 1,
    sample: Mapping[str, Any] | None = None,
    token_scores: bool = False,
) -> list[$prediction]:
    """The predictions for `inputs`, in order, as `antiphon_runtime.Model.predict` makes them."""
    return model().predict(inputs, beam, n_best, sample, token_scores)
''')
COMMAND = Template('''"""`$name < inputs`: a prediction for each line."""

from __future__ import annotations

from pathlib import Path

from antiphon_runtime.cli import answer

from $module import __version__


def main() -> None:
    """Exit status 0 done, 1 an error that the user can fix, 2 wrong usage."""
    answer(Path(__file__).parent / "model", "$name", __version__)


if __name__ == "__main__":
    main()
''')
USAGE = Template("""```sh
pip install $name
$name < inputs        # one input per line, one prediction per line
```

```python
import $module

for prediction in $module.predict(["..."]):
    print(prediction.text)
```

It runs on [antiphon-runtime](https://github.com/antiphon-ml/antiphon/tree/main/runtime), which needs neither PyTorch
nor Antiphon. The card of the model:

""")


class Names(NamedTuple):
    """A distribution's name and version in their normal forms, the module that it installs, and its licence."""

    name: str
    version: str
    module: str
    licence: str | None
    licence_files: Sequence[Path]

    @property
    def file(self) -> str:
        return f"{self.module}-{self.version}-{TAG}.whl"

    @property
    def information(self) -> str:
        return f"{self.module}-{self.version}.dist-info"


def names_of(name: str, version: str = "0.1.0", licence: Sequence[str] = ()) -> Names:
    """The checked names of a wheel. `licence` are an SPDX expression and files of licences, each if it is there."""
    try:
        normal = canonicalize_name(name, validate=True)
    except InvalidName:
        reason = "is not a name of a package: letters, digits, and single - between them"
        raise UsageError(f"--name {name}: {reason}, such as my-g2p") from None
    module = normal.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(f"--name {name}: Python cannot import {module}; begin with a letter")
    if module in TAKEN:
        raise UsageError(f"--name {name}: there is a module {module} already; choose another name")
    try:
        number = str(Version(version))
    except InvalidVersion:
        raise UsageError(f"--version {version}: is not a version, such as 1.0.0 (PEP 440)") from None
    files = [Path(item) for item in licence if Path(item).is_file()]
    expressions = [item for item in licence if not Path(item).is_file()]
    if len(expressions) > 1:
        raise UsageError(f"--licence: {' and '.join(expressions)}; give one expression, such as 'MIT AND BSD-3-Clause'")
    try:
        expression = canonicalize_license_expression(expressions[0]) if expressions else None
    except InvalidLicenseExpression:
        reason = "is neither a file nor an SPDX licence expression, such as MIT or LicenseRef-Own"
        raise UsageError(f"--licence {expressions[0]}: {reason}") from None
    return Names(normal, number, module, expression, files)


def place(out: Path, name: str, version: str = "0.1.0", licence: Sequence[str] = ()) -> Path:
    """The file that is written into the folder `out`."""
    return out / names_of(name, version, licence).file


def write(shipped: Shipped, target: Path, name: str, version: str = "0.1.0", licence: Sequence[str] = ()) -> None:
    """Write the wheel `target` of an exported model."""
    names = names_of(name, version, licence)
    contents = files_of(shipped, names)
    make_folder(target.parent)

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path, WHEN)
            entry.create_system, entry.external_attr = UNIX, MODE  # wherever it is made
            wheel.writestr(entry, content)
    write_atomically(target, lambda file: file.write(buffer.getvalue()))


def files_of(shipped: Shipped, names: Names) -> Mapping[str, bytes]:
    """The files of a wheel in order, the record of them last."""
    loaded = shipped.loaded
    kind = loaded.codecs.target.kind
    words = {
        "name": names.name,
        "module": names.module,
        "version": names.version,
        "summary": summary_of(loaded),
        "prediction": PREDICTIONS.get(kind, "TextPrediction"),
    }
    text = re.sub(r"^!\[.*\n", "", read_card(shipped.trained), flags=re.MULTILINE)
    contents = {
        f"{names.module}/__init__.py": PACKAGE.substitute(words).encode(),
        f"{names.module}/__main__.py": COMMAND.substitute(words).encode(),
        f"{names.module}/py.typed": b"",
        **{f"{names.module}/model/{name}": path.read_bytes() for name, path in shipped.files.items()},
    }
    if text:
        contents[f"{names.module}/model/{CARD}"] = text.encode()
    information = {
        **{f"licenses/{path.name}": path.read_bytes() for path in names.licence_files},
        "METADATA": metadata_of(loaded, names, USAGE.substitute(words) + text),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: antiphon {__version__}\nRoot-Is-Purelib: true\nTag: {TAG}\n".encode(),
        "entry_points.txt": f"[console_scripts]\n{names.name} = {names.module}.__main__:main\n".encode(),
        "top_level.txt": f"{names.module}\n".encode(),
    }
    contents |= {f"{names.information}/{path}": content for path, content in information.items()}
    record = f"{names.information}/RECORD"
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerows([path, f"sha256={_digest(content)}", len(content)] for path, content in contents.items())
    table.writerow([record, "", ""])
    return contents | {record: lines.getvalue().encode()}


def summary_of(loaded: Bundle) -> str:
    """The model in one line."""
    kinds = f"{' and '.join(codec.kind for codec in loaded.codecs.sources)} -> {loaded.codecs.target.kind}"
    return f"A {kinds} model ({structure_of(loaded.config)}) made with Antiphon {__version__}"


def metadata_of(loaded: Bundle, names: Names, description: str) -> bytes:
    """The core metadata, checked by the library that package indexes use."""
    codecs = loaded.codecs.named.values()
    extras = {
        "images": any(codec.kind in PICTURES for codec in codecs),
        "subwords": any(isinstance(codec, TextCodec) and codec.tokens in PIECES for codec in codecs),
    }
    needed = ",".join(name for name, is_needed in extras.items() if is_needed)
    values: Any = {
        "metadata_version": "2.4",
        "name": names.name,
        "version": names.version,
        "summary": summary_of(loaded),
        "description": description,
        "description_content_type": "text/markdown",
        "requires_python": ">=3.11",
        "requires_dist": [f"antiphon-runtime{f'[{needed}]' if needed else ''}>={__version__}"],
    }
    if names.licence:
        values["license_expression"] = names.licence
    if names.licence_files:
        values["license_files"] = [path.name for path in names.licence_files]
    return Metadata.from_raw(values).as_rfc822().as_bytes()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
