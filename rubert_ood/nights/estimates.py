"""Estimates of a complete run, made from its sums and the calibration ads of its bundle."""

from rubert_ood.bundle import Bundle, load_calibration
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.accuracy import Worth, estimated_accuracy
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.temperature import softmax
from rubert_ood.progress import StepLog
from rubert_ood.runs.estimates import AccuracyEstimate, NightEstimates
from rubert_ood.runs.manifest import Manifest

log = StepLog("night")
FEWEST = 30
"""Labelled ads below which nothing is estimated: an interval of 36 points tells nothing."""


def with_estimates(manifest: Manifest, bundle: Bundle) -> Manifest:
    """Return a complete manifest with what can be estimated; what cannot is said in one line."""
    try:
        estimates = _estimates(manifest, bundle)
    except RubertOodError as error:  # the run itself is whole
        estimates = NightEstimates(missing=str(error))
    if estimates.missing:
        log.warning("does not estimate the accuracy of this run: %s", estimates.missing)
    elif estimates.accuracy:
        found = estimates.accuracy
        log.info(
            f"estimated accuracy {found.value:.1%} ({found.low:.1%} to {found.high:.1%})"
        )
    return manifest.model_copy(update={"estimates": estimates})


def _estimates(manifest: Manifest, bundle: Bundle) -> NightEstimates:
    sums = manifest.night_sums
    if sums is None:
        return NightEstimates(
            missing="an older version scored a part of it, and did not add confidence up"
        )
    if not sums.num_ads:
        return NightEstimates(missing="no ad of it has a text")
    calibration = _labelled(load_calibration(bundle))
    if calibration is None or len(calibration) < FEWEST:
        return NightEstimates(missing=_no_material(calibration))
    worth = worth_of(calibration, bundle.fitted.temperature.temperature)
    found = estimated_accuracy(
        sums.num_ads,
        sums.confidence_sum,
        sums.confidence_squares,
        worth=worth,
        num_texts=min(manifest.counts.unique_texts, sums.num_ads),
    )
    accuracy = AccuracyEstimate(
        value=found.value,
        low=found.low,
        high=found.high,
        measured=worth.accuracy,
        num_calibration=worth.num_ads,
    )
    return NightEstimates(accuracy=accuracy)


def _labelled(calibration: Outputs | None) -> Outputs | None:
    """Return the ads whose class is known."""
    if calibration is None:
        return None
    return calibration.take((calibration.labels_N >= 0).nonzero()[0])


def _no_material(calibration: Outputs | None) -> str:
    advice = "Train a bundle with this version to have an estimate"
    if calibration is None:
        return f"its bundle has no calibration ads in it. {advice}"
    few = len(calibration)
    return (
        f"its bundle has only {few:,} calibration ads, and an estimate needs {FEWEST}."
        " Add calibration ads, and train again"
    )


def worth_of(calibration: Outputs, temperature: float) -> Worth:
    """Return what confidence was worth on the calibration ads, as they are scored."""
    p_NC = softmax(calibration.logits_NC, temperature)
    right_N = p_NC.argmax(axis=1) == calibration.labels_N
    return Worth.of(p_NC.max(axis=1), right_N)
