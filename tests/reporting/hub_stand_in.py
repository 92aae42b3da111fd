"""A hub on 127.0.0.1 that speaks what huggingface_hub speaks when it pushes, and misbehaves by script.

It keeps repositories and large files in memory. Like the real one it wants the token with every call but those to
its storage, tells large files from small ones before they come, and knows which large files it has already.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_standInTokenThatNobodyMaySee"
SIGNATURE = "X-Amz-Signature=signedAddressThatNobodyMaySee"
SHIPPED = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass
class Repository:
    """What a repository holds: branches of {path: content}, and a commit for each change."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {".gitattributes": SHIPPED}})
    commits: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        """What was pushed to main."""
        return {name: content for name, content in self.branches["main"].items() if name != ".gitattributes"}


@dataclass
class Fault:
    """What happens `times` times to requests that look like `where` ("PUT /storage", "POST .*/commit").

    `what` is a status (with `headers`), "drop" (the connection ends in the middle of the body), "lost" (the work is
    done, its answer never arrives) or "html" (a gateway's page).
    """

    where: str
    what: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "by script"


class HubStandIn:
    """The server; use as a context manager. `requests` holds ("METHOD path", body size) of all that arrived whole."""

    def __init__(self, large: int = 100_000) -> None:
        """Take a free port; files from `large` bytes on, safetensors and parquet go the way of large files."""
        self.large = large
        self.repositories: dict[str, Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, int]] = []
        self.lock = threading.Lock()
        hub = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body of an answer go out apart; the second must not wait

            def log_message(self, *_: Any) -> None:
                pass

            def _any(self) -> None:
                hub.serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "HubStandIn":
        """Serve in a thread."""
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def asked(self, pattern: str) -> int:
        """How many requests that look like `pattern` arrived whole."""
        return sum(bool(re.search(pattern, line)) for line, _ in self.requests)

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request, or do what a fault says."""
        path = unquote(urlsplit(request.path).path)
        line = f"{request.command} {path}"
        with self.lock:
            fault = next((each for each in self.faults if each.times and re.search(each.where, line)), None)
            if fault:
                fault.times -= 1
        if fault and fault.what == "drop":
            request.rfile.read(min(1000, int(request.headers.get("Content-Length") or 0)))
            return hang_up(request)
        body = read_body(request)
        with self.lock:
            self.requests.append((line, len(body)))
            if fault and fault.what != "lost":
                if fault.what == "html":
                    return reply(request, 502, b"<html>bad gateway</html>", {"Content-Type": "text/html"})
                return reply(request, int(fault.what), {"error": fault.message}, fault.headers)
            if path.startswith("/storage/"):
                # As in the real storage: the address is signed, the token has no business here.
                assert "Authorization" not in request.headers, "the token was sent to the storage"
                status, answer, headers = self._store(path.removeprefix("/storage/"), body)
            elif request.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer, headers = 401, {"error": "Invalid credentials in Authorization header"}, {}
                headers["X-Error-Message"] = "Invalid credentials in Authorization header"
            else:
                status, answer, headers = self._route(request.command, path, body)
        if fault:
            return hang_up(request)
        return reply(request, status, answer, headers)

    def _route(self, verb: str, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        routes: list[tuple[str, Callable[..., tuple[int, Any, dict[str, str]]]]] = [
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", self._validate),
            (r"POST /api/(models|datasets)/([^/]+/[^/]+)/branch/(.+)", self._branch),
            (r"POST /api/(models|datasets)/([^/]+/[^/]+)/preupload/(.+)", self._preupload),
            (r"POST /api/(models|datasets)/([^/]+/[^/]+)/commit/(.+)", self._commit),
            (r"POST /(datasets/|)([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"POST /verify", self._verify),
            (r"GET /api/(models|datasets)/([^/]+/[^/]+)(?:/revision/(.+))?", self._info),
        ]
        for pattern, answer in routes:
            found = re.fullmatch(pattern, f"{verb} {path}")
            if found:
                return answer(body, *found.groups())
        return 404, {"error": f"the stand-in has no {verb} {path}"}, {}

    def _create(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        kind = asked.get("type", "model")
        page = {"url": f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}"}
        if f"{kind}s/{name}" in self.repositories:
            return 409, {"error": "You already created this repo", **page}, {}
        self.repositories[f"{kind}s/{name}"] = Repository(asked.get("visibility") == "private")
        return 200, page, {}

    def _validate(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads(body)
        try:
            head = yaml.safe_load(asked["content"].split("---")[1])
        except yaml.YAMLError as error:
            return 400, {"errors": [{"message": str(error)}], "warnings": []}, {}
        if not isinstance(head.get("license", ""), str):
            return 400, {"errors": [{"message": '"license" must be a string'}], "warnings": []}, {}
        return 200, {"errors": [], "warnings": []}, {}

    def _info(self, body: bytes, kind: str, name: str, branch: str | None) -> tuple[int, Any, dict[str, str]]:
        found = self.repositories.get(f"{kind}/{name}")
        if found is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if (branch or "main") not in found.branches:
            return 404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"}
        files = [{"rfilename": path} for path in found.branches[branch or "main"]]
        sha = found.commits[-1][0] if found.commits else "0" * 40
        return 200, {"id": name, "sha": sha, "private": found.private, "siblings": files, "tags": []}, {}

    def _branch(self, body: bytes, kind: str, name: str, branch: str) -> tuple[int, Any, dict[str, str]]:
        found = self.repositories[f"{kind}/{name}"]
        if branch in found.branches:
            return 409, {"error": "Reference already exists"}, {}
        found.branches[branch] = dict(found.branches["main"])
        return 200, {}, {}

    def _preupload(self, body: bytes, kind: str, name: str, branch: str) -> tuple[int, Any, dict[str, str]]:
        found = self.repositories.get(f"{kind}/{name}")
        if found is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        files = []
        for each in json.loads(body)["files"]:
            large = each["path"].endswith((".safetensors", ".parquet")) or each["size"] >= self.large
            answer = {"path": each["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            held = found.branches[branch].get(each["path"])
            if held is not None:
                answer["oid"] = hashlib.sha256(held).hexdigest() if large else git_digest(held)
            files.append(answer)
        return 200, {"files": files}, {}

    def _batch(self, body: bytes, prefix: str, name: str) -> tuple[int, Any, dict[str, str]]:
        objects = []
        for each in json.loads(body)["objects"]:
            if each["oid"] not in self.storage:
                upload = {"href": f"{self.url}/storage/{each['oid']}?{SIGNATURE}", "header": {}}
                each["actions"] = {"upload": upload, "verify": {"href": f"{self.url}/verify", "header": {}}}
            objects.append(each)
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _store(self, oid: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "the content is not what was announced"}, {}
        self.uploads.append(oid)
        self.storage[oid] = body
        return 200, {}, {}

    def _verify(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        asked = json.loads(body)
        whole = len(self.storage.get(asked["oid"], b"")) == asked["size"]
        return (200 if whole else 404), {}, {}

    def _commit(self, body: bytes, kind: str, name: str, branch: str) -> tuple[int, Any, dict[str, str]]:
        found = self.repositories[f"{kind}/{name}"]
        message, files = "", {}
        for line in body.splitlines():
            each = json.loads(line)
            value = each["value"]
            if each["key"] == "header":
                message = value["summary"]
            elif each["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif each["key"] == "lfsFile":
                if value["oid"] not in self.storage:
                    return 400, {"error": f"{value['path']} was never uploaded"}, {}
                files[value["path"]] = self.storage[value["oid"]]
            else:
                return 400, {"error": f"unexpected {each['key']}"}, {}
        found.branches[branch] |= files
        oid = hashlib.sha1(body + str(len(found.commits)).encode()).hexdigest()
        found.commits.append((oid, message))
        return 200, {"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""}, {}


def git_digest(content: bytes) -> str:
    """The name that git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """The whole body of a request, whichever way its length is told."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def reply(request: BaseHTTPRequestHandler, status: int, answer: Any, headers: dict[str, str]) -> None:
    """Send an answer: bytes as they are, anything else as JSON."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """End the connection at once, as a cable that is pulled out."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
