"""`rubert-ood ui` as a process, and what it refuses before it listens."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import rubert_ood.ui
from rubert_ood.errors import BundleError, InputError, SettingsError
from rubert_ood.settings import UiSettings
from rubert_ood.ui.serve import listen
from rubert_ood.workflows.ui import TOKEN_VARIABLE, ui
from tests.unit.ui.test_runs_search import finish

SECRET = "секретный диван"
START_TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


def started(*arguments: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command; return it, and the address that it prints."""
    command = [str(Path(sys.executable).with_name("rubert-ood")), "ui", *arguments]
    process = subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """End it as Ctrl-C does; return its exit code and its log."""
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=30)
    return process.returncode, log


@pytest.mark.timeout(START_TIMEOUT_S)
def test_ui_serves_the_page_until_it_is_interrupted_and_logs_no_text(bundle):
    process, url = started("--bundle_uri", bundle.uri)
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        assert bundle.version in httpx.get(url).text
        headers = {"origin": url.rstrip("/")}
        body = {"text": SECRET}
        answer = httpx.post(f"{url}texts", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200
        assert httpx.get(url, headers={"host": "evil.example"}).status_code == 400
        wrong = httpx.post(f"{url}texts", content=SECRET.encode(), headers=headers)
        assert wrong.status_code == 422
    finally:
        code, log = ended(process)
    assert code == 130
    assert SECRET not in log
    assert "Traceback" not in log
    assert log.splitlines()[-1] == "interrupted. Run the same command again to start anew"


@pytest.mark.timeout(START_TIMEOUT_S)
def test_ui_beyond_this_machine_asks_for_the_token_that_it_prints(bundle):
    process, url = started("--bundle_uri", bundle.uri, "--host", "0.0.0.0")
    try:
        port, token = re.fullmatch(
            r"http://0\.0\.0\.0:(\d+)/\?token=(\S{43})", url
        ).groups()
        here = f"http://127.0.0.1:{port}/"
        assert httpx.get(here).status_code == 401
        with httpx.Client(follow_redirects=True) as client:
            assert bundle.version in client.get(f"{here}?token={token}").text
            assert client.get(here).status_code == 200
    finally:
        _, log = ended(process)
    assert token not in log


@pytest.mark.parametrize("token", ["short", "ж" * 20])
def test_ui_refuses_a_token_that_protects_little(bundle, monkeypatch, token):
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(SettingsError) as caught:
        ui(UiSettings(bundle_uri=bundle.uri))
    assert str(caught.value).startswith(f"{TOKEN_VARIABLE}: ")
    assert token not in str(caught.value)


def test_ui_of_a_bundle_that_is_not_there_names_it(tmp_path):
    with pytest.raises(BundleError, match="no bundle is here"):
        ui(UiSettings(bundle_uri=str(tmp_path / "none")))


def test_ui_of_a_run_that_is_not_there_names_it(bundle, tmp_path):
    with pytest.raises(InputError, match="none"):
        ui(UiSettings(bundle_uri=bundle.uri, run_uri=str(tmp_path / "none")))


def test_ui_of_a_run_of_another_bundle_names_both(bundle, run):
    other = {"uri": "s3://b/v9", "version": "v9", "fingerprint": "9" * 64}
    finish(run.folder, run, bundle=other)
    with pytest.raises(SettingsError) as caught:
        ui(UiSettings(bundle_uri=bundle.uri, run_uri=str(run.folder)))
    assert str(caught.value) == (
        f"run_uri: this run was scored with bundle v9, not with {bundle.version}."
        " Pass --bundle_uri s3://b/v9"
    )


def test_ui_on_a_taken_port_says_so_before_the_network_is_loaded(bundle):
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError, match="Address already in use"):
            ui(UiSettings(bundle_uri=bundle.uri, port=port))


def test_ui_without_its_extra_names_it(bundle, monkeypatch):
    monkeypatch.delattr(rubert_ood.ui, "serve")
    monkeypatch.delitem(sys.modules, "rubert_ood.ui.serve")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SettingsError) as caught:
        ui(UiSettings(bundle_uri=bundle.uri))
    assert str(caught.value) == (
        "ui: the page needs the extra `ui`: pip install 'rubert_ood[ui]'"
    )
