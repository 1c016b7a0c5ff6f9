"""Valid JSON that is not ours: one line with the name of the file, whichever control file it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rubert_ood.errors import InputError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.runs.claim import Claim, check_claim
from rubert_ood.runs.manifest import Manifest, read_manifest, revise_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.receipts import put_quarantine, read_quarantine, read_receipts

POINTER = {
    "path": "run_date=2026-11-24/run_id=r1",
    "run_id": "r1",
    "run_date": "2026-11-24",
    "bundle": "f" * 64,
    "published_at": "2026-11-25T03:00:00.000+00:00",
    "history": ["run_date=2026-11-23/run_id=r0"],
}
"""As 0.2.0 writes it."""


@pytest.fixture
def whole_run(run):
    """A run with every control file; one of its shards is quarantined."""
    manifest = Manifest.of(
        run.plan,
        read_receipts(run.plan.run_uri, run.plan.fingerprint),
        outcome="complete",
        **NOW,
    )
    revise_manifest(run.plan.run_uri, lambda _: manifest)
    put_quarantine(run.plan, run.plan.shards[3], "its process died")
    Claim(run.plan.run_uri)
    (run.folder / "latest.json").write_text(json.dumps(POINTER))
    return run


NOW = {"started_at": "2026-11-24T03:00:00+00:00"}


def _receipts(run) -> dict:
    return read_receipts(run.plan.run_uri, run.plan.fingerprint)


def _quarantine(run) -> dict:
    return read_quarantine(run.plan.run_uri, run.plan.fingerprint)


READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "latest": ("latest.json", lambda run: read_pointer(run.plan.run_uri)),
    "plan": ("_run/plan.json", lambda run: load_plan(run.plan.run_uri)),
    "manifest": ("_run/manifest.json", lambda run: read_manifest(run.plan.run_uri)),
    "runner": ("_run/runner.json", lambda run: check_claim(run.plan.run_uri, "token")),
    "receipt": ("_run/receipts/{}.json", _receipts),
    "quarantine": ("_run/quarantine/{}.json", _quarantine),
}


def _path(run, kind: str) -> Path:
    return run.folder / READERS[kind][0].format(run.plan.shards[3].shard_id)


def _error(run, kind: str) -> str:
    with pytest.raises(InputError) as caught:
        READERS[kind][1](run)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert text.startswith(f"{_path(run, kind)}: the file is damaged (")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"3",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"path": NaN, "runner": NaN}',
        b"[[]]",
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "number",
        "null",
        "string",
        "bytes",
        "deep",
        "nan",
        "nested",
    ],
)
def test_a_control_file_that_is_not_an_object_of_ours_is_one_line(
    whole_run, kind, content
):
    _path(whole_run, kind).write_bytes(content)
    _error(whole_run, kind)


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "runner"])
def test_a_control_file_lacks_no_field_that_is_used(whole_run, kind):
    path = _path(whole_run, kind)
    whole = json.loads(path.read_text("utf-8"))
    optional = {
        "latest": {"bundle", "published_at", "history"},
        "plan": {
            "report_texts",
            "ignored",
            "carry_schema",
            "reuse",
            "target_file_mb",
            "sort_by",
        },
        "receipt": {"format", "profile", "reuse", "scored_in", "part_bytes"},
    }
    if kind == "manifest":
        needed = {
            "run_id",
            "run_date",
            "outcome",
            "finished_at",
            "counts",
            "classes",
            "bundle",
            "gate",
        }
    else:
        needed = set(whole) - optional.get(kind, set())
    for name in needed:
        path.write_text(
            json.dumps({key: value for key, value in whole.items() if key != name}),
            "utf-8",
        )
        assert f"{name}: Field required" in _error(whole_run, kind)
    for name in optional.get(kind, ()):
        path.write_text(
            json.dumps({key: value for key, value in whole.items() if key != name}),
            "utf-8",
        )
        READERS[kind][1](whole_run)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("latest", {"run_date": "24.11.2026"}, "run_date"),
        ("latest", {"run_date": 20261124}, "run_date"),
        ("latest", {"history": "run_id=r0"}, "history"),
        ("latest", {"history": [1]}, "history.0"),
        ("latest", {"finished_at": "2026-11-24T03:00:00"}, "finished_at"),
        ("manifest", {"outcome": "fine"}, "outcome"),
        ("manifest", {"counts": [1]}, "counts"),
        ("manifest", {"classes": {"Мебель": "5"}}, "classes"),
        ("manifest", {"classes": {"Мебель": -5}}, "classes"),
        ("manifest", {"finished_at": "yesterday"}, "finished_at"),
        ("manifest", {"gate": [{"check": "max_ood_rate"}]}, "gate.0.value"),
        ("runner", {"runner": 5}, "runner"),
        ("receipt", {"rows_in": 10.5}, "rows_in"),
        ("receipt", {"rows_in": "10"}, "rows_in"),
        ("receipt", {"rows_scored": True}, "rows_scored"),
        ("receipt", {"confidence_histogram": [1]}, "confidence_histogram"),
        ("receipt", {"profile": {"token_histogram": [1]}}, "token_histogram"),
        ("receipt", {"profile": {"top_ood": [{"text_key": "x"}]}}, "profile.top_ood.0."),
        ("receipt", {"shard_id": "00001-12345678"}, "it belongs to shard 00001-12345678"),
        ("receipt", {"shard_id": "../../x"}, "shard_id"),
        ("quarantine", {"rows_in": -1}, "rows_in"),
        ("plan", {"shards": [{"shard_id": "../../x"}]}, "shards.0."),
        ("plan", {"run_date": "today"}, "run_date"),
        ("plan", {"precision": "fp4"}, "precision"),
    ],
)
def test_a_control_file_with_a_wrong_value_names_the_field(
    whole_run, kind, changes, named
):
    path = _path(whole_run, kind)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    assert named in _error(whole_run, kind)


@pytest.mark.parametrize(
    "path",
    [
        "../../x",
        "/etc",
        "a/../../b",
        "",
        ".",
        "a//b",
        "s3://bucket/x",
        "run_id=r1/",
        "run_id=\x00",
        "a\nb",
    ],
)
@pytest.mark.parametrize("field", ["path", "history"])
def test_a_pointer_never_leads_out_of_its_folder(whole_run, path, field):
    changed = POINTER | {field: path if field == "path" else [path]}
    _path(whole_run, "latest").write_text(json.dumps(changed))
    assert "the path is not below the folder of this file" in _error(whole_run, "latest")


def test_control_files_of_later_versions_are_read(whole_run):
    for kind in READERS:
        path = _path(whole_run, kind)
        path.write_text(
            json.dumps(
                json.loads(path.read_text("utf-8")) | {"of_a_later_version": {"x": [1]}}
            ),
            "utf-8",
        )
    assert read_pointer(whole_run.plan.run_uri).path == POINTER["path"]
    assert load_plan(whole_run.plan.run_uri).shards == whole_run.plan.shards
    assert read_manifest(whole_run.plan.run_uri).model_extra == {
        "of_a_later_version": {"x": [1]}
    }
    assert len(_receipts(whole_run)) == 12


def test_receipts_of_another_fingerprint_need_not_be_of_this_version(whole_run):
    _path(whole_run, "receipt").write_text(
        json.dumps(
            {
                "shard_id": whole_run.plan.shards[3].shard_id,
                "fingerprint": "another",
                "rows": "many",
            }
        )
    )
    assert len(_receipts(whole_run)) == 11
