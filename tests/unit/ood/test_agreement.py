from dataclasses import replace

import numpy as np
import pytest

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.ood.agreement import Agreement, agreement_with_fp32, check_agreement
from rubert_ood.ood.decision import Thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.settings import DecisionSettings

GOOD = Agreement(
    argmax_agreement=0.995, flag_rate=0.012, flag_rate_fp32=0.010, mean_d2_ratio=1.01
)
LABELS_N = np.zeros(4, np.int64)


def _model(threshold: float) -> FittedModel:
    return FittedModel(
        ["а", "б"],
        TemperatureFit(1.0, 0.5, 0.5, False),
        MahalanobisStatistics(np.zeros((2, 3)), np.eye(3), 0.1),
        Thresholds(threshold, 0.0, 1.0, np.array([0.0, 1.0])),
        DecisionSettings(alpha=1.0, z_thr=0.0, ood_conf_gate=1.01),
    )


def test_agreement_of_models_lets_each_decide_with_its_own_statistics():
    logits_NC = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    moved_NC = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    cls_NH = np.array(
        [[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0], [4.0, 0, 0]]
    )  # d2 = 1, 4, 9, 16
    agreement = agreement_with_fp32(
        _model(10.0),
        Outputs(moved_NC, cls_NH * 2**0.5, LABELS_N),
        _model(5.0),
        Outputs(logits_NC, cls_NH, LABELS_N),
    )
    assert agreement.argmax_agreement == 0.75
    assert agreement.flag_rate == 0.5  # 18 and 32 of 2, 8, 18, 32
    assert agreement.flag_rate_fp32 == 0.5  # 9 and 16
    assert agreement.mean_d2_ratio == pytest.approx(2)


def test_agreement_that_is_close_enough_is_accepted():
    check_agreement(GOOD, "int8")


@pytest.mark.parametrize(
    "change", [{"argmax_agreement": 0.9899}, {"flag_rate": 0.0131}, {"flag_rate": 0.0069}]
)
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_agreement_with_other_answers_is_refused(change, precision):
    with pytest.raises(
        PublicationRefusedError,
        match=f"precision: {precision} differs .* no bundle was written",
    ) as error:
        check_agreement(replace(GOOD, **change), precision)
    assert error.value.exit_code == 5
