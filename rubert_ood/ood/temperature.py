"""Softmax temperature: one number T that makes probabilities honest without changing any label.

Shapes: N ads, C classes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from rubert_ood.errors import SchemaError

BOUND_TOLERANCE = 1e-4
"""On log T: an optimum this close to a bound lies on it."""


@dataclass(frozen=True)
class TemperatureFit:
    temperature: float
    nll_before: float
    """Mean NLL at T = 1."""
    nll_after: float
    at_bound: bool
    """T ended at a bound: on rows without a single error NLL has no minimum and falls with T."""


def nll(logits_NC: np.ndarray, labels_N: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the labels, in nats."""
    log_p_NC = log_softmax(np.asarray(logits_NC, np.float64) / temperature, axis=1)
    return float(-log_p_NC[np.arange(len(labels_N)), labels_N].mean())


def fit_temperature(
    logits_NC: np.ndarray, labels_N: np.ndarray, *, lower: float = 0.5, upper: float = 10.0
) -> TemperatureFit:
    """Minimise the NLL of logits / T over T in [lower, upper], by a bounded search on log T.

    T stays 1 if that does not improve the NLL. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks",
    section 4.2.
    """
    if len(labels_N) == 0:
        raise SchemaError("no valid row to fit the temperature on")
    bounds = np.log([lower, upper])
    result = minimize_scalar(
        lambda log_t: nll(logits_NC, labels_N, np.exp(log_t)), bounds=bounds, method="bounded", options={"xatol": 1e-8}
    )
    candidates = [float(np.exp(result.x)), lower, upper]
    best = min(candidates, key=lambda t: nll(logits_NC, labels_N, t))
    near = [bound for bound in (lower, upper) if abs(np.log(best / bound)) < BOUND_TOLERANCE]
    if near:
        best = near[0]
    before, after = nll(logits_NC, labels_N), nll(logits_NC, labels_N, best)
    if after >= before:
        return TemperatureFit(1.0, before, before, at_bound=False)
    return TemperatureFit(best, before, after, at_bound=bool(near))
