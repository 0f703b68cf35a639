"""An exported model as a page: a folder for any static host, whose JavaScript runs the model in the browser.

The page is the server's (`antiphon/server/static`); what it asks of a server, `page/api.js` answers with the JavaScript
runtime. ONNX Runtime comes from npm, or from a folder that `runtime` names.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from antiphon.common.examples import read_examples
from antiphon.errors import AntiphonError
from antiphon.export.shipped import Shipped
from antiphon.files import make_folder, write_text
from antiphon.server.models import CTC_OPTIONS, name_of, side_of

ORT = "onnxruntime-web"
ORT_VERSION = "1.30.0"
ORT_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
OPTIONS = ("beam", "n_best", "length_penalty", "min_length", "max_length")
UNUSED = {"api.js", "index.html"}  # files of the server's page in whose place there are others
NODE = "node.js"  # of the JavaScript runtime: what only Node needs


def check(runtime: str | None = None) -> None:
    """Refuse a folder `runtime` that is not the package onnxruntime-web, and an installation that lacks the page."""
    if not _runtime_js().is_dir():
        raise AntiphonError(
            f"{_runtime_js()}: is not a folder. It is a symbolic link, and git checked it out as a text file. Allow "
            "symbolic links and run: git config core.symlinks true && git checkout -- antiphon/export"
        )
    if runtime is None:
        return
    path = Path(runtime) / "package.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        name, version = about["name"], about["version"]
    except (OSError, ValueError, KeyError, TypeError):
        name = version = None
    if (name, version) != (ORT, ORT_VERSION):
        actual = "" if name is None else f" but {name} {version}"
        advice = f"npm install {ORT}@{ORT_VERSION} makes node_modules/{ORT}"
        raise AntiphonError(f"--runtime {runtime}: is not the folder of {ORT} {ORT_VERSION}{actual}; {advice}")


def place(out: Path, runtime: str | None = None) -> Path:
    """The folder that is written."""
    check(runtime)
    return out


def write(shipped: Shipped, target: Path, runtime: str | None = None) -> None:
    """Write the folder `target` of a page; `runtime` is the folder of the package onnxruntime-web."""
    page, static = _here() / "page", Path(str(files("antiphon.server") / "static"))
    make_folder(target)
    skipped = shutil.ignore_patterns("watch", *UNUSED)
    shutil.copytree(static, target, ignore=skipped, dirs_exist_ok=True)
    for name in ("index.html", "api.js", "copy-runtime.mjs"):
        shutil.copyfile(page / name, target / name)
    shutil.copytree(_runtime_js(), target / "runtime", ignore=shutil.ignore_patterns(NODE))
    shutil.copytree(shipped.folder, target / "model")
    if runtime is not None:
        make_folder(target / "ort")
        for name in ORT_FILES:
            shutil.copyfile(Path(runtime) / "dist" / name, target / "ort" / name)
    write_text(target / "page.json", _json({"card": card_of(shipped), "files": list(shipped.files)}))
    write_text(target / "package.json", _json(_package()))
    readme = Template((page / "README.md").read_text(encoding="utf-8"))
    write_text(target / "README.md", readme.substitute(version=ORT_VERSION))
    write_text(target / "offline.js", _offline(target, (page / "offline.js").read_text(encoding="utf-8")))


def card_of(shipped: Shipped) -> dict[str, Any]:
    """The model as the page shows it: what a server's /v1/models says of one."""
    manifest = shipped.manifest
    entries = (*manifest["sources"], manifest["target"])
    *sources, target = (
        side_of(entry["name"], json.loads(shipped.files[entry["vocabulary"]].read_text(encoding="utf-8")))
        for entry in entries
    )
    aligns, decode = manifest.get("aligns", False), manifest["decode"]
    writes, live = decode is not None and not aligns, {"read", "step"} <= manifest["graphs"].keys()
    names = OPTIONS if writes else CTC_OPTIONS if aligns else ()
    return {
        "name": name_of(shipped.trained),
        "format": "onnx",
        "structure": manifest["structure"],
        "sources": [side.model_dump(exclude_none=True) for side in sources],
        "target": target.model_dump(exclude_none=True),
        "max_length": manifest["max_length"],
        "scores": writes and "encode" in manifest["graphs"],
        "explains": not aligns,
        "streams": "tokens" if writes else "steps" if live else None,
        "options": [{"name": name, "default": (decode or {}).get(name)} for name in names],
        "examples": read_examples(shipped.folder),
    }


def _here() -> Path:
    return Path(str(files("antiphon.export")))


def _runtime_js() -> Path:
    return _here() / "runtime_js"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _package() -> dict[str, Any]:
    return {
        "private": True,
        "dependencies": {ORT: ORT_VERSION},
        "scripts": {"postinstall": "node copy-runtime.mjs"},
        "antiphon": {"files": list(ORT_FILES)},
    }


def _offline(target: Path, template: str) -> str:
    """The service worker, with the files of the page and a digest of them: a new page replaces what is kept."""
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        digest.update(name.encode() + b"\0" + (target / name).read_bytes())
    unread = {"README.md", "package.json", "copy-runtime.mjs"}
    kept = sorted({"./", *(f"ort/{name}" for name in ORT_FILES), *(name for name in names if name not in unread)})
    return template.replace("$digest", digest.hexdigest()).replace("$files", json.dumps(kept, indent=1))
