"""A fall of estimated accuracy between two runs."""

import pytest

from rubert_ood.reports.accuracy import accuracy_fall
from rubert_ood.runs.manifest import Manifest
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_night_checks import counted, standing_out
from tests.unit.reports.test_run_facts import facts
from tests.unit.reports.test_two_nights import night


def estimated(manifest: Manifest, value: float, texts: int = 100_000) -> Manifest:
    """A run of 100,000 ads whose confidence has the standard deviation 0.2."""
    ends = {"low": value - 0.015, "high": value + 0.015}
    accuracy = {"value": value, **ends, "measured": 0.94, "num_calibration": 1_000}
    run = night(counted(manifest, rows_scored=100_000), 2_000, texts)
    sums = run.night_sums.model_dump()
    sums |= {"confidence_sum": 9e4, "confidence_squares": 1e5 * (0.81 + 0.04)}
    return changed(run, night_sums=sums, estimates={"accuracy": accuracy})


@pytest.mark.parametrize(
    ("now", "texts", "is_alarm"),
    [(0.91, 100_000, False), (0.895, 100_000, True), (0.895, 800, False)],
)
def test_accuracy_fall_alarms_beyond_a_point_and_chance(manifest, now, texts, is_alarm):
    fall = accuracy_fall(
        estimated(manifest, now, texts), estimated(manifest, 0.915, texts)
    )
    assert fall.is_alarm is is_alarm
    assert fall.noise == pytest.approx(3.290527 * 0.2 * (2 / texts) ** 0.5)


def test_accuracy_fall_stands_out_with_what_to_do(manifest):
    now, before = estimated(manifest, 0.88), estimated(manifest, 0.915)
    found = [check for check in standing_out(now, before) if "accuracy" in check.brief]
    assert [check.brief for check in found] == [
        "the estimated accuracy, 88.0% against 91.5%"
    ]
    assert found[0].mend.command.startswith("export-annotate --run_uri")
    assert not [c for c in standing_out(before, now) if "accuracy" in c.brief]


def test_accuracy_fall_of_another_bundle_or_without_estimate_is_not_looked_for(manifest):
    now, before = estimated(manifest, 0.8), estimated(manifest, 0.9)
    other = before.bundle.model_copy(update={"fingerprint": "other"})
    assert accuracy_fall(now, before.model_copy(update={"bundle": other})) is None
    assert accuracy_fall(now, changed(before, estimates=None)) is None


def test_run_facts_have_the_estimated_accuracy_or_why_there_is_none(manifest):
    found = facts(estimated(manifest, 0.915))["Estimated accuracy"]
    assert found.value == "91.5%"
    assert found.note == (
        "90.0% to 93.0% with 95% confidence; 94.0% on 1,000 calibration ads"
    )
    missing = facts(changed(manifest, estimates={"missing": "no material"}))
    assert missing["Estimated accuracy"].note == "no material"
    assert "Estimated accuracy" not in facts(manifest)
