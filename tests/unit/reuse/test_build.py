import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError, SettingsError
from rubert_ood.reuse import build
from rubert_ood.reuse.build import build_index, check_index, read_files, with_index
from rubert_ood.reuse.document import document_uri, index_uri, read_document
from rubert_ood.reuse.index import Index
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.parts import drop_parts
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.verify import complete_manifest, verify_run
from rubert_ood.storage import folders, leftovers
from tests.conftest import read_parts as rows_of
from tests.unit.reuse.tables import random_rows


@pytest.fixture
def plan(full_run, tmp_path) -> Plan:
    return replace(full_run.plan, run_uri=str(tmp_path / "run"), run_id="night")


def _build(plan: Plan, tables: list[pa.Table]) -> Index:
    num_texts = sum(table.num_rows for table in tables)
    name = build_index(plan, tables, num_texts, "parts", lambda: None)
    check_index(plan.run_uri, name)
    document, _ = read_document(plan.run_uri)
    assert name.texts == document.texts
    folder = index_uri(plan.run_uri)
    assert name.size == sum(path.stat().st_size for path in Path(folder).iterdir())
    return Index(folder, document)


@pytest.mark.parametrize("file_bytes", [2_000, 2**26])
def test_index_finds_every_text_of_every_table_and_no_other(
    plan, file_bytes, monkeypatch
):
    monkeypatch.setattr(build, "FILE_BYTES", file_bytes)
    tables = [random_rows(100, seed=seed, embedding=True) for seed in range(4)]
    index = _build(plan, tables)
    assert (len(index.document.files) > 10) == (file_bytes == 2_000)
    whole = pa.concat_tables(tables)
    absent = random_rows(50, seed=9)["text_key"].to_pylist()
    keys = [*absent[:25], *whole["text_key"].to_pylist()[::-1], *absent[25:]]
    places, records = index.find(keys)
    assert places.tolist() == list(range(25, 425))
    found = index.document.layout.to_table([keys[place] for place in places], records)
    expected = whole.take(list(range(400))[::-1]).select(found.schema.names)
    assert found.to_pylist() == expected.to_pylist()


def test_index_of_a_text_that_two_parts_have_keeps_the_first(plan):
    first = random_rows(5, seed=0)
    second = random_rows(5, seed=1)
    position = second.schema.get_field_index("text_key")
    second = second.set_column(position, "text_key", first["text_key"])
    index = _build(plan, [first, second])
    keys = first["text_key"].to_pylist()
    found = index.document.layout.to_table(keys, index.find(keys)[1])
    assert found["ood_z"].to_pylist() == first["ood_z"].to_pylist()
    assert index.document.texts == 5


def test_index_tells_keys_apart_that_begin_alike(plan):
    rows = random_rows(2)
    keys = [f"{'ab' * 8}{'00' * 8}", f"{'ab' * 8}{'11' * 8}"]
    position = rows.schema.get_field_index("text_key")
    index = _build(plan, [rows.set_column(position, "text_key", pa.array(keys))])
    assert index.find(keys)[0].tolist() == [0]  # the other one is scored
    assert index.find(keys[::-1])[0].tolist() == [1]


def test_index_of_a_run_without_a_scored_text_is_refused(plan):
    rows = random_rows(3)
    position = rows.schema.get_field_index("status")
    empty = rows.set_column(position, "status", pa.array(["empty"] * 3))
    with pytest.raises(InputError, match="no text was scored"):
        _build(plan, [empty])


def _manifest(run) -> Manifest:
    started_at = "2026-11-25T02:00:00+00:00"
    return complete_manifest(run.plan, verify_run(run.plan), started_at)


def test_with_index_has_each_scored_text_of_the_parts_and_is_built_once(run, monkeypatch):
    manifest = with_index(run.plan, _manifest(run))
    rows = rows_of(run.plan.run_uri).to_pylist()
    expected = {row["text_key"] for row in rows if row["status"] == "ok"}
    assert manifest.index.texts == len(expected)
    document, _ = read_document(run.plan.run_uri)
    index = Index(index_uri(run.plan.run_uri), document)
    assert len(index.find(sorted(expected))[0]) == len(expected)
    monkeypatch.setattr(build, "build_index", None)  # nobody calls it
    assert with_index(run.plan, manifest) == manifest


def test_with_index_of_other_parts_is_built_again(run):
    first = with_index(run.plan, _manifest(run))
    less = {"files": first.files[:1], "parts_sha256": "of others"}
    second = with_index(run.plan, first.model_copy(update=less))
    assert second.index.texts < first.index.texts
    check_index(run.plan.run_uri, second.index)


