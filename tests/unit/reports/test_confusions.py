"""Matrices of pairs: counts at their labels, and numbers that lead to the list."""

import numpy as np
from sklearn.metrics import confusion_matrix as sklearn_matrix

from rubert_ood.comparing.document import Transition
from rubert_ood.ood.metrics import confusion_pairs
from rubert_ood.reports.confusions import (
    MAX_LABELS,
    confusion_matrix,
    transition_matrix,
)
from rubert_ood.reports.evaluation import Confusion

LABELS = ["Гаражи", "Книги", "Кошки", "Обувь"]


def test_confusion_matrix_has_the_counts_of_sklearn_off_the_diagonal():
    rng = np.random.default_rng(3)
    true_N, predicted_N = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    pairs = confusion_pairs(true_N, predicted_N, LABELS, top=30)
    confusions = [
        Confusion(one.true, one.predicted, one.count, one.share_of_true, [])
        for one in pairs
    ]
    found = confusion_matrix(confusions)
    expected = sklearn_matrix(true_N, predicted_N)
    assert (found.columns, [label for label, _ in found.rows]) == (LABELS, LABELS)
    for row, (_, cells) in enumerate(found.rows):
        for column, cell in enumerate(cells):
            if row == column:
                assert cell is None
                continue
            assert cell.count == expected[row, column]
            pair = confusions[cell.number - 1]
            assert (pair.true, pair.predicted) == (LABELS[row], LABELS[column])
    assert found.most == expected[~np.eye(4, dtype=bool)].max()


def test_matrix_shades_a_cell_by_its_count():
    pairs = [("Книги", "Кошки", 16), ("Кошки", "Книги", 4), ("Обувь", "Книги", 1)]
    found = confusion_matrix([Confusion(a, b, n, 0.1, []) for a, b, n in pairs])
    shades = {}
    for _, cells in found.rows:
        for cell in cells:
            if cell is not None:
                shades[cell.count] = found.shade(cell)
    assert shades == {16: 4, 4: 2, 1: 1}


def test_transition_matrix_of_many_labels_keeps_those_of_most_ads():
    rows = [
        Transition(label_a=f"класс {n:02d}", label_b="Other", count=100 - n, examples=[])
        for n in range(MAX_LABELS + 5)
    ]
    found = transition_matrix(rows)
    assert found.columns == ["Other"]
    assert [label for label, _ in found.rows] == [
        f"класс {n:02d}" for n in range(MAX_LABELS)
    ]


def test_no_pair_makes_no_matrix():
    assert confusion_matrix([]) is None
    assert transition_matrix([]) is None
