"""Tables follow the pointer, whoever moves it, whatever dies, however often it is said."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from rubert_ood.publishing.pointer import look
from rubert_ood.publishing.publish import publish_run
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.runs.manifest import read_manifest
from rubert_ood.tables import follow
from rubert_ood.tables.follow import follow_pointer
from tests.conftest import read_parts
from tests.unit.tables.published_runs import (
    CATALOG,
    ICEBERG,
    ICEBERG_NAME,
    OPEN,
    both,
    catalog,
    delta,
    delta_rows,
    expected_ids,
    follow_asleep,
    held,
    iceberg_rows,
    ids,
    put_published,
    put_run,
    versions,
)


class Killed(BaseException):
    """Stands for kill -9."""


def test_follow_before_the_first_publication_makes_no_table(out):
    put_run(out, "r1")
    follow_pointer(out, both(out))
    assert not Path(out, "_delta_log").exists()
    assert not catalog().table_exists(ICEBERG_NAME)


def test_follow_lets_both_tables_hold_the_rows_of_the_parts(out):
    manifest = put_published(out, "r1")
    parts = read_parts(manifest.run_uri).sort_by("ad_id").replace_schema_metadata()
    assert parts.num_rows == 6
    for found in (iceberg_rows(), delta_rows(out)):
        assert found.schema.names == parts.schema.names
        assert found.to_pylist() == parts.to_pylist()


def test_follow_in_a_folder_of_another_alphabet_with_a_space(out):
    out = f"{out}/вы ход"
    assert [note.error for note in put_published(out, "r1").tables] == ["", ""]
    assert held(out) == (expected_ids("r1"),) * 2


@pytest.mark.parametrize("name", ["a%20b", "a#b", "a?b"])
def test_follow_in_a_folder_that_libraries_take_for_another_says_so(out, name):
    output_uri = f"{out}/{name}"
    for note in put_published(output_uri, "r1").tables:
        assert note.error == (
            f"output_uri: {output_uri} holds %, ? or #, which table libraries do"
            " not read as text. Use another output_uri"
        )
    assert [path.name for path in Path(out).iterdir()] == [name]


def test_follow_names_run_bundle_code_and_content_in_the_commit(out):
    manifest = put_published(out, "r1")
    snapshot = catalog().load_table(ICEBERG_NAME).current_snapshot()
    commit = DeltaTable(out).history(1)[0]
    for marks in (snapshot.summary.additional_properties, commit):
        assert marks["rubert_ood.run"] == "run_date=2026-11-24/run_id=r1"
        assert marks["rubert_ood.run_id"] == "r1"
        assert marks["rubert_ood.bundle"] == "f" * 64
        assert marks["rubert_ood.code_version"] == "0.5.0"
        assert len(marks["rubert_ood.files"]) == 64
    assert [note.model_dump() for note in manifest.tables] == [
        {
            "kind": "iceberg",
            "name": ICEBERG_NAME,
            "catalog": CATALOG,
            "version": snapshot.snapshot_id,
            "error": "",
        },
        {
            "kind": "delta",
            "name": out,
            "catalog": "",
            "version": commit["version"],
            "error": "",
        },
    ]


def test_follow_again_registers_nothing_and_leaves_the_manifest(out):
    manifest = put_published(out, "r1")
    before = versions(out)
    path = Path(manifest.run_uri, "_run", "manifest.json")
    written = path.stat().st_mtime_ns
    follow_pointer(out, both(out))
    assert versions(out) == before
    assert path.stat().st_mtime_ns == written


def test_follow_of_a_later_run_leaves_nothing_of_the_one_before(out):
    put_published(out, "r1")
    put_published(out, "r2", num_parts=3, finished="11:00:00")
    assert held(out) == (expected_ids("r2", num_parts=3),) * 2


def test_follow_after_a_rollback_holds_the_run_that_readers_see_again(out):
    put_published(out, "r1")
    put_published(out, "r2", finished="11:00:00")
    roll_back(out, "wrong labels")
    follow_pointer(out, both(out))
    assert held(out) == (expected_ids("r1"),) * 2
    publish_run(
        read_manifest(f"{out}/run_date=2026-11-24/run_id=r2"), OPEN, force="it was right"
    )
    follow_pointer(out, both(out))
    assert held(out) == (expected_ids("r2"),) * 2


def test_follow_does_not_name_a_part_without_rows(out):
    manifest = put_run(out, "r1")
    empty = manifest.files[0].model_copy(update={"rows": 0})
    gone = manifest.model_copy(update={"files": [empty, manifest.files[1]]})
    publish_run(gone, OPEN)
    follow_pointer(out, both(out))
    assert held(out) == ([f"r1-1-{row}" for row in range(3)],) * 2


@pytest.mark.parametrize("kind", ["iceberg", "delta"])
def test_follow_of_a_publisher_that_slept_does_not_put_the_older_run_back(
    out, monkeypatch, kind
):
    table = ICEBERG if kind == "iceberg" else delta(out)
    put_published(out, "r0", finished="09:00:00")
    publish_run(put_run(out, "r1"), OPEN)
    assert follow_asleep(out, table, monkeypatch) == ["run_date=2026-11-24/run_id=r1"]
    found = iceberg_rows() if kind == "iceberg" else delta_rows(out)
    assert ids(found) == expected_ids("r2")
    assert read_manifest(f"{out}/run_date=2026-11-24/run_id=r1").tables == []


@pytest.mark.parametrize("kind", ["iceberg", "delta"])
def test_follow_of_several_publishers_at_once_ends_at_the_run_of_the_pointer(out, kind):
    table = ICEBERG if kind == "iceberg" else delta(out)
    runs = [
        put_run(out, f"r{number}", finished=f"1{number}:00:00") for number in range(4)
    ]
    start = threading.Barrier(len(runs))

    def publish(manifest):
        start.wait()
        try:
            publish_run(manifest, OPEN)
        except Exception:  # a faster one was newer
            return
        follow_pointer(out, [table])

    threads = [threading.Thread(target=publish, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert look(out).pointer.run_id == "r3"
    found = iceberg_rows() if kind == "iceberg" else delta_rows(out)
    assert ids(found) == expected_ids("r3")


def test_follow_that_died_after_the_commit_registers_nothing_twice(out, monkeypatch):
    put_published(out, "r1")
    manifest = publish_run(put_run(out, "r2", finished="11:00:00"), OPEN)
    for table in both(out):
        with monkeypatch.context() as patch:
            patch.setattr(follow, "_note", lambda *_: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                follow_pointer(out, [table])
    before = versions(out)
    assert read_manifest(manifest.run_uri).tables == []
    follow_pointer(out, both(out))
    assert versions(out) == before
    notes = read_manifest(manifest.run_uri).tables
    assert [(note.kind, note.error) for note in notes] == [("iceberg", ""), ("delta", "")]


def test_follow_that_died_between_the_pointer_and_the_commit_is_repeated(
    out, monkeypatch
):
    put_published(out, "r1")
    publish_run(put_run(out, "r2", finished="11:00:00"), OPEN)
    for table in both(out):
        with monkeypatch.context() as patch:
            patch.setattr(
                "rubert_ood.tables.published.PublishedRun.files",
                property(lambda _: (_ for _ in ()).throw(Killed)),
            )
            with pytest.raises(Killed):
                follow_pointer(out, [table])
    assert held(out) == (expected_ids("r1"),) * 2
    follow_pointer(out, both(out))
    assert held(out) == (expected_ids("r2"),) * 2


def test_follow_that_fails_is_one_line_and_stands_in_the_manifest(
    out, monkeypatch, caplog
):
    manifest = publish_run(put_run(out, "r1"), OPEN)
    variable = f"PYICEBERG_CATALOG__{CATALOG.upper()}__URI"
    uri = f"sqlite:///{out}/is/not/there.db"
    with monkeypatch.context() as patch:
        patch.setenv(variable, uri)
        follow_pointer(out, both(out))
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith(
        f"tables    iceberg table {ICEBERG_NAME} does not hold the published"
        " run. The next score, publish or rollback tries again. Reason: "
    )
    assert "\n" not in line
    failed, done = read_manifest(manifest.run_uri).tables
    assert "unable to open database file" in failed.error
    assert (failed.kind, failed.version, done.kind, done.error) == (
        "iceberg",
        None,
        "delta",
        "",
    )
    assert read_manifest(manifest.run_uri).outcome == "published"
    follow_pointer(out, both(out))
    assert [note.error for note in read_manifest(manifest.run_uri).tables] == ["", ""]
    assert held(out) == (expected_ids("r1"),) * 2


def test_follow_that_fails_keeps_the_version_that_was_noted(out, monkeypatch):
    manifest = put_published(out, "r1")
    before = {note.kind: note.version for note in manifest.tables}

    def look(_):
        raise OSError("no route")

    monkeypatch.setattr("rubert_ood.tables.delta.DeltaLog.look", look)
    follow_pointer(out, [delta(out)])
    note = read_manifest(manifest.run_uri).tables[1]
    assert (note.version, note.error) == (before["delta"], "no route")


def test_follow_does_not_repeat_values_of_files(out, monkeypatch, caplog):
    manifest = publish_run(put_run(out, "r1"), OPEN)
    monkeypatch.setattr(
        "rubert_ood.tables.iceberg.IcebergTable.replace", lambda *_: int("+7 916")
    )
    follow_pointer(out, both(out))
    failed, done = read_manifest(manifest.run_uri).tables
    assert failed.error.startswith("ValueError in ")
    assert done.error == ""
    assert "916" not in caplog.text + failed.error


PANIC = """
import os, sys, warnings
from deltalake import DeltaTable
from rubert_ood.tables.follow import follow_pointer
from tests.unit.tables.published_runs import delta

