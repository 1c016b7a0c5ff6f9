import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from rubert_ood.publishing.gate import (
    check_gate,
    class_shift,
    nothing_scored,
    shift,
)
from rubert_ood.settings import GateSettings
from tests.unit.publishing.manifests import a_manifest

counts = st.dictionaries(st.sampled_from("абвгд"), st.integers(0, 1000), min_size=1).filter(
    lambda c: sum(c.values())
)


@given(counts, counts)
def test_class_shift_is_the_jensen_shannon_distance(now, before):
    names = "абвгд"
    p, q = (
        np.array([run.get(name, 0) for name in names]) / sum(run.values()) for run in (now, before)
    )
    middle = (p + q) / 2
    divergence = (entropy(p, middle, base=2) + entropy(q, middle, base=2)) / 2
    got = class_shift({"classes": now}, {"classes": before})
    assert got == pytest.approx(math.sqrt(max(divergence, 0)), abs=1e-7)
    assert got == pytest.approx(class_shift({"classes": before}, {"classes": now}), abs=1e-7)
    assert 0 <= got <= 1 + 1e-12


def test_class_shift_by_hand():
    half = {"classes": {"a": 1, "b": 1}}
    assert class_shift(half, {"classes": {"b": 7, "a": 7}}) == pytest.approx(0, abs=1e-9)
    assert class_shift({"classes": {"a": 3}}, {"classes": {"b": 9}}) == pytest.approx(1)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    expected = (math.log2(4 / 3) + math.log2(2 / 3) / 2 + math.log2(2) / 2) / 2
    assert class_shift({"classes": {"a": 5}}, half) == pytest.approx(math.sqrt(expected))
    assert class_shift({"classes": {}}, half) == 0


def test_the_gate_of_a_first_run_by_hand():
    manifest = a_manifest(rows_in=125, rows_rejected=25, rows_ood=20)
    gate = check_gate(
        manifest, None, GateSettings(max_error_rate=0.2, max_ood_rate=0.19, max_other_rate=0.1)
    )
    assert gate == [
        {"check": "max_error_rate", "value": 0.2, "limit": 0.2, "ok": True},
        {"check": "max_quarantined_share", "value": 0, "limit": 0.01, "ok": True},
        {"check": "max_duplicate_rate", "value": 0, "limit": 0.01, "ok": True},
        {"check": "max_ignored_files", "value": 0, "limit": 0, "ok": True},
        {"check": "max_ood_rate", "value": 0.2, "limit": 0.19, "ok": False},
        {"check": "max_other_rate", "value": 0.1, "limit": 0.1, "ok": True},
    ]


def test_the_gate_against_the_last_published_run_by_hand():
    previous = a_manifest(classes={"Мебель": 200})
    now = a_manifest(classes={"Мебель": 50, "Шины": 50})
    limits = GateSettings(max_class_shift=0.56, min_rows_ratio=0.5)
    shift, ratio = check_gate(now, previous, limits)[6:]
    assert shift["check"] == "max_class_shift"
    assert shift["value"] == pytest.approx(0.5579, abs=1e-4)
    assert shift["ok"]
    assert ratio == {"check": "min_rows_ratio", "value": 0.5, "limit": 0.5, "ok": True}
    fewer = a_manifest(classes={"Мебель": 99})
    assert [check["ok"] for check in check_gate(fewer, previous, limits)] == [True] * 7 + [False]


@pytest.mark.parametrize(
    ("num_like_data", "limit", "ok"), [(0, 0, True), (2, 0, False), (2, 1, False), (2, 2, True)]
)
def test_the_gate_limits_files_that_look_like_data_and_are_not_read(num_like_data, limit, ok):
    ignored = {"num_files": 5, "num_like_data": num_like_data, "names": ["a.orc"]}
    gate = check_gate(
        a_manifest() | {"ignored": ignored}, None, GateSettings(max_ignored_files=limit)
    )
    expected = {"check": "max_ignored_files", "value": num_like_data, "limit": limit, "ok": ok}
    assert [check for check in gate if check["check"] == "max_ignored_files"] == [expected]


def test_a_run_without_a_row_divides_by_nothing():
    empty = a_manifest(classes={}, rows_ood=0)
    gate = check_gate(empty, a_manifest(), GateSettings())
    assert [check["value"] for check in gate] == [0] * 8
    assert not gate[-1]["ok"]
    assert check_gate(a_manifest(), empty, GateSettings())[-1]["ok"]


def test_the_gate_compares_with_a_run_of_an_earlier_version_and_with_a_later_one():
    """What drift is made of does not stand in older manifests, and more may stand in later ones."""
    later = {
        "token_histogram": [1, 2],
        "cities": {"rows": 1, "rows_unseen": 1, "unseen": {"омск": 1}},
        "top_ood": [],
    }
    old, new = a_manifest(), a_manifest(run_id="r2") | later
    checks = [
        check_gate(run, other, GateSettings())
        for run, other in ((old, new), (new, old), (old, old))
    ]
    assert checks[0] == checks[1] == checks[2]


def test_shift_is_that_of_the_class_shares():
    assert shift([3, 0, 1], [1, 2, 1]) == class_shift(
        {"classes": {"a": 3, "c": 1}}, {"classes": {"a": 1, "b": 2, "c": 1}}
    )
    assert shift([5, 5, 0], [100, 100, 0]) == pytest.approx(0, abs=1e-7)
    assert shift([5, 0], [0, 5]) == pytest.approx(1)
    assert shift([0, 0], [0, 5]) == 0


def test_nothing_scored_is_said_with_its_first_reason():
    assert nothing_scored(a_manifest()) is None
    empty = a_manifest(classes={}, rows_planned=3, rows_rejected=3) | {
        "rejected_reasons": {"ad_id is null": 3}
    }
    assert "none of its 3 ads was scored" in str(nothing_scored(empty))
    assert "ad_id is null" in str(nothing_scored(empty))
