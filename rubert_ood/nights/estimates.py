"""Estimates of a complete run, made from its receipts and the calibration ads of its bundle."""

from collections.abc import Iterator, Mapping

from rubert_ood.bundle import Bundle, load_calibration
from rubert_ood.errors import RubertOodError
from rubert_ood.nights.shares import class_shares
from rubert_ood.ood.accuracy import Worth, estimated_accuracy
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.temperature import softmax
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.runs.estimates import (
    AccuracyEstimate,
    CalibrationSums,
    NightEstimates,
    ShareEstimates,
)
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sample import NightSample, merged
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS, binned
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt

log = StepLog("night")
FEWEST = 30
"""Labelled ads, and different texts of a night, below which nothing is estimated: an interval of
36 points tells nothing, and one of a single text is a guess."""


def with_estimates(
    manifest: Manifest, bundle: Bundle, plan: Plan, receipts: Mapping[str, Receipt]
) -> Manifest:
    """Return a complete manifest with what can be estimated; what cannot is said in one line."""
    found = NightEstimates()
    try:
        all_ads = load_calibration(bundle)
        calibration = _labelled(all_ads)
        accuracy = _accuracy(manifest, bundle, calibration)
        shares = _shares(samples_of(plan, receipts), bundle, calibration)
        if all_ads is not None:
            found = NightEstimates(calibration=calibration_sums(bundle, all_ads))
    except RubertOodError as error:  # the run itself is whole
        accuracy = shares = str(error)
    if isinstance(accuracy, str):
        log.warning("does not estimate the accuracy of this run: %s", accuracy)
        found = found.model_copy(update={"missing": accuracy})
    else:
        log.info(_in_words(accuracy))
        found = found.model_copy(update={"accuracy": accuracy})
    if isinstance(shares, str):
        if shares != accuracy:
            log.warning("does not correct the class shares of this run: %s", shares)
        found = found.model_copy(update={"shares_missing": shares})
    else:
        found = found.model_copy(update={"shares": shares})
    return manifest.model_copy(update={"estimates": found})


def _in_words(found: AccuracyEstimate) -> str:
    return f"estimated accuracy {found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _labelled(found: Outputs | None) -> Outputs | str:
    """Return the calibration ads whose class is known, or why they do not do."""
    advice = "Train a bundle with this version to have an estimate"
    if found is None:
        return f"its bundle has no calibration ads in it. {advice}"
    labelled = found.take((found.labels_N >= 0).nonzero()[0])
    if len(labelled) < FEWEST:
        return (
            f"its bundle has only {len(labelled):,} calibration ads, and an estimate"
            f" needs {FEWEST}. Add calibration ads, and train again"
        )
    return labelled


def _accuracy(
    manifest: Manifest, bundle: Bundle, calibration: Outputs | str
) -> AccuracyEstimate | str:
    sums = manifest.night_sums
    if manifest.counts.rows_quarantined == manifest.counts.rows_planned:
        return "all of its shards are quarantined"
    if sums is None:
        return "an older version scored a part of it, and did not add confidence up"
    if not sums.num_ads:
        return "no ad of it has a text"
    num_texts = min(manifest.counts.unique_texts, sums.num_ads)
    if num_texts < FEWEST:
        return f"it has {count_of(num_texts, 'different text')}, of {FEWEST} needed"
    if isinstance(calibration, str):
        return calibration
    worth = worth_of(calibration, bundle.fitted.temperature.temperature)
    found = estimated_accuracy(
        sums.num_ads,
        sums.confidence_sum,
        sums.confidence_squares,
        worth=worth,
        num_texts=num_texts,
    )
    return AccuracyEstimate(
        value=found.value,
        low=found.low,
        high=found.high,
        measured=worth.accuracy,
        num_calibration=worth.num_ads,
    )


def worth_of(calibration: Outputs, temperature: float) -> Worth:
    """Return what confidence was worth on the calibration ads, as they are scored."""
    p_NC = softmax(calibration.logits_NC, temperature)
    right_N = p_NC.argmax(axis=1) == calibration.labels_N
    return Worth.of(p_NC.max(axis=1), right_N)


def samples_of(
    plan: Plan, receipts: Mapping[str, Receipt]
) -> Iterator[NightSample | None]:
    """Yield that of each shard, in the order of the plan: each batch of receipts is read once."""
    for shard in plan.shards:
        if shard.shard_id in receipts:
            yield receipts[shard.shard_id].profile.sample


def _shares(
    samples: Iterator[NightSample | None], bundle: Bundle, calibration: Outputs | str
) -> ShareEstimates | str:
    sample = merged(samples)
    if sample is None:
        return "an older version scored a part of it, and kept no sample"
    num_texts = len(set(sample.text))
    if num_texts < FEWEST:
        texts = count_of(num_texts, "different text")
        return f"its sample has {texts} without an OOD flag, of {FEWEST} needed"
    if isinstance(calibration, str):
        return calibration
    fitted = bundle.fitted
    p_nC = softmax(calibration.logits_NC, fitted.temperature.temperature)
    return class_shares(sample, fitted.labels, p_nC, calibration.labels_N)


def calibration_sums(bundle: Bundle, calibration: Outputs) -> CalibrationSums:
    """Count confidence and p of the calibration ads, as those of a night are counted."""
    fitted = bundle.fitted
    p_nC = softmax(calibration.logits_NC, fitted.temperature.temperature)
    p_n = fitted.p_of_calibration(calibration)
    return CalibrationSums(
        confidence=binned(p_nC.max(axis=1), CONFIDENCE_LIMITS).tolist(),
        p=binned(p_n, P_LIMITS).tolist(),
    )
