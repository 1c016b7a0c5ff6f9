"""From logits and CLS vectors to a label, an OOD flag and the top classes.

Thresholds come from the calibration rows: the calibration split, or valid where there is none.
Larger d2, larger z and smaller p mean more out of domain. Shapes: N ads, C classes, H hidden, k
best classes. Everything is computed in float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.ood.conformal import conformal_p
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.temperature import softmax
from rubert_ood.settings import DecisionSettings

OTHER = "Other"
SIGMA_FLOOR = 1e-9  # keeps z finite when every calibration ad has the same d2


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The distribution of d2 on the calibration rows.

    Raises BundleError unless finite, with at least two sorted distances.
    """

    threshold: float
    """Quantile of d2."""
    mu: float
    sigma: float
    """Standard deviation with ddof = 1."""
    calibration_d2: NDArray[np.float64]
    """Every d2, ascending."""
    by_class: ClassLimits | None = None
    """Limits of the conformal rule by predicted class; None: conformal_alpha for all."""

    def __post_init__(self) -> None:
        d2 = np.asarray(self.calibration_d2, dtype=np.float64)
        object.__setattr__(self, "calibration_d2", d2)
        if not np.isfinite([self.threshold, self.mu, self.sigma]).all() or self.sigma < 0:
            raise BundleError(
                f"threshold {self.threshold}, mu {self.mu} or sigma"
                f" {self.sigma} is negative or not finite"
            )
        if (
            d2.ndim != 1
            or len(d2) < 2
            or not np.isfinite(d2).all()
            or (np.diff(d2) < 0).any()
        ):
            raise BundleError(
                "calibration_d2 needs at least 2 finite distances in ascending order"
            )


@dataclass(frozen=True, eq=False)
class Decisions:
    """One entry per ad, in input order."""

    label_N: NDArray[np.object_]
    """str: the best class, or OTHER if the ad is out of domain or the confidence is too low."""
    confidence_N: NDArray[np.float64]
    """Probability of the best class."""
    topk_labels_Nk: NDArray[np.object_]
    """str: the best classes, whatever the label; by score, then by class index."""
    topk_scores_Nk: NDArray[np.float64]
    """Their probabilities, descending."""
    is_far_N: NDArray[np.bool_]
    """What the rule says of d2 or ood_p alone, before the confidence gate."""
    is_ood_N: NDArray[np.bool_]
    """Far, and not confident."""
    ood_distance_N: NDArray[np.float64]
    """d2, squared Mahalanobis distance to the nearest class."""
    ood_z_N: NDArray[np.float64]
    """d2 in standard deviations above the mean of the calibration rows."""
    ood_p_N: NDArray[np.float64]
    """Conformal p-value, in (0, 1]: the share of calibration ads at least as far away, this ad
    included; of the detector that decides."""
    predicted_N: NDArray[np.int64]
    """Index of the best class, before OTHER."""


@dataclass(frozen=True, eq=False)
class TopClasses:
    """The best classes of each ad, by score, then by class index."""

    classes_Nk: NDArray[np.int64]
    scores_Nk: NDArray[np.float64]
    """Their probabilities, descending."""


def fit_thresholds(d2_N: ArrayLike, *, quantile: float = 0.995) -> Thresholds:
    """Describe the distances of the calibration rows.

    Raises SchemaError on fewer than two, BundleError on a non-finite one.
    """
    d2 = np.sort(np.asarray(d2_N, dtype=np.float64))
    if len(d2) < 2:
        raise SchemaError(
            "thresholds need at least 2 calibration rows, and there are"
            f" {len(d2)}. Add more"
        )
    return Thresholds(
        float(np.quantile(d2, quantile)), float(d2.mean()), float(d2.std(ddof=1)), d2
    )


def decide(
    logits_NC: ArrayLike,
    cls_NH: ArrayLike,
    *,
    labels: Sequence[str],
    temperature: float,
    statistics: MahalanobisStatistics,
    thresholds: Thresholds,
    settings: DecisionSettings,
) -> Decisions:
    """Decide on every ad: out of domain, too uncertain, or one of `labels` (class order).

    Out of domain = far away (by settings.rule) and not confident. Every comparison is strict, save
    ood_p <= conformal_alpha and confidence >= tau_other. Raises BundleError if logits, features,
    labels and statistics do not fit each other or hold non-finite numbers.
    """
    top, d2_N = measured(
        logits_NC,
        cls_NH,
        labels=labels,
        temperature=temperature,
        statistics=statistics,
        top_k=settings.top_k,
    )
    return decide_on(top, d2_N, labels=labels, thresholds=thresholds, settings=settings)


def measured(
    logits_NC: ArrayLike,
    cls_NH: ArrayLike,
    *,
    labels: Sequence[str],
    temperature: float,
    statistics: MahalanobisStatistics,
    top_k: int,
) -> tuple[TopClasses, NDArray[np.float64]]:
    """Return what `decide` rests on, the best classes and d2 of each ad; errors are its own."""
    probabilities_NC = softmax(
        _checked_logits(logits_NC, labels, statistics), temperature
    )
    d2_N, _ = statistics.distance(cls_NH)
    if len(d2_N) != len(probabilities_NC):
        rows = f"logits have {len(probabilities_NC)} rows, but features have {len(d2_N)}"
        raise BundleError(f"{rows}. Take both from one forward pass")

    # stable: the lower class comes first on ties
    order_NC = np.argsort(-probabilities_NC, axis=1, kind="stable")
    top_Nk = order_NC[:, :top_k]
    scores_Nk = np.take_along_axis(probabilities_NC, top_Nk, axis=1)
    return TopClasses(top_Nk.astype(np.int64), scores_Nk), d2_N


