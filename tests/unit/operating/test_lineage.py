import builtins
import json
import time
from uuid import uuid4

import pytest
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

from rubert_ood.errors import SettingsError
from rubert_ood.operating.lineage import Sender, open_sender
from tests.webhook import SECRET


def _event(kind: str) -> RunEvent:
    return RunEvent(
        eventType=RunState[kind],
        eventTime="2026-11-27T03:00:00+00:00",
        run=Run(str(uuid4())),
        job=Job("shop", "score"),
    )


def _send(*kinds: str, timeout_s: float = 10) -> bool:
    sender = open_sender()
    for kind in kinds:
        sender.send(kind, lambda kind=kind: _event(kind))
    return sender.close(timeout_s)


def test_sender_sends_the_events_in_their_order(lineage_server):
    assert _send("START", "COMPLETE")
    assert [body["eventType"] for body in lineage_server.bodies] == ["START", "COMPLETE"]


def test_sender_to_the_address_of_the_variable_sends(
    lineage_server, monkeypatch, tmp_path
):
    for name in ("TYPE", "URL", "RETRY"):
        monkeypatch.delenv(f"OPENLINEAGE__TRANSPORT__{name}")
    url = f"http://127.0.0.1:{lineage_server.server_port}"
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    assert _send("START")
    assert len(lineage_server.bodies) == 1


def test_sender_with_a_file_of_configuration_appends_to_a_file(
    no_lineage, monkeypatch, tmp_path
):
    out, config = tmp_path / "events.jsonl", tmp_path / "openlineage.yml"
    config.write_text(
        f"transport:\n  type: file\n  log_file_path: {out}\n  append: true\n"
    )
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(config))
    assert _send("START", "FAIL")
    lines = out.read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "FAIL"]


@pytest.mark.parametrize(
    ("status", "reason", "tries"), [(500, "RetryError", 2), (401, "HTTP status 401", 1)]
)
def test_sender_whose_event_is_not_taken_says_so_once_without_the_address(
    lineage_server, caplog, status, reason, tries
):
    lineage_server.statuses = [status] * tries
    assert _send("START", "COMPLETE")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"could not send START ({reason})")
    assert SECRET not in caplog.text
    assert lineage_server.bodies[-1]["eventType"] == "COMPLETE"


def test_sender_to_a_server_that_hangs_gives_up_in_time(lineage_server, caplog):
    lineage_server.hangs_s = 1.5
    began = time.monotonic()
    assert not _send("START", "COMPLETE", timeout_s=0.3)
    assert time.monotonic() - began < 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "gives up START and COMPLETE, which is not sent after 0.3 s" in line


def test_sender_to_no_server_says_so_without_the_address(
    lineage_server, monkeypatch, caplog
):
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", f"http://127.0.0.1:1/{SECRET}/")
    assert _send("START")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("could not send START (ConnectionError)")


def test_sender_of_an_event_that_cannot_be_made_sends_the_next(lineage_server, caplog):
    sender = open_sender()
    sender.send("START", lambda: 1 / 0)
    sender.send("FAIL", lambda: _event("FAIL"))
    assert sender.close(10)
    assert "could not send START (ZeroDivisionError)" in caplog.text
    assert len(lineage_server.bodies) == 1


class _KeepsEvents:
    """A client that sends at its end, and does not come to it."""

    def emit(self, event: object) -> None:
        pass

    def close(self, timeout: float) -> bool:
        time.sleep(1)
        return False


def test_sender_whose_client_does_not_end_gives_up_in_time(caplog):
    sender = Sender(_KeepsEvents())
    sender.send("FAIL", lambda: _event("FAIL"))
    assert not sender.close(0.3)
    assert "gives up the last event, which is not sent after 0.3 s" in caplog.text


def test_open_sender_without_a_transport_says_what_to_set(no_lineage, caplog):
    assert open_sender() is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert "Set OPENLINEAGE_URL" in line


def test_open_sender_with_a_wrong_configuration_says_so_without_its_words(
    no_lineage, monkeypatch, caplog
):
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", f'{{"type": "http", "x": "{SECRET}"}}')
    assert open_sender() is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert "configuration of OpenLineage cannot be used" in line
    assert SECRET not in line


def test_open_sender_that_is_disabled_opens_nothing(lineage_server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert open_sender() is None


def test_open_sender_without_the_extra_names_it(monkeypatch):
    real = builtins.__import__

    def without(name: str, *words, **named):
        if name.startswith("openlineage"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *words, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"rubert_ood\[lineage\]"):
        open_sender()
