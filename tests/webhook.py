"""A webhook on this machine: keeps what it is told, fails or hangs on demand."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rubert_ood.operating import notify as module
from rubert_ood.operating.notify import URL_VARIABLE

SECRET = "T000-very-secret"


class Webhook(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict] = []
        self.statuses: list[int] = []
        """Of the next answers; 200 after the last."""
        self.hangs_s = 0.0


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_words) -> None:
        pass

    def do_POST(self) -> None:
        time.sleep(self.server.hangs_s)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()


@pytest.fixture
def webhook(monkeypatch) -> Iterator[Webhook]:
    """Yield a webhook that runs are told of."""
    server = Webhook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/services/{SECRET}"
    monkeypatch.setenv(URL_VARIABLE, url)
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    yield server
    server.shutdown()
    server.server_close()
