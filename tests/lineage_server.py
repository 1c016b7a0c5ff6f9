"""A lineage service on this machine, and the required fields of the OpenLineage specification."""

import os
import threading
from collections.abc import Iterator

import jsonschema
import pytest

from tests.webhook import SECRET, Webhook

FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {
            "_producer": {"type": "string", "format": "uri"},
            "_schemaURL": {"type": "string", "format": "uri"},
        },
    },
}
DATASETS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": {
            "namespace": {"type": "string", "minLength": 1},
            "name": {"type": "string", "minLength": 1},
            "facets": FACETS,
            "inputFacets": FACETS,
            "outputFacets": FACETS,
        },
        "additionalProperties": False,
    },
}
RUN_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"type": "string", "pattern": r"/\$defs/RunEvent$"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {
                "runId": {"type": "string", "format": "uuid"},
                "facets": FACETS,
            },
            "additionalProperties": False,
        },
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"facets": FACETS},
        },
        "inputs": DATASETS,
        "outputs": DATASETS,
    },
    "additionalProperties": False,
}
"""What version 2-0-2 of the specification asks of a run event."""


def check_event(event: dict) -> None:
    """Raise ValidationError where a field that the specification requires is missing or wrong."""
    checker = jsonschema.FormatChecker()
    jsonschema.validate(event, RUN_EVENT, format_checker=checker)


@pytest.fixture
def no_lineage(monkeypatch, tmp_path) -> Iterator[None]:
    """OpenLineage is not told where to send; what its client sets in the environment goes again."""

    def ours() -> list[str]:
        return [name for name in os.environ if name.startswith("OPENLINEAGE")]

    for name in ours():
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    yield
    for name in ours():
        os.environ.pop(name)


@pytest.fixture
def lineage_server(no_lineage, monkeypatch) -> Iterator[Webhook]:
    """Yield a server that takes the events of OpenLineage; a failed one is tried once again."""
    server = Webhook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{SECRET}/"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", url)
    retry = '{"total": 1, "backoff_factor": 0}'
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", retry)
    yield server
    server.hangs_s = 0
    for thread in threading.enumerate():  # no line of theirs in the log of the next test
        if thread.name == "lineage":
            thread.join()
    server.shutdown()
    server.server_close()
