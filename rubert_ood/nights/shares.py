"""Class shares of a night: counted in its sample, and corrected for what calibration ads say.

Shapes: N ads, U different texts, C classes, k best classes, n calibration ads, R bootstrap samples.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from rubert_ood.ood.accuracy import COVERAGE
from rubert_ood.ood.shares import Posteriors, corrected_shares
from rubert_ood.runs.estimates import ClassShare, ShareEstimates
from rubert_ood.runs.night_sample import NightSample

Floats = NDArray[np.float64]
NUM_SAMPLES = 100
SEED = 0
LEAST_SOURCE = 0.1
"""Part of its share that a class keeps at least in a bootstrap sample of the calibration ads."""
DIGITS = 6


def class_shares(
    sample: NightSample, labels: list[str], p_nC: Floats, labels_n: NDArray[np.int64]
) -> ShareEstimates:
    """Return the shares of all classes.

    p_nC and labels_n: calibrated probabilities and classes of the calibration ads.
    """
    classes_Nk, p_Nk = _arrays(sample, labels)
    _, first_U, count_U = np.unique(sample.text, return_index=True, return_counts=True)
    posteriors = Posteriors.of(classes_Nk[first_U], p_Nk[first_U], p_nC)
    mean_C = p_nC.mean(axis=0)
    value_CR = corrected_shares(posteriors, mean_C[:, None], count_U[:, None])
    drawn_CR = corrected_shares(posteriors, *_drawn(p_nC, labels_n, count_U))
    margin_C = norm.isf((1 - COVERAGE) / 2) * drawn_CR.std(axis=1, ddof=1)
    counted_C = np.bincount(classes_Nk[:, 0], minlength=len(labels)) / len(classes_Nk)
    found = [
        _share(*numbers)
        for numbers in zip(labels, counted_C, value_CR[:, 0], margin_C, strict=True)
    ]
    return ShareEstimates(
        num_ads=len(classes_Nk),
        num_texts=len(first_U),
        num_calibration=len(labels_n),
        classes=sorted(found, key=lambda share: (-share.value, share.name)),
    )


def _drawn(
    p_nC: Floats, labels_n: NDArray[np.int64], count_U: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Draw source shares (C, R) and numbers of each text (U, R) with replacement.

    What a sample of calibration ads says of a class beyond its probabilities moves its source.
    """
    rng = np.random.default_rng(SEED)
    num, mean_C = len(labels_n), p_nC.mean(axis=0)
    is_class_nC = labels_n[:, None] == np.arange(len(mean_C))
    surplus_nC = is_class_nC - p_nC
    weight_Rn = rng.multinomial(num, np.full(num, 1 / num), NUM_SAMPLES) / num
    source_RC = mean_C + weight_Rn @ surplus_nC - surplus_nC.mean(axis=0)
    source_RC = np.maximum(source_RC, LEAST_SOURCE * mean_C)
    texts = len(count_U)
    drawn_RU = rng.multinomial(texts, np.full(texts, 1 / texts), NUM_SAMPLES)
    return source_RC.T, (drawn_RU * count_U).T.astype(np.float64)


def _arrays(sample: NightSample, labels: list[str]) -> tuple[NDArray[np.int64], Floats]:
    """Return the best classes of each ad by their index in `labels`, and their probabilities."""
    number_of = {label: number for number, label in enumerate(labels)}
    numbers = np.array([number_of[name] for name in sample.names], np.int64)
    return numbers[np.array(sample.best, np.int64)], np.array(sample.p, np.float64)


def _share(name: str, counted: float, value: float, margin: float) -> ClassShare:
    return ClassShare(
        name=name,
        counted=round(float(counted), DIGITS),
        value=round(float(value), DIGITS),
        low=round(float(max(value - margin, 0.0)), DIGITS),
        high=round(float(min(value + margin, 1.0)), DIGITS),
    )
