"""Two models asked in turn: what each says of each text, and how fast it is."""

import time

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.promotion import answers
from rubert_ood.promotion.answers import WARM_UP_ADS, Timed, ask


class Oracle:
    """Answers with its name, after a time for each text; a blank text holds nothing to read."""

    use_gpu = False

    def __init__(self, name: str, seconds: float, calls: list) -> None:
        self.name, self.seconds, self.calls = name, seconds, calls
        self.d2_limit = 1.0 if name == "slow" else None

    def predict(self, table: pa.Table) -> pa.Table:
        texts = table["description"].to_pylist()
        self.calls.append((self.name, texts[0], len(texts)))
        time.sleep(self.seconds * len(texts))
        is_read = [bool(text.strip()) for text in texts]
        best = [[f"{self.name} {text}", "x"] if text.strip() else None for text in texts]
        return pa.table(
            {
                "label": [pair[0] if pair else "Other" for pair in best],
                "confidence": pa.array(
                    [0.5 if ok else None for ok in is_read], "float32"
                ),
                "topk_labels": pa.array(best, pa.list_(pa.string())),
                "is_ood": [False for _ in texts],
                "ood_distance": pa.array([2.0 if ok else None for ok in is_read]),
                "ood_p": pa.array([0.25 if ok else None for ok in is_read]),
                "status": ["ok" if ok else "empty" for ok in is_read],
            }
        )


@pytest.fixture
def asked(monkeypatch) -> tuple[Timed, list, list[str]]:
    monkeypatch.setattr(answers, "PIECE_ADS", {False: 4})
    calls: list = []
    texts = [str(number) for number in range(14)]
    texts[6] = " "
    slow, fast = Oracle("slow", 0.004, calls), Oracle("fast", 0.001, calls)
    return ask([slow, fast], texts), calls, texts


def test_ask_takes_turns_and_lets_each_be_first_on_every_other_piece(asked):
    _, calls, _ = asked
    assert [(name, size) for name, _, size in calls[:2]] == [("slow", 14), ("fast", 14)]
    assert WARM_UP_ADS >= 14
    assert calls[2:] == [
        *[("slow", "0", 4), ("fast", "0", 4)],
        *[("fast", "4", 4), ("slow", "4", 4)],
        *[("slow", "8", 4), ("fast", "8", 4)],
        *[("fast", "12", 2), ("slow", "12", 2)],
    ]


def test_ask_returns_the_answers_of_each_in_the_order_of_the_texts(asked):
    timed, _, texts = asked
    for name, found in zip(("slow", "fast"), timed.answers, strict=True):
        expected = [f"{name} {text}" if text.strip() else None for text in texts]
        assert found.best_N.tolist() == expected
        assert found.is_read_N.tolist() == [bool(text.strip()) for text in texts]
        assert np.isnan(found.far_N).sum() == np.isnan(found.confidence_N).sum() == 1
        assert found.label_N[6] == "Other"
        assert found.take(slice(5, 8)).best_N.tolist() == expected[5:8]


def test_ask_measures_the_speed_of_each_and_their_ratio(asked):
    timed, _, _ = asked
    slow, fast = timed.ads_per_s
    assert slow < 250 < fast < 1000
    assert timed.speed_ratio < 0.6
    assert timed.ads_P.tolist() == [4, 4, 4, 2]


def test_speed_ratio_is_the_median_so_that_one_stall_changes_nothing():
    seconds_MP = np.array([[1.0, 1.0, 50.0], [2.0, 2.0, 2.0]])
    assert Timed([], seconds_MP, np.array([4, 4, 4])).speed_ratio == 2


def test_ask_judges_by_p_where_another_detector_than_mahalanobis_decides(asked):
    slow, fast = asked[0].answers
    assert set(slow.far_N[slow.is_read_N]) == {2.0}
    assert set(fast.far_N[fast.is_read_N]) == {-0.25}
