"""The first night of a bundle, judged by its calibration ads."""

import numpy as np
import pytest

from rubert_ood.ood.conformal import conformal_p
from rubert_ood.reports.first_night import first_night
from rubert_ood.reports.run_page import run_html
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS, binned
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_html import Page
from tests.unit.reports.test_night_checks import counted, standing_out

NUM_ADS, NUM_CALIBRATION = 20_000, 1_000


def drawn(rng: np.random.Generator, num: int, foreign: float = 0.0) -> tuple:
    """Confidence and distance of ads, of which some are foreign: unsure and far."""
    confidence_N = np.clip(1 / (1 + np.exp(-rng.normal(3, 2, num))), 0.1, 1)
    distance_N = rng.chisquare(30, num)
    first = int(foreign * num)
    confidence_N[:first] = rng.uniform(0.1, 0.7, first)
    distance_N[:first] *= 2
    return confidence_N, distance_N


def night(manifest: Manifest, seed: int, foreign: float = 0.0) -> Manifest:
    """A run of 20,000 ads, and 1,000 calibration ads like those that are not foreign."""
    rng = np.random.default_rng(seed)
    sure_n, far_n = drawn(rng, NUM_CALIBRATION)
    sure_N, far_N = drawn(rng, NUM_ADS, foreign)
    ranking_n = np.sort(far_n)
    p_n, p_N = conformal_p(far_n, ranking_n), conformal_p(far_N, ranking_n)
    calibration = {
        "confidence": binned(sure_n, CONFIDENCE_LIMITS).tolist(),
        "p": binned(p_n, P_LIMITS).tolist(),
    }
    sums = {
        "confidence": binned(sure_N, CONFIDENCE_LIMITS).tolist(),
        "p": binned(p_N, P_LIMITS).tolist(),
        "p_flagged": [0] * len(P_LIMITS),
        "confidence_sum": float(sure_N.sum()),
        "confidence_squares": float((sure_N**2).sum()),
    }
    run = counted(manifest, rows_scored=NUM_ADS, unique_texts=NUM_ADS)
    return changed(run, night_sums=sums, estimates={"calibration": calibration})


def test_first_night_of_200_quiet_bundles_alarms_at_most_twice(manifest):
    alarms = 0
    for seed in range(200):
        measures = first_night(night(manifest, seed), None)
        alarms += any(measure.moved for measure in measures)
    assert alarms <= 2


@pytest.mark.parametrize("seed", range(3))
def test_first_night_with_a_twentieth_of_foreign_texts_stands_out(manifest, seed):
    run = night(manifest, 1_000 + seed, foreign=0.05)
    found = [check for check in standing_out(run, None) if "calibration" in check.brief]
    assert found
    assert found[0].section == "first-night"
    assert found[0].mend.command == "export-annotate --run_uri RUN --num 500"
    page = Page(run_html(run, None))
    rows = page.tables["First night of this bundle"]
    assert [row[1] for row in rows[1:]] == [
        "confidence of at most 0.9",
        "ood_p of at most 0.05",
    ]
    assert 8 < float(rows[2][2].rstrip("%")) < 12  # 5 % of them, and 5 % foreign ones
    assert rows[2][3] == "4.90%"  # 2, 3, ... 50 of 1,001
    assert page.says("Label a sample of its ads")
    assert page.says("No run was published before this one, so its confidence and ood_p")


def test_first_night_is_looked_at_where_the_bundle_is_another_than_before(manifest):
    run = night(manifest, 1, foreign=0.05)
    assert first_night(run, run) == []
    other = run.bundle.model_copy(update={"fingerprint": "other"})
    before = run.model_copy(update={"bundle": other})
    assert len(first_night(run, before)) == 2
    page = Page(run_html(run, before))
    assert page.says("The run before had another bundle than v1, so its confidence")


def test_first_night_without_calibration_ads_or_sums_is_not_compared(manifest):
    assert first_night(manifest, None) == []
    run = night(manifest, 2)
    assert first_night(changed(run, estimates={}), None) == []
    assert first_night(changed(run, night_sums=None), None) == []


def test_first_night_does_not_look_at_how_sure_the_surest_are(manifest):
    run = night(manifest, 3)
    sums = run.night_sums.model_dump()
    surest = np.array(sums["confidence"])
    top = CONFIDENCE_LIMITS.index(0.95) + 1
    surest[top] += surest[top + 1 :].sum()
    surest[top + 1 :] = 0
    run = changed(run, night_sums=sums | {"confidence": surest.tolist()})
    assert not any(measure.moved for measure in first_night(run, None))
