"""`antiphon pull` and `antiphon push`: model folders on the Hugging Face hub (extra: hub).

Only the files of a model folder, trained or exported, travel: no pickle, no code. What arrives is compared with the
digests that the hub has of it, and loaded once, before it takes its place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from antiphon import __version__
from antiphon.errors import AntiphonError, ModelFolderError, UsageError, count_of
from antiphon.export.running import GRAPHS
from antiphon.files import make_folder, user_path, writing
from antiphon.saved import examples
from antiphon.saved import folder as bundle
from antiphon.saved import known_answers as exceptions
from antiphon.server.exported import MANIFEST
from antiphon.tools.hub_card import card_of, without_folders
from antiphon.use import serving

NAME = re.compile(r"[\w.-]+/[\w.-]+")
EXPORTED = frozenset({MANIFEST, *(f"{name}.onnx" for name in GRAPHS)})
PIECE = 1 << 20  # bytes that are read at once
UNFINISHED = ".part"

Tell = Callable[[str], None]


def pull(
    name: str,
    out: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
    *,
    tell: Tell = lambda line: None,
) -> Path:
    """Download a model from the hub into the new folder `out`, by default the last part of `name`; returns the folder.

    `name` is USER/MODEL; `revision` a branch, tag or commit. `token` is by default the one of `hf auth login` or of the
    variable HF_TOKEN; HF_ENDPOINT names another server. A download that was interrupted goes on where it ended. Files
    that are no part of a model folder are left out. Errors are `AntiphonError`s.
    """
    folder = user_path(out if out is not None else _checked(name).rpartition("/")[2])
    if folder.exists():
        raise ModelFolderError(f"{folder}: exists; name another folder with --out")
    api, endpoint = _api(token)
    with _plain_errors(name, endpoint):
        info = api.model_info(_checked(name), revision=revision, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or [] if is_part(file.rfilename)}
    if not {bundle.CONFIG, MANIFEST} & files.keys():
        raise ModelFolderError(f"{name}: is no Antiphon model: it has neither {bundle.CONFIG} nor {MANIFEST}")
    if MANIFEST in files:
        serving.refuse_without_runtime(name)  # before anything is downloaded
    others = sorted(file.rfilename for file in info.siblings or [] if file.rfilename not in files)
    others = [other for other in others if other != ".gitattributes"]
    if others:
        shown = ", ".join(others[:5]) + (", ..." if others[5:] else "")
        tell(f"{name}: left out, as they are no part of a model folder: {shown}")
    partial = folder.parent / f".{folder.name}.{info.sha[:12]}.partial"
    make_folder(partial)
    for place, file in enumerate(files.values(), 1):
        if not (partial / file.rfilename).exists():
            tell(f"{place} of {len(files)}: {file.rfilename}, {count_of(file.size or 0, 'byte')}")
            with _plain_errors(name, endpoint, "; what has arrived is kept, and the same command goes on with it"):
                _download(api, endpoint, name, info.sha, file, partial)
    try:
        check(partial)
    except ModelFolderError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelFolderError(str(error).replace(str(partial), name)) from None
    with writing(folder):
        os.replace(partial, folder)
    return folder


def is_part(name: str) -> bool:
    """Whether a file is part of a model folder, trained or exported, by its name."""
    return name in bundle.FILES | EXPORTED or re.fullmatch(r"vocabulary-(source(-\d+)?|target)\.json", name) is not None


def check(folder: Path) -> None:
    """Load a trained model, or look at all parts of an exported one; what is wrong is a `ModelFolderError`."""
    if (folder / MANIFEST).is_file():
        serving.load(folder)
    else:
        bundle.load(folder, torch.device("cpu"))


def _download(api: Any, endpoint: str, name: str, commit: str, file: Any, folder: Path) -> None:
    """Download a file, from where an earlier download of it ended, and compare it with the hub's digest."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    path, part = folder / file.rfilename, folder / f"{file.rfilename}{UNFINISHED}"
    with writing(part):
        part.touch()
        begun = part.stat().st_size
        if begun > file.size:
            begun = 0
    url = hf_hub_url(name, file.rfilename, revision=commit, endpoint=endpoint)
    with open(part, "r+b") as opened:
        opened.truncate(begun)
        opened.seek(begun)
        headers = {} if api.token is None else {"authorization": f"Bearer {api.token}"}
        http_get(url, opened, resume_size=begun, headers=headers, expected_size=file.size)
    expected, made = (file.lfs.sha256, _sha256(part)) if file.lfs else (file.blob_id, _git_blob(part))
    if expected != made:
        part.unlink()
        raise ModelFolderError(f"{name}: {file.rfilename} is damaged: its digest is not the hub's; pull it again")
    with writing(path):
        os.replace(part, path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_blob(path: Path) -> str:
    """The name that git gives a file with this content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def push(
    folder: str | Path,
    name: str,
    license: str | None = None,  # noqa: A002 the hub's word
    languages: Sequence[str] = (),
    tags: Sequence[str] = (),
    private: bool = False,
    token: str | None = None,
    *,
    tell: Tell = lambda line: None,
) -> str:
    """Upload a model folder, trained or exported, to the hub as `name`, USER/MODEL; returns its address.

    The repository is made if it is not there, private if `private`. The card gets what the hub reads of it: `license`
    (apache-2.0, cc-by-4.0, ...), `languages` (fr, de, ...), `tags`, and the metrics of the folder; the card here stays
    as it is. Of the paths of data only the names of the files are uploaded. Errors are `AntiphonError`s.
    """
    place = user_path(folder)
    _checked(name)
    if not place.is_dir():
        raise ModelFolderError(f"{place}: no such model folder")
    bundle.refuse_links(place)
    check(place)
    examples.read(place)  # a damaged file is reported now
    api, endpoint = _api(token)
    if api.token is None:
        raise AntiphonError("pushing needs a token of the hub: log in with `hf auth login`, or set HF_TOKEN")
    contents = {path.name: path.read_bytes() for path in sorted(place.iterdir()) if is_part(path.name)}
    others = sorted(path.name for path in place.iterdir() if not is_part(path.name))
    if others:
        tell(f"{place}: stays here, as it is no part of a model: {', '.join(others)}")
    for private_file in (examples.FILE, exceptions.FILE):
        if private_file in contents:
            tell(f"{private_file} goes with it, which has inputs in it; remove it if they are private")
    contents[bundle.CARD] = card_of(place, name, license, languages, tags).encode("utf-8")
    if bundle.CONFIG in contents:
        contents[bundle.CONFIG] = without_folders(place, contents[bundle.CONFIG].decode("utf-8")).encode("utf-8")
    from huggingface_hub import CommitOperationAdd

    with _plain_errors(name, endpoint):
        api.create_repo(name, private=private or None, exist_ok=True)
        additions = [CommitOperationAdd(path, content) for path, content in contents.items()]
        api.create_commit(name, additions, commit_message=f"A model folder of Antiphon {__version__}")
        info = api.model_info(name, files_metadata=True)
    arrived = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or []}
    for path, content in contents.items():
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
        if arrived.get(path) not in (hashlib.sha256(content).hexdigest(), blob):
            raise AntiphonError(f"{name}: {path} is not on the hub as it is here; push again")
    return f"{endpoint}/{name}"


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f"{name}: a model on the hub is named USER/MODEL, as in anna/french-g2p")
    return name


def _api(token: str | None) -> tuple[Any, str]:
    """The hub's interface with the user's token, and its address."""
    try:
        from huggingface_hub import HfApi, get_token, utils
    except ImportError:
        raise AntiphonError("the hub needs the extra: pip install 'antiphon[hub]'") from None
    quietly: Any = utils
    quietly.disable_progress_bars()
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    api = HfApi(endpoint, token or get_token(), library_name="antiphon", library_version=__version__)
    return api, endpoint


@contextmanager
def _plain_errors(name: str, endpoint: str, kept: str = "") -> Iterator[None]:
    """Within it, errors of the hub are `AntiphonError`s that say what to do."""
    import huggingface_hub.errors

    errors: Any = huggingface_hub.errors
    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError:
        message = f"is gated: accept its conditions at {endpoint}/{name}, and {login}"
        raise AntiphonError(f"{name}: {message}") from None
    except errors.RevisionNotFoundError:
        raise AntiphonError(f"{name}: has no such revision; see {endpoint}/{name}/tree/main") from None
    except errors.RepositoryNotFoundError:
        raise AntiphonError(f"{name}: is not on the hub, or it is private and you may not see it: {login}") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in (401, 403):
            raise AntiphonError(f"{name}: the hub does not allow it with your token: {login}") from None
        reason = str(error.server_message or error).splitlines()[0]
        raise AntiphonError(f"{name}: the hub answers {status}: {reason}{kept}") from None
    except errors.BadRequestError as error:
        raise AntiphonError(f"{name}: the hub refuses it: {error}") from None
    except (errors.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # a file here
            raise AntiphonError(f"{error.filename}: {error.strerror}") from None
        raise AntiphonError(f"{endpoint}: cannot be reached: {str(error).splitlines()[0]}{kept}") from None
    except RuntimeError as error:  # what happened to a file that is uploaded is its cause
        reason = str(error.__cause__ or error).splitlines()[0]
        raise AntiphonError(f"{name}: was not uploaded: {reason}; push again") from None
    except ValueError as error:  # metadata that the hub does not take
        raise AntiphonError(f"{name}: the hub refuses it: {' '.join(str(error).split())}") from None
