"""MLflow's own server, from an environment of its own: a bundle is registered, found, refused."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.pointers.champion import open_bundle, resolve
from rubert_ood.pointers.mlflow_run import content_of
from rubert_ood.pointers.register import register_bundle
from rubert_ood.settings import MlflowSettings
from tests.mlflow_server import PASSWORD, MlflowServer

MLFLOW = Path(os.environ.get("MLFLOW_PROGRAM", "build/mlflow/bin/mlflow"))
pytestmark = pytest.mark.skipif(not MLFLOW.exists(), reason="`make mlflow` runs this")

START_S = 120
BOTH = MlflowSettings(experiment="shop", register_as="ads")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    """Start the server on a database of its own; yield its port."""
    folder, port = tmp_path_factory.mktemp("mlflow"), _free_port()
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    words += ["--default-artifact-root", f"{folder}/artifacts"]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [MLFLOW.absolute(), "server", *words],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait(port, server)
        yield port
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _wait(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise AssertionError("the server of MLflow did not start")


@pytest.fixture
def server(port, no_mlflow, monkeypatch) -> int:
    """Let the environment name the server, with a password that must be seen nowhere."""
    url = f"http://somebody:{PASSWORD}@127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    return port


def test_bundle_that_is_registered_is_found_by_version_and_by_alias(bundle, server):
    from mlflow import MlflowClient

    named = register_bundle(bundle, BOTH, started_at_ms=1_000)
    assert register_bundle(bundle, BOTH) == named  # nothing twice
    assert resolve(named).fingerprint == bundle.fingerprint
    client, version = MlflowClient(), named.rpartition("/")[2]
    client.set_registered_model_alias("ads", "production", version)
    found = open_bundle("models:/ads@production")
    assert (found.uri, found.registered) == (bundle.uri, named)
    assert found.alias == "models:/ads@production"
    assert len(client.search_model_versions("name='ads'")) == 1
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])
    content = content_of(bundle)
    assert (run.info.status, run.info.start_time) == ("FINISHED", 1_000)
    assert run.data.params == content.params
    assert run.data.tags.items() >= content.tags.items()
    assert {*run.data.metrics} == {number.name for number in content.metrics}


@pytest.mark.parametrize("uri", ["models:/ads@none", "models:/ads/99", "models:/x/1"])
def test_what_is_not_registered_is_named(bundle, server, uri):
    register_bundle(bundle, BOTH)
    with pytest.raises(BundleError, match="no such model, version or alias"):
        resolve(uri)


def test_a_deleted_experiment_is_named(bundle, server):
    from mlflow import MlflowClient

    settings = MlflowSettings(experiment="old")
    register_bundle(bundle, settings)
    client = MlflowClient()
    client.delete_experiment(client.get_experiment_by_name("old").experiment_id)
    with pytest.raises(SettingsError, match=r"was deleted on the server. Restore"):
        register_bundle(bundle, settings)


def test_register_from_the_command_line_shows_the_address_nowhere(bundle, server):
    words = ["register", "--bundle_uri", bundle.uri, "--mlflow.experiment", "shop"]
    words += ["--mlflow.register_as", "by_hand"]
    program = [sys.executable, "-m", "rubert_ood.cli", *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"models:/by_hand/1 is {re.escape(bundle.uri)}", done.stderr)
    for text in (done.stdout, done.stderr):
        assert PASSWORD not in text
        assert str(server) not in text


QUESTIONS = [
    ("GET", "registered-models/alias", {"name": "ads", "alias": "none"}),
    ("GET", "registered-models/alias", {"name": "nothing", "alias": "none"}),
    ("GET", "model-versions/get", {"name": "ads", "version": "99"}),
    ("GET", "experiments/get-by-name", {"experiment_name": "nothing"}),
    ("POST", "experiments/create", {"name": "shop"}),
    ("POST", "registered-models/create", {"name": "ads"}),
    ("POST", "model-versions/create", {"name": "ads", "source": "/tmp/x"}),
    ("POST", "model-versions/create", {"name": "nothing", "source": "s3://b/x"}),
]


def _ask(port: int, method: str, path: str, said: dict[str, str]) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/{path}"
    given = {"params": said} if method == "GET" else {"json": said}
    answer = requests.request(method, url, timeout=60, **given)
    return answer.status_code, answer.json().get("error_code", "")


def test_server_of_our_other_tests_refuses_as_that_of_mlflow_does(port):
    ours = MlflowServer()
    threading.Thread(target=ours.serve_forever, daemon=True).start()
    for asked in (port, ours.server_port):
        _ask(asked, "POST", "experiments/create", {"name": "shop"})
        _ask(asked, "POST", "registered-models/create", {"name": "ads"})
    for question in QUESTIONS:
        answer = _ask(ours.server_port, *question)
        assert answer == _ask(port, *question), question
        assert answer[0] in (400, 404)
    ours.shutdown()
    ours.server_close()
