import dataclasses
import json
import math
import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from rubert_ood.errors import ErrorRateError, PublicationRefusedError
from rubert_ood.scoring.ledger import make_manifest, put_manifest, read_manifest, read_receipts
from rubert_ood.scoring.publish import check_gate, class_shift, publish_run, published_manifest, read_pointer
from rubert_ood.settings import GateSettings


def _manifest(output_uri: str = "/out", run_id: str = "r1", classes: dict | None = None, **counts) -> dict:
    classes = {"Мебель": 60, "Шины": 30, "Other": 10} if classes is None else classes
    scored = sum(classes.values())
    numbers = {"rows_in": scored, "rows_scored": scored, "rows_rejected": 0, "rows_ood": 5, "rows_quarantined": 0}
    numbers |= {"bytes_in": 1000, "bytes_quarantined": 0, "rows_planned": counts.get("rows_in", scored)}
    return {
        "output_uri": output_uri,
        "run_uri": f"{output_uri}/run_date=2026-11-24/run_id={run_id}",
        "run_id": run_id,
        "run_date": "2026-11-24",
        "bundle": {"uri": "/b/v1", "version": "v1", "fingerprint": "f" * 64},
        "classes": classes,
        "counts": {**numbers, "rows_other": classes.get("Other", 0), **counts},
        "duplicates": {"ids": 0, "rows": 0, "examples": []},
        "outcome": "complete",
        "gate": [],
    }


def _publish(manifest: dict, **limits) -> dict:
    put_manifest(manifest)
    return publish_run(manifest, GateSettings(**limits))


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


counts = st.dictionaries(st.sampled_from("абвгд"), st.integers(0, 1000), min_size=1).filter(lambda c: sum(c.values()))


@given(counts, counts)
def test_class_shift_is_the_jensen_shannon_distance(now, before):
    names = "абвгд"
    p, q = (np.array([run.get(name, 0) for name in names]) / sum(run.values()) for run in (now, before))
    middle = (p + q) / 2
    divergence = (entropy(p, middle, base=2) + entropy(q, middle, base=2)) / 2
    got = class_shift({"classes": now}, {"classes": before})
    assert got == pytest.approx(math.sqrt(max(divergence, 0)), abs=1e-7)
    assert got == pytest.approx(class_shift({"classes": before}, {"classes": now}), abs=1e-7)
    assert 0 <= got <= 1 + 1e-12


def test_class_shift_by_hand():
    half = {"classes": {"a": 1, "b": 1}}
    assert class_shift(half, {"classes": {"b": 7, "a": 7}}) == pytest.approx(0, abs=1e-9)
    assert class_shift({"classes": {"a": 3}}, {"classes": {"b": 9}}) == pytest.approx(1)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    expected = (math.log2(4 / 3) + math.log2(2 / 3) / 2 + math.log2(2) / 2) / 2
    assert class_shift({"classes": {"a": 5}}, half) == pytest.approx(math.sqrt(expected))
    assert class_shift({"classes": {}}, half) == 0


def test_the_gate_of_a_first_run_by_hand():
    manifest = _manifest(rows_in=125, rows_rejected=25, rows_ood=20)
    gate = check_gate(manifest, None, GateSettings(max_error_rate=0.2, max_ood_rate=0.19, max_other_rate=0.1))
    assert gate == [
        {"check": "max_error_rate", "value": 0.2, "limit": 0.2, "ok": True},
        {"check": "max_quarantined_share", "value": 0, "limit": 0.01, "ok": True},
        {"check": "max_duplicate_rate", "value": 0, "limit": 0.01, "ok": True},
        {"check": "max_ood_rate", "value": 0.2, "limit": 0.19, "ok": False},
        {"check": "max_other_rate", "value": 0.1, "limit": 0.1, "ok": True},
    ]


def test_the_gate_against_the_last_published_run_by_hand():
    previous = _manifest(classes={"Мебель": 200})
    now = _manifest(classes={"Мебель": 50, "Шины": 50})
    limits = GateSettings(max_class_shift=0.56, min_rows_ratio=0.5)
    shift, ratio = check_gate(now, previous, limits)[5:]
    assert shift["check"] == "max_class_shift"
    assert shift["value"] == pytest.approx(0.5579, abs=1e-4)
    assert shift["ok"]
    assert ratio == {"check": "min_rows_ratio", "value": 0.5, "limit": 0.5, "ok": True}
    fewer = _manifest(classes={"Мебель": 99})
    assert [check["ok"] for check in check_gate(fewer, previous, limits)] == [True] * 6 + [False]


def test_a_run_without_a_row_divides_by_nothing():
    empty = _manifest(classes={}, rows_ood=0)
    gate = check_gate(empty, _manifest(), GateSettings())
    assert [check["value"] for check in gate] == [0] * 7
    assert not gate[-1]["ok"]
    assert check_gate(_manifest(), empty, GateSettings())[-1]["ok"]


def test_nothing_published_yet(out):
    assert read_pointer(out) is None
    assert published_manifest(out, other_than="x") is None


def test_a_published_run_is_what_the_pointer_names(out):
    before = datetime.now(UTC).replace(microsecond=0)
    manifest = _publish(_manifest(out))
    pointer = json.loads(Path(out, "latest.json").read_text())
    assert datetime.fromisoformat(pointer.pop("published_at")) >= before
    assert pointer == {
        "path": "run_date=2026-11-24/run_id=r1",
        "run_id": "r1",
        "run_date": "2026-11-24",
        "bundle": "f" * 64,
        "history": [],
    }
    assert manifest["outcome"] == "published"
    checks = ["max_error_rate", "max_quarantined_share", "max_duplicate_rate", "max_ood_rate", "max_other_rate"]
    assert [check["check"] for check in manifest["gate"]] == checks
    assert read_manifest(os.path.join(out, pointer["path"])) == manifest
    assert published_manifest(out, other_than="x") == manifest


