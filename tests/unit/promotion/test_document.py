"""promotion.json: written and read again, and what a later version adds is passed over."""

import json

from rubert_ood import storage
from rubert_ood.promotion.document import PROMOTION, Churn, Promotion
from rubert_ood.runs.manifest import Check
from tests.unit.promotion.test_limits import comparison

CHECKS = [
    Check(check="max_ece", value=0.02, limit=0.1, ok=True),
    Check(check="max_churn", value=0.4, limit=0.3, ok=False),
]


def promotion(**changes) -> Promotion:
    content = {
        "bundle": {"uri": "/b/v2", "version": "v2", "fingerprint": "2" * 64},
        "champion": {"uri": "/b/v1", "version": "v1", "fingerprint": "1" * 64},
        "created_at": "2026-11-24T03:00:00.000+00:00",
        "code_version": "0.4.0",
        "confidence": 0.95,
        "comparison": comparison(),
        "checks": CHECKS,
        "outcome": "refused",
        "refusal_reason": "why",
    }
    return Promotion.model_validate(content | changes)


def test_promotion_is_read_as_it_was_written_and_unknown_keys_are_passed_over():
    written = promotion()
    content = json.loads(storage.to_json(written)) | {"of a later version": 1}
    assert PROMOTION.validate_json(json.dumps(content)) == written
    assert content["format"] == 1


def test_promotion_lists_the_limits_that_are_not_kept():
    assert [check.check for check in promotion().failed] == ["max_churn"]


def test_churn_of_no_ads_is_none_of_them():
    assert Churn(num_ads=0, changed=0, moves=[]).rate == 0
    assert Churn(num_ads=8, changed=2, moves=[]).rate == 0.25
