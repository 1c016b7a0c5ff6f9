"""The classes one by one, against counts by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rubert_ood.promotion.classes import Judged, changes, class_rows, confusion_rows
from rubert_ood.promotion.statistics import mcnemar

NAMES = ["Книги", "Кошки", "Обувь"]
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
NEW = [0, 0, 0, 1, 1, 1, 1, 0, 2, 2]
CHAMPION = [0, 0, 2, 1, 1, 2, 2, 2, 2, 2]


@pytest.fixture
def judged() -> Judged:
    return Judged(NAMES, np.array(LABELS), [np.array(NEW), np.array(CHAMPION)])


def test_judged_counts_the_ads_that_only_one_gets_right(judged):
    found = judged.discordant()
    assert (found.only_new, found.only_champion) == (3, 1)
    assert found.p == mcnemar(3, 1)
    cats = judged.discordant(np.array(LABELS) == 1)
    assert (cats.only_new, cats.only_champion) == (2, 0)


def test_class_rows_have_f1_of_both_its_change_and_who_is_right_alone(judged):
    rows = class_rows(judged, changes(judged, 0.9))
    new = f1_score(LABELS, NEW, average=None)
    champion = f1_score(LABELS, CHAMPION, average=None)
    for number, row in enumerate(rows):
        assert row.label == NAMES[number]
        assert row.support == LABELS.count(number)
        assert row.f1 == pytest.approx(new[number])
        assert row.champion_f1 == pytest.approx(champion[number])
        assert row.change.value == pytest.approx(new[number] - champion[number])
        assert row.change.lower <= row.change.value <= row.change.upper
    alone = [(row.discordant.only_new, row.discordant.only_champion) for row in rows]
    assert alone == [(1, 1), (2, 0), (3, 1)]
    p_values = [row.discordant.p for row in rows]
    assert p_values == pytest.approx([1.0, 0.625 * 3 / 2, 0.625 * 3 / 2])


def test_class_rows_without_a_champion_have_f1_alone():
    judged = Judged(NAMES, np.array(LABELS), [np.array(NEW)])
    rows = class_rows(judged, None)
    assert [row.f1 for row in rows] == pytest.approx(f1_score(LABELS, NEW, average=None))
    assert {(row.champion_f1, row.change, row.discordant) for row in rows} == {
        (None, None, None)
    }


def test_confusion_rows_begin_with_the_mistake_whose_number_changed_most(judged):
    rows = confusion_rows(judged)
    found = [(row.true, row.predicted, row.count, row.champion_count) for row in rows]
    assert found == [
        ("Кошки", "Обувь", 0, 2),
        ("Обувь", "Книги", 1, 0),
        ("Книги", "Обувь", 0, 1),
        ("Книги", "Кошки", 1, 1),
    ]


def test_confusion_rows_without_a_champion_begin_with_the_most_frequent():
    judged = Judged(NAMES, np.array([0, 0, 1]), [np.array([1, 1, 2])])
    rows = confusion_rows(judged)
    assert [(row.true, row.count) for row in rows] == [("Книги", 2), ("Кошки", 1)]
    assert {row.champion_count for row in rows} == {None}
