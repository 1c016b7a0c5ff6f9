"""The settings of a promotion, by themselves and at the end of a training."""

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    PromoteSettings,
    PromotionLimits,
    TrainSettings,
    load_settings,
)
from tests.unit.settings.jobs import TRAIN, message, train


def promote(*flags: str) -> PromoteSettings:
    return load_settings(PromoteSettings, list(flags), program="promote")


def test_promote_takes_limits_by_their_names() -> None:
    given = ["--bundle_uri", "b", "--test_uri", "t", "--limits.max_churn", "0.1"]
    settings = promote(*given, "--evaluation.ood_uri", "o")
    assert settings.limits == PromotionLimits(max_churn=0.1)
    assert settings.evaluation.ood_uri == "o"
    assert (settings.sample_uri, settings.force) == (None, None)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--limits.max_churn", "1.5"], "limits.max_churn: "),
        (["--limits.confidence", "1"], "limits.confidence: "),
        (["--limits.max_loss", "1"], "limits.max_loss: no such setting"),
        (["--sample_ads", "0"], "sample_ads: "),
        (["--force", ""], "force: "),
    ],
)
def test_promote_refuses_what_is_no_limit(flags: list[str], reason: str) -> None:
    with pytest.raises((SettingsError, SystemExit)) as caught:
        promote("--bundle_uri", "b", "--test_uri", "t", *flags)
    if isinstance(caught.value, SettingsError):
        assert str(caught.value).startswith(reason)


def test_train_promotes_by_ads_of_its_own_or_by_its_test_ads() -> None:
    given = train(*TRAIN, "--promote", "--promotion.test_uri", "t")
    assert (given.promote, given.promotion.test_uri) == (True, "t")
    apart = ["--train_uri", "a", "--valid_uri", "b", "--test_uri", "c", "--promote"]
    assert train(*apart).promote
    assert not train(*TRAIN).promote
    assert message(train, *TRAIN, "--promote") == (
        "promotion.test_uri: promote needs it. Use labelled ads that trained"
        " neither bundle"
    )


def test_train_takes_the_limits_of_its_promotion() -> None:
    settings = train(*TRAIN, "--promotion.limits.min_speed_ratio", "0.8")
    assert settings.promotion.limits.min_speed_ratio == 0.8
    assert TrainSettings(input_uri="x").promotion.limits == PromotionLimits()
