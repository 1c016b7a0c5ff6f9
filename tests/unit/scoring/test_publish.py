import dataclasses
import json
import math
import os
import shutil
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from rubert_ood import storage
from rubert_ood.errors import ErrorRateError, InputError, PartialRunError, PublicationRefusedError
from rubert_ood.scoring.ledger import read_receipts
from rubert_ood.scoring.manifest import make_manifest, put_manifest, read_manifest
from rubert_ood.scoring.publish import (
    MAX_HISTORY,
    check_gate,
    class_shift,
    publish_run,
    published_manifest,
    read_pointer,
    roll_back,
    shift,
)
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


def test_the_gate_compares_with_a_run_of_an_earlier_version_and_with_a_later_one(out):
    """What drift is made of does not stand in older manifests, and more may stand in later ones."""
    later = {"token_histogram": [1, 2], "cities": {"rows": 1, "rows_unseen": 1, "unseen": {"омск": 1}}, "top_ood": []}
    old, new = _manifest(out), _manifest(out, "r2") | later
    checks = [check_gate(run, other, GateSettings()) for run, other in ((old, new), (new, old), (old, old))]
    assert checks[0] == checks[1] == checks[2]


def test_shift_is_that_of_the_class_shares():
    assert shift([3, 0, 1], [1, 2, 1]) == class_shift(
        {"classes": {"a": 3, "c": 1}}, {"classes": {"a": 1, "b": 2, "c": 1}}
    )
    assert shift([5, 5, 0], [100, 100, 0]) == pytest.approx(0, abs=1e-7)
    assert shift([5, 0], [0, 5]) == pytest.approx(1)
    assert shift([0, 0], [0, 5]) == 0


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
    from rubert_ood.storage import put_bytes

    put_bytes(os.path.join(out, "latest.json"), b'{"path": "run_date=2026-01-01/run_id=gone"}')
    assert published_manifest(out, other_than="x") is None
    assert "run_id=gone" in caplog.text


def test_a_damaged_pointer_is_one_line(out):
    from rubert_ood.storage import put_bytes

    put_bytes(os.path.join(out, "latest.json"), b"{")
    with pytest.raises(InputError, match=r"latest\.json: damaged"):
        read_pointer(out)


def test_a_forced_publication_keeps_its_reason_and_the_failed_checks(out):
    bad = _manifest(out, rows_ood=90)
    put_manifest(bad)
    manifest = publish_run(bad, GateSettings(), force="the new bundle is stricter, checked by hand")
    assert read_pointer(out)["run_id"] == "r1"
    stored = read_manifest(bad["run_uri"])
    assert stored == manifest
    assert (stored["outcome"], stored["forced"]) == ("published", "the new bundle is stricter, checked by hand")
    assert [check["check"] for check in stored["gate"] if not check["ok"]] == ["max_ood_rate"]


def test_files_set_aside_and_repeated_ids_are_judged(out):
    manifest = _manifest(out, bytes_in=1000, bytes_quarantined=11)
    with pytest.raises(PublicationRefusedError, match=r"gate\.max_quarantined_share: 0\.0110 against 0\.01"):
        _publish(manifest)
    _publish(manifest, max_quarantined_share=0.011)
    twice = _manifest(out, "r2") | {"duplicates": {"ids": 1, "rows": 2, "examples": []}}
    with pytest.raises(PublicationRefusedError, match=r"gate\.max_duplicate_rate: 0\.0200 against 0\.01"):
        _publish(twice)
    aside = _manifest(out, "r3", rows_planned=105, rows_quarantined=5)
    with pytest.raises(ErrorRateError, match=r"gate\.max_error_rate: 0\.0476 against 0\.01"):
        _publish(aside)


