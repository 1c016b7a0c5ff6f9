"""Which targets of a tuning go together."""

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import TuneSettings


def asked(**changes) -> TuneSettings:
    return TuneSettings(**{"bundle_uri": "b", "input_uri": "ads.parquet", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": 0.95}, "confidence: there is nothing to promise"),
        ({"max_flagged": 0.01}, "confidence: max_flagged needs it. Pass 0.95"),
        (
            {"max_flagged": 0.01, "confidence": 0.9, "rule": "notebook"},
            "rule: max_flagged needs the conformal rule",
        ),
        (
            {"per_class": True, "rule": "notebook"},
            "rule: per_class needs the conformal rule",
        ),
        ({"min_precision": 0.9, "confidence": 0.4}, "confidence: .* 0.5"),
    ],
)
def test_targets_that_promise_nothing_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        asked(**changes)


def test_promises_share_the_risk_so_that_all_hold_at_once():
    assert asked(min_precision=0.9, confidence=0.95).risk == pytest.approx(0.05)
    both = asked(min_precision=0.9, max_flagged=0.01, confidence=0.95)
    assert both.risk == pytest.approx(0.025)
    assert asked(min_precision=0.9).risk == 1
