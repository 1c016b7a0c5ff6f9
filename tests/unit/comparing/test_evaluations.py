"""Two evaluations side by side."""

import json

import pytest

from rubert_ood.bundle.evaluation import EvaluationSummary
from rubert_ood.comparing.evaluations import compare_evaluations


def _summary(**content) -> EvaluationSummary:
    return EvaluationSummary.model_validate_json(json.dumps(content))


def test_numbers_classes_and_labels_are_set_side_by_side():
    a = _summary(
        headline={"accuracy": 0.9, "macro_f1": 0.8, "ece_after": 0.02, "ood_rate": 0.0},
        labels=["Книги", "Шины"],
        per_class=[{"label": "Книги", "f1": 0.75}, {"label": "Шины", "f1": 0.5}],
    )
    b = _summary(
        headline={"accuracy": 0.95, "macro_f1": 0.7, "ece_after": 0.03, "ood_rate": 0.01},
        labels=["Кошки", "Шины"],
        per_class=[{"label": "Кошки", "f1": 0.25}, {"label": "Шины", "f1": 0.25}],
    )
    compared = compare_evaluations(a, b)
    names = [row.name for row in compared.headline]
    assert names == ["accuracy", "macro_f1", "ece_after", "ood_rate"]
    changes = [row.change for row in compared.headline]
    assert changes == pytest.approx([0.05, -0.1, 0.01, 0.01])
    rows = {row.label: (row.a, row.b, row.change) for row in compared.per_class}
    assert rows == {
        "Шины": (0.5, 0.25, -0.25),
        "Книги": (0.75, None, None),
        "Кошки": (None, 0.25, None),
    }
    assert compared.per_class[0].label == "Шины"  # lost most
    assert (compared.labels_added, compared.labels_removed) == (["Кошки"], ["Книги"])


def test_what_a_bundle_does_not_say_is_null():
    a = _summary(headline={"accuracy": 0.9}, labels=["Книги"])
    compared = compare_evaluations(a, None)
    (row,) = compared.headline
    assert (row.name, row.a, row.b, row.change) == ("accuracy", 0.9, None, None)
    assert (compared.labels_added, compared.labels_removed) == ([], [])
    nothing = compare_evaluations(None, None)
    assert (nothing.headline, nothing.per_class) == ([], [])
