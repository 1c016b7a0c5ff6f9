"""Which parts a sealed file holds, and what its seal says."""

import dataclasses
import hashlib
import json
import re

import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.seals import (
    DataFile,
    find_layout,
    find_seal,
    group_parts,
    layout_uri,
    read_seals,
    seal_uri,
)


def test_group_parts_puts_each_shard_into_one_file_in_the_order_of_the_plan(full_run):
    groups = full_run.groups()
    assert [(group.start, group.stop) for group in groups] == [(0, 5), (5, 9), (9, 12)]
    assert [place for group in groups for place in group.places] == list(range(12))
    assert [shard for group in groups for shard in group.shards] == full_run.plan.shards
    assert [one for group in groups for one in group.receipts] == full_run.receipts
    paths = [f"data-{number:05d}-of-00003.parquet" for number in range(3)]
    assert [group.path for group in groups] == paths


def test_group_parts_leaves_out_shards_without_a_receipt_and_files_without_a_shard(
    full_run,
):
    layout = find_layout(full_run.plan)
    some = {full_run.receipts[n].shard_id: full_run.receipts[n] for n in (0, 3, 10)}
    first, last = group_parts(full_run.plan, some, layout)
    assert (first.path, first.places) == ("data-00000-of-00003.parquet", [0, 3])
    assert (last.path, last.places) == ("data-00002-of-00003.parquet", [10])
    assert group_parts(full_run.plan, {}, layout) == []


def test_seal_says_what_lies_there(full_run):
    groups = full_run.groups()
    seals = read_seals(full_run.plan, groups)
    assert list(seals) == [path.name for path in full_run.files]
    for path, group in zip(full_run.files, groups, strict=True):
        seal, data = seals[path.name], path.read_bytes()
        assert seal.sha256 == hashlib.sha256(data).hexdigest()
        assert seal.bytes == len(data)
        assert seal.rows == pq.read_metadata(path).num_rows == group.num_rows
        assert (seal.start, seal.stop) == (group.start, group.stop)
        total = sum(receipt.ids_out for receipt in group.receipts)
        assert seal.ids_out == total % 2**64
        assert type(seal.data_file) is DataFile
        assert seal.data_file.model_dump().items() <= seal.model_dump().items()


def test_read_seals_leaves_out_one_of_other_parts_and_one_of_another_run(run):
    first, second, third = run.groups()
    receipt = first.receipts[1].model_copy(update={"part_sha256": "0" * 64})
    receipts = [*run.receipts]
    receipts[1] = receipt
    other = dataclasses.replace(run, receipts=receipts).groups()[0]
    assert other.parts != first.parts
    assert list(read_seals(run.plan, [other, second])) == [second.path]
    path = storage.join(run.plan.run_uri, "_run", "seals", "data-00001-of-00003.json")
    assert path == seal_uri(run.plan.run_uri, second.path)
    content = json.loads(storage.read_bytes(path))
    storage.put_json(path, content | {"fingerprint": "other"})
    assert list(read_seals(run.plan, [second, third])) == [third.path]


def test_a_damaged_seal_or_layout_is_named(run):
    for uri, find in (
        (seal_uri(run.plan.run_uri, "data-00001-of-00003.parquet"), find_seal),
        (layout_uri(run.plan.run_uri), lambda plan, _: find_layout(plan)),
    ):
        storage.put_bytes(uri, b'{"fingerprint": 5}')
        with pytest.raises(
            InputError, match=f"{uri}: the file is damaged .*Restore or delete it"
        ):
            find(run.plan, "data-00001-of-00003.parquet")


@pytest.mark.parametrize("starts", [[0, 500], [0, 12], [1, 5], [0, 5, 5], [0, 9, 5]])
def test_a_layout_of_shards_that_the_plan_has_not_is_named(run, starts):
    uri = layout_uri(run.plan.run_uri)
    content = json.loads(storage.read_bytes(uri))
    storage.put_json(uri, content | {"starts": starts})
    words = (
        rf"{re.escape(uri)}: the file is damaged \(starts must be shards of the plan,"
        r" .*Restore or delete it"
    )
    with pytest.raises(InputError, match=words):
        find_layout(run.plan)


def test_a_plan_of_version_0_4_0_has_parts_where_readers_take_them(older_run, full_run):
    plan = load_plan(older_run.plan.run_uri)
    assert (plan.is_sealed, plan.sort_by) == (False, "none")
    shard = plan.shards[0]
    assert plan.part_uri(shard) == f"{plan.run_uri}/part-{shard.shard_id}.parquet"
    assert full_run.plan.is_sealed
    expected = f"{full_run.plan.run_uri}/_parts/{shard.shard_id}.scored"
    assert full_run.plan.part_uri(shard) == expected
