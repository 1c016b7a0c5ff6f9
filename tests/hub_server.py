"""A hub on this machine, as huggingface_hub speaks to it: repositories of commits, in memory.

Written from the requests of huggingface_hub itself. It knows what `push` and hf:// need: create,
branch, preupload, LFS, commit, info, download. It knows no Xet: HF_HUB_DISABLE_XET.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_a_token_that_may_write"
READER = "hf_a_token_that_may_read"
LARGE = (".safetensors",)
"""What .gitattributes of a new repository sends to LFS."""


@dataclass
class Commit:
    files: dict[str, bytes]
    message: str = "initial commit"
    parent: str = ""

    @property
    def oid(self) -> str:
        lines = [
            f"{name} {hashlib.sha1(data).hexdigest()}"
            for name, data in self.files.items()
        ]
        text = "\n".join([self.parent, self.message, *sorted(lines)])
        return hashlib.sha1(text.encode()).hexdigest()


@dataclass
class Repo:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def add(self, branch: str, commit: Commit) -> str:
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit.oid

    def find(self, revision: str) -> str | None:
        oid = self.branches.get(revision, revision)
        return oid if oid in self.commits else None

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)].files


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""
        self.bodies: list[bytes] = []
        self.failing: list[tuple[str, int]] = []
        """Part of a path, and the status that it answers with from now on."""
        self.before_commit = lambda: None
        """Called when a commit arrives."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def create(self, repo_id: str, *, private: bool = True, **files: bytes) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        repo.add(
            "main", Commit({".gitattributes": b"*.safetensors filter=lfs\n", **files})
        )
        return repo


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self._read()
        self.server.requests.append((self.command, path))
        self.server.bodies.append(self.body)
        for part, status in self.server.failing:
            if part in path:
                self._json({"error": "told to fail"}, status)
                return
        for pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                answer(self, *found.groups())
                return
        self._json({"error": f"unknown: {path}"}, 501)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, content: object, status: int = 200, **headers: str) -> None:
        self._send(json.dumps(content).encode(), status, **headers)

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _may_write(self) -> bool:
        """Answer whoever may not."""
        if self._token() == TOKEN:
            return True
        if self._token() == READER:
            self._json({"error": "no right"}, 403)
        else:
            self._json({"error": "Invalid username or password."}, 401)
        return False

    def _repo(self, repo_id: str) -> Repo | None:
        """Return a repository that this token sees; answer as the hub does where there is none."""
        repo = self.server.repos.get(repo_id)
        known = self._token() in (TOKEN, READER)
        if repo is not None and (known or not repo.private):
            return repo
        if known:
            self._json({}, 404, X_Error_Code="RepoNotFound")
        else:
            self._json({}, 401, X_Error_Code="RepoNotFound")
        return None

    def create(self) -> None:
        asked = json.loads(self.body)
        if not self._may_write():
            return
        repo_id = f"{asked['organization']}/{asked['name']}"
        if repo_id in self.server.repos:
            self._json({"error": "it exists", "url": f"{self.server.url}/{repo_id}"}, 409)
            return
        # older versions of huggingface_hub say private, newer ones visibility
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.create(repo_id, private=private)
        self._json({"url": f"{self.server.url}/{repo_id}"})

    def info(self, repo_id: str, revision: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return
        oid = repo.find(revision)
        if oid is None:
            self._json({}, 404, X_Error_Code="RevisionNotFound")
            return
        siblings = [{"rfilename": name} for name in repo.files(oid)]
        known = {"id": repo_id, "sha": oid, "private": repo.private}
        self._json(known | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def branch(self, repo_id: str, name: str) -> None:
        if self._may_write():
            repo = self.server.repos[repo_id]
            repo.branches.setdefault(name, repo.branches["main"])
            self._json({})

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, repo_id: str, revision: str) -> None:
        if not self._may_write():
            return
        there = self.server.repos[repo_id].files(revision)
        files = []
        for file in json.loads(self.body)["files"]:
            name = file["path"]
            mode = "lfs" if name.endswith(LARGE) else "regular"
            answer = {"path": name, "uploadMode": mode, "shouldIgnore": False}
            if name in there:
                answer["oid"] = _object_id(there[name], mode)
            files.append(answer)
        self._json({"files": files})

    def batch(self, _repo_id: str) -> None:
        if not self._may_write():
            return
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            answer = dict(wanted)
            if wanted["oid"] not in self.server.large:
                href = f"{self.server.url}/large/{wanted['oid']}"
                answer["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def put_large(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        self._send(b"")

    def commit(self, repo_id: str, revision: str) -> None:
        if not self._may_write():
            return
        self.server.before_commit()
        repo = self.server.repos[repo_id]
        head, *lines = map(json.loads, self.body.splitlines())
        if head["value"].get("parentCommit") != repo.branches[revision]:
            self._json({"error": "the branch has moved"}, 412)
            return
        files = dict(repo.files(revision))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = Commit(files, head["value"]["summary"], repo.branches[revision])
        oid = repo.add(revision, commit)
        url = f"{self.server.url}/{repo_id}/commit/{oid}"
        self._json({"commitUrl": url, "commitOid": oid, "success": True})

    def resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return
        oid = repo.find(revision)
        if oid is None or name not in repo.files(oid):
            code = "RevisionNotFound" if oid is None else "EntryNotFound"
            self._json({}, 404, X_Error_Code=code)
            return
        data = repo.files(oid)[name]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._send(data, X_Repo_Commit=oid, ETag=etag)


def _object_id(data: bytes, mode: str) -> str:
    """Return what names a file: its sha256 in LFS, else the id of its git blob."""
    if mode == "lfs":
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


REPO = r"([^/]+/[^/]+)"
ROUTES = (
    ("/api/repos/create", Handler.create),
    (rf"/api/models/{REPO}/revision/(.+)", Handler.info),
    (rf"/api/models/{REPO}/branch/(.+)", Handler.branch),
    ("/api/validate-yaml", Handler.validate),
    (rf"/api/models/{REPO}/preupload/(.+)", Handler.preupload),
    (rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("/large/([0-9a-f]{64})", Handler.put_large),
    (rf"/api/models/{REPO}/commit/(.+)", Handler.commit),
    (rf"/{REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """Yield a hub that huggingface_hub of this process asks, and of those that it starts."""
    from huggingface_hub import constants

    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_login"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "0")
    yield server
    server.shutdown()
    server.server_close()
