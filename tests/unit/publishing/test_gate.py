import pytest

from rubert_ood.publishing.gate import check_gate, nothing_scored
from rubert_ood.runs.manifest import Check
from rubert_ood.settings import GateSettings
from tests.unit.publishing.manifests import a_manifest, changed


def test_the_gate_of_a_first_run_by_hand():
    manifest = a_manifest(rows_in=125, rows_rejected=25, rows_ood=20)
    gate = check_gate(
        manifest,
        None,
        GateSettings(max_error_rate=0.2, max_ood_rate=0.19, max_other_rate=0.1),
    )
    assert gate == [
        Check(check="max_error_rate", value=0.2, limit=0.2, ok=True),
        Check(check="max_quarantined_share", value=0, limit=0.01, ok=True),
        Check(check="max_duplicate_rate", value=0, limit=0.01, ok=True),
        Check(check="max_ignored_files", value=0, limit=0, ok=True),
        Check(check="max_ood_rate", value=0.2, limit=0.19, ok=False),
        Check(check="max_other_rate", value=0.1, limit=0.1, ok=True),
    ]


def test_the_gate_against_the_last_published_run_by_hand():
    previous = a_manifest(classes={"Мебель": 200})
    now = a_manifest(classes={"Мебель": 50, "Шины": 50})
    limits = GateSettings(max_class_shift=0.56, min_rows_ratio=0.5)
    shift, ratio = check_gate(now, previous, limits)[6:]
    assert shift.check == "max_class_shift"
    assert shift.value == pytest.approx(0.5579, abs=1e-4)
    assert shift.ok
    assert ratio == Check(check="min_rows_ratio", value=0.5, limit=0.5, ok=True)
    fewer = a_manifest(classes={"Мебель": 99})
    assert [check.ok for check in check_gate(fewer, previous, limits)] == [True] * 7 + [
        False
    ]


@pytest.mark.parametrize(
    ("num_like_data", "limit", "ok"),
    [(0, 0, True), (2, 0, False), (2, 1, False), (2, 2, True)],
)
def test_the_gate_limits_files_that_look_like_data_and_are_not_read(
    num_like_data, limit, ok
):
    ignored = {"num_files": 5, "num_like_data": num_like_data, "names": ["a.orc"]}
    gate = check_gate(
        changed(a_manifest(), ignored=ignored),
        None,
        GateSettings(max_ignored_files=limit),
    )
    expected = Check(check="max_ignored_files", value=num_like_data, limit=limit, ok=ok)
    assert [check for check in gate if check.check == "max_ignored_files"] == [expected]


def test_gate_of_a_run_without_a_row_divides_by_nothing():
    empty = a_manifest(classes={}, rows_ood=0)
    gate = check_gate(empty, a_manifest(), GateSettings())
    assert [check.value for check in gate] == [0] * 8
    assert not gate[-1].ok
    assert check_gate(a_manifest(), empty, GateSettings())[-1].ok


def test_the_gate_compares_with_a_run_of_an_earlier_version_and_with_a_later_one():
    """What drift is made of does not stand in older manifests, and more may stand in later ones."""
    later = {
        "token_histogram": [1, 2],
        "cities": {"rows": 1, "rows_unseen": 1, "unseen": {"омск": 1}},
        "top_ood": [],
    }
    old, new = a_manifest(), changed(a_manifest(run_id="r2"), **later)
    checks = [
        check_gate(run, other, GateSettings())
        for run, other in ((old, new), (new, old), (old, old))
    ]
    assert checks[0] == checks[1] == checks[2]


def test_gate_of_nothing_scored_says_its_first_reason():
    assert nothing_scored(a_manifest()) is None
    empty = changed(
        a_manifest(classes={}, rows_planned=3, rows_rejected=3),
        rejected_reasons={"ad_id is null": 3},
    )
    assert "none of the 3 ads was scored" in str(nothing_scored(empty))
    assert "ad_id is null" in str(nothing_scored(empty))
