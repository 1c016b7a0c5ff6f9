"""The settings of pretraining agree with those of the training that follows."""

import pytest

from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    CleanerSettings,
    PretrainCleanerSettings,
    PretrainSettings,
    TextSettings,
    TrainSettings,
    load_settings,
)


def test_cleaner_removes_what_training_removes_but_cities():
    given = CleanerSettings().model_dump(exclude={"remove_cities"})
    assert PretrainCleanerSettings().model_dump() == given
    cleaner = TextCleaner(**PretrainCleanerSettings().model_dump())
    text = "Продам диван, Москва, +7 900 123-45-67"
    assert cleaner.clean(text) == "диван, москва,"


def test_defaults_are_those_of_training():
    pretraining = PretrainSettings(input_uri="ads")
    training = TrainSettings(input_uri="labelled")
    for name in ("base_model", "output_uri", "columns"):
        assert getattr(pretraining, name) == getattr(training, name)
    assert pretraining.max_length == TextSettings().max_length
    given = pretraining.compute.model_dump()
    assert given == training.compute.model_dump()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "input_uri: missing"),
        (["--input_uri", "x", "--masking.word_fraction", "0.9"], "masking.word_fraction"),
        (["--input_uri", "x", "--version", "../x"], "version: "),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(SettingsError, match=f"^{message}"):
        load_settings(PretrainSettings, arguments, program="rubert-ood pretrain")