def test_rolling_back_goes_from_run_to_run(out):
    runs = [_publish(_manifest(out, name)) for name in ("r1", "r2", "r3")]
    assert read_pointer(out)["history"] == ["run_date=2026-11-24/run_id=r2", "run_date=2026-11-24/run_id=r1"]
    for current, before in ((2, 1), (1, 0)):
        pointer = roll_back(out, "wrong labels")
        assert pointer == read_pointer(out)
        assert pointer["run_id"] == runs[before]["run_id"]
        assert pointer["rolled_back"] == {
            "path": f"run_date=2026-11-24/run_id=r{current + 1}",
            "reason": "wrong labels",
        }
        stored = read_manifest(runs[current]["run_uri"])
        assert (stored["outcome"], stored["rollback_reason"]) == ("rolled_back", "wrong labels")
    with pytest.raises(InputError, match="only one run was published; no way back"):
        roll_back(out, "again")
    assert read_pointer(out)["run_id"] == "r1"
    _publish(_manifest(out, "r4"))
    assert read_pointer(out)["history"] == ["run_date=2026-11-24/run_id=r1"]


def test_nothing_to_roll_back(out):
    with pytest.raises(InputError, match="no run was published"):
        roll_back(out, "x")


def test_a_rollback_to_a_run_that_is_gone_changes_nothing(out):
    first = _publish(_manifest(out, "r1"))
    _publish(_manifest(out, "r2"))
    pointer = Path(out, "latest.json").read_bytes()
    shutil.rmtree(first["run_uri"])
    with pytest.raises(InputError, match="run_id=r1"):
        roll_back(out, "x")
    assert Path(out, "latest.json").read_bytes() == pointer


def test_the_pointer_remembers_so_many_runs_and_no_more(out):
    for number in range(MAX_HISTORY + 3):
        _publish(_manifest(out, f"r{number}"))
    history = read_pointer(out)["history"]
    assert [path.rpartition("=")[2] for path in history] == [f"r{n}" for n in range(MAX_HISTORY + 1, 1, -1)]


def test_many_publishers_at_once_lose_none_of_them(out):
    names = [f"r{number}" for number in range(8)]
    failures = []

    def publish(name: str) -> None:
        try:
            _publish(_manifest(out, name))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in failures if not isinstance(error, PartialRunError)]
    pointer = read_pointer(out)
    seen = [path.rpartition("=")[2] for path in [pointer["path"], *pointer["history"]]]
    assert len(seen) == len(set(seen)) == len(names) - len(failures)


def test_the_gate_judges_against_the_run_that_the_swap_replaces(out, monkeypatch):
    """Another publisher is faster, between the look at the pointer and the swap."""
    _publish(_manifest(out, "r1"))
    swap, rivals = storage.swap_bytes, [_manifest(out, "rival", {"Шины": 100})]

    def late(uri, data, version):
        if rivals:
            rival = rivals.pop()
            put_manifest(rival)
            publish_run(rival, GateSettings(max_class_shift=1))
        return swap(uri, data, version)

    monkeypatch.setattr(storage, "swap_bytes", late)
    with pytest.raises(PublicationRefusedError, match="max_class_shift"):
        _publish(_manifest(out, "r2"))
    assert read_pointer(out)["run_id"] == "rival"


def test_a_swap_whose_answer_got_lost_counts(out, monkeypatch):
    swap = storage.swap_bytes
    monkeypatch.setattr(storage, "swap_bytes", lambda *arguments: swap(*arguments) and False)
    assert _publish(_manifest(out))["outcome"] == "published"
    assert read_pointer(out)["run_id"] == "r1"


def test_a_reader_never_sees_a_run_that_is_not_whole(out):
    """Readers follow the pointer while runs are published and rolled back."""
    runs = [_manifest(out, f"r{number}") for number in range(20)]
    stop, seen, torn = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            pointer = read_pointer(out)
            if pointer is not None:
                manifest = read_manifest(os.path.join(out, pointer["path"]))
                seen.add(pointer["run_id"])
                if manifest["run_id"] != pointer["run_id"] or not manifest["gate"]:
                    torn.append(manifest)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number, manifest in enumerate(runs):
            _publish(manifest)
            if number % 5 == 4:
                roll_back(out, "x")
    finally:
        stop.set()
        reader.join()
    assert torn == []
    assert len(seen) > 3
