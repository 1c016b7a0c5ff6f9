"""Parts of a published run go; nothing else does."""

import logging

import pytest

from rubert_ood.errors import StorageUnavailableError
from rubert_ood.runs import parts
from rubert_ood.runs.parts import drop_parts


def _files(run) -> set[str]:
    found = [path for path in run.folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(run.folder)) for path in found}


def test_drop_parts_removes_the_parts_alone_and_may_be_repeated(run):
    other = run.folder / "_parts" / ".someone-1-0.tmp"  # what another process writes
    other.write_bytes(b"x")
    before = _files(run)
    names = {shard.part_name for shard in run.plan.shards}
    assert names < before
    drop_parts(run.plan.run_uri)
    assert _files(run) == before - names
    drop_parts(run.plan.run_uri)
    assert _files(run) == before - names


def test_drop_parts_of_an_older_run_removes_nothing(older_run):
    before = _files(older_run)
    drop_parts(older_run.plan.run_uri)
    assert _files(older_run) == before


@pytest.mark.parametrize("left", [0, 12])
def test_drop_parts_that_fails_spoils_nothing_and_is_said(run, monkeypatch, caplog, left):
    def fail(_: list[str]) -> None:
        if not left:
            raise StorageUnavailableError("storage does not answer")

    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(parts, "remove_files", fail)
    drop_parts(run.plan.run_uri)
    said = f"could not remove {left} part" if left else "storage does not answer"
    assert said in caplog.text
    assert len(list((run.folder / "_parts").iterdir())) == 12
