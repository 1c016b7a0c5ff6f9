"""When a training ends."""

import pytest

from rubert_ood.settings import OptimiserSettings
from rubert_ood.training.stopping import best_epoch, is_over, kept_by


def _history(*scores: float) -> list[dict[str, float]]:
    return [{"valid_macro_f1": score} for score in scores]


def test_best_epoch_is_the_first_of_equal_ones():
    assert best_epoch([]) == 0
    assert best_epoch(_history(0.3, 0.5, 0.5, 0.4)) == 2


@pytest.mark.parametrize(
    ("scores", "patience", "expected"),
    [
        ((), 1, False),
        ((0.5,), 1, False),
        ((0.5, 0.4), 1, True),
        ((0.5, 0.4), 2, False),
        ((0.5, 0.4, 0.5), 2, True),
        ((0.5, 0.4, 0.6), 2, False),
        ((0.5, 0.4, 0.3, 0.2), None, False),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 1, True),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), None, True),
    ],
)
def test_is_over_after_the_last_epoch_or_without_patience(scores, patience, expected):
    settings = OptimiserSettings(num_epochs=6, patience=patience)
    assert is_over(_history(*scores), settings) is expected


def test_kept_by_prefers_the_score_and_of_equal_ones_the_earlier_epoch():
    history = []
    for epoch, score in enumerate((0.5, 0.9, 0.9, 0.9 - 1e-6, 0.0), start=1):
        history.append({"epoch": epoch, "valid_macro_f1": score})
    order = [epoch["epoch"] for epoch in sorted(history, key=kept_by, reverse=True)]
    assert order == [2, 3, 4, 1, 5]
    assert order[0] == best_epoch(history)
