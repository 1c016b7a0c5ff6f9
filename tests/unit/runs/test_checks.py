"""What is read again of a run."""

from rubert_ood import storage
from rubert_ood.runs.checks import file_checks, shard_checks, sources
from rubert_ood.runs.seals import read_seals


def test_shard_checks_of_a_sealed_run_are_those_with_rejected_rows(full_run):
    checks = list(shard_checks(full_run.plan, full_run.by_id))
    rejected = [one.shard_id for one in full_run.receipts if one.rows_rejected]
    assert [check.owner for check in checks] == rejected != []
    assert all(check.ids().num_rows == 0 for check in checks)


def test_shard_checks_of_an_older_run_give_the_ids_of_each_part(older_run):
    checks = list(shard_checks(older_run.plan, older_run.by_id))
    assert [check.owner for check in checks] == list(older_run.by_id)
    for number, check in enumerate(checks):
        rows = older_run.receipts[number].rows_scored
        assert check.ids()["shard"].to_pylist() == [number] * rows


def test_file_checks_name_the_shard_that_each_id_comes_from(full_run, older_run):
    groups = full_run.groups()
    seals = read_seals(full_run.plan, groups)
    sealed = [(group, seals[group.path]) for group in groups]
    found = [check.ids() for check in file_checks(full_run.plan, sealed)]
    parts = [check.ids() for check in shard_checks(older_run.plan, older_run.by_id)]
    rows = [row for table in found for row in table.to_pylist()]
    assert rows == [row for table in parts for row in table.to_pylist()]
    shards = full_run.plan.shards
    assert sources(full_run.plan, []) == [shard.uri for shard in shards]


def test_file_checks_of_sorted_files_name_the_file(make_run):
    run = make_run(starts=(0, 5), sort_by="ad_id")
    groups = run.groups()
    seals = read_seals(run.plan, groups)
    sealed = [(group, seals[group.path]) for group in groups]
    for number, check in enumerate(file_checks(run.plan, sealed)):
        numbers = check.ids()["shard"].to_pylist()
        assert numbers == [number] * groups[number].num_rows
    paths = [group.path for group in groups]
    expected = [storage.join(run.plan.run_uri, path) for path in paths]
    assert sources(run.plan, paths) == expected
