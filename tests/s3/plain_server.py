"""A server that speaks just enough S3 for one object at a time, and treats conditional puts as it
is told.

honours   as S3 does
ignores   overwrites whatever the condition says, as old servers do
refuses   501 or 400 NotImplemented to every put with a condition, or 403
gone      the object is deleted meanwhile: 404 NoSuchKey to a put with If-Match, as S3 does
conflict  409 to every put with a condition
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal

Treatment = Literal[
    "honours", "ignores", "refuses 501", "refuses 400", "refuses 403", "gone", "conflict"
]
ERROR = (
    '<?xml version="1.0"'
    ' encoding="UTF-8"?><Error><Code>{}</Code><Message>injected</Message></Error>'
)
EMPTY_LIST = (
    "<ListBucketResult><IsTruncated>false</IsTruncated>"
    "<KeyCount>0</KeyCount></ListBucketResult>"
)


class PlainServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.treatment: Treatment = "honours"
        self.conditional_puts = 0


class _Handler(BaseHTTPRequestHandler):
    server: PlainServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        key, _, query = self.path.partition("?")
        if "list-type" in query:
            self._answer(200, EMPTY_LIST.encode())
        elif key in self.server.objects:
            self._answer(200, self.server.objects[key])
        else:
            self._fail(404, "NoSuchKey")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        key = self.path.partition("?")[0]
        data = self._body()
        condition = self.headers.get("If-Match") or self.headers.get("If-None-Match")
        if condition:
            self.server.conditional_puts += 1
            refusal = self._refusal(key)
            if refusal:
                self._fail(*refusal)
                return
        self.server.objects[key] = data
        self._answer(200, b"", _etag(data))

    def _refusal(self, key: str) -> tuple[int, str] | None:
        found = self.server.objects.get(key)
        treatment, if_match = self.server.treatment, self.headers.get("If-Match")
        if treatment.startswith("refuses"):
            status = int(treatment.split()[1])
            return status, "AccessDenied" if status == 403 else "NotImplemented"
        if treatment == "conflict":
            return 409, "ConditionalRequestConflict"
        if treatment == "gone" and if_match:
            self.server.objects.pop(key, None)
            return 404, "NoSuchKey"
        holds = (
            found is None
            if if_match is None
            else found is not None and _etag(found) == if_match
        )
        return None if holds or treatment == "ignores" else (412, "PreconditionFailed")

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # the handler of the standard library has answered it
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return (
                _unframed(data)
                if "aws-chunked" in self.headers.get("Content-Encoding", "")
                else data
            )
        blocks = []
        while size := int(self.rfile.readline(), 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        data = b"".join(blocks)
        return (
            _unframed(data)
            if "aws-chunked" in self.headers.get("Content-Encoding", "")
            else data
        )

    def _answer(self, status: int, data: bytes, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", etag or _etag(data))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, ERROR.format(code).encode())

    def log_message(self, *_: object) -> None:
        pass


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _unframed(data: bytes) -> bytes:
    """Take the frames of aws-chunked off: SIZE[;signature] CRLF data CRLF ... 0 CRLF trailers."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        found.append(data[:size])
        data = data[size + 2 :]
    return b"".join(found)


@contextmanager
def plain_server() -> Iterator[PlainServer]:
    server = PlainServer()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
