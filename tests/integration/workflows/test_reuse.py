"""Nights that take over what an earlier one scored, in this process without Ray."""

import hashlib
import json
import sqlite3
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.errors import PartialRunError, SettingsError, VerificationError
from rubert_ood.publishing import reused
from rubert_ood.reports import run_page
from rubert_ood.reuse.document import read_document
from rubert_ood.reuse.index import fetch_index
from rubert_ood.runs.manifest import Manifest, manifest_uri, read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.scoring import planning
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.settings import (
    GateSettings,
    PublishSettings,
    ScoreSettings,
    VerifySettings,
)
from rubert_ood.storage import folders, put_bytes, to_json
from rubert_ood.workflows import score as workflow
from rubert_ood.workflows.publish import publish
from rubert_ood.workflows.score import score
from rubert_ood.workflows.verify import verify
from tests.conftest import read_parts, write_parquet

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_class_shift=1,
    min_rows_ratio=0,
)
STEP_OF_P = 1 / 101 + 1e-9
"""Of 100 calibration ads, which the last bits of d2 may pass one of."""
EXACT = ("label", "is_ood", "topk_labels", "status", "num_tokens", "num_chunks", "is_cut")


@pytest.fixture(autouse=True)
def _few_are_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(run_page, "run_html", lambda manifest, *_: manifest.outcome)
    monkeypatch.setattr(reused, "MIN_CHECKED", 20)


@pytest.fixture
def night(bundle, tmp_path):
    """Score a table as the run of a day, in shards of so many rows."""

    def run(table: pa.Table, day: int, *, shard_rows: int = 30, **options) -> Manifest:
        folder = tmp_path / f"in-{day}-{table.num_rows}-{shard_rows}"
        half = table.num_rows // 2
        if not folder.exists():
            write_parquet(folder / "a.parquet", table.slice(half), row_group_size=15)
            write_parquet(folder / "b.parquet", table.slice(0, half), row_group_size=15)
        given = {"output_uri": str(tmp_path / "out"), "bundle_uri": bundle.uri}
        settings = ScoreSettings(
            input_uri=str(folder),
            run_date=date(2026, 11, day),
            gate=WIDE_OPEN,
            shard_rows=shard_rows,
            executor="local",
            report_changes=False,
            **{**given, **options},
        )
        return score(settings)

    return run


@pytest.fixture
def scored_texts(monkeypatch) -> Counter:
    """How often the network has computed each text, by its key."""
    counts = Counter()
    plain = Scorer._score

    def counted(self, item):
        counts.update(item.texts["text_key"].to_pylist())
        return plain(self, item)

    monkeypatch.setattr(Scorer, "_score", counted)
    return counts


def _rows(manifest: Manifest) -> list[dict]:
    rows = read_parts(manifest.run_uri).to_pylist()
    return sorted(rows, key=lambda row: (row["ad_id"] or "", row["text_key"]))


def _assert_same(ours: list[dict], full: list[dict]) -> None:
    assert len(ours) == len(full) > 0
    for one, other in zip(ours, full, strict=True):
        assert one["ad_id"] == other["ad_id"]
        for name in EXACT:
            assert one[name] == other[name], name
        if other["status"] == "ok":
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
            assert one["topk_scores"] == pytest.approx(other["topk_scores"], abs=1e-5)
            for name in ("ood_distance", "ood_z"):
                assert one[name] == pytest.approx(other[name], rel=1e-4)
            assert one["ood_p"] == pytest.approx(other["ood_p"], abs=STEP_OF_P)


def _renamed(table: pa.Table, prefix: str) -> pa.Table:
    ids = [f"{prefix}{number}" for number in range(table.num_rows)]
    return table.set_column(table.schema.get_field_index("ad_id"), "ad_id", pa.array(ids))


