"""tuning.json, and what is said of a tuning."""

import json
import logging
from dataclasses import replace

import pytest

from rubert_ood import storage
from rubert_ood.ood.tuning import Measures
from rubert_ood.reports.tuning import (
    Tuning,
    in_words,
    log_measures,
    target_of,
    warn_of_tuned,
)

BEFORE = Measures(0.8, 0.75, 0.9, 0.7, 0.65, 0.5)
AFTER = Measures(0.95, 0.9, 0.6, 0.55, 0.6, None)


@pytest.mark.parametrize(
    ("min_precision", "target"),
    [(0.9, {"min_precision": 0.9}), (None, {"maximise": "macro_f1"})],
)
def test_tuning_json_names_target_origin_and_what_was_reached(
    model, min_precision, target
):
    tuning = Tuning(
        target=target_of(min_precision),
        origin="f" * 64,
        before=BEFORE,
        after=AFTER,
        decision=model.decision,
    )
    content = json.loads(storage.to_json(tuning))
    assert list(content) == ["format", "target", "from", "before", "after", "decision"]
    assert (content["target"], content["from"]) == (target, "f" * 64)
    assert content["before"]["ood_kept"] == 0.5
    assert content["decision"] == model.decision.model_dump()
    assert Tuning.model_validate_json(storage.to_json(tuning)) == tuning


def test_a_tuning_is_told_in_words():
    assert in_words(0.9, AFTER) == (
        "The target was a precision of 90.0%. Of the kept ads 95.0% are right (95% interval"
        " from 90.0%). The thresholds keep 60.0% of the ads, and macro-F1 with Other is 60.0%."
    )
    nothing = Measures(None, None, 0.0, 0.0, 0.1, None)
    assert in_words(None, nothing) == (
        "The target was the largest macro-F1. The thresholds keep 0.0% of the ads, and macro-F1"
        " with Other is 10.0%."
    )


def test_measures_without_a_value_are_left_out_of_the_log(model, caplog):
    with caplog.at_level(logging.INFO):
        log_measures("after", model, AFTER)
    assert (
        "after     precision 0.9500  coverage 0.6000  macro_f1 0.6000  (tau_other"
        in caplog.text
    )


def test_a_decision_that_flags_nothing_or_too_much_is_warned_of(model, caplog):
    warn_of_tuned(model, BEFORE)
    assert caplog.text == ""
    closed = model.decision.model_copy(update={"ood_conf_gate": 0.0})
    mostly_other = Measures(0.95, 0.9, 0.4, 0.35, 0.6, None)
    warn_of_tuned(replace(model, decision=closed), mostly_other)
    assert "with a confidence gate of 0" in caplog.text
    assert "60% of the ads will end as Other" in caplog.text
