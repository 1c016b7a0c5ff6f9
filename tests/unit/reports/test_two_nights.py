"""Confidence and p of two runs, tested."""

import numpy as np

from rubert_ood.reports.drift import drift
from rubert_ood.reports.two_nights import moves
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_night_checks import counted


def night(manifest: Manifest, low: int, unique: int = 100_000) -> Manifest:
    """Return a run of 100,000 ads, of which some are of low confidence."""
    confidence = np.full(len(CONFIDENCE_LIMITS), 0)
    confidence[2], confidence[-1] = low, 100_000 - low
    p = np.full(len(P_LIMITS), 0)
    p[5], p[-1] = 1_000, 99_000
    sums = {"confidence": confidence.tolist(), "p": p.tolist(), "p_flagged": p.tolist()}
    sums |= {"confidence_sum": 0.0, "confidence_squares": 0.0}
    run = counted(manifest, rows_scored=100_000, unique_texts=unique)
    return changed(run, night_sums=sums)


def test_moves_are_those_beyond_chance_and_half_a_point(manifest):
    before = night(manifest, 2_000)
    found = [
        [move.moved for move in moves(night(manifest, low), before)]
        for low in (2_000, 2_400, 3_000)
    ]
    assert found == [[False, False], [False, False], [True, False]]
    assert "confidence, tested" in drift(night(manifest, 3_000), before).moved


def test_moves_of_repeated_texts_are_judged_by_the_texts(manifest):
    before, now = night(manifest, 2_000, 500), night(manifest, 3_000, 500)
    assert not any(move.moved for move in moves(now, before))


def test_moves_without_sums_are_none(manifest):
    assert moves(manifest, night(manifest, 1)) == []