def test_score_takes_over_texts_in_other_files_rows_and_ids_as_a_full_run_has_them(
    night, ads, scored_texts, tmp_path
):
    first = night(ads.slice(0, 200), 1)
    texts_before = set(scored_texts)
    scored_texts.clear()
    order = list(range(60, 260))[::-1]
    second_table = _renamed(ads.take(order), "x")
    second = night(second_table, 2, shard_rows=50)
    again = {name for name in scored_texts if name in texts_before}
    num_again = sum(scored_texts[name] for name in again)  # once in each shard
    full = night(
        second_table, 3, shard_rows=50, reuse="never", output_uri=str(tmp_path / "full")
    )
    rows = _rows(second)
    _assert_same(rows, _rows(full))
    by_run = Counter(row["scored_in"] for row in rows)
    assert by_run[first.run_id] > 100
    assert second.counts.rows_reused == by_run[first.run_id]
    assert second.counts.texts_checked == num_again > 0
    assert {row["scored_in"] for row in rows} == {first.run_id, second.run_id}
    for row in rows:  # those that were checked are the run's own
        is_new = row["text_key"] not in texts_before or row["text_key"] in again
        assert (row["scored_in"] == second.run_id) == is_new
    assert full.counts.rows_reused == 0
    assert load_plan(second.run_uri).reuse.run_uri == first.run_uri


def _spoil(manifest: Manifest, keys: set[str], column: str, value: object) -> int:
    """Change what the index of a run says of some texts, and its digests with that.

    A label becomes the name that follows it in the index, which is another one.
    """
    document, _ = read_document(manifest.run_uri)
    folder = Path(manifest.run_uri, "_run", "reuse")
    files, num_changed = [], 0
    tails = {int(key[16:], 16) for key in keys}
    for file in document.files:
        path = folder / file.name
        with sqlite3.connect(path) as database:
            for head, data in database.execute(
                "SELECT head, record FROM texts"
            ).fetchall():
                record = np.frombuffer(data, document.layout.dtype).copy()
                if int(record["tail"][0]) in tails:
                    changed = value
                    if column == "label":
                        changed = (record[column][0] + value) % len(document.layout.names)
                    record[column][0] = changed
                    num_changed += 1
                    change = "UPDATE texts SET record = ? WHERE head = ?"
                    database.execute(change, (record.tobytes(), head))
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        files.append(file.model_copy(update={"sha256": sha256, "size": len(data)}))
    data = to_json(document.model_copy(update={"files": files}))
    put_bytes(str(folder / "index.json"), data)
    name = manifest.index.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    noted = read_manifest(manifest.run_uri).model_copy(update={"index": name})
    put_bytes(manifest_uri(manifest.run_uri), to_json(noted))
    return num_changed


@pytest.mark.parametrize(
    ("column", "value"),
    [("label", 1), ("confidence", 0.5), ("ood_distance", 7.0), ("num_tokens", 1)],
)
def test_score_that_finds_a_wrong_result_scores_everything(
    night, ads, column, value, tmp_path, caplog
):
    first = night(ads.slice(0, 200), 1)
    table = _renamed(ads.slice(0, 200), "x")
    last = read_parts(first.run_uri).filter(
        pa.compute.is_in(pa.compute.field("ad_id"), ads["ad_id"].slice(70, 30))
    )
    assert _spoil(first, set(last["text_key"].to_pylist()), column, value) > 20
    second = night(table, 2, reuse_check_fraction=0.5)
    stop = second.reuse_stop
    assert stop.texts_mismatched > 0
    assert stop.reused_uri == first.run_uri
    assert column in stop.reason
    assert second.outcome == "published"
    assert (second.counts.rows_reused, second.counts.texts_reused) == (0, 0)
    rows = _rows(second)
    assert {row["scored_in"] for row in rows} == {second.run_id}
    full = night(table, 3, reuse="never", output_uri=str(tmp_path / "full"))
    _assert_same(rows, _rows(full))
    said = [r.getMessage() for r in caplog.records if "stopped" in r.getMessage()]
    assert len(said) == 1
    assert f"differ ({stop.reason})" in said[0]
    verify(VerifySettings(run_uri=second.run_uri))
    third = night(table, 4)  # from the second one, whose index is right
    assert third.counts.rows_reused > 100
    assert third.reuse_stop is None