warnings.simplefilter("ignore")
out = sys.argv[1]
DeltaTable.is_deltatable(out)  # its runtime does not survive a fork: it panics
pid = os.fork()
if pid == 0:
    follow_pointer(out, [delta(out)])
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_follow_through_a_panic_of_the_library_is_noted_like_a_failure(out):
    manifest = publish_run(put_run(out, "r1"), OPEN)
    subprocess.run([sys.executable, "-c", PANIC, out], check=True, timeout=60)
    (note,) = read_manifest(manifest.run_uri).tables
    assert note.error.startswith("PanicException in deltalake.")
    follow_pointer(out, [delta(out)])
    assert read_manifest(manifest.run_uri).tables[0].error == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_follow_that_is_told_to_stop_stops(out, monkeypatch, stop):
    manifest = publish_run(put_run(out, "r1"), OPEN)

    def look(_):
        raise stop

    monkeypatch.setattr("rubert_ood.tables.delta.DeltaLog.look", look)
    with pytest.raises(stop):
        follow_pointer(out, [delta(out)])
    assert read_manifest(manifest.run_uri).tables == []


def test_follow_does_not_repeat_credentials(out, monkeypatch, caplog):
    manifest = publish_run(put_run(out, "r1"), OPEN)

    def look(_):
        raise OSError("no route to https://user:secret@catalog.example/v1")

    monkeypatch.setattr("rubert_ood.tables.delta.DeltaLog.look", look)
    follow_pointer(out, [delta(out)])
    assert "secret" not in caplog.text
    assert "secret" not in Path(manifest.run_uri, "_run", "manifest.json").read_text()


