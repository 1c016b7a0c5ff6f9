"""What a manifest estimates, against the calibration ads of the bundle."""

import weakref
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
from rubert_ood.runs.night_sample import NightSample
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS
from rubert_ood.runs.profile import ShardProfile
from rubert_ood.runs.receipts import Receipt
from tests.unit.made_up_receipts import a_plan, a_receipt
from tests.unit.publishing.manifests import changed

BUNDLE = SimpleNamespace(
    fitted=SimpleNamespace(
        temperature=SimpleNamespace(temperature=2.0),
        labels=["Книги", "Кошки"],
        p_of_calibration=lambda ads: (1 + np.arange(len(ads))) / (1 + len(ads)),
    )
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


def receipts(tmp_path, *samples: NightSample | None) -> dict[str, Receipt]:
    """Receipts that say nothing but which ads are in the sample."""
    plan = a_plan(str(tmp_path), len(samples))
    found = {}
    for number, sample in enumerate(samples):
        receipt = a_receipt(plan, number, profile=ShardProfile(sample=sample))
        found[receipt.shard_id] = receipt
    return found


def sampled(first: int, num: int, label: str) -> NightSample:
    """Ads that are all of one class, as sure as the calibration ads."""
    numbers = list(range(first, first + num))
    names = sorted(["Книги", "Кошки"], key=lambda name: name != label)
    p = [[0.731059, 0.268941]] * num
    return NightSample(key=numbers, text=numbers, names=names, best=[[0, 1]] * num, p=p)


def estimated(
    monkeypatch,
    manifest: Manifest,
    found: Outputs | None,
    of: dict[str, Receipt] | None = None,
) -> NightEstimates:
    monkeypatch.setattr(estimates, "load_calibration", lambda _: found)
    plan = a_plan("/out", len(of or {}))
    got = with_estimates(manifest, BUNDLE, plan, of or {}).estimates
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
    counts = older.counts.model_copy(update={"rows_quarantined": 10})
    none = older.model_copy(update={"counts": counts})
    assert estimated(monkeypatch, none, None).missing.startswith("all of its shards")
    empty = night(tmp_path, 0.7, num=0)
    assert "no ad of it has a text" in estimated(monkeypatch, empty, None).missing


def test_with_estimates_of_a_night_of_few_texts_are_missing(monkeypatch, tmp_path):
    """However many ads repeat them: the spread of one text is none, and so its interval lies."""
    few = night(tmp_path, 0.7, num=29)
    got = estimated(monkeypatch, few, calibration(400, 80))
    assert got.accuracy is None
    assert got.missing == "it has 29 different texts, of 30 needed"
    many = night(tmp_path, 0.7)
    counts = many.counts.model_copy(update={"unique_texts": 1})
    sample = sampled(0, 100, "Книги").model_copy(update={"text": [7] * 100})
    of = receipts(tmp_path, sample)
    repeated = many.model_copy(update={"counts": counts})
    got = estimated(monkeypatch, repeated, calibration(400, 80), of)
    assert got.missing == "it has 1 different text, of 30 needed"
    assert got.shares is None
    assert got.shares_missing.startswith("its sample has 1 different text")


def test_with_estimates_of_a_bundle_that_is_gone_spoils_nothing(monkeypatch, tmp_path):
    def gone(_: object) -> None:
        raise BundleError("v7: reference.safetensors is missing. Restore it")

    monkeypatch.setattr(estimates, "load_calibration", gone)
    plan = a_plan(str(tmp_path), 0)
    got = with_estimates(night(tmp_path, 0.7), BUNDLE, plan, {}).estimates
    assert got.missing == "v7: reference.safetensors is missing. Restore it"
    assert got.shares_missing == got.missing


def test_with_estimates_counts_and_corrects_the_classes_of_all_receipts(
    monkeypatch, tmp_path
):
    of = receipts(tmp_path, sampled(0, 30, "Книги"), sampled(30, 70, "Кошки"))
    both = calibration(400, 108)
    logits_NC = np.where(
        np.arange(400)[:, None] % 2, both.logits_NC[:, ::-1], both.logits_NC
    )
    mixed = replace(both, logits_NC=logits_NC)
    got = estimated(monkeypatch, night(tmp_path, 0.7), mixed, of).shares
    assert {share.name: share.counted for share in got.classes} == {
        "Книги": 0.3,
        "Кошки": 0.7,
    }
    # an ad is as the other class with 0.269: 0.731 s + 0.269 (1 - s) of them look like cats
    cats = (0.7 - 0.268941) / (0.731059 - 0.268941)
    assert got.classes[0].value == pytest.approx(cats, abs=0.002)
    assert (got.num_ads, got.num_texts, got.num_calibration) == (100, 100, 400)


def test_with_estimates_reads_receipts_in_the_order_of_the_plan_and_keeps_none(
    monkeypatch, tmp_path
):
    class Asked(dict):
        """Receipts that note who asks for which, and how many are held at that time."""

        def __getitem__(self, shard_id: str) -> Receipt:
            found = super().__getitem__(shard_id).model_copy(deep=True)
            held.append(sum(one() is not None for one in made))
            made.append(weakref.ref(found.profile.sample))
            asked.append(shard_id)
            return found

    asked, held, made = list[str](), list[int](), list[weakref.ref]()
    of = receipts(tmp_path, *[sampled(n, 1, "Книги") for n in range(40)])
    plan = a_plan(str(tmp_path), 40)
    # beyond 99,999 the ids of shards are not in the order of the plan
    plan = replace(plan, shards=[*plan.shards[20:], *plan.shards[:20]])
    monkeypatch.setattr(estimates, "load_calibration", lambda _: calibration(400, 80))
    with_estimates(night(tmp_path, 0.7), BUNDLE, plan, Asked(of))
    assert asked == [shard.shard_id for shard in plan.shards]
    assert max(held) <= 2


def test_with_estimates_without_a_sample_says_why_shares_are_missing(
    monkeypatch, tmp_path, caplog
):
    run, found = night(tmp_path, 0.7), calibration(400, 80)
    older = receipts(tmp_path, sampled(0, 30, "Книги"), None)
    reason = "an older version scored a part of it, and kept no sample"
    assert estimated(monkeypatch, run, found, older).shares_missing == reason
    assert f"does not correct the class shares of this run: {reason}" in caplog.text
    few = receipts(tmp_path, sampled(0, 29, "Книги"))
    assert "29 different texts" in estimated(monkeypatch, run, found, few).shares_missing
    assert estimated(monkeypatch, run, None, few).shares is None


def test_with_estimates_counts_the_calibration_ads_for_a_first_night(
    monkeypatch, tmp_path
):
    got = estimated(monkeypatch, night(tmp_path, 0.7), calibration(99, 10)).calibration
    assert got.num_ads == 99
    assert got.confidence[CONFIDENCE_LIMITS.index(0.75)] == 99  # 0.731 each
    assert sum(got.p[: P_LIMITS.index(0.1) + 1]) == 10  # p is 0.01, 0.02, ...
    few = estimated(monkeypatch, night(tmp_path, 0.7), calibration(9, 1))
    assert few.calibration.num_ads == 9
    assert estimated(monkeypatch, night(tmp_path, 0.7), None).calibration is None
