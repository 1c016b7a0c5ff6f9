"""Confidence and p of two runs, tested."""

from itertools import pairwise

import numpy as np
import pytest

from rubert_ood.ood.conformal import conformal_p
from rubert_ood.reports.drift import drift
from rubert_ood.reports.two_nights import moves
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS, NightSums, binned
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_night_checks import counted

CALIBRATION = np.sort(np.random.default_rng(0).chisquare(30, 1_000))


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


def counts(
    rng: np.random.Generator, kind: str = "", share: float = 0.0
) -> dict[str, np.ndarray]:
    """Confidence and p of 100,000 ads, of which some are of another kind."""
    sure_N = 1 / (1 + np.exp(-rng.normal(3, 2, 100_000)))
    far_N = rng.chisquare(30, 100_000)
    first = int(share * len(far_N))
    if kind == "far":
        far_N[:first] *= 2
    elif kind == "unsure":
        sure_N[:first] = rng.uniform(0.1, 0.7, first)
    elif kind == "one text":
        sure_N[:first], far_N[:first] = sure_N[0], far_N[0]
    p_N = conformal_p(far_N, CALIBRATION)
    return {
        "confidence": binned(np.maximum(sure_N, 0.1), CONFIDENCE_LIMITS),
        "p": binned(p_N, P_LIMITS),
    }


def run_of(manifest: Manifest, found: dict[str, np.ndarray]) -> Manifest:
    sums = NightSums(
        confidence=found["confidence"].tolist(),
        p=found["p"].tolist(),
        p_flagged=[0] * len(P_LIMITS),
        confidence_sum=0.0,
        confidence_squares=0.0,
    )
    counts = {"rows_scored": 100_000, "unique_texts": 100_000}
    update = {"night_sums": sums, "counts": manifest.counts.model_copy(update=counts)}
    return manifest.model_copy(update=update)


@pytest.mark.parametrize("kind", ["far", "unsure", "one text"])
def test_moves_see_one_percent_of_another_kind_in_100000_ads(manifest, kind):
    rng = np.random.default_rng(7)
    before = run_of(manifest, counts(rng))
    now = run_of(manifest, counts(rng, kind, 0.01))
    moved = [move.what for move in moves(now, before) if move.moved]
    first = {"far": "ood_p, tested", "unsure": "confidence, tested"}.get(kind)
    assert moved == [first] if first else moved


def test_moves_of_200_quiet_nights_alarm_at_most_twice(manifest):
    rng = np.random.default_rng(8)
    shares = {name: bins_B / 100_000 for name, bins_B in counts(rng).items()}

    def quiet() -> Manifest:
        drawn = {name: rng.multinomial(100_000, share) for name, share in shares.items()}
        return run_of(manifest, drawn)

    nights = [quiet() for _ in range(201)]
    alarms = 0
    for before, now in pairwise(nights):
        alarms += any(move.moved for move in moves(now, before))
    assert alarms <= 2
