"""The numbers at the top of the run report, against the manifest."""

import pytest

from rubert_ood.reports.facts import Fact
from rubert_ood.reports.run_facts import run_facts
from rubert_ood.runs.manifest import Manifest
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_night_checks import REUSE, counted


def facts(manifest: Manifest, previous: Manifest | None = None) -> dict[str, Fact]:
    return {fact.name: fact for fact in run_facts(manifest, previous)}


def test_run_facts_have_shares_with_their_counts_and_those_before(manifest):
    found = facts(manifest, counted(manifest, rows_ood=99, rows_in=2000))
    assert found["Ads in"] == Fact("Ads in", "1,000", "before 2,000")
    assert found["OOD"] == Fact("OOD", "3.33%", "33 ads, before 10.00%")
    assert found["Rejected"] == Fact("Rejected", "1.00%", "10 ads, before 0.50%")
    assert found["Folded"].value == "20.00%"  # 792 texts of 990 ads
    assert found["Speed"].value == "10 ads/s"


def test_run_facts_say_what_the_gate_allows(manifest):
    gate = [{"check": "max_ood_rate", "value": 0.0333, "limit": 0.02, "ok": False}]
    found = facts(changed(manifest, gate=gate))
    assert found["OOD"].good == "the gate allows at most 2%"
    assert found["OOD"].ok is False
    assert found["Other"].ok is None


def test_run_facts_of_reuse_stand_there_only_where_a_run_was_reused(manifest):
    run = counted(manifest, rows_reused=99, texts_scored=700, texts_checked=7)
    found = facts(changed(run, reuse=REUSE))
    assert found["Reused"].value == "10.00%"
    assert found["Reused"].note == (
        "99 ads from run old. 700 texts scored, 7 of them to check it"
    )
    assert "Reused" not in facts(run)


@pytest.mark.parametrize(
    ("seconds", "text"), [(95.0, "95 s"), (1200.0, "20 min"), (45_000.0, "12.5 h")]
)
def test_run_facts_write_the_time_in_a_unit_that_fits(manifest, seconds, text):
    assert facts(changed(manifest, elapsed_s=seconds))["Time"].value == text


def test_run_facts_without_rows_divide_by_nothing(manifest):
    nothing = dict.fromkeys(manifest.counts.model_dump(), 0)
    assert facts(counted(manifest, **nothing))["OOD"].value == "–"


def test_run_facts_say_how_many_flags_may_be_false(manifest):
    assert "False OOD flags" not in facts(manifest)  # as an older version counted
    flags = {"num_flagged": 40, "false_share": 0.25, "sound": 30, "level": 0.1}
    found = facts(changed(manifest, ood_flags=flags))["False OOD flags"]
    assert found.value == "at most 25%"
    assert found.note.startswith("30 flags, those of smallest p, hold at 10%;")
    nothing = changed(manifest, ood_flags={**flags, "num_flagged": 0})
    assert "False OOD flags" not in facts(nothing)