def test_follow_without_the_library_names_the_command(out, monkeypatch, caplog):
    publish_run(put_run(out, "r1"), OPEN)
    monkeypatch.setattr("rubert_ood.tables.wanted.find_spec", lambda _: None)
    follow_pointer(out, both(out))
    assert (
        "the package pyiceberg is missing. Run pip install 'rubert_ood[iceberg]'"
        in caplog.text
    )
    assert (
        "the package deltalake is missing. Run pip install 'rubert_ood[delta]'"
        in caplog.text
    )


def test_follow_takes_back_what_others_wrote_into_the_tables(out):
    put_published(out, "r1")
    stranger = pq.read_table(next(Path(out).glob("run_date=*/run_id=r1/part-*.parquet")))
    write_deltalake(out, stranger.slice(0, 1), mode="append")
    catalog().load_table(ICEBERG_NAME).append(stranger.slice(0, 1))
    assert [len(found) for found in held(out)] == [7, 7]
    follow_pointer(out, both(out))
    assert held(out) == (expected_ids("r1"),) * 2


def test_follow_that_others_outrun_all_the_time_ends(out, monkeypatch, caplog):
    publish_run(put_run(out, "r1"), OPEN)
    monkeypatch.setattr("rubert_ood.tables.delta.DeltaLog.replace", lambda *_: False)
    follow_pointer(out, [delta(out)])
    assert (
        "10 commits in a row were refused, because other writers keep changing the table"
    ) in caplog.text
