import json
import os
from pathlib import Path

import pytest

from rubert_ood.errors import PartialRunError
from rubert_ood.runs import claim as module
from rubert_ood.runs.claim import Claim


def _claimant(tmp_path) -> dict:
    return json.loads(Path(tmp_path, "_run", "runner.json").read_text())


def test_claim_is_held_until_it_is_released(tmp_path, caplog):
    claim = Claim(str(tmp_path))
    assert claim.holds()
    assert _claimant(tmp_path)["pid"] == os.getpid()
    claim.check(now=True)
    claim.release()
    assert _claimant(tmp_path) == {}
    Claim(str(tmp_path))
    assert "takes over the claim" not in caplog.text


def test_claim_of_the_newest_start_takes_over_and_the_older_one_says_so(tmp_path, caplog):
    first = Claim(str(tmp_path))
    second = Claim(str(tmp_path))
    assert f"takes over the claim of process {os.getpid()} on " in caplog.text
    with pytest.raises(
        PartialRunError,
        match=f"runner.json: process {os.getpid()} on .* has claimed this run",
    ) as e:
        first.check(now=True)
    assert e.value.exit_code == 6
    first.release()  # which is no longer its own
    second.check(now=True)
    assert second.holds()


def test_claim_check_does_not_ask_storage_at_every_shard(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    first = Claim(str(tmp_path))
    Claim(str(tmp_path))
    first.check()
    clock[0] += module.CHECK_INTERVAL_S - 0.1
    first.check()
    clock[0] += 0.2
    with pytest.raises(PartialRunError):
        first.check()


def test_claim_check_names_a_run_that_the_newer_start_has_finished(tmp_path):
    first = Claim(str(tmp_path))
    Claim(str(tmp_path)).release()
    with pytest.raises(
        PartialRunError, match=r"another process \(which has ended\) has claimed"
    ):
        first.check(now=True)