def test_score_stopped_by_a_wrong_result_had_written_parts_that_it_then_replaced(
    night, ads, monkeypatch
):
    """Some shards had their receipt before the stop: it takes two passes."""
    first = night(ads.slice(0, 200), 1)
    parts = read_parts(first.run_uri)
    last = ads["ad_id"].slice(70, 30)  # of b.parquet, so those of the last shard
    is_last = pc.is_in(parts["ad_id"], value_set=last.combine_chunks())
    keys = set(parts.filter(is_last)["text_key"].to_pylist())
    keys -= set(parts.filter(pc.invert(is_last))["text_key"].to_pylist())
    _spoil(first, keys, "confidence", 0.5)
    seen = []
    plain = workflow.stale_shards

    def stale(plan):
        folder = Path(plan.run_uri, "_run", "receipts")
        receipts = [json.loads(path.read_bytes()) for path in folder.iterdir()]
        seen.append(sum(bool(one["reuse"]["texts_reused"]) for one in receipts))
        return plain(plan)

    monkeypatch.setattr(workflow, "stale_shards", stale)
    second = night(_renamed(ads.slice(0, 200), "x"), 2, reuse_check_fraction=0.5)
    assert seen[0] > 0
    assert second.counts.rows_reused == 0


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _cut(folder: Path) -> None:
    (path,) = folder.glob("texts-*")
    path.write_bytes(path.read_bytes()[:-100])


def _other_document(folder: Path) -> None:
    path = folder / "index.json"
    path.write_text(path.read_text().replace('"format": 1', '"format":  1'))


@pytest.mark.parametrize("spoil", [_remove, _cut, _other_document])
def test_score_without_the_index_that_was_planned_scores_every_text_and_says_so_once(
    night, ads, spoil, monkeypatch, caplog
):
    first = night(ads.slice(0, 200), 1)
    plain = workflow._score_and_verify

    def spoilt(*arguments):
        spoil(Path(first.run_uri, "_run", "reuse"))
        return plain(*arguments)

    monkeypatch.setattr(workflow, "_score_and_verify", spoilt)
    second = night(ads.slice(0, 200), 2)
    assert second.outcome == "published"
    assert second.counts.rows_reused == 0
    assert second.counts.shards_without_index == len(load_plan(second.run_uri).shards)
    said = [
        r.getMessage() for r in caplog.records if "scores every text" in r.getMessage()
    ]
    assert len(said) == 1


@pytest.mark.parametrize("spoil", [_remove, _cut])
def test_score_and_publish_of_a_run_build_its_index_again(night, ads, spoil):
    first = night(ads.slice(0, 60), 1)
    assert first.counts.rows_ood + first.counts.rows_other > 0
    strict = GateSettings(max_ood_rate=0, max_other_rate=0)  # not asked any more
    folder = Path(first.run_uri, "_run", "reuse")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for again in (
        lambda: night(ads.slice(0, 60), 1),
        lambda: publish(PublishSettings(run_uri=first.run_uri, gate=strict)),
    ):
        spoil(folder)
        with pytest.raises(
            VerificationError, match=r"_run/reuse/.*to build the index again"
        ):
            verify(VerifySettings(run_uri=first.run_uri))
        again()
        names = {path.name for path in folder.iterdir() if path.suffix != ".lock"}
        assert {name: (folder / name).read_bytes() for name in names} == before
        verify(VerifySettings(run_uri=first.run_uri))


def test_score_never_takes_over_empty_and_rejected_rows(night, messy_table):
    first = night(messy_table, 1)
    second = night(messy_table, 2)
    assert second.counts.rows_rejected == first.counts.rows_rejected > 0
    assert second.counts.rows_empty == first.counts.rows_empty > 0
    for row in _rows(second):
        if row["status"] == "empty":
            assert row["scored_in"] == second.run_id
            assert row["confidence"] is None
    _assert_same(_rows(second), _rows(first))
    assert second.counts.rows_reused > 20


def test_score_of_a_third_night_names_the_run_that_scored_a_text_first(night, ads):
    first = night(ads.slice(0, 150), 1)
    second = night(ads.slice(0, 200), 2)
    third = night(ads.slice(0, 250), 3)
    before = {row["text_key"]: row["scored_in"] for row in _rows(second)}
    rows = _rows(third)
    for row in rows:
        assert row["scored_in"] in (before.get(row["text_key"]), third.run_id)
    found = {row["scored_in"] for row in rows}
    assert found == {first.run_id, second.run_id, third.run_id}
    assert load_plan(third.run_uri).reuse.run_id == second.run_id


