"""What a manifest estimates, against the calibration ads of the bundle."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rubert_ood.errors import BundleError
from rubert_ood.nights import estimates
from rubert_ood.nights.estimates import with_estimates
from rubert_ood.ood.outputs import Outputs
from rubert_ood.runs.estimates import NightEstimates
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS
from tests.unit.made_up_receipts import a_plan
from tests.unit.publishing.manifests import changed

BUNDLE = SimpleNamespace(
    fitted=SimpleNamespace(temperature=SimpleNamespace(temperature=2.0))
)


def calibration(num: int, num_wrong: int) -> Outputs:
    """Ads of two classes that are all as sure: softmax of (2, 0) at T = 2 is 0.731."""
    logits_NC = np.tile(np.float32([2.0, 0.0]), (num, 1))
    labels_N = (np.arange(num) < num_wrong).astype(np.int64)
    return Outputs(logits_NC, np.zeros((num, 3), np.float32), labels_N)


def night(tmp_path, confidence: float, num: int = 1_000) -> Manifest:
    """A run of ads that are all as sure."""
    bins = [0] * len(CONFIDENCE_LIMITS)
    bins[5] = num
    p = [0] * len(P_LIMITS)
    sums = {"confidence": bins, "p": p, "p_flagged": p}
    sums |= {
        "confidence_sum": num * confidence,
        "confidence_squares": num * confidence**2,
    }
    plan = a_plan(str(tmp_path), 1)
    manifest = Manifest.of(
        plan, {}, outcome="complete", started_at="2026-11-24T03:00:00+00:00"
    )
    counts = manifest.counts.model_dump() | {"unique_texts": num}
    return changed(manifest, night_sums=sums, counts=counts)


def estimated(monkeypatch, manifest: Manifest, found: Outputs | None) -> NightEstimates:
    monkeypatch.setattr(estimates, "load_calibration", lambda _: found)
    got = with_estimates(manifest, BUNDLE).estimates
    assert got is not None
    return got


def test_with_estimates_moves_accuracy_of_the_calibration_ads_by_confidence(
    monkeypatch, tmp_path
):
    sure = 1 / (1 + np.exp(-1.0))  # of the calibration ads, of which 80 % are right
    got = estimated(monkeypatch, night(tmp_path, sure - 0.1), calibration(400, 80))
    assert got.missing == ""
    assert got.accuracy.value == pytest.approx(0.7)
    assert (got.accuracy.measured, got.accuracy.num_calibration) == (0.8, 400)
    margin = 1.959964 * np.std([0] * 80 + [1] * 320, ddof=1) / np.sqrt(400)
    assert got.accuracy.high - 0.7 == pytest.approx(margin)


def test_with_estimates_leaves_ads_without_a_label_out(monkeypatch, tmp_path):
    found = calibration(400, 80)
    unknown = replace(found, labels_N=np.where(np.arange(400) < 80, -1, 0))
    got = estimated(monkeypatch, night(tmp_path, 0.7), unknown)
    assert (got.accuracy.measured, got.accuracy.num_calibration) == (1.0, 320)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            None,
            "its bundle has no calibration ads in it. Train a bundle with this version",
        ),
        (calibration(29, 1), "its bundle has only 29 calibration ads"),
    ],
)
def test_with_estimates_without_material_says_so_in_one_line(
    monkeypatch, tmp_path, caplog, found, reason
):
    got = estimated(monkeypatch, night(tmp_path, 0.7), found)
    assert got.accuracy is None
    assert got.missing.startswith(reason)
    assert f"does not estimate the accuracy of this run: {reason}" in caplog.text


def test_with_estimates_of_receipts_that_did_not_count_is_missing(monkeypatch, tmp_path):
    older = night(tmp_path, 0.7).model_copy(update={"night_sums": None})
    assert "an older version" in estimated(monkeypatch, older, None).missing
    empty = night(tmp_path, 0.7, num=0)
    assert "no ad of it has a text" in estimated(monkeypatch, empty, None).missing


def test_with_estimates_of_a_bundle_that_is_gone_spoils_nothing(monkeypatch, tmp_path):
    def gone(_: object) -> None:
        raise BundleError("v7: reference.safetensors is missing. Restore it")

    monkeypatch.setattr(estimates, "load_calibration", gone)
    got = with_estimates(night(tmp_path, 0.7), BUNDLE).estimates
    assert got.missing == "v7: reference.safetensors is missing. Restore it"
