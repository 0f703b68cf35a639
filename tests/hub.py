"""A server that speaks the protocol of the Hugging Face hub, as far as models are pulled and pushed: repositories,
commits, files as git blobs or through LFS, private and gated ones, ranges of a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".onnx", ".bin", ".pkl", ".png")
TOKEN = "hf_right"


@dataclass
class Repository:
    """Files by their names, and who may see them."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files.items()))).encode()).hexdigest()


@dataclass
class Hub:
    """The state of the server.

    `cut` ends a download after so many bytes, and then nothing is answered any more; `damage` is
    a file whose content is changed on its way."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # of LFS
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)  # of files that are not downloaded from their beginning
    cut: int | None = None
    damage: str = ""
    status: int = 0  # of every answer, if it is not 0
    address: str = ""


def blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, value: Any = None, code: str = "", headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value if value is not None else {}).encode()
        self.send_response(status)
        for name, text in {**({"X-Error-Code": code} if code else {}), **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    @property
    def knows(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str) -> Repository | None:
        """A repository that may be seen; otherwise the answer is sent."""
        place = self.hub.repositories.get(name)
        if place is None or (place.private and not self.knows):
            self.answer(404 if self.knows else 401, {"error": "Repository not place"}, "RepoNotFound")
            return None
        if place.gated and not self.knows:
            self.answer(403, {"error": "gated"}, "GatedRepo")
            return None
        return place

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.status:
            self.body()
            self.answer(self.hub.status, {"error": "not today"})
            return
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self.info),
            ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
            ("POST", r"/api/repos/create", self.create),
            ("POST", r"/api/validate-yaml", self.validate),
            ("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self.preupload),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            ("PUT", r"/lfs/([0-9a-f]+)", self.put),
            ("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self.commit),
        ]
        for method, pattern, act in routes:
            if self.command == method and (match := re.fullmatch(pattern, path)):
                act(*match.groups())
                return
        self.body()
        self.answer(404, {"error": f"no such address: {path}"})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815 names of the base class

    def info(self, name: str, revision: str | None) -> None:
        if (place := self.repository(name)) is None:
            return
        if revision not in (None, "main", place.sha):
            self.answer(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return
        siblings = []
        for path, content in place.files.items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob(content)}
            if path.endswith(LFS):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        self.answer(
            200,
            {"id": name, "sha": place.sha, "private": place.private, "gated": place.gated, "siblings": siblings},
        )

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (place := self.repository(name)) is None:
            return
        content = place.files[path]
        if path == self.hub.damage:
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        part = content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(part)))
        if begin:
            self.hub.ranges.append(self.headers["Range"])
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = self.hub.cut
        self.wfile.write(part if cut is None else part[:cut])
        if cut is not None and cut < len(part):
            self.close_connection, self.hub.status = True, 503

    def create(self) -> None:
        asked = json.loads(self.body())
        name = f"{asked.get('organization') or 'anna'}/{asked['name']}"
        if not self.knows:
            self.answer(401, {"error": "Invalid credentials"})
        elif name in self.hub.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"})
        else:
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.hub.repositories[name] = Repository(private=private)
            self.answer(200, {"url": f"{self.hub.address}/{name}", "name": name})

    def validate(self) -> None:
        content = json.loads(self.body())["content"]
        if "license: nonsense" in content:
            self.answer(400, {"errors": [{"message": '"license" must be one of [apache-2.0, ...]'}], "warnings": []})
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        asked = json.loads(self.body())["files"]
        if self.repository(name) is not None:
            modes = [
                {"path": item["path"], "uploadMode": "lfs" if item["path"].endswith(LFS) else "regular",
                 "shouldIgnore": False}
                for item in asked
            ]  # fmt: skip
            self.answer(200, {"files": modes})

    def batch(self, name: str) -> None:
        objects = json.loads(self.body())["objects"]
        answers = [
            {**item, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{item['oid']}"}}}
            if item["oid"] not in self.hub.objects
            else item
            for item in objects
        ]
        self.answer(200, {"transfer": "basic", "objects": answers})

    def put(self, oid: str) -> None:
        content = self.body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.objects[oid] = content
        self.answer(200)

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        if (place := self.repository(name)) is None:
            return
        if not self.knows:
            self.answer(403, {"error": "forbidden"})
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                place.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                place.files[value["path"]] = self.hub.objects[value["oid"]]
        place.commits += 1
        self.answer(200, {"commitUrl": f"{self.hub.address}/{name}/commit/{place.sha}", "commitOid": place.sha})


@contextmanager
def serving() -> Iterator[Hub]:
    """The server as long as it is needed."""
    hub = Hub()
    handler = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
