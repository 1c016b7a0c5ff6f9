"""Temperature scaling: one number T that makes softmax(logits / T) honest.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
Shapes: N ads, C classes. Everything is computed in float64.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.special import softmax as unscaled_softmax

from rubert_ood.errors import BundleError, SchemaError, SettingsError


@dataclass(frozen=True)
class TemperatureFit:
    """The fitted T, and the mean NLL (nats per ad) at T = 1 and at the fitted T."""

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool
    """T equals a bound of the search: the best T lies beyond it, or NLL has no minimum (no errors
    among the calibration rows)."""


def softmax(logits_NC: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the classes, (N, C)."""
    return np.asarray(
        unscaled_softmax(np.asarray(logits_NC, dtype=np.float64) / temperature, axis=1)
    )


def nll(logits_NC: ArrayLike, labels_N: ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of softmax(logits / temperature), nats per ad.

    Raises SchemaError without rows or on a label outside 0..C-1, BundleError on non-finite logits.
    """
    return _mean_nll(_relative_logits(logits_NC, labels_N), temperature)


def fit_temperature(
    logits_NC: ArrayLike, labels_N: ArrayLike, *, lower: float = 0.5, upper: float = 10.0
) -> TemperatureFit:
    """Find the T within [lower, upper] that minimises the mean NLL.

    NLL is convex in 1/T, so it has one minimum over log T as well; a bounded search finds it. T
    stays 1 if NLL does not improve. Raises as `nll` does, and SettingsError unless 0 < lower <
    upper.
    """
    from scipy.optimize import minimize_scalar

    if not 0 < lower < upper:
        raise SettingsError(
            f"fit.temperature_min {lower:g} must be above 0 and below fit.temperature_max"
            f" {upper:g}: change one"
        )
    relative_NC = _relative_logits(logits_NC, labels_N)
    search = minimize_scalar(
        lambda log_t: _mean_nll(relative_NC, math.exp(log_t)),
        bounds=(math.log(lower), math.log(upper)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    # The search never evaluates its bounds; they come first, so that a bound as good as the inner
    # point wins.
    candidates = [lower, upper, min(max(math.exp(search.x), lower), upper)]
    nll_after, temperature = min(
        ((_mean_nll(relative_NC, t), t) for t in candidates), key=lambda pair: pair[0]
    )
    nll_before = _mean_nll(relative_NC, 1.0)
    if nll_after >= nll_before:
        return TemperatureFit(1.0, nll_before, nll_before, at_bound=False)
    return TemperatureFit(
        temperature, nll_before, nll_after, at_bound=temperature in (lower, upper)
    )


def _relative_logits(logits_NC: ArrayLike, labels_N: ArrayLike) -> NDArray[np.float64]:
    """Return the logits minus that of the true class: the NLL is their logsumexp, at any T."""
    logits = np.asarray(logits_NC, dtype=np.float64)
    labels = np.asarray(labels_N)
    if len(logits) == 0:
        raise SchemaError(
            "there is not a row to measure the NLL on: give calibration rows"
        )
    if len(logits) != len(labels):
        raise SchemaError(
            f"{len(logits)} rows of logits for {len(labels)} labels:"
            " they must come from the same split"
        )
    finite_N = np.isfinite(logits).all(axis=1)
    if not finite_N.all():
        row = int(np.argmin(finite_N))
        raise BundleError(
            f"logits of row {row} are not finite: the checkpoint is damaged or diverged;"
            " train again"
        )
    num_classes = logits.shape[1]
    if labels.min() < 0 or labels.max() >= num_classes:
        raise SchemaError(
            f"labels {labels.min()}..{labels.max()} do not fit {num_classes} classes:"
            f" 0..{num_classes - 1}"
        )
    return logits - logits[np.arange(len(labels)), labels][:, None]


def _mean_nll(relative_NC: NDArray[np.float64], temperature: float) -> float:
    return float(np.mean(logsumexp(relative_NC / temperature, axis=1)))
