"""A local HTTP server that answers like the Jobs API of a Ray cluster, and breaks on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ray

SHAPE = {"type": "SUBMISSION", "entrypoint": "python jobs/score.py"}


class Cluster:
    """Jobs by submission id; each answer of `scripts` is the next state of a job."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict] = {}
        self.logs: dict[str, str] = {}
        self.submitted: list[dict] = []
        self.endings: list[dict] = []
        """What becomes of each submitted job, the first first."""
        self.breaks = 0
        """So many of the next questions for a job get no answer."""
        self.refusal = 0
        """Status of HTTP for all questions."""
        self.says = "refused"
        """What stands beside it."""
        self.url = ""


def ended(status: str, exit_code: int | None, log: str = "") -> dict:
    return {"status": status, "driver_exit_code": exit_code, "log": log}


@contextmanager
def cluster() -> Iterator[Cluster]:
    state = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_words) -> None:
            pass

        def _answer(self, content, status: int = 200) -> None:
            body = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            if state.refusal:
                return self._answer(state.says, state.refusal)
            if self.path == "/api/version":
                return self._answer({"version": "4", "ray_version": ray.__version__})
            _, _, _, job_id, *rest = self.path.split("/")
            if state.breaks:
                state.breaks -= 1
                self.connection.close()
                return None
            if job_id not in state.jobs:
                return self._answer(f"Job {job_id} does not exist", 404)
            if rest:
                return self._answer({"logs": state.logs.get(job_id, "")})
            job = dict(state.jobs[job_id])
            if job["status"] == "RUNNING":
                state.logs[job_id] = job.pop("log")
                state.jobs[job_id].update(job.pop("next"))
            return self._answer(SHAPE | {"submission_id": job_id} | job)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/stop"):
                state.jobs[self.path.split("/")[3]]["status"] = "STOPPED"
                return self._answer({"stopped": True})
            given = json.loads(body)
            state.submitted.append(given)
            job_id = given["submission_id"]
            ending = state.endings.pop(0)
            first = ending.pop("log")
            state.jobs[job_id] = {"status": "RUNNING", "log": first, "next": ending}
            return self._answer({"job_id": job_id, "submission_id": job_id})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
