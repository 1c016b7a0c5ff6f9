"""Checks in words, with the units of their settings."""

import pytest

from rubert_ood.reports.checks import WORDS, shown_check
from rubert_ood.runs.manifest import Check
from rubert_ood.settings import GateSettings, PromotionLimits

NO_CHECKS = {"confidence"}


@pytest.mark.parametrize(
    ("check", "value", "limit", "shown"),
    [
        ("max_ood_rate", 0.0333, 0.02, ("3.33%", "at most 2%")),
        ("min_rows_ratio", 0.75, 0.5, ("0.75 times", "at least 0.5 times")),
        ("max_ignored_files", 3, 0, ("3", "at most 0")),
        ("min_test_ads", 5000, 200, ("5,000", "at least 200")),
        ("max_accuracy_loss", 0.012, 0.01, ("1.20 points", "at most 1 point")),
        ("max_class_shift", 0.3301, 0.3, ("0.3301", "at most 0.3")),
        ("max_of_a_later_version", 0.5, 0.25, ("0.5000", "at most 0.25")),
    ],
)
def test_shown_check_has_units(check, value, limit, shown):
    found = shown_check(Check(check=check, value=value, limit=limit, ok=False))
    assert (found.value, found.limit) == shown
    assert (found.number, found.bound) == (value, limit)


def test_shown_check_is_a_sentence():
    check = Check(check="max_ood_rate", value=0.0333, limit=0.02, ok=False)
    sentence = "The OOD rate is 3.33%, and max_ood_rate allows at most 2%."
    assert shown_check(check).sentence == sentence


def test_words_cover_every_limit_of_the_settings():
    limits = {*GateSettings.model_fields, *PromotionLimits.model_fields} - NO_CHECKS
    assert limits == set(WORDS)
