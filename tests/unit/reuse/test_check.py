from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.reuse.check import TOLERANCES, Turns, compare
from tests.unit.reuse.tables import random_rows


def turns_at(*d2_limits: float) -> Turns:
    return Turns((0.35, 0.75), np.array(d2_limits), p_limits=np.array([]), p_step=0.0)


TURNS = turns_at(100.0)


def _with(table: pa.Table, **columns: object) -> pa.Table:
    for name, values in columns.items():
        kind = table.schema.field(name).type
        array = pa.array(values, kind)
        table = table.set_column(table.schema.get_field_index(name), name, array)
    return table


@pytest.fixture
def rows() -> pa.Table:
    """Texts whose decision nothing turns: sure of their class, and near it."""
    table = random_rows(6, subheads=True, embedding=True)
    scores = [[0.6, 0.25, 0.1]] * 6
    return _with(
        table,
        label=["Авто"] * 6,
        confidence=[0.6] * 6,
        topk_labels=[["Авто", "Дом", "Мебель"]] * 6,
        topk_scores=scores,
        is_ood=[False] * 6,
        ood_distance=[50.0 + n for n in range(6)],
        sub_label=["новые"] * 6,
        sub_confidence=[0.8] * 6,
    )


def test_compare_of_results_of_which_only_one_has_sub_labels_takes_all_for_different(
    rows,
):
    plain = rows.drop_columns(["sub_label", "sub_confidence"])
    for now, noted in ((rows, plain), (plain, rows)):
        found = compare(now, noted.slice(0, 4), "fp32", TURNS)
        assert (found.num_texts, found.num_different) == (4, 4)
        assert "sub_label" in found.reason


def test_compare_of_the_same_results_in_another_order_finds_nothing(rows):
    noted = rows.take([3, 1, 5])
    found = compare(rows, noted, "fp32", TURNS)
    assert (found.num_texts, found.num_different, found.reason) == (3, 0, "")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("column", ["confidence", "topk_scores", "ood_distance"])
def test_compare_allows_the_tolerance_of_the_precision_and_no_more(
    rows, precision, factor, column
):
    limit = TOLERANCES[precision]
    before = np.array(rows[column].to_pylist())
    if column == "ood_distance":
        after = before * (1 + factor * limit.distance)
    else:
        after = before + factor * limit.score
    found = compare(rows, _with(rows, **{column: after.tolist()}), precision, TURNS)
    assert found.num_different == (0 if factor < 1 else 6)
    assert column in found.reason or factor < 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("label", "Дом"),
        ("is_ood", True),
        ("topk_labels", ["Авто", "Мебель", "Дом"]),
        ("sub_label", "старые"),
        ("num_tokens", 9_999),
        ("num_chunks", 99),
        ("is_cut", None),
        ("embedding", [0.0] * 5),
        ("confidence", float("nan")),
    ],
)
def test_compare_names_the_column_that_differs_and_counts_the_texts(rows, column, value):
    values = rows[column].to_pylist()
    values[2] = not values[2] if value is None else value
    found = compare(rows, _with(rows, **{column: values}), "fp32", TURNS)
    assert (found.num_different, found.reason) == (1, f"{column} differ")


@pytest.mark.parametrize(
    "beside",
    [
        {"ood_distance": [100.001] * 6},
        {"confidence": [0.750001] * 6},
        {"confidence": [0.349999] * 6},
        {"topk_scores": [[0.45, 0.449999, 0.05]] * 6},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_compare_lets_the_last_bits_turn_a_decision_that_stands_beside_its_turn(
    rows, beside
):
    now = _with(rows, **beside)
    noted = _with(now, label=["Other"] * 6, is_ood=[True] * 6)
    by_class = turns_at(30.0, 100.0, 400.0)
    for turns in (TURNS, by_class):
        assert compare(now, noted, "fp32", turns).num_different == 0
    elsewhere = replace(turns_at(30.0, 400.0), confidences=[])
    if "topk_scores" not in beside:
        assert compare(now, noted, "fp32", elsewhere).num_different == 6


def test_compare_lets_classes_of_the_same_score_change_places(rows):
    now = _with(rows, topk_scores=[[0.6, 0.1, 0.1]] * 6)
    noted = _with(now, topk_labels=[["Авто", "Мебель", "Дом"]] * 6)
    assert compare(now, noted, "fp32", TURNS).num_different == 0


def test_compare_of_a_text_without_a_result_now_counts_it(rows):
    found = compare(rows.slice(0, 4), rows, "fp32", TURNS)
    assert (found.num_texts, found.num_different) == (6, 2)


@pytest.mark.parametrize(
    ("precision", "p", "is_near"),
    [
        ("fp32", 0.0101, True),
        ("fp32", 0.011, False),
        ("bf16", 0.015, True),
        ("bf16", 0.03, False),
    ],
)
def test_compare_lets_is_ood_turn_beside_the_p_of_another_detector(
    rows, precision, p, is_near
):
    """30 times the tolerance of the score, and two calibration ads."""
    turns = replace(turns_at(), p_limits=np.array([0.01]), p_step=1e-4)
    noted = _with(rows, ood_p=[p] * 6)
    now = _with(noted, is_ood=[True] * 6)
    assert compare(now, noted, precision, turns).num_different == (0 if is_near else 6)


@pytest.mark.parametrize(
    ("p", "is_near"), [(0.0101, True), (0.0503, True), (0.03, False), (0.2, False)]
)
def test_compare_lets_is_ood_turn_beside_the_p_of_any_class(rows, p, is_near):
    turns = replace(turns_at(), p_limits=np.array([0.01, 0.05]), p_step=1e-4)
    noted = _with(rows, ood_p=[p] * 6, ood_distance=[100.0] * 6)
    now = _with(noted, is_ood=[True] * 6)
    assert compare(now, noted, "fp32", turns).num_different == (0 if is_near else 6)