def decide_on(
    top: TopClasses,
    d2_N: NDArray[np.float64],
    p_N: NDArray[np.float64] | None = None,
    *,
    labels: Sequence[str],
    thresholds: Thresholds,
    settings: DecisionSettings,
) -> Decisions:
    """Apply the rules of `decide` to the best classes and d2 of each ad.

    p_N: conformal p of the detector that decides; None where that is d2.
    """
    predicted_N = top.classes_Nk[:, 0].copy()
    confidence_N = top.scores_Nk[:, 0].copy()

    z_N = (d2_N - thresholds.mu) / (thresholds.sigma + SIGMA_FLOOR)
    if p_N is None:
        p_N = conformal_p(d2_N, thresholds.calibration_d2)
    limit = p_limit(thresholds, settings, predicted_N)
    is_far_N = is_far(
        d2_N, z_N, p_N, p_limit=limit, threshold=thresholds.threshold, settings=settings
    )
    is_ood_N = is_far_N & (confidence_N < settings.ood_conf_gate)
    names_C = np.array(labels, dtype=object)
    trusted_N = ~is_ood_N & (confidence_N >= settings.tau_other)
    return Decisions(
        label_N=np.where(trusted_N, names_C[predicted_N], OTHER),
        confidence_N=confidence_N,
        topk_labels_Nk=names_C[top.classes_Nk],
        topk_scores_Nk=top.scores_Nk,
        is_far_N=is_far_N,
        is_ood_N=is_ood_N,
        ood_distance_N=d2_N,
        ood_z_N=z_N,
        ood_p_N=p_N,
        predicted_N=predicted_N,
    )


def is_far(
    d2_N: NDArray[np.float64],
    z_N: NDArray[np.float64],
    p_N: NDArray[np.float64],
    *,
    p_limit: float | NDArray[np.float64],
    threshold: float,
    settings: DecisionSettings,
) -> NDArray[np.bool_]:
    """Apply the rule of the settings to d2, its z and its conformal p: bool (N,).

    p_limit: that of `p_limit`, for all or of each ad.
    """
    if settings.rule == "conformal":
        return np.asarray(p_N <= p_limit)
    return np.asarray((d2_N > settings.alpha * threshold) & (z_N > settings.z_thr))


def p_limit(
    thresholds: Thresholds, settings: DecisionSettings, predicted_N: NDArray[np.int64]
) -> float | NDArray[np.float64]:
    """Return the p at which an ad is far: one for all, or (N,) by its predicted class."""
    if thresholds.by_class is None:
        return settings.conformal_alpha
    return thresholds.by_class.alpha_C[predicted_N]


def can_flag(settings: DecisionSettings, num_calibration: int) -> bool:
    """Say whether the rule can call anything far: the smallest p-value of n rows is 1 / (n + 1)."""
    # compared as `is_far` does: the product is a bit below 1 for some n with alpha = 1 / (n + 1)
    smallest = _smallest_p(num_calibration)
    return settings.rule != "conformal" or smallest <= settings.conformal_alpha


def rows_for(alpha: float) -> int:
    """Return the least number of calibration rows among which p can be as small as alpha."""
    rows = math.ceil(1 / alpha) - 2  # one less than it is but for rounding
    while _smallest_p(rows) > alpha:
        rows += 1
    return rows


def _smallest_p(num_calibration: int) -> float:
    return 1.0 / (num_calibration + 1.0)


def check_rule(settings: DecisionSettings, num_calibration: int) -> None:
    """Raise SettingsError when the rule can flag nothing."""
    if not can_flag(settings, num_calibration):
        needed = rows_for(settings.conformal_alpha)
        raise SettingsError(
            f"decision.conformal_alpha: {settings.conformal_alpha:g} needs"
            f" at least {needed:,} calibration rows, and there are"
            f" {num_calibration:,}. Add more rows, raise conformal_alpha,"
            " or set the rule to notebook"
        )


def _checked_logits(
    logits_NC: ArrayLike, labels: Sequence[str], statistics: MahalanobisStatistics
) -> NDArray[np.float64]:
    logits = np.asarray(logits_NC, dtype=np.float64)
    num_fitted = len(statistics.means_CH)
    if logits.ndim != 2 or not logits.shape[1] == len(labels) == num_fitted:
        raise BundleError(
            f"logits have the shape {logits.shape}, but there are"
            f" {len(labels)} labels and {num_fitted} fitted classes. Use the"
            " parts of one bundle"
        )
    finite_N = np.isfinite(logits).all(axis=1)
    if not finite_N.all():
        row = int(np.argmin(finite_N))
        raise BundleError(
            f"the logits of row {row} are not finite, so the checkpoint is"
            " damaged or diverged. Train again"
        )
    return logits
