"""An MLflow server on this machine, as far as its REST endpoints are used; it fails on demand.

tests/orchestrators/test_mlflow.py asks the same of MLflow's own server.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

PASSWORD = "very-secret"
API = "/api/2.0/mlflow/"


class RefusalError(Exception):
    """An answer that is an error, with its status of HTTP."""

    def __init__(self, status: int, code: str, message: str = "no") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class MlflowServer(ThreadingHTTPServer):
    """Experiments, runs and registered models in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: dict[str, str] = {}
        """Name -> id."""
        self.deleted: set[str] = set()
        """Experiments, by name."""
        self.runs: dict[str, dict] = {}
        """Id -> info, params, metrics, tags."""
        self.models: dict[str, list[dict]] = {}
        """Name -> versions."""
        self.aliases: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.refusals: list[int | str] = []
        """Of the next answers: a status of HTTP, or a code of MLflow."""
        self.fails_at = ""
        """Path whose answers are errors."""
        self.hangs_s = 0.0

    @property
    def url(self) -> str:
        """With a user and a password, which must not be seen anywhere."""
        return f"http://somebody:{PASSWORD}@127.0.0.1:{self.server_port}"

    def register(
        self, name: str, source: str, tags: dict[str, str], alias: str = ""
    ) -> str:
        """Add a version as another program would; return its number."""
        given = [{"key": key, "value": value} for key, value in tags.items()]
        self.models.setdefault(name, [])
        body = {"name": name, "source": source, "tags": given}
        version = answer(self, "model-versions/create", body)["model_version"]["version"]
        if alias:
            self.aliases[name, alias] = version
        return version


def tags_of(items: list[dict]) -> dict[str, str]:
    """Return tags, or parameters, as a dict."""
    return {item["key"]: item["value"] for item in items}


def _missing(what: str) -> RefusalError:
    return RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"{what} not found")


def _version(server: MlflowServer, name: str, number: str) -> dict:
    for version in server.models.get(name, []):
        if version["version"] == number:
            return {"model_version": version}
    raise _missing("Model Version")


def answer(server: MlflowServer, path: str, said: dict) -> dict:
    """Do what a request asks for."""
    if path == "registered-models/alias":
        if said["name"] not in server.models:
            raise _missing("Registered Model")
        number = server.aliases.get((said["name"], said["alias"]))
        if number is None:
            raise RefusalError(400, "INVALID_PARAMETER_VALUE", "alias not found")
        return _version(server, said["name"], number)
    if path == "model-versions/get":
        return _version(server, said["name"], said["version"])
    if path == "model-versions/search":
        name = re.fullmatch("name='(.*)'", said["filter"])[1]
        return {"model_versions": server.models.get(name, [])}
    if path == "registered-models/create":
        if said["name"] in server.models:
            raise RefusalError(400, "RESOURCE_ALREADY_EXISTS")
        server.models[said["name"]] = []
        return {"registered_model": {"name": said["name"]}}
    if path == "model-versions/create":
        return _create_version(server, said)
    if path == "experiments/get-by-name":
        name = said["experiment_name"]
        if name not in server.experiments:
            raise _missing("Experiment")
        shown = {"name": name, "experiment_id": server.experiments[name]}
        stage = "deleted" if name in server.deleted else "active"
        return {"experiment": shown | {"lifecycle_stage": stage}}
    if path == "experiments/create":
        if said["name"] in server.experiments:
            raise RefusalError(400, "RESOURCE_ALREADY_EXISTS")
        server.experiments[said["name"]] = number = str(len(server.experiments) + 1)
        return {"experiment_id": number}
    return _run(server, path, said)


def _create_version(server: MlflowServer, said: dict) -> dict:
    if said["name"] not in server.models:
        raise _missing("Registered Model")
    if said["source"].startswith(("/", "file:")):  # as MLflow's own server does
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "Invalid model version source")
    versions = server.models[said["name"]]
    made = said | {"version": str(len(versions) + 1), "status": "READY"}
    versions.append(made)
    return {"model_version": made}


def _found_runs(server: MlflowServer, said: dict) -> list[dict]:
    tag, value = re.fullmatch("tags.`(.*)` = '(.*)'", said["filter"]).groups()
    found = []
    for run in server.runs.values():
        is_there = run["experiment_id"] in said["experiment_ids"]
        if is_there and run["tags"].get(tag) == value:
            found.append({"info": _info(run), "data": {}})
    return found[: said["max_results"]]


def _info(run: dict) -> dict:
    return {key: run[key] for key in ("run_id", "run_uuid", "run_name", "status")}


def _run(server: MlflowServer, path: str, said: dict) -> dict:
    if path == "runs/search":
        return {"runs": _found_runs(server, said)}
    if path == "runs/create":
        run_id = f"run{len(server.runs):029d}"
        info = {
            "run_id": run_id,
            "run_uuid": run_id,
            "experiment_id": said["experiment_id"],
            "run_name": said.get("run_name", ""),
            "status": "RUNNING",
            "start_time": said["start_time"],
            "lifecycle_stage": "active",
        }
        tags = tags_of(said.get("tags", []))
        server.runs[run_id] = info | {"params": {}, "metrics": [], "tags": tags}
        return {"run": {"info": info, "data": {"tags": said.get("tags", [])}}}
    if said["run_id"] not in server.runs:
        raise _missing("Run")
    run = server.runs[said["run_id"]]
    if path == "runs/get":
        return {"run": {"info": _info(run), "data": {}}}
    if path == "runs/log-batch":
        run["params"] |= tags_of(said.get("params", []))
        run["metrics"] += said.get("metrics", [])
        run["tags"] |= tags_of(said.get("tags", []))
        return {}
    if path == "runs/update":
        run |= {"status": said["status"], "end_time": said["end_time"]}
        return {"run_info": {key: run[key] for key in ("run_id", "status")}}
    raise _missing(path)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_words) -> None:
        pass

    def _do(self, said: dict) -> None:
        server, path = self.server, urlsplit(self.path).path.removeprefix(API)
        server.asked.append(path)
        server.headers.append(dict(self.headers))
        time.sleep(server.hangs_s)
        try:
            refusal = server.refusals.pop(0) if server.refusals else 0
            if server.fails_at == path:
                refusal = 503
            if refusal:
                status, code = (
                    (refusal, "") if isinstance(refusal, int) else (400, refusal)
                )
                raise RefusalError(status, code)
            self._send(200, answer(server, path, said))
        except RefusalError as error:
            shown = {"error_code": error.code, "message": str(error)}
            self._send(error.status, shown if error.code else None)

    def _send(self, status: int, content: dict | None) -> None:
        body = b"<html>" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._do(dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._do(json.loads(body))


@pytest.fixture
def no_mlflow(monkeypatch) -> Iterator[None]:
    """MLflow is not told where to send; what we set in the environment goes again."""

    def ours() -> list[str]:
        return [name for name in os.environ if name.startswith("MLFLOW")]

    for name in ours():
        monkeypatch.delenv(name)
    yield
    for name in ours():
        os.environ.pop(name)


@pytest.fixture
def mlflow_server(no_mlflow, monkeypatch) -> Iterator[MlflowServer]:
    """Yield a server that the environment names; a question is repeated once, without waiting."""
    server = MlflowServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    yield server
    server.shutdown()
    server.server_close()
