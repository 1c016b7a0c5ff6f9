"""Limits of d2 and of p, with every detector: which there are, and where far begins."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.limits import d2_at, d2_limit, d2_limits, p_limits
from rubert_ood.settings import DecisionSettings, DetectorName
from tests.unit.ood.test_chosen import ALPHA, TEST, C, fitted

ALPHA_C = np.array([0.0, 0.02, 0.02, 0.1, 0.3, 0.6])


def by_class(model: FittedModel) -> FittedModel:
    """Return the model with limits of the classes, of which the first never flags."""
    limits = ClassLimits(ALPHA_C, np.full(C, 20), np.zeros(C, bool))
    return replace(model, thresholds=replace(model.thresholds, by_class=limits))


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_limits_are_of_d2_or_of_p_by_what_decides(name):
    model = fitted(name)
    limited = by_class(model)
    of_d2 = [d2_limits(m.decision, m.thresholds) for m in (model, limited)]
    of_p = [p_limits(m.decision, m.thresholds) for m in (model, limited)]
    if name == "mahalanobis":
        assert of_d2[0].tolist() == [d2_limit(model.decision, model.thresholds)]
        assert of_d2[1].tolist() == [
            d2_at(a, model.thresholds) for a in np.unique(ALPHA_C)
        ]
        assert [len(found) for found in of_p] == [0, 0]
    else:
        assert [len(found) for found in of_d2] == [0, 0]
        assert of_p[0].tolist() == [ALPHA]
        assert of_p[1].tolist() == [0.02, 0.1, 0.3, 0.6]  # 0 is never reached


def test_limits_of_classes_say_nothing_under_the_notebook_rule():
    limited = by_class(fitted("mahalanobis")).thresholds
    notebook = DecisionSettings()
    assert d2_limits(notebook, limited).tolist() == [d2_limit(notebook, limited)]
    assert len(p_limits(notebook, limited)) == 0


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_limit_of_a_class_is_compared_with_the_p_of_what_decides(name):
    model = fitted(name)
    got = by_class(model).decide(TEST)
    p_N = model.decide(TEST).ood_p_N
    best_N = TEST.logits_NC.argmax(axis=1)
    by_hand = [p <= ALPHA_C[best] for p, best in zip(p_N, best_N, strict=True)]
    assert got.is_far_N.tolist() == by_hand
    assert 0 < sum(by_hand) < len(by_hand)
