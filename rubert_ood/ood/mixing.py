"""Two classifiers of the same ads as one: logits + weight x margins, the weight by log loss.

A stack in the sense of Wolpert 1992, of the simplest kind: logistic regression with one factor for
each of the two (Platt 1999 for margins alone). T takes over the common factor, so one weight is
kept. Shapes: N ads, C classes. Everything is computed in float64.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from rubert_ood.ood.temperature import relative_logits

FACTORS_OF_LOGITS = (0.1, 10.0)
"""Where there is not a mistake, log loss has no minimum; T has like bounds."""
FACTORS_OF_MARGINS = (0.0, 100.0)


def fit_weight(logits_NC: ArrayLike, margins_NC: ArrayLike, labels_N: ArrayLike) -> float:
    """Return the weight of the margins, 0 or more, beside logits of factor 1.

    Both factors are fitted, as logits are mostly too sure of themselves, and their quotient is
    returned: what T would undo must not be taken for the share of the margins. Raises as `nll`
    does.
    """
    from scipy.optimize import minimize

    parts_2NC = np.stack(
        [relative_logits(logits_NC, labels_N), relative_logits(margins_NC, labels_N)]
    )
    found = minimize(
        _loss,
        x0=np.ones(2),
        args=(parts_2NC,),
        jac=True,
        method="L-BFGS-B",
        bounds=[FACTORS_OF_LOGITS, FACTORS_OF_MARGINS],
    )
    return float(found.x[1] / found.x[0])


def _loss(
    factors_2: NDArray[np.float64], parts_2NC: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the mean NLL of the true class, and its derivatives; it is convex in both factors."""
    mixed_NC = np.tensordot(factors_2, parts_2NC, axes=1)
    losses_N = logsumexp(mixed_NC, axis=1)
    p_NC = np.exp(mixed_NC - losses_N[:, None])
    slopes_2 = (p_NC * parts_2NC).sum(axis=2).mean(axis=1)
    return float(losses_N.mean()), slopes_2