def test_a_refused_run_keeps_the_pointer_and_its_output(out):
    _publish(_manifest(out))
    pointer = Path(out, "latest.json").read_bytes()
    bad = _manifest(out, "r2", rows_ood=21)
    with pytest.raises(
        PublicationRefusedError, match=r"r2: not published, output kept: gate\.max_ood_rate: 0\.2100"
    ) as e:
        _publish(bad)
    assert e.value.exit_code == 5
    assert Path(out, "latest.json").read_bytes() == pointer
    stored = read_manifest(bad["run_uri"])
    assert stored["outcome"] == "refused"
    assert [check["check"] for check in stored["gate"] if not check["ok"]] == ["max_ood_rate"]


def test_a_first_run_that_is_refused_leaves_no_pointer(out):
    with pytest.raises(PublicationRefusedError):
        _publish(_manifest(out), max_other_rate=0.05)
    assert read_pointer(out) is None


def test_every_failed_check_is_named(out):
    with pytest.raises(
        PublicationRefusedError, match=r"max_ood_rate: 0\.0500 against 0\.01; gate\.max_other_rate: 0\.1000"
    ):
        _publish(_manifest(out), max_ood_rate=0.01, max_other_rate=0.01)


def test_too_many_rejected_rows_are_an_error_rate(out):
    manifest = _manifest(out, rows_in=102, rows_rejected=2)
    with pytest.raises(ErrorRateError, match=r"gate\.max_error_rate: 0\.0196 against 0\.01") as error:
        _publish(manifest)
    assert error.value.exit_code == 4
    assert read_manifest(manifest["run_uri"])["outcome"] == "refused"
    assert read_pointer(out) is None
    _publish(manifest, max_error_rate=0.02)  # after a look at the rows, with another limit
    assert read_pointer(out)["run_id"] == "r1"


def test_the_second_run_is_compared_with_the_first(out):
    _publish(_manifest(out, "r1", {"Мебель": 100}))
    with pytest.raises(PublicationRefusedError, match=r"max_class_shift: 1\.0000 against 0\.3"):
        _publish(_manifest(out, "r2", {"Шины": 100}))
    second = _publish(_manifest(out, "r3", {"Мебель": 90, "Шины": 10}))
    assert len(second["gate"]) == 7
    third = _publish(_manifest(out, "r4", {"Мебель": 90, "Шины": 10}))
    shift = third["gate"][5]
    assert shift["value"] == pytest.approx(0, abs=1e-9)  # compared with r3, the last published one, not with r1
    assert read_pointer(out)["run_id"] == "r4"
    with pytest.raises(PublicationRefusedError, match=r"min_rows_ratio: 0\.4900 against 0\.5"):
        _publish(_manifest(out, "r5", {"Мебель": 44, "Шины": 5}))


def test_publishing_the_same_run_again_does_not_compare_it_with_itself(out):
    first = _publish(_manifest(out))
    again = publish_run(read_manifest(first["run_uri"]), GateSettings())
    assert again == first
    assert len(again["gate"]) == 5
    assert read_pointer(out)["run_id"] == "r1"


def test_an_older_run_can_be_published_again(out):
    """This is the rollback."""
    first = _publish(_manifest(out, "r1"))
    _publish(_manifest(out, "r2"))
    publish_run(read_manifest(first["run_uri"]), GateSettings())
    assert read_pointer(out)["run_id"] == "r1"
    assert read_manifest(first["run_uri"])["gate"][6] == {
        "check": "min_rows_ratio",
        "value": 1,
        "limit": 0.5,
        "ok": True,
    }


def test_the_pointer_is_swapped_between_the_whole_manifest_and_its_outcome(out, monkeypatch):
    from rubert_ood import storage

    puts = []
    whole = storage.put_bytes
    monkeypatch.setattr(storage, "put_bytes", lambda uri, data: (puts.append(os.path.basename(uri)), whole(uri, data)))
    _publish(_manifest(out))
    assert puts[-3:] == ["manifest.json", "latest.json", "manifest.json"]


def test_a_real_run_is_found_through_the_pointer(full_run, tmp_path):
    out = tmp_path / "elsewhere"
    folder = out / "run_date=2026-11-24" / f"run_id={full_run.plan.run_id}"
    shutil.copytree(full_run.folder, folder)
    plan = dataclasses.replace(full_run.plan, run_uri=str(folder), output_uri=str(out))
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    manifest = make_manifest(plan, receipts, outcome="complete", started_at=f"{date.today()}T00:00:00+00:00")
    gate = publish_run(manifest, GateSettings(max_error_rate=0.15, max_ood_rate=1, max_other_rate=1))["gate"]
    assert gate[0]["value"] == pytest.approx(17 / 120)
    path = json.loads((out / "latest.json").read_text())["path"]
    assert (out / path) == folder
    assert len(list((out / path).glob("part-*.parquet"))) == 12


def test_a_pointer_to_a_run_that_is_gone_blocks_nothing(out, caplog):
    from rubert_ood.scoring.publish import published_manifest
    from rubert_ood.storage import put_bytes

    put_bytes(os.path.join(out, "latest.json"), b'{"path": "run_date=2026-01-01/run_id=gone"}')
    assert published_manifest(out, other_than="x") is None
    assert "run_id=gone" in caplog.text


def test_a_damaged_pointer_is_one_line(out):
    from rubert_ood.errors import InputError
    from rubert_ood.scoring.publish import read_pointer
    from rubert_ood.storage import put_bytes

    put_bytes(os.path.join(out, "latest.json"), b"{")
    with pytest.raises(InputError, match=r"latest\.json: damaged"):
        read_pointer(out)
