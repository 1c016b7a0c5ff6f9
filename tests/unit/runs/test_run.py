"""A run folder for those who read what the nightly job wrote."""

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import (
    InputError,
    RubertOodError,
    SchemaError,
    SettingsError,
    VerificationError,
)
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.receipts import put_quarantine, read_quarantine, receipt_uri
from rubert_ood.runs.run import Run
from rubert_ood.runs.seals import read_seals
from tests.unit.messy_runs import seal_plan

STARTED = "2026-11-24T03:00:00+00:00"


def _note(run, *, without: tuple[int, ...] = ()) -> Run:
    """Write the manifest of a run some of whose shards are not scored."""
    receipts = {r.shard_id: r for n, r in enumerate(run.receipts) if n not in without}
    for number in without:
        Path(receipt_uri(run.plan.run_uri, run.plan.shards[number].shard_id)).unlink()
        put_quarantine(run.plan, run.plan.shards[number], "damaged")
    quarantined = read_quarantine(run.plan.run_uri, run.plan.fingerprint)
    files = []
    if run.plan.is_sealed:
        some = dataclasses.replace(run, receipts=list(receipts.values()))
        seal_plan(some.plan, some.receipts, (0, 5, 9))
        groups = some.groups()
        files = [seal.data_file for seal in read_seals(run.plan, groups).values()]
    manifest = Manifest.of(
        run.plan,
        receipts,
        outcome="complete",
        started_at=STARTED,
        quarantined=quarantined,
        files=files,
    )
    content = manifest.model_dump(mode="json")
    if not run.plan.is_sealed:
        content = run.older_manifest(manifest)
    Path(manifest_uri(run.plan.run_uri)).write_text(json.dumps(content), "utf-8")
    return Run(run.plan.run_uri)


def _parts(run, numbers) -> pa.Table:
    return pa.concat_tables([pq.read_table(run.part(number)) for number in numbers])


def test_to_table_is_the_parts_one_after_the_other_in_the_order_of_the_input(run):
    found = _note(run).to_table()
    assert found.equals(_parts(run, range(12)))
    assert found.num_rows == sum(receipt.rows_scored for receipt in run.receipts)


def test_to_table_of_a_run_of_version_0_4_0_reads_its_parts(older_run):
    assert _note(older_run).to_table().equals(_parts(older_run, range(12)))
    older_run.part(3).unlink()
    with pytest.raises(InputError, match=rf"{older_run.part(3).name}: no such file"):
        Run(older_run.folder).to_table()


def test_to_table_of_a_run_whose_files_are_not_sealed_yet_says_so(run):
    receipts = {receipt.shard_id: receipt for receipt in run.receipts}
    manifest = Manifest.of(run.plan, receipts, outcome="partial", started_at=STARTED)
    storage.put_json(manifest_uri(run.plan.run_uri), manifest)
    line = (
        "this run is not complete (outcome partial). Run its `score` command again to"
        " finish it"
    )
    message = _message(InputError, Run(run.plan.run_uri).to_table)
    assert message == f"{run.folder}: {line}"


def test_to_table_of_some_columns_has_them_in_the_order_asked_for(run):
    names = ["label", "ad_id"]
    assert _note(run).to_table(names).equals(_parts(run, range(12)).select(names))


def test_to_pandas_is_the_table(run):
    found = _note(run).to_pandas(["ad_id", "is_ood"])
    assert found.equals(_parts(run, range(12)).select(["ad_id", "is_ood"]).to_pandas())


def test_to_table_leaves_out_the_shards_that_were_not_scored(run):
    """The part of one of them is there: its receipt is not."""
    found = _note(run, without=(0, 5)).to_table(["ad_id"])
    scored = [number for number in range(12) if number not in (0, 5)]
    assert found.equals(_parts(run, scored).select(["ad_id"]))


def test_to_table_of_a_run_without_a_scored_shard_says_so(run):
    whole = _note(run, without=tuple(range(12)))
    with pytest.raises(InputError) as caught:
        whole.to_table()
    assert str(caught.value) == f"{run.folder}: no shard of this run was scored"


def test_run_of_a_folder_without_a_manifest_is_an_input_error_when_it_is_asked(run):
    bare = Run(run.plan.run_uri)
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        _ = bare.manifest
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        bare.to_table()


def test_to_table_of_a_file_that_is_gone_names_it(run):
    whole, path = _note(run), run.files[1]
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name}: no such file"):
        whole.to_table()


def _message(kind: type[RubertOodError], function, *arguments) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 100])
def test_to_table_of_a_damaged_file_names_it(run, damage):
    whole = _note(run)
    run.files[1].write_bytes(damage)
    line = (
        f"{run.files[1]}: the file changed after it was written (its sha256 differs"
        " from the manifest). Run `rubert-ood verify` on its run"
    )
    assert _message(VerificationError, whole.to_table) == line
    assert _message(VerificationError, whole.to_pandas, ["label"]) == line


def test_to_table_of_a_file_that_was_written_anew_names_it(run):
    whole = _note(run)
    pq.write_table(pq.read_table(run.files[1]).slice(1), run.files[1])
    assert "changed after it was written" in _message(VerificationError, whole.to_table)


def test_to_table_of_a_column_that_is_not_there_names_both(run):
    line = _message(SchemaError, _note(run).to_table, ["ad_id", "lable"])
    assert line.startswith(
        f"{run.files[0]}: the file has no column 'lable'. Use one that it has:"
        " ad_id, label, "
    )


@pytest.mark.parametrize(
    ("columns", "shown"),
    [("label", "'label'"), ([1, 2], "[1, 2]"), (5, "5"), (b"x", "b'x'")],
)
def test_to_table_of_what_is_not_a_list_of_names_says_so(run, columns, shown):
    line = _message(SettingsError, _note(run).to_table, columns)
    assert line == f"columns: {shown} is not a list of names. Use a list"


def test_to_table_of_no_columns_keeps_the_number_of_rows(run):
    found = _note(run).to_table([])
    assert (found.num_rows, found.num_columns) == (_parts(run, range(12)).num_rows, 0)
    assert _note(run).to_pandas(()).shape == (found.num_rows, 0)


def test_to_table_has_ids_that_are_text_and_never_null(run):
    assert _note(run).to_table().schema.field("ad_id") == pa.field(
        "ad_id", pa.string(), nullable=False
    )


def test_run_takes_a_path_object_and_refuses_what_is_not_a_uri(tmp_path):
    assert Run(tmp_path / "run_id=x").uri == f"{tmp_path}/run_id=x"
    line = (
        "a URI must be text, and this is of type NoneType. Use a local path or"
        " s3://BUCKET/KEY"
    )
    assert _message(SettingsError, Run, None) == line


def test_run_that_was_moved_is_read_where_it_is(run, tmp_path):
    _note(run)
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(run.folder, moved)
    shutil.rmtree(run.folder)
    here = run.moved(moved)
    found = Run(f"{moved}/")
    assert found.manifest.run_uri == str(moved)
    assert found.to_table(["ad_id"]).equals(_parts(here, range(12)).select(["ad_id"]))


def test_run_takes_a_relative_folder_from_where_it_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run("out/run_id=x/")
    monkeypatch.chdir("/")
    assert run.uri == str(Path(tmp_path, "out", "run_id=x"))
    assert repr(run) == f"Run('{tmp_path}/out/run_id=x')"
    assert run.report_uri == f"{tmp_path}/out/run_id=x/_run/report.html"
