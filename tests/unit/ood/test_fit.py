"""The fit beside plain computations of its parts."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from rubert_ood.errors import SettingsError
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, FitSettings

LABELS = ["a", "b", "c"]
SETTINGS = FitSettings(threshold_quantile=0.9)


def rows(num: int, seed: int) -> Outputs:
    """Three corners in six dimensions; the logits are too sure of themselves by a factor of 2."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % 3
    cls_NH = 3 * np.eye(3, 6)[labels_N] + rng.normal(size=(num, 6))
    return Outputs(2 * cls_NH[:, :3], cls_NH, labels_N)


@pytest.fixture(scope="module")
def statistics():
    train = rows(600, 1)
    return fit_mahalanobis(train.cls_NH, train.labels_N, 3)


def fitted(
    statistics, calibration: Outputs, settings: FitSettings = SETTINGS, **decision: object
):
    return fit(
        statistics,
        calibration,
        labels=LABELS,
        settings=settings,
        decision=DecisionSettings(**decision),
        calibrated_on="calibration",
    )


def test_fit_finds_the_temperature_that_a_plain_minimisation_finds(statistics) -> None:
    calibration = rows(400, 2)

    def nll(temperature: float) -> float:
        log_p_NC = log_softmax(calibration.logits_NC / temperature, axis=1)
        return -float(log_p_NC[np.arange(400), calibration.labels_N].mean())

    expected = minimize_scalar(
        nll, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}
    )
    of_classes = SETTINGS.model_copy(update={"temperature_of": "classes"})
    model = fitted(statistics, calibration, of_classes)
    assert model.temperature.temperature == pytest.approx(expected.x, rel=1e-3)
    assert (model.labels, model.calibrated_on) == (LABELS, "calibration")


def test_fit_takes_its_threshold_from_the_nearest_class_of_calibration_rows(
    statistics,
) -> None:
    calibration = rows(400, 2)
    difference_NCH = calibration.cls_NH[:, None] - statistics.means_CH[None]
    d2_NC = np.einsum(
        "nch,hk,nck->nc", difference_NCH, statistics.precision_HH, difference_NCH
    )
    expected = np.quantile(d2_NC.min(axis=1), 0.9)
    assert fitted(statistics, calibration).thresholds.threshold == pytest.approx(
        expected, rel=1e-4
    )


def test_fitted_model_decides_with_its_own_temperature_and_labels(statistics) -> None:
    model, ads = fitted(statistics, rows(400, 2), tau_other=0.0), rows(50, 3)
    decisions = model.decide(ads)
    p_NC = softmax(ads.logits_NC / model.temperature.temperature, axis=1)
    assert decisions.topk_labels_Nk[:, 0].tolist() == [
        LABELS[best] for best in p_NC.argmax(axis=1)
    ]
    np.testing.assert_allclose(decisions.confidence_N, p_NC.max(axis=1), rtol=1e-5)


def test_fit_on_too_few_rows_for_the_conformal_rule_is_refused(statistics) -> None:
    with pytest.raises(SettingsError, match="10"):
        fitted(statistics, rows(10, 2), rule="conformal", conformal_alpha=0.01)
