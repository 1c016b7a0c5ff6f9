"""Temperature scaling: one number T that makes softmax(logits / T) honest.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2; of confidence:
Gupta and Ramdas 2022, "Top-label calibration and multiclass-to-binary reductions".
Shapes: N ads, C classes. Everything is computed in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.special import softmax as unscaled_softmax

from rubert_ood.errors import BundleError, SchemaError, SettingsError

GRID = 33
"""Places at which the search looks first, on a logarithmic scale."""

TemperatureOf = Literal["confidence", "classes"]
"""What T makes honest: that the best class is right, or the probability of every class."""


@dataclass(frozen=True)
class TemperatureFit:
    """The fitted T, and the mean NLL that it was fitted on (nats per ad) at T = 1 and at that T."""

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
    return _mean_nll(relative_logits(logits_NC, labels_N), temperature)


def fit_temperature(
    logits_NC: ArrayLike,
    labels_N: ArrayLike,
    *,
    lower: float = 0.5,
    upper: float = 10.0,
    of: TemperatureOf = "classes",
) -> TemperatureFit:
    """Find the T within [lower, upper] that minimises the mean NLL: of the classes, or of
    confidence.

    T stays 1 if the NLL does not improve. Raises as `nll` does, and SettingsError unless 0 < lower
    < upper.
    """
    if not 0 < lower < upper:
        raise SettingsError(
            f"fit.temperature_min: {lower:g} is not between 0 and"
            f" fit.temperature_max ({upper:g}). Change one of them"
        )
    relative_NC = relative_logits(logits_NC, labels_N)
    mean_nll = _mean_nll if of == "classes" else _mean_nll_of_confidence
    nll_after, temperature = _search(partial(mean_nll, relative_NC), lower, upper)
    nll_before = mean_nll(relative_NC, 1.0)
    if nll_after >= nll_before:
        return TemperatureFit(1.0, nll_before, nll_before, at_bound=False)
    return TemperatureFit(
        temperature, nll_before, nll_after, at_bound=temperature in (lower, upper)
    )


def _search(
    loss: Callable[[float], float], lower: float, upper: float
) -> tuple[float, float]:
    """Return the least loss, and its T.

    NLL of the classes is convex in 1/T, so it has one minimum over log T as well. That of
    confidence may have more: the search begins at the best of a grid.
    """
    from scipy.optimize import minimize_scalar

    grid = np.geomspace(lower, upper, GRID)
    losses = [loss(float(t)) for t in grid]
    best = int(np.argmin(losses))
    around = grid[[max(best - 1, 0), min(best + 1, GRID - 1)]]
    search = minimize_scalar(
        lambda log_t: loss(math.exp(log_t)),
        bounds=tuple(np.log(around)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    # The search never evaluates its bounds; they come first, so that a bound as good as the inner
    # point wins.
    candidates = [lower, upper, min(max(math.exp(search.x), lower), upper)]
    return min(((loss(t), t) for t in candidates), key=lambda pair: pair[0])


def relative_logits(logits_NC: ArrayLike, labels_N: ArrayLike) -> NDArray[np.float64]:
    """Return the logits minus that of the true class: the NLL is their logsumexp, at any T."""
    logits = np.asarray(logits_NC, dtype=np.float64)
    labels = np.asarray(labels_N)
    if len(logits) == 0:
        raise SchemaError("there are no rows to measure the NLL on. Add calibration ads")
    if len(logits) != len(labels):
        raise SchemaError(
            f"logits have {len(logits)} rows, but there are {len(labels)}"
            " labels. Take both from the same split"
        )
    finite_N = np.isfinite(logits).all(axis=1)
    if not finite_N.all():
        row = int(np.argmin(finite_N))
        raise BundleError(
            f"the logits of row {row} are not finite, so the checkpoint is"
            " damaged or diverged. Train again"
        )
    num_classes = logits.shape[1]
    if labels.min() < 0 or labels.max() >= num_classes:
        raise SchemaError(
            f"labels go from {labels.min()} to {labels.max()}, but must lie"
            f" in 0 to {num_classes - 1}. Number the classes from 0"
        )
    return logits - logits[np.arange(len(labels)), labels][:, None]


def _mean_nll(relative_NC: NDArray[np.float64], temperature: float) -> float:
    return float(np.mean(logsumexp(relative_NC / temperature, axis=1)))


def _mean_nll_of_confidence(
    relative_NC: NDArray[np.float64], temperature: float
) -> float:
    """Return the mean NLL of the best class being right, whose chance the confidence says.

    The logit of the true class is 0: an ad is right where no other one is above it.
    """
    scaled_NC = relative_NC / temperature
    best_N = scaled_NC.argmax(axis=1)
    rows = np.arange(len(scaled_NC))
    is_right_N = scaled_NC[rows, best_N] == 0
    others_NC = scaled_NC.copy()
    others_NC[rows, best_N] = -np.inf
    chosen_N = np.where(is_right_N, scaled_NC[rows, best_N], logsumexp(others_NC, axis=1))
    return float(np.mean(logsumexp(scaled_NC, axis=1) - chosen_N))