def test_score_of_another_bundle_passes_the_last_run_over_and_refuses_it_by_name(
    night, ads, bundle, tmp_path, caplog
):
    other = derive_bundle(bundle, str(tmp_path / "v2"), documents={"README.md": "other"})
    caplog.set_level("INFO")
    first = night(ads.slice(0, 60), 1)
    second = night(ads.slice(0, 60), 2, bundle_uri=other.uri)
    assert second.counts.rows_reused == 0
    assert second.reuse is None
    line = f"scores every text, because {first.run_uri} was scored with another bundle"
    assert caplog.text.count(line) == 1
    with pytest.raises(
        SettingsError, match=r"^reuse: .* was scored with another bundle. Set it to auto"
    ):
        night(ads.slice(0, 60), 3, bundle_uri=other.uri, reuse=first.run_uri)


@pytest.mark.parametrize("name", ["precision", "code version"])
def test_score_with_another_precision_or_code_does_not_reuse(
    night, ads, name, monkeypatch
):
    first = night(ads.slice(0, 60), 1)
    identity = planning._identity

    def changed(*arguments):
        return identity(*arguments) | {name: "another"}

    monkeypatch.setattr(planning, "_identity", changed)
    assert night(ads.slice(0, 60), 2).reuse is None
    with pytest.raises(SettingsError, match=rf"was scored with another {name}\."):
        night(ads.slice(0, 60), 3, reuse=first.run_uri)


def test_score_with_embeddings_reuses_only_a_run_that_has_some(night, ads):
    plain = night(ads.slice(0, 100), 1)
    with pytest.raises(SettingsError, match=r"has no embeddings"):
        night(ads.slice(0, 100), 2, embedding=True, reuse=plain.run_uri)
    first = night(ads.slice(0, 100), 2, embedding=True)
    assert first.counts.rows_reused == 0
    second = night(ads.slice(0, 120), 3, embedding=True)
    assert second.counts.rows_reused > 50
    vectors = {row["text_key"]: row["embedding"] for row in _rows(first)}
    for row in _rows(second):
        if row["scored_in"] == first.run_id:
            assert row["embedding"] == vectors[row["text_key"]]
    third = night(ads.slice(0, 120), 4)  # those of the index are left out
    assert third.counts.rows_reused > 50
    assert "embedding" not in read_parts(third.run_uri).schema.names


def test_score_goes_on_with_the_run_that_its_plan_names(night, ads, monkeypatch):
    first = night(ads.slice(0, 100), 1)
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "_score_and_verify", _stops)
        with pytest.raises(PartialRunError):
            night(ads.slice(0, 100), 3, run_id="night")
    night(ads.slice(0, 100), 2)  # published in between
    third = night(ads.slice(0, 100), 3, run_id="night")
    assert third.reuse.run_uri == first.run_uri
    assert third.counts.rows_reused > 50


def _stops(*_):
    raise PartialRunError("stopped")


def test_score_refuses_a_run_that_is_not_there(night, ads, tmp_path):
    words = "^reuse: .*/none is not the folder of a run. Set it to auto, which finds"
    with pytest.raises(SettingsError, match=words):
        night(ads.slice(0, 30), 1, reuse=str(tmp_path / "none"))


@pytest.mark.parametrize(
    "columns",
    [
        {"sub_label": [f"S{n}" for n in range(100)], "sub_confidence": [0.5] * 100},
        {"sub_label": list(range(100)), "sub_confidence": ["y"] * 100},
    ],
    ids=["same types", "other types"],
)
def test_score_that_carries_columns_with_names_of_the_model_reuses_its_texts(
    night, ads, columns
):
    given = ads.slice(0, 100)
    for name, values in columns.items():
        given = given.append_column(name, pa.array(values))
    night(given, 1, carry_columns=tuple(columns))
    second = night(given.take(list(range(100))[::-1]), 2, carry_columns=tuple(columns))
    assert second.counts.rows_quarantined == 0
    assert second.counts.texts_checked > 0
    assert second.counts.texts_reused > 50
    assert second.reuse_stop is None
    found = {row["ad_id"]: row for row in _rows(second)}
    for row in given.to_pylist():
        for name in columns:
            assert found[row["ad_id"]][name] == row[name]


def test_score_whose_copy_of_the_index_was_damaged_fetches_it_again(night, ads, tmp_path):
    first = night(ads.slice(0, 100), 1)
    fetch_index(first.run_uri, first.index.sha256)
    (path,) = (tmp_path / "cache" / "reuse").glob("*/texts-*")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE texts SET record = x'00'")
    second = night(ads.slice(0, 100), 2)
    assert second.outcome == "published"
    assert second.counts.texts_reused > 50
    assert second.counts.shards_without_index == 0
