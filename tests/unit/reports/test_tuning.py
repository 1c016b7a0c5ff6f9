"""tuning.json, and what is said of a tuning."""

import json
import logging
from dataclasses import asdict, replace

import pytest

from rubert_ood import storage
from rubert_ood.ood.promise import Promise
from rubert_ood.ood.tuning import Measures
from rubert_ood.reports.tuning import (
    Tuning,
    in_words,
    log_measures,
    say_promises,
    target_of,
    warn_of_tuned,
)
from rubert_ood.settings import TuneSettings

BEFORE = Measures(0.8, 0.75, 0.9, 0.7, 0.65, 0.5)
AFTER = Measures(0.95, 0.9, 0.6, 0.55, 0.6, None)


PROMISE = Promise("precision", 0.9, 0.95, 300, 12)


def asked(**changes) -> TuneSettings:
    return TuneSettings(**{"bundle_uri": "b", "input_uri": "ads.parquet", **changes})


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        (asked(min_precision=0.9), {"min_precision": 0.9}),
        (asked(), {"maximise": "macro_f1"}),
        (
            asked(max_flagged=0.02, confidence=0.9),
            {"maximise": "macro_f1", "max_flagged": 0.02, "confidence": 0.9},
        ),
    ],
)
def test_tuning_json_names_target_origin_and_what_was_reached(model, settings, target):
    tuning = Tuning(
        target=target_of(settings),
        origin="f" * 64,
        before=BEFORE,
        after=AFTER,
        decision=model.decision,
        promises=[PROMISE],
        ads_needed={"min_precision": 900},
    )
    content = json.loads(storage.to_json(tuning))
    assert list(content)[:6] == [
        "format",
        "target",
        "from",
        "before",
        "after",
        "decision",
    ]
    assert content["promises"] == [asdict(PROMISE)]
    assert content["ads_needed"] == {"min_precision": 900}
    assert (content["target"], content["from"]) == (target, "f" * 64)
    assert content["before"]["ood_kept"] == 0.5
    assert content["decision"] == model.decision.model_dump()
    assert Tuning.model_validate_json(storage.to_json(tuning)) == tuning
    del content["promises"], content["ads_needed"]
    older = Tuning.model_validate_json(json.dumps(content))
    assert (older.promises, older.ads_needed) == ([], {})


def test_a_tuning_is_told_in_words():
    assert in_words(asked(min_precision=0.9), AFTER) == (
        "The target was a precision of 90.0%. Of the kept ads 95.0% are right (95% interval"
        " from 90.0%). The thresholds keep 60.0% of the ads, and macro-F1 with Other is 60.0%."
    )
    nothing = Measures(None, None, 0.0, 0.0, 0.1, None)
    assert in_words(asked(), nothing) == (
        "The target was the largest macro-F1. The thresholds keep 0.0% of the ads, and macro-F1"
        " with Other is 10.0%."
    )
    promised = in_words(asked(min_precision=0.9), AFTER, [PROMISE])
    assert promised.endswith(f"is 60.0%. {PROMISE.in_words()}")


def test_promises_are_logged_with_the_ads_that_they_need(caplog):
    with caplog.at_level(logging.INFO):
        say_promises([PROMISE], {"min_precision": 1900})
        say_promises([], {"min_precision": 2400})
        say_promises([], {"min_precision": None})
    lines = [record.message for record in caplog.records]
    assert "0.9 of the kept ads are right (of 300 kept ads 12 are wrong)" in lines[0]
    assert lines[1].endswith("a promise needs about 1,900 labelled ads in all")
    assert lines[2].endswith("2,400 labelled ads in all. Pass confidence to ask for one")
    assert "no number of ads would do" in lines[3]


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
