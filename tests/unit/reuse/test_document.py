from dataclasses import replace

import pytest

from rubert_ood.errors import InputError
from rubert_ood.reuse.document import (
    differences,
    document_uri,
    read_document,
    result_identity,
)
from rubert_ood.storage import put_bytes


def test_result_identity_does_not_depend_on_input_shards_and_date(full_run):
    plan = full_run.plan
    ours = result_identity(plan)
    other = dict.fromkeys(("input files", "shards", "run_date", "columns"), "other")
    assert (
        differences(ours, result_identity(replace(plan, identity=plan.identity | other)))
        == []
    )
    assert set(ours) == {"bundle", "precision", "code version"}


@pytest.mark.parametrize("name", ["bundle", "precision", "code version"])
def test_differences_name_what_changes_a_result(full_run, name):
    plan = full_run.plan
    theirs = result_identity(replace(plan, identity=plan.identity | {name: "other"}))
    assert differences(result_identity(plan), theirs) == [name]


def test_read_document_that_is_damaged_leaves_it_to_the_caller_what_to_do(tmp_path):
    run_uri = str(tmp_path)
    put_bytes(document_uri(run_uri), b"{")
    with pytest.raises(
        InputError, match=r"index\.json: the file is damaged \(it does not hold JSON\)$"
    ):
        read_document(run_uri)
