"""What a report says of the limits of classes, against the ads counted one by one."""

from dataclasses import replace

import numpy as np
import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ood.class_limits import ClassLimits
from rubert_ood.reports.class_limits import class_limits
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.html import evaluation_html
from tests.unit.reports.conftest import LABELS


@pytest.fixture
def limited(model):
    limits = ClassLimits(
        np.array([0.1, 0.0, 0.3, 0.3]),
        np.array([40, 5, 30, 45]),
        np.array([False, False, True, True]),
    )
    decision = model.decision.model_copy(update={"rule": "conformal"})
    thresholds = replace(model.thresholds, by_class=limits)
    return replace(model, thresholds=thresholds, decision=decision)


def test_limits_are_told_with_the_test_ads_beyond_them(limited, splits):
    test = splits["test"]
    decided = limited.decide(test)
    listed = class_limits(limited, decided)
    assert [limit.label for limit in listed] == LABELS
    assert [limit.num_rows for limit in listed] == [40, 5, 30, 45]
    assert [limit.is_pooled for limit in listed] == [False, False, True, True]
    assert listed[1].d2_limit is None
    for number, limit in enumerate(listed):
        mine_N = decided.predicted_N == number
        bound = np.inf if limit.d2_limit is None else limit.d2_limit
        assert limit.num_test == mine_N.sum()
        assert limit.far == pytest.approx(np.mean(decided.ood_distance_N[mine_N] > bound))
    assert listed[0].far > 0
    common = replace(limited.thresholds, by_class=None)
    assert class_limits(replace(limited, thresholds=common), decided) == []


def test_the_page_shows_which_class_has_its_own_limit(limited, splits):
    test = splits["test"]
    ads = LabelledAds([f"текст {n}" for n in range(len(test))], test.labels_N)
    evaluation = evaluate(limited, Material({"test": test}, test_ads=ads))
    assert len(evaluation.class_limits) == 4
    again = type(evaluation).model_validate_json(evaluation.model_dump_json())
    assert again.class_limits == evaluation.class_limits
    page = evaluation_html(evaluation)
    assert "at most the limit of its predicted class" in page
    assert page.count("<td>pooled</td>") == page.count("<td>its own</td>") == 2
    common = replace(limited.thresholds, by_class=None)
    plain = evaluate(
        replace(limited, thresholds=common), Material({"test": test}, test_ads=ads)
    )
    assert "limit of its predicted class" not in evaluation_html(plain)
