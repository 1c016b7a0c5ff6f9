"""What the JSON documents of a bundle may say."""

import pytest
from pydantic import ValidationError

from rubert_ood.bundle.documents import (
    LabelsDocument,
    TemperatureDocument,
    TextDocument,
    ThresholdDocument,
)
from rubert_ood.settings import DecisionSettings, TextSettings

CLEANER = {"phone_pattern": "x", "noise_words": ["торг"], "cities": ["Уфа"]}
RULE = {
    "threshold": 9.0,
    "mu": 5.0,
    "sigma": 1.0,
    "shrinkage": 0.1,
    "calibrated_on": "valid",
}


@pytest.mark.parametrize("labels", [["а"], ["а", "а"], ["а", " "], ["а", "Other"]])
def test_labels_that_cannot_be_classes_are_refused(labels):
    with pytest.raises(ValidationError):
        LabelsDocument(labels=labels)


def test_a_temperature_that_makes_nll_worse_is_refused():
    with pytest.raises(ValidationError, match="nll_after 2 is more than nll_before 1"):
        TemperatureDocument(
            temperature=2.0, nll_before=1.0, nll_after=2.0, at_bound=False
        )


def test_a_rule_that_leaves_a_setting_to_its_default_is_refused():
    whole = RULE | DecisionSettings().model_dump()
    assert ThresholdDocument(**whole).tau_other == DecisionSettings().tau_other
    del whole["tau_other"]
    with pytest.raises(ValidationError, match="it lacks 'tau_other'"):
        ThresholdDocument.model_validate(whole)


@pytest.mark.parametrize("mode", ["truncate", "window"])
def test_text_settings_come_back_from_the_names_of_the_file(mode):
    text = TextSettings(max_length=48, mode=mode, stride=10, max_windows=3)
    document = TextDocument.of(CLEANER, text)
    assert document.long_text.mode == {"truncate": "truncate", "window": "chunk"}[mode]
    back = TextDocument.model_validate_json(document.model_dump_json())
    assert back.settings() == text
    assert back.cleaner.cities == ["Уфа"]


def test_windows_that_do_not_advance_are_refused():
    document = TextDocument.of(CLEANER, TextSettings(mode="window")).model_dump()
    document["long_text"]["stride"] = 150
    with pytest.raises(
        ValidationError, match="stride 150 is more than half of max_length 196"
    ):
        TextDocument.model_validate(document)
