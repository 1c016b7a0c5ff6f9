"""The first sentence of a run report, for every way that a night can go."""

import shlex

import pytest

from rubert_ood.reports.drift import drift
from rubert_ood.reports.night import Night, judged
from rubert_ood.runs.manifest import Manifest
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_night_checks import counted

REFUSED = {"check": "max_ood_rate", "value": 0.0333, "limit": 0.02, "ok": False}


def night(manifest: Manifest, previous: Manifest | None) -> Night:
    return judged(manifest, previous, drift(manifest, previous) if previous else None)


def test_night_like_the_one_before_is_ordinary(manifest):
    found = night(manifest, manifest)
    assert found.is_ordinary
    assert found.sentence == (
        "An ordinary night: 990 ads scored, 10 rejected, nothing quarantined, and no share"
        " moved by more than its usual noise."
    )
    assert found.standing_out == []


def test_first_night_is_ordinary_as_far_as_it_can_tell(manifest):
    found = night(counted(manifest, rows_rejected=0), None)
    assert found.is_ordinary
    assert found.sentence == (
        "An ordinary night, as far as a first run can tell: 990 ads scored and nothing"
        " quarantined."
    )


def test_night_in_which_a_share_moved_names_it_with_both_numbers(manifest):
    found = night(counted(manifest, rows_ood=99), counted(manifest, rows_ood=10))
    assert not found.is_ordinary
    assert found.sentence == (
        "Not an ordinary night: 1 of 9 checks stands out, the OOD rate, 10.00% against 1.01%."
    )
    assert [check.section for check in found.standing_out] == ["drift"]


def test_night_that_the_gate_refused_says_so_first(manifest):
    quarantined = [{"uri": "s3://ads/b.parquet", "reason": "no title"}]
    run = changed(manifest, outcome="refused", gate=[REFUSED], quarantined=quarantined)
    found = night(run, manifest)
    assert found.sentence == (
        "Not an ordinary night: the gate refused the run. 2 of 10 checks stand out, first the"
        " OOD rate, 3.33% with at most 2% allowed."
    )
    assert found.state.startswith("It is not published, so readers see what they saw")


def test_night_with_a_quarantined_file_is_not_ordinary_though_published(manifest):
    quarantined = [{"uri": "s3://ads/b.parquet", "reason": "no title"}]
    run = counted(changed(manifest, quarantined=quarantined), rows_rejected=0)
    found = night(run, None)
    assert found.sentence == (
        "Not an ordinary night: 1 of 3 checks stands out, 1 quarantined file."
    )
    assert found.state == "It is published: readers of latest.json see this run."


@pytest.mark.parametrize("outcome", ["partial", "interrupted", "running"])
def test_night_that_stopped_says_how_far_it_came(manifest, outcome):
    run = counted(changed(manifest, outcome=outcome), rows_planned=1150)
    found = night(run, manifest)
    assert found.sentence == (
        "Not an ordinary night: the run stopped after 1,000 of 1,150 ads."
    )
    assert found.state.endswith("Start the same command again to go on from there.")


def test_night_that_was_rolled_back_or_forced_says_why_it_is_not_ordinary(manifest):
    back = changed(manifest, outcome="rolled_back", rollback_reason="wrong prices.")
    found = night(back, manifest)
    assert found.sentence == "Not an ordinary night: the run was rolled back."
    assert found.state.endswith("The reason given is “wrong prices”.")
    forced = night(changed(manifest, forced="Monday"), manifest)
    assert forced.sentence == "Not an ordinary night: the run was published by force."


def test_state_says_what_readers_see(manifest):
    complete = changed(manifest, outcome="complete")
    assert (
        night(complete, None).state == "It is complete and verified, and not published."
    )
    both = changed(manifest, pointers=["latest.json", "run_date=2026-11-24/latest.json"])
    assert night(both, None).state == (
        "It is published: readers of latest.json and of run_date=2026-11-24/latest.json see"
        " this run."
    )
    replaced = changed(manifest, format=3)
    assert night(replaced, None).state == (
        "It was published, and a later run has replaced it since."
    )


def test_night_fills_the_uris_of_the_run_into_the_commands(manifest):
    content = {"quarantined": [{"uri": "a.csv", "reason": "damaged"}]}
    content["input_uri"] = "/my ads"
    night = judged(changed(manifest, **content), manifest, None)
    (check,) = [check for check in night.standing_out if "file" in check.brief]
    words = shlex.split(night.command(check))
    assert words[:2] == ["rubert-ood", "plan"]
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert given["--input_uri"] == "/my ads"
    assert given["--bundle_uri"] == (manifest.bundle.uri or "BUNDLE")
