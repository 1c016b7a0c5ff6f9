"""Settings that change nothing are named."""

from rubert_ood.settings import TrainSettings, load_settings
from rubert_ood.training.idle_settings import warn_of_idle_settings


def test_warn_of_idle_settings_names_what_was_given_and_changes_nothing(caplog):
    words = (
        "--input_uri x --text.stride 10 --decision.alpha 1.2 --decision.rule conformal"
    )
    loaded = load_settings(TrainSettings, words.split(), program="train")
    warn_of_idle_settings(loaded)
    assert caplog.messages == [
        "settings  text.stride: this setting has no effect with mode truncate",
        "settings  decision.alpha: this setting has no effect with rule conformal",
    ]


def test_warn_of_idle_settings_is_silent_for_defaults(caplog):
    warn_of_idle_settings(TrainSettings(input_uri="x"))
    assert caplog.messages == []