def test_with_index_asks_the_claim_before_each_put(run):

    def lost() -> None:
        raise PartialRunError("claimed by another start")

    with pytest.raises(PartialRunError):
        with_index(run.plan, _manifest(run), lost)
    assert not storage.exists(index_uri(run.plan.run_uri))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (
            SettingsError("/tmp/x: not this user's folder"),
            "/tmp/x: not this user's folder",
        ),
        (ValueError("could not convert string to float: '8 912'"), "{}: ValueError"),
        (TypeError("an 'Иван' is required"), "{}: TypeError"),
        (pa.ArrowInvalid("Иван"), "{}: ArrowInvalid"),
        (pa.ArrowException("Иван"), "{}: ArrowException"),
        (KeyError("label"), "{}: KeyError"),
    ],
)
def test_with_index_that_fails_says_so_without_a_value_and_spoils_nothing(
    run, monkeypatch, caplog, error, reason
):

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(build, "write_segment", fails)
    assert with_index(run.plan, _manifest(run)).index is None
    (record,) = caplog.records
    said = reason.format(run.plan.run_uri)
    assert (
        "this run is complete, but leaves no index. Run `publish` on it to build one, or"
        f" the next run scores every text. Reason: {said}"
    ) in (record.getMessage())
    assert "Иван" not in caplog.text
    assert "8 912" not in caplog.text


def test_with_index_of_a_run_without_a_scored_text_says_it_in_a_plain_word(run, caplog):
    caplog.set_level("INFO")
    manifest = _manifest(run)
    counts = manifest.counts.model_copy(update={"rows_empty": 103, "rows_scored": 103})
    assert (
        with_index(run.plan, manifest.model_copy(update={"counts": counts})).index is None
    )
    (record,) = caplog.records
    assert (record.levelname, "no text was scored" in record.getMessage()) == (
        "INFO",
        True,
    )


@pytest.mark.parametrize(
    ("sub_label", "sub_confidence"),
    [
        (pa.array([f"S{n}" for n in range(90)]), pa.array([n / 90 for n in range(90)])),
        (pa.array(range(90)), pa.array([f"{n}%" for n in range(90)])),
    ],
)
def test_with_index_of_carried_columns_with_names_of_the_model_leaves_them_out(
    make_run, messy_table, sub_label, sub_confidence
):
    table = messy_table.slice(0, 90).append_column("sub_label", sub_label)
    table = table.append_column("sub_confidence", sub_confidence)
    run = make_run(table, carry_columns=("sub_label", "sub_confidence"))
    plain = make_run(messy_table.slice(0, 90))
    document, other = (
        _indexed(one.plan, _manifest(one)).document for one in (run, plain)
    )
    assert not document.layout.subheads
    assert document.texts == other.texts > 50
    assert set(document.layout.names) - {run.plan.run_id} == (
        set(other.layout.names) - {plain.plan.run_id}
    )


def _indexed(plan: Plan, manifest: Manifest) -> Index:
    assert with_index(plan, manifest).index is not None
    return Index(index_uri(plan.run_uri), read_document(plan.run_uri)[0])


@pytest.mark.parametrize(
    "edit",
    [
        {"texts": 7},
        {"run_id": "other"},
        {"identity": {}},
        {"files": []},
        {"layout": {"top_k": 2, "names": ["a", "b"]}},
    ],
)
def test_with_index_whose_document_is_not_the_one_of_the_manifest_is_built_again(
    run, caplog, edit
):
    manifest = with_index(run.plan, _manifest(run))
    path = Path(document_uri(run.plan.run_uri))
    whole = path.read_bytes()
    path.write_text(json.dumps(json.loads(whole) | edit), "utf-8")
    caplog.clear()
    assert with_index(run.plan, manifest) == manifest
    assert path.read_bytes() == whole
    assert caplog.text.count("builds the index again, because ") == 1


def test_read_files_yields_them_in_the_order_of_the_plan(run):
    tables = list(read_files(run.plan, _manifest(run).files))
    for path, table in zip(run.files, tables, strict=True):
        whole = pq.read_table(path)
        assert table.equals(whole.select(table.schema.names))
        carried = {"ad_id", *run.plan.carry_columns}
        assert set(whole.schema.names) - set(table.schema.names) == carried


def test_with_index_of_a_run_whose_parts_are_gone_is_that_of_its_parts(run):
    manifest = _manifest(run)
    first = with_index(run.plan, manifest)
    shutil.rmtree(index_uri(run.plan.run_uri))
    drop_parts(run.plan.run_uri)
    assert with_index(run.plan, manifest) == first


def test_with_index_of_an_older_run_is_built_from_its_parts(older_run):
    manifest = with_index(older_run.plan, _manifest(older_run))
    rows = rows_of(older_run.plan.run_uri).to_pylist()
    expected = {row["text_key"] for row in rows if row["status"] == "ok"}
    assert manifest.index.texts == len(expected)


def test_build_index_removes_the_folder_of_a_killed_process_and_its_own(
    plan, tmp_path, monkeypatch
):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    mine = leftovers.staged_folder_name()
    dead = mine.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    building = tmp_path / "cache" / "building"
    (building / dead).mkdir(parents=True)
    (building / dead / "0").touch()
    (building / mine).mkdir()  # of a process that lives
    _build(plan, [random_rows(5)])
    assert [path.name for path in building.iterdir()] == [mine]
