"""A program `rubert-ood` that only ends, and a webhook that alerts reach."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NIGHT = "submit score --config jobs/score.yaml --run_date"
PLAN = "submit plan --config jobs/score.yaml --run_date"
PROGRAM = """#!/bin/sh
echo "$@" >> calls
echo "$2 speaks"
code=$(sed -n "$(grep -c "^submit $2 " calls)p" "ends_of_$2")
exit "${code:-$(tail -n 1 "ends_of_$2")}"
"""


class FakeProgram:
    """Stands on PATH; each call of a verb ends with the next of its exit codes, then always with
    the last one. It runs in the checkout, so that it knows its folder."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        self.folder = folder
        program = folder / "bin" / "rubert-ood"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        for verb in ("plan", "score", "backfill"):
            self.ends(verb, 0)

    def ends(self, verb: str, *codes: int) -> None:
        (self.folder / f"ends_of_{verb}").write_text(
            "".join(f"{code}\n" for code in codes)
        )

    @property
    def calls(self) -> list[str]:
        """What it was called with, in order."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


class Webhook(ThreadingHTTPServer):
    """Keeps the texts that are posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.texts: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Post(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.texts.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
