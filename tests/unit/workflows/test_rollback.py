import logging

import pytest

from rubert_ood.errors import InputError, StorageUnavailableError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.publishing.publish import publish_run
from rubert_ood.settings import RollbackSettings
from rubert_ood.workflows import rollback as workflow
from rubert_ood.workflows.rollback import rollback
from tests.unit.publishing.days import OPEN, put_run


def test_rollback_returns_to_the_run_before_and_names_both(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = str(tmp_path)
    for name in ("r1", "r2"):
        publish_run(put_run(out, "2026-11-24", name), OPEN)
    pointer = rollback(RollbackSettings(output_uri=f"{out}/", reason="wrong labels"))
    assert pointer == read_pointer(out)
    assert pointer.run_id == "r1"
    assert pointer.rolled_back.reason == "wrong labels"
    assert caplog.messages[-1] == (
        "rollback  rolled back run_date=2026-11-24/run_id=r2, readers now see"
        " run_date=2026-11-24/run_id=r1"
    )


def test_rollback_whose_tables_cannot_follow_has_taken_place(
    tmp_path, monkeypatch, caplog
):
    out = str(tmp_path)
    for name in ("r1", "r2", "r3"):
        publish_run(put_run(out, "2026-11-24", name), OPEN)

    def fails(*_: object) -> None:
        raise StorageUnavailableError("storage does not answer")

    monkeypatch.setattr(workflow, "follow_pointer", fails)
    assert rollback(RollbackSettings(output_uri=out, reason="x")).run_id == "r2"
    assert "tables may not follow: storage does not answer" in caplog.text


def test_rollback_takes_a_relative_output(tmp_path, monkeypatch):
    for name in ("r1", "r2"):
        publish_run(put_run(str(tmp_path / "out"), "2026-11-24", name), OPEN)
    monkeypatch.chdir(tmp_path)
    assert rollback(RollbackSettings(output_uri="out", reason="x")).run_id == "r1"


def test_rollback_of_an_output_without_a_second_run_is_an_input_error(tmp_path):
    settings = RollbackSettings(output_uri=str(tmp_path), reason="x")
    with pytest.raises(InputError, match="no run was published here, so nothing"):
        rollback(settings)
    publish_run(put_run(str(tmp_path), "2026-11-24", "r1"), OPEN)
    with pytest.raises(InputError, match="only one run was published here, so nothing"):
        rollback(settings)
