"""Switches with and without a value on the command line."""

import pytest

from rubert_ood.settings import PredictSettings, load_settings
from tests.unit.settings.jobs import SCORE, message, score


@pytest.mark.parametrize(
    ("words", "use_gpu"),
    [
        (["--compute.use_gpu", "false"], False),
        (["--compute.use_gpu", "True"], True),
        (["--compute.use_gpu=true"], True),
        (["--compute.use_gpu=off"], False),
        (["--use_gpu", "true"], True),
    ],
)
def test_switch_takes_true_and_false(words: list[str], use_gpu: bool) -> None:
    assert score(*SCORE, *words).compute.use_gpu is use_gpu
    assert score(*SCORE, "--publish", "false", *words).publish is False


def test_switch_with_another_value_is_refused() -> None:
    assert message(score, *SCORE, "--compute.use_gpu=banana") == (
        "--compute.use_gpu: a switch takes true or false, not 'banana'. Write"
        " --compute.use_gpu or --no-compute.use_gpu"
    )


def test_text_behind_a_switch_stays_a_text() -> None:
    words = ["--bundle_uri", "b", "--json_lines", "true"]
    loaded = load_settings(PredictSettings, words, program="rubert-ood predict")
    assert loaded.texts == ["true"]
