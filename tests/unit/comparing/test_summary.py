"""From counts to the document; the counts themselves are tested in test_counts.py."""

from collections import Counter

import pytest

from rubert_ood.comparing.counts import ROW_SCHEMA, ConfidenceSum, count_partition
from rubert_ood.comparing.document import Transition
from rubert_ood.comparing.summary import summary
from tests.unit.comparing.test_counts import SIDE

EMPTY = count_partition(ROW_SCHEMA.empty_table())


def _transition(label_a: str, label_b: str, count: int) -> Transition:
    return Transition(label_a=label_a, label_b=label_b, count=count, examples=[])


def test_rates_and_means_are_null_without_ads():
    document = summary(SIDE, SIDE, EMPTY)
    assert document.churn_rate is None
    assert (document.texts.same_churn_rate, document.texts.changed_churn_rate) == (
        None,
        None,
    )
    confidence = document.confidence
    assert (confidence.mean_a, confidence.mean_b, confidence.mean_change) == (
        None,
        None,
        None,
    )
    assert (document.transitions, document.labels) == ([], [])


def test_sums_of_partitions_are_added_exactly_in_any_order():
    sums = ConfidenceSum(num=4, sums_a=[1e16, 1.0, -1e16, 1.0], sums_b=[0.0])
    document = summary(SIDE, SIDE, EMPTY.model_copy(update={"confidence": sums}))
    assert document.confidence.mean_a == 0.5
    assert document.confidence.mean_change == -0.5


def test_labels_and_transitions_are_sorted_and_add_up():
    transitions = [
        _transition("а", "б", 2),
        _transition("б", "а", 5),
        _transition("а", "в", 2),
    ]
    update = {
        "transitions": transitions,
        "stayed": Counter({"а": 10}),
        "only_a": Counter({"г": 3}),
        "only_b": Counter({"в": 1}),
    }
    document = summary(SIDE, SIDE, EMPTY.model_copy(update=update))
    pairs = [(row.label_a, row.label_b) for row in document.transitions]
    assert pairs == [("б", "а"), ("а", "б"), ("а", "в")]
    rows = {
        row.label: (row.in_a, row.in_b, row.left, row.joined) for row in document.labels
    }
    assert rows == {
        "а": (14, 15, 4, 5),
        "б": (5, 2, 5, 2),
        "в": (0, 3, 0, 2),
        "г": (3, 0, 0, 0),
    }
    assert [row.label for row in document.labels] == ["а", "б", "в", "г"]


@pytest.mark.parametrize(("changed", "rate"), [(0, 0.0), (3, 0.75)])
def test_churn_is_the_share_of_the_ads_in_both(changed, rate):
    texts = EMPTY.texts.model_copy(
        update={"changed": 4, "changed_label_changed": changed}
    )
    ads = EMPTY.ads.model_copy(update={"both": 4})
    document = summary(SIDE, SIDE, EMPTY.model_copy(update={"ads": ads, "texts": texts}))
    assert (document.changed, document.churn_rate) == (changed, rate)
